"""The image of the Lambda worker: its name, and the commands that build, deploy, list and delete it.

Lithops builds images for x86-64 only. Therefore this image is built here, under the name that Lithops looks for.
Functions return the commands as steps; `carry_out` runs them.
"""

import base64
import shlex
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maggjob._version import __version__
from maggjob.errors import BackendError, InputError

NAME = "maggjob"
# Python versions that runtime/ has lock files for.
PYTHONS = ("3.12", "3.13")
PLATFORM = "linux/arm64"


@dataclass(frozen=True)
class Image:
    """The image of a worker, as Lithops and ECR name it."""

    account: str
    """AWS account, 12 digits."""
    region: str
    """AWS region, such as us-west-2."""
    user: str
    """Owner as Lithops names it: ``user_id`` of the configuration, else the user id from STS."""
    runtime: str
    """Name of the runtime in Lithops, name:tag."""
    namespace: str | None = None
    """``namespace`` of the configuration, part of the repository's name."""

    @property
    def repository(self) -> str:
        """ECR repository in which Lithops looks for the image (package and _format_repo_name in its aws_lambda.py)."""
        package = f"lithops_v{version('lithops').replace('.', '')}_{self.user.split(':')[0][-4:].lower()}"
        return f"{package}{f'_{self.namespace}' if self.namespace else ''}/{self.runtime.split(':')[0]}".lower()

    @property
    def tag(self) -> str:
        """Tag of the image."""
        return self.runtime.partition(":")[2] or "latest"

    @property
    def registry(self) -> str:
        """Host name of the ECR registry."""
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"

    @property
    def uri(self) -> str:
        """Full name under which docker pushes the image."""
        return f"{self.registry}/{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Step:
    """One step of a build, a deployment or a deletion."""

    command: tuple[str, ...]
    """Command to run; if ``call`` is given, the equivalent shell command, which is only shown."""
    call: Callable[[], object] | None = None
    """Function to call in this process instead of running the command."""
    secret: Callable[[], str] | None = None
    """Function that returns the command's standard input, which is never printed."""

    def __str__(self) -> str:
        return shlex.join(self.command)


HINTS = {
    "unknown command: docker buildx": "install docker's buildx plugin",
    "is not a docker command": "install docker's buildx plugin",
    "Cannot connect to the Docker daemon": "start the Docker engine",
    "permission denied while trying to connect": "let your user use the Docker engine (group docker)",
    "no basic auth credentials": "the login to ECR has expired; log in again",
    "401 Unauthorized": "ECR refused the login; check the AWS credentials and the region",
    "exec format error": "install emulation of ARM64: docker run --privileged tonistiigi/binfmt --install arm64",
    "name unknown": "the repository does not exist; deploy the CloudFormation stack of runtime/template.yaml",
}
"""What to do about an error of docker, by a part of its message."""


def unique_runtime(python: str, now: float | None = None) -> str:
    """Return a runtime name with a new tag: a Lambda function never looks again at a tag that it knows.

    Parameters
    ----------
    python : str
        Minor version, such as 3.12.
    now : float, optional
        Seconds since 1970; by default the current time.

    Examples
    --------
    >>> unique_runtime("3.12", 0.0)
    'maggjob:0.1.0-py3.12-19700101T000000'
    """
    return f"{NAME}:{__version__}-py{python}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}"


def image_of(config: Mapping[str, Any], identity: Mapping[str, str], runtime: str | None = None) -> Image:
    """Return the image that a Lithops configuration names.

    Parameters
    ----------
    config : mapping
        From `maggjob.lithops_config`, with the section aws_lambda.
    identity : mapping
        ``Account`` and ``UserId``, from STS.
    runtime : str, optional
        Replaces the runtime of the configuration.

    Raises
    ------
    InputError
        If the configuration names no region or no runtime.
    """
    section = {**config.get("aws", {}), **config.get("aws_lambda", {})}
    region = section.get("region") or section.get("region_name")
    name = runtime or section.get("runtime")
    if not region:
        raise InputError("Lithops configuration: no 'region' in section 'aws' or 'aws_lambda'; give us-west-2")
    if not name or name == "default":
        raise InputError("Lithops configuration: no 'runtime' in section 'aws_lambda'; type 'maggjob runtime build'")
    user = section.get("user_id") or identity["UserId"]
    return Image(section.get("account_id") or identity["Account"], region, user, name, section.get("namespace"))


def image_folder() -> Path:
    """Return the folder of the Dockerfile and the lock files."""
    # In a wheel the folder is in this one, in a checkout beside the package.
    package = Path(str(resources.files("maggjob")))
    inside = package / "aws" / "runtime"
    return inside if inside.is_dir() else package.parent / "runtime"


def write_context(folder: Path) -> None:
    """Write the build context for docker: this package as installed, the Dockerfile and the lock files."""
    ignore = shutil.ignore_patterns("__pycache__", "runtime", "builtin")
    shutil.copytree(Path(str(resources.files("maggjob"))), folder / "maggjob", ignore=ignore)
    shutil.copytree(image_folder(), folder / "runtime")


def build_steps(
    image: Image,
    context: Path,
    python: str,
    *,
    base: str | None = None,
    digest: str | None = None,
    readers: bool = False,
) -> list[Step]:
    """Return the steps that build an image.

    Parameters
    ----------
    image : Image
    context : Path
        Build context, from `write_context`.
    python : str
        Minor version of the client, such as 3.12.
    base, digest : str, optional
        Base image, and the digest that pins it.
    readers : bool
        If True, include the packages that read other formats.

    Raises
    ------
    InputError
        If no lock file exists for this Python version.
    """
    if python not in PYTHONS:
        raise InputError(f"Python {python}: images exist for {' and '.join(PYTHONS)}; run maggjob with one of them")
    arguments = {
        "BASE": base or f"python:{python}-slim",
        "DIGEST": digest or "",
        "PYTHON": python,
        "REQUIREMENTS": "worker-readers" if readers else "worker",
        "LITHOPS": version("lithops"),
        "MAGGJOB": __version__,
    }
    flags = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    # Provenance and sbom would make an index of several manifests, which Lambda does not accept.
    plain = ["--platform", PLATFORM, "--provenance=false", "--sbom=false"]
    where = ["--file", str(context / "runtime" / "Dockerfile"), "--tag", image.uri, "--load", str(context)]
    return [
        Step(("docker", "buildx", "version")),
        Step(("docker", "buildx", "build", *plain, *flags, *where)),
    ]


def deploy_steps(image: Image, ecr: Any) -> list[Step]:
    """Return the steps that push an image.

    Parameters
    ----------
    image : Image
    ecr : botocore.client.ECR
        Used for the login and the repository when the steps are carried out.
    """
    region = ("--region", image.region)
    return [
        Step(
            ("aws", "ecr", "create-repository", "--repository-name", image.repository, *region),
            call=lambda: ensure_repository(ecr, image.repository),
        ),
        Step(
            ("docker", "login", "--username", "AWS", "--password-stdin", image.registry),
            secret=lambda: ecr_password(ecr),
        ),
        Step(("docker", "push", image.uri)),
    ]


def delete_steps(image: Image, config_file: Path, ecr: Any) -> list[Step]:
    """Return the steps that delete the Lambda function and the image of a runtime.

    Parameters
    ----------
    image : Image
    config_file : Path
        Lithops' configuration.
    ecr : botocore.client.ECR
    """
    words = ("--repository-name", image.repository, "--image-ids", f"imageTag={image.tag}", "--region", image.region)
    tags = [{"imageTag": image.tag}]
    return [
        lithops_step("delete", config_file, image.runtime),
        Step(
            ("aws", "ecr", "batch-delete-image", *words),
            call=lambda: ecr.batch_delete_image(repositoryName=image.repository, imageIds=tags),
        ),
    ]


def lithops_step(what: str, config_file: Path, *names: str) -> Step:
    """Return a step that runs a command of Lithops with this Python interpreter.

    Parameters
    ----------
    what : {"deploy", "delete", "list"}
        Subcommand of ``lithops runtime``.
    config_file : Path
        Lithops' configuration.
    *names : str
        Names of runtimes.
    """
    code = "from lithops.scripts.cli import lithops_cli; lithops_cli()"
    flags = ("--config", str(config_file), "--backend", "aws_lambda")
    storage = () if what == "list" else ("--storage", "aws_s3")
    return Step((sys.executable, "-c", code, "runtime", what, *flags, *storage, *names))


def ensure_repository(ecr: Any, name: str) -> None:
    """Create an ECR repository if it does not exist.

    Parameters
    ----------
    ecr : boto3 client
        Of the service ecr.
    name : str
        Name of the repository.
    """
    try:
        ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    except ecr.exceptions.RepositoryAlreadyExistsException:
        return


def ecr_password(ecr: Any) -> str:
    """Return the password for docker's login to ECR, which is valid for 12 hours."""
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().split(":", 1)[1]


def carry_out(steps: Sequence[Step], say: Callable[[str], object], dry_run: bool = False) -> None:
    """Run steps one after the other, showing each before it runs.

    Parameters
    ----------
    steps : sequence of Step
    say : callable
        Called with the text of each step.
    dry_run : bool
        If True, only show the steps.

    Raises
    ------
    BackendError
        If a step fails or its program is not installed. The message names the step, its last output and a remedy.
    """
    for step in steps:
        say(str(step))
        if not dry_run:
            _carry_out(step)


def _carry_out(step: Step) -> None:
    try:
        if step.call is not None:
            step.call()
            return
        given = "" if step.secret is None else step.secret()
    # Errors of boto3 and of botocore: AWS refused the request.
    except Exception as problem:  # noqa: BLE001
        raise BackendError(f"{step}: {type(problem).__name__}: {problem}; type 'maggjob doctor'") from None
    code, said = run_and_show(step.command, given)
    if code:
        known = HINTS if step.command[0] == "docker" else {}
        hint = next((hint for text, hint in known.items() if text in said), "see above")
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "it printed nothing")
        raise BackendError(f"exit code {code} of {step}: {last.strip()[:300]}; {hint}")


def run_and_show(command: Sequence[str], given: str) -> tuple[int, str]:
    """Run a command, and copy its standard error to ours as it arrives.

    Parameters
    ----------
    command : sequence of str
    given : str
        Standard input of the command.

    Returns
    -------
    code : int
        Exit code.
    said : str
        The last 200 lines of its standard error.

    Raises
    ------
    BackendError
        If the program is not installed.
    """
    try:
        # Our own commands, run without a shell.
        process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except FileNotFoundError:
        raise BackendError(f"{command[0]} is not installed, or not on the PATH; install it, and try again") from None
    with process:
        if process.stdin is not None:
            # A command that ends without reading its input is no error here: its exit code tells.
            with suppress(BrokenPipeError):
                process.stdin.write(given)
                process.stdin.close()
        said: deque[str] = deque(maxlen=200)
        for line in process.stderr or ():
            sys.stderr.write(line)
            said.append(line)
    return process.returncode, "".join(said)
