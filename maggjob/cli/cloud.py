"""Commands for an installation at AWS: ``maggjob cloud setup|use|status|update|stop|teardown``."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maggjob.backend.settings import CONFIG_FILE
from maggjob.errors import InputError
from maggjob.inputs.places import local_place
from maggjob.storage.aws_profile import open_session

if TYPE_CHECKING:
    from maggjob.aws.survey import SetupOptions

Option = Callable[[Any], Any]
"""Decorator that adds an option to a command."""
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@click.group("cloud")
def cloud_commands() -> None:
    """Set up AWS Lambda for maggjob, look at it, stop it, and take it down again.

    \b
    maggjob cloud setup                      # stack, image, function, lithops_config.yaml: all of it
    maggjob cloud use                        # on a hub, where an operator has set it up
    maggjob cloud status
    maggjob cloud update                     # after a new version of maggjob
    maggjob cloud stop                       # nothing new starts; --undo takes it back
    maggjob cloud teardown

    No Docker is needed. Every command can be typed again: it finds what is there, and goes on.
    """  # noqa: D301


def _options(*more: Option, dry_run: bool = True) -> Option:
    """Return a decorator that adds some options, and those that all commands have."""
    common: list[Option] = [
        click.option("--name", metavar="NAME", help="Name of the stack [default: the file's namespace, or maggjob]."),
        click.option("--region", metavar="NAME", help="Region [default: the file's, or us-west-2]."),
        click.option(
            "--lithops-config",
            "file",
            default=CONFIG_FILE,
            show_default=True,
            metavar="FILE",
            help="Lithops configuration that is written and read.",
        ),
    ]
    if dry_run:
        common.append(click.option("--dry-run", is_flag=True, help="Only show what would be done."))

    def add(command: Any) -> Any:
        for option in reversed((*more, *common)):
            command = option(command)
        return command

    return add


_build_options: tuple[Option, ...] = (
    click.option(
        "--bucket-prefix", metavar="NAME", help="First part of the names of new buckets [default: the stack's]."
    ),
    click.option("--email", metavar="ADDRESS", help="Address that gets alarms of the budget."),
    click.option("--budget", type=click.FloatRange(min=1), metavar="DOLLARS", help="Budget per month [default: 50]."),
    click.option(
        "--parameter",
        "parameters",
        multiple=True,
        metavar="KEY=VALUE",
        help="Another parameter of runtime/template.yaml, such as KeepDays=7; may be repeated.",
    ),
    click.option("--base", metavar="IMAGE", help="Base image [default: that of 'maggjob runtime build']."),
    click.option("--digest", metavar="sha256:...", help="Digest that pins the base image."),
    click.option(
        "--base-login",
        metavar="USER:PASSWORD",
        envvar="MAGGJOB_BASE_LOGIN",
        help="Login to the registry of the base, also MAGGJOB_BASE_LOGIN.",
    ),
    click.option("--readers", is_flag=True, help="Add packages for other formats (h5py, rasterio) to the image."),
    click.option("--docker", is_flag=True, help="Let Docker build and push the image."),
)


def _file(given: str) -> Path:
    return local_place(given, "Lithops configuration")


def _session(file: Path, region: str | None) -> Any:
    """Return an AWS session in the region that was given, or is in the file."""
    from maggjob.aws.lithops_file import read_own_file
    from maggjob.aws.survey import REGION
    from maggjob.inputs.plain_yaml import load_yaml

    text = read_own_file(file)
    content = (load_yaml(text) or {}) if text else {}
    found = {**(content.get("aws") or {}), **(content.get("aws_lambda") or {})}
    return open_session(region or found.get("region") or REGION)


def _setup_options(file: Path, choice: dict[str, Any]) -> "SetupOptions":
    from maggjob.aws.build import BuildOptions
    from maggjob.aws.reference import LOCK
    from maggjob.aws.survey import SetupOptions

    wrong = [text for text in choice["parameters"] if "=" not in text]
    if wrong:
        raise InputError(f"--parameter {wrong[0]!r}: give KEY=VALUE")
    parameters = dict(text.split("=", 1) for text in choice["parameters"])
    if choice["email"] is not None:
        parameters["BudgetEmail"] = choice["email"]
    if choice["budget"] is not None:
        parameters["BudgetLimit"] = f"{choice['budget']:g}"
    base_lock = file.with_name(LOCK)
    image = {key: choice[key] for key in ("base", "digest", "readers", "base_login")}
    build = BuildOptions(HERE, **image, base_lock=base_lock)
    return SetupOptions(
        file,
        build,
        choice["name"],
        choice["bucket_prefix"],
        parameters,
        choice["docker"],
    )


@cloud_commands.command()
@_options(*_build_options)
def setup(file: str, region: str | None, dry_run: bool, **choice: Any) -> None:
    """Set up everything that a run on AWS Lambda needs, and write lithops_config.yaml.

    Steps: the stack of runtime/template.yaml (role, policies, buckets, repository, budget), the image, the function,
    lithops_config.yaml, a copy of it in Lithops' bucket for users of a hub ('maggjob cloud use'), and 'maggjob doctor'.
    In a lithops_config.yaml that is there, only region, bucket, role and runtime are changed.

    \b
    maggjob cloud setup --dry-run
    maggjob cloud setup --email you@example.org --budget 20
    """  # noqa: D301
    options = _setup_options(_file(file), choice)
    _set_up(options, _session(options.file, region), dry_run)


def _set_up(options: "SetupOptions", session: Any, dry_run: bool) -> None:
    from maggjob.aws.setup import carry_out_setup, setup_steps
    from maggjob.aws.survey import survey

    found = survey(session, options)
    click.echo(f"account {found.account}, {found.region}, as {found.caller}")
    carry_out_setup(setup_steps(found, options, session, click.echo), click.echo, dry_run)
    if dry_run:
        click.echo("nothing was changed")
        return
    good = _examine(options.file, session, f"s3://{found.names.output_bucket}/map.zarr")
    store = f"s3://{found.names.output_bucket}/map.zarr"
    click.echo(f"next: maggjob run --config atl06.yaml --backend aws_lambda --store {store}")
    if not good:
        sys.exit(1)


def _examine(file: Path, session: Any, store: str | None) -> bool:
    """Print the checks of the doctor; return True if nothing must be fixed."""
    from maggjob.aws.doctor import examine
    from maggjob.backend.settings import lithops_config

    click.echo("doctor")
    checks = examine(lithops_config("aws_lambda", given=file), session, store)
    for check in checks:
        click.echo(f"    {check}")
    return not any(check.state == "bad" for check in checks)


@cloud_commands.command()
@click.option("--bucket", metavar="NAME", help="Lithops' bucket, if the operator chose other names.")
@click.option(
    "--function", "function", metavar="NAME", help="Use this function, instead of what the operator published."
)
@_options()
def use(
    bucket: str | None, function: str | None, name: str | None, region: str | None, file: str, dry_run: bool
) -> None:
    """Write lithops_config.yaml for functions that an operator has set up; for users of a hub.

    It needs the rights of the policy UserPolicy of the stack, and deploys nothing. After the operator's
    'maggjob cloud update', type it again.

    \b
    maggjob cloud use
    maggjob cloud use --bucket hub-lithops-123456789012-us-west-2
    """  # noqa: D301
    from maggjob.aws.installation import names_of
    from maggjob.aws.lithops_file import (
        NAME,
        check_same_installation,
        check_writable,
        fill_in,
        read_own_file,
        write_file,
    )
    from maggjob.aws.refusals import refusals
    from maggjob.aws.survey import name_in
    from maggjob.aws.use import function_values, published_values, read_published

    path = _file(file)
    check_writable(path)
    text, session = read_own_file(path), _session(path, region)
    with refusals("credentials"):
        identity = session.client("sts").get_caller_identity()
    account = identity["Account"]
    names = names_of(name or name_in(text) or NAME, account, session.region_name)
    where, start = bucket or names.lithops_bucket, text
    with refusals("cloud use"):
        if function is None:
            published = read_published(session, account, where)
            values, start = published_values(published), published if text is None else text
        else:
            values = function_values(session, function, where, identity)
    check_same_installation(text, values.namespace or NAME)
    filled = fill_in(start, values)
    if filled.text == text:
        click.echo(f"{path} has the values of the account")
    else:
        click.echo("\n".join([f"{'would write' if dry_run else 'write'} {path}", *filled.changes]))
    if not dry_run:
        write_file(path, filled.text)
        if not _examine(path, session, None):
            sys.exit(1)


@cloud_commands.command()
@_options(dry_run=False)
def status(name: str | None, region: str | None, file: str) -> None:
    """Show stack, functions, images, buckets, budget and the last runs. Nothing is changed.

    \b
    maggjob cloud status
    """  # noqa: D301
    from maggjob.aws.located import locate
    from maggjob.aws.overview import overview

    path = _file(file)
    session = _session(path, region)
    click.echo("\n".join(overview(session, locate(session, path, name, role_is_enough=True))))


@cloud_commands.command()
@_options(
    click.option(
        "--delete-old/--keep-old", default=None, help="Delete functions and images of older versions [default: ask]."
    ),
    *_build_options,
)
def update(delete_old: bool | None, file: str, region: str | None, dry_run: bool, **choice: Any) -> None:
    """Bring everything up to date: the stack, the image, the function, lithops_config.yaml.

    An image is built if maggjob, its locked packages, the base or the Dockerfile have changed. For a newer base, remove
    its line in base.lock. Functions of older versions keep
    working until you delete them; users of a hub then need 'maggjob cloud use'.

    \b
    maggjob cloud update --dry-run
    maggjob cloud update --delete-old
    """  # noqa: D301
    from maggjob.aws.located import locate

    options = _setup_options(_file(file), choice)
    session = _session(options.file, region)
    locate(session, options.file, options.name)
    _set_up(options, session, dry_run)
    if not dry_run:
        _clear_old(session, options, delete_old)


def _clear_old(session: Any, options: "SetupOptions", delete_old: bool | None) -> None:
    """Delete functions and images that are not in use, if that is wanted."""
    from maggjob.aws.located import find_unused, locate
    from maggjob.aws.refusals import refusals
    from maggjob.aws.teardown import delete_functions, delete_images

    found = locate(session, options.file, options.name)
    if found.runtime is None:
        return
    with refusals("old functions and images"):
        old = find_unused(session, found, found.runtime)
    if not old.functions and not old.images:
        return
    for one in old.functions:
        click.echo(f"old: function {one.name} ({one.runtime})")
    click.echo(f"old: {len(old.images)} images that no other function uses")
    if delete_old is None and sys.stdin.isatty():
        delete_old = click.confirm("Delete them? Runs that use them fail; users of a hub must type 'maggjob cloud use'")
    if not delete_old:
        click.echo("they stay; 'maggjob cloud update --delete-old' deletes them")
        return
    with refusals("old functions and images"):
        delete_functions(session, old.functions, click.echo)
        delete_images(session.client("ecr"), found.repository, old.images, click.echo)


@cloud_commands.command()
@click.option("--undo", is_flag=True, help="Let calls start again.")
@_options()
def stop(undo: bool, name: str | None, region: str | None, file: str, dry_run: bool) -> None:
    """Let nothing new start: the functions' reserved concurrency becomes 0. Calls that run go on to their end.

    \b
    maggjob cloud stop
    maggjob cloud stop --undo
    """  # noqa: D301
    from maggjob.aws.located import locate, own_functions
    from maggjob.aws.refusals import refusals
    from maggjob.aws.stopping import start_functions, stop_functions

    path = _file(file)
    session = _session(path, region)
    found = locate(session, path, name, role_is_enough=True)
    with refusals("stop"):
        functions = own_functions(session, found)
        if not functions:
            click.echo(f"{found.name} has no functions")
        change = start_functions if undo else stop_functions
        change(session.client("lambda"), functions, click.echo, dry_run)
    if functions and not undo and not dry_run:
        click.echo("'maggjob cloud stop --undo' lets calls start again; those that AWS accepted before may start then")


@cloud_commands.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--delete-bucket",
    "doomed",
    multiple=True,
    metavar="NAME",
    help="Delete this bucket of the stack, too, with everything in it; may be repeated.",
)
@_options()
def teardown(yes: bool, doomed: Sequence[str], name: str | None, region: str | None, file: str, dry_run: bool) -> None:
    """Delete functions, images and the stack; say what stays, and what that costs.

    Buckets stay, with all results, unless they are named with --delete-bucket.

    \b
    maggjob cloud teardown --dry-run
    maggjob cloud teardown --delete-bucket maggjob-lithops-123456789012-us-west-2
    """  # noqa: D301
    from maggjob.aws.located import locate
    from maggjob.aws.teardown import plan_teardown, tear_down

    path = _file(file)
    session = _session(path, region)
    plan = plan_teardown(session, locate(session, path, name), doomed)
    click.echo("\n".join(plan.lines()))
    if dry_run:
        click.echo("nothing was changed")
        return
    if not yes:
        click.confirm(f"Take {plan.where.name} down?", abort=True)
    tear_down(session, plan, click.echo)
    cost = sum(size.dollars for _, size in plan.kept)
    click.echo(f"what stays costs ${cost:,.2f} per month" if plan.kept else "nothing stays, and nothing costs any more")
