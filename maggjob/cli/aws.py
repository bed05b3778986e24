"""Commands for AWS Lambda: ``maggjob runtime build|deploy|status|delete`` and ``maggjob doctor``."""

import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from maggjob.backend.settings import CONFIG_FILE, lithops_config
from maggjob.errors import BackendError
from maggjob.inputs.places import local_place
from maggjob.storage.aws_profile import open_session

Command = TypeVar("Command", bound=Callable[..., Any])
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@click.group("runtime")
def runtime_commands() -> None:
    """Build and deploy the image of the Lambda worker.

    \b
    maggjob runtime build                    # image for ARM64, pushed to ECR with a unique tag
    maggjob runtime deploy maggjob:TAG       # create the Lambda function
    maggjob runtime status
    maggjob runtime delete maggjob:TAG
    """  # noqa: D301


_lithops_config = click.option(
    "--lithops-config",
    "file",
    default=CONFIG_FILE,
    show_default=True,
    metavar="FILE",
    help="Lithops configuration.",
)


def _common(command: Command) -> Command:
    return _lithops_config(
        click.option("--dry-run", is_flag=True, help="Print the commands without running them.")(command)
    )


def aws_session(config: Mapping[str, Any]) -> Any:
    """Return an AWS session in the region of a Lithops configuration.

    Raises
    ------
    InputError
        If boto3 is not installed, or the profile does not exist.
    """
    section = {**config.get("aws", {}), **config["aws_lambda"]}
    return open_session(section.get("region") or section.get("region_name"))


def _session(file: str, dry_run: bool) -> tuple[dict[str, Any], Any, dict[str, str]]:
    """Return the Lithops configuration, an AWS session, and the identity of the caller at AWS."""
    config = lithops_config("aws_lambda", given=file)
    section, session = config["aws_lambda"], aws_session(config)
    from botocore.exceptions import BotoCoreError, ClientError

    if {"user_id", "account_id"} <= section.keys():
        return config, session, {}
    try:
        return config, session, session.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as problem:
        if dry_run:
            click.echo(f"# AWS does not recognise the caller ({problem}): ACCOUNT and USER are placeholders below")
            return config, session, {"Account": "ACCOUNT", "UserId": "USER"}
        raise BackendError(
            f"AWS does not recognise the caller: {problem}; log in to AWS, then run 'maggjob doctor'"
        ) from None


_docker = click.option("--docker", is_flag=True, help="Use Docker with buildx instead of building here.")


@runtime_commands.command()
@click.option("--base", metavar="IMAGE", help="Base image [default: public.ecr.aws/docker/library/python:X.Y-slim].")
@click.option("--digest", metavar="sha256:...", help="Digest that pins the base image [default: from base.lock].")
@click.option(
    "--base-login",
    metavar="USER:PASSWORD",
    envvar="MAGGJOB_BASE_LOGIN",
    help="Login to the registry of the base, also MAGGJOB_BASE_LOGIN [default: what 'docker login' stored, else none].",
)
@click.option("--readers", is_flag=True, help="Add packages for other formats (h5py, rasterio).")
@_docker
@_common
def build(docker: bool, file: str, dry_run: bool, **choice: Any) -> None:
    """Build the image for ARM64, with the Python version that runs this command, and push it to ECR.

    Neither Docker nor root is needed. With --docker, the image is built there, and 'deploy --docker' pushes it.

    \b
    maggjob runtime build --dry-run
    """  # noqa: D301
    from maggjob.aws.image import image_of, unique_runtime

    config, session, identity = _session(file, dry_run)
    image = image_of(config, identity, unique_runtime(HERE))
    from maggjob.aws.build import BuildOptions, push_image, show_build
    from maggjob.aws.login import ecr_login
    from maggjob.aws.reference import LOCK
    from maggjob.aws.steps import carry_out, repository_step

    base_lock = local_place(file, "Lithops configuration").with_name(LOCK)
    options = BuildOptions(HERE, base_lock=base_lock, **choice)
    if docker:
        _build_by_docker(image, options, dry_run)
        click.echo(f"next: maggjob runtime deploy --docker {image.runtime}")
        return
    ecr = session.client("ecr")
    if dry_run:
        click.echo(str(repository_step(image, ecr)))
        show_build(image, options, click.echo)
    else:
        carry_out([repository_step(image, ecr)], click.echo)
        push_image(image, ecr_login(ecr), options, click.echo)
    click.echo(f"next: maggjob runtime deploy {image.runtime}")


def _build_by_docker(image: Any, options: Any, dry_run: bool) -> None:
    from maggjob.aws.docker import build_steps, write_context
    from maggjob.aws.steps import carry_out

    with tempfile.TemporaryDirectory(prefix="maggjob-image-") as name:
        context = Path(name) / "context"
        steps = build_steps(image, context, options)
        write_context(context)
        carry_out(steps, click.echo, dry_run)


@runtime_commands.command()
@click.argument("runtime")
@_docker
@_common
def deploy(runtime: str, docker: bool, file: str, dry_run: bool) -> None:
    """Create the Lambda function of an image; with --docker, push the image to ECR before.

    \b
    maggjob runtime deploy maggjob:0.1.0-py3.12-20251121T051200
    """  # noqa: D301
    from maggjob.aws.docker import push_steps
    from maggjob.aws.function import deploy_function, function_name, memory_of
    from maggjob.aws.image import image_of
    from maggjob.aws.steps import carry_out

    config, session, identity = _session(file, dry_run)
    image = image_of(config, identity, runtime)
    if docker:
        carry_out(push_steps(image, session.client("ecr")), click.echo, dry_run)
    if dry_run:
        click.echo(f"create the function {function_name(image, memory_of(config))}, its log group and its retries")
        return
    deploy_function(session, config, image, local_place(file, "Lithops configuration"), click.echo)
    click.echo(f"next: in section aws_lambda of {file}, set   runtime: {image.runtime}")


@runtime_commands.command()
@_common
def status(file: str, dry_run: bool) -> None:
    """List the deployed functions.

    \b
    maggjob runtime status
    """  # noqa: D301
    from maggjob.aws.steps import carry_out, lithops_step

    lithops_config("aws_lambda", given=file)
    carry_out([lithops_step("list", local_place(file, "Lithops configuration"))], click.echo, dry_run)


@runtime_commands.command()
@click.argument("runtime")
@_common
def delete(runtime: str, file: str, dry_run: bool) -> None:
    """Delete the Lambda function and the image of a runtime.

    \b
    maggjob runtime delete maggjob:0.1.0-py3.12-20251121T051200
    """  # noqa: D301
    from maggjob.aws.image import image_of
    from maggjob.aws.steps import carry_out, delete_steps

    config, session, identity = _session(file, dry_run)
    image = image_of(config, identity, runtime)
    carry_out(
        delete_steps(image, local_place(file, "Lithops configuration"), session.client("ecr")), click.echo, dry_run
    )


@click.command("doctor")
@click.option("--store", metavar="s3://BUCKET/PATH", help="Store of a planned run: its bucket is checked, too.")
@_lithops_config
def doctor_command(store: str | None, file: str) -> None:
    """Check what a run on AWS Lambda needs; exit with 1 if something must be fixed.

    \b
    maggjob doctor --store s3://my-maps/map.zarr
    """  # noqa: D301
    from maggjob.aws.doctor import examine

    config = lithops_config("aws_lambda", given=file)
    checks = examine(config, aws_session(config), store)
    for check in checks:
        click.echo(str(check))
    if any(check.state == "bad" for check in checks):
        sys.exit(1)
