"""The image of the Lambda worker: what it is called, and the commands that build, deploy, show and delete it.

Lithops builds for x86-64 only, so the image is built here, under the name that Lithops looks for. Functions make
commands; `carry_out` runs them.
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
PYTHONS = ("3.12", "3.13")  # for which runtime/ has a lock
PLATFORM = "linux/arm64"


@dataclass(frozen=True)
class Image:
    """A worker's image, as Lithops and ECR call it."""

    account: str
    """AWS account, 12 digits."""
    region: str
    """Such as us-west-2."""
    user: str
    """Lithops' word for who owns it: ``user_id`` of the configuration, else STS's."""
    runtime: str
    """Lithops' name of the runtime, name:tag."""
    namespace: str | None = None
    """``namespace`` of the configuration."""

    @property
    def repository(self) -> str:
        """Repository in which Lithops looks for it (its aws_lambda.py: package and _format_repo_name)."""
        package = f"lithops_v{version('lithops').replace('.', '')}_{self.user.split(':')[0][-4:].lower()}"
        return f"{package}{f'_{self.namespace}' if self.namespace else ''}/{self.runtime.split(':')[0]}".lower()

    @property
    def tag(self) -> str:
        """Tag of the image."""
        return self.runtime.partition(":")[2] or "latest"

    @property
    def registry(self) -> str:
        """Host of ECR."""
        return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com"

    @property
    def uri(self) -> str:
        """What docker pushes to."""
        return f"{self.registry}/{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Step:
    """One thing to do on the way."""

    command: tuple[str, ...]
    """What to run; for ``call``, what does the same in a shell."""
    call: Callable[[], object] | None = None
    """What does it instead, in this process."""
    secret: Callable[[], str] | None = None
    """Gives what the command gets on its standard input; never printed."""

    def __str__(self) -> str:
        return shlex.join(self.command)


HINTS = {
    "unknown command: docker buildx": "install docker's buildx plugin",
    "is not a docker command": "install docker's buildx plugin",
    "Cannot connect to the Docker daemon": "start the Docker engine",
    "permission denied while trying to connect": "let your user use the Docker engine (group docker)",
    "no basic auth credentials": "the login to ECR has ended; run it again",
    "401 Unauthorized": "ECR refused the login; check the AWS credentials and the region",
    "exec format error": "install emulation of ARM64: docker run --privileged tonistiigi/binfmt --install arm64",
    "name unknown": "the repository is not there; deploy the CloudFormation stack of runtime/template.yaml",
}
"""What to do about an error of docker's, by a part of its text."""


def unique_runtime(python: str, now: float | None = None) -> str:
    """A runtime's name and a tag that no build had before: Lambda does not look again at a tag that it knows.

    Examples
    --------
    >>> unique_runtime("3.12", 0.0)
    'maggjob:0.1.0-py3.12-19700101T000000'
    """
    return f"{NAME}:{__version__}-py{python}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime(now))}"


def image_of(config: Mapping[str, Any], identity: Mapping[str, str], runtime: str | None = None) -> Image:
    """The image that a Lithops configuration means.

    Parameters
    ----------
    config : mapping
        From `maggjob.lithops_config`, with the section aws_lambda.
    identity : mapping
        ``Account`` and ``UserId``, as STS gives them.
    runtime : str, optional
        In place of the configuration's.

    Raises
    ------
    InputError
        The configuration names no region, or no runtime.
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
    """Folder of the Dockerfile and the locks."""
    # In a wheel they lie in this room, in a checkout beside the package.
    package = Path(str(resources.files("maggjob")))
    inside = package / "aws" / "runtime"
    return inside if inside.is_dir() else package.parent / "runtime"


def write_context(folder: Path) -> None:
    """Lay out what docker builds from: this package as it is installed, the Dockerfile and the locks."""
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
    """Commands that build an image.

    Parameters
    ----------
    image : Image
    context : Path
        From `write_context`.
    python : str
        Minor version, such as 3.12: the client's.
    base, digest : str, optional
        Base image, and the digest that pins it.
    readers : bool
        With the packages for other formats.

    Raises
    ------
    InputError
        There is no lock for this Python.
    """
    if python not in PYTHONS:
        raise InputError(f"Python {python}: there are images for {' and '.join(PYTHONS)}; run maggjob with one of them")
    arguments = {
        "BASE": base or f"python:{python}-slim",
        "DIGEST": digest or "",
        "PYTHON": python,
        "REQUIREMENTS": "worker-readers" if readers else "worker",
        "LITHOPS": version("lithops"),
        "MAGGJOB": __version__,
    }
    flags = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    # An index of several manifests, which provenance and sbom make, is nothing that Lambda takes
    plain = ["--platform", PLATFORM, "--provenance=false", "--sbom=false"]
    where = ["--file", str(context / "runtime" / "Dockerfile"), "--tag", image.uri, "--load", str(context)]
    return [
        Step(("docker", "buildx", "version")),
        Step(("docker", "buildx", "build", *plain, *flags, *where)),
    ]


def deploy_steps(image: Image, config_file: Path, ecr: Any) -> list[Step]:
    """Commands that push an image and make the function of it.

    Parameters
    ----------
    image : Image
    config_file : Path
        Lithops' configuration.
    ecr : botocore.client.ECR
        Asked for the login and for the repository when the steps are carried out.
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
        lithops_step("deploy", config_file, image.runtime),
    ]


def delete_steps(image: Image, config_file: Path, ecr: Any) -> list[Step]:
    """Commands that delete the function and the image of a runtime."""
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
    """A command of Lithops' own, by the interpreter that runs."""
    code = "from lithops.scripts.cli import lithops_cli; lithops_cli()"
    flags = ("--config", str(config_file), "--backend", "aws_lambda")
    storage = () if what == "list" else ("--storage", "aws_s3")
    return Step((sys.executable, "-c", code, "runtime", what, *flags, *storage, *names))


def ensure_repository(ecr: Any, name: str) -> None:
    """Make a repository when it is not there."""
    try:
        ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    except ecr.exceptions.RepositoryAlreadyExistsException:
        return


def ecr_password(ecr: Any) -> str:
    """Password of docker's login to ECR, good for 12 hours."""
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().split(":", 1)[1]


def carry_out(steps: Sequence[Step], say: Callable[[str], object], dry_run: bool = False) -> None:
    """Run commands one after the other, each shown before it runs.

    Raises
    ------
    BackendError
        One failed, or its program is not there: what it was, what it said, and what to do.
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
    except Exception as problem:  # noqa: BLE001  # boto3's own and botocore's: all mean that AWS did not do it
        raise BackendError(f"{step}: {type(problem).__name__}: {problem}; type 'maggjob doctor'") from None
    code, said = run_and_show(step.command, given)
    if code:
        known = HINTS if step.command[0] == "docker" else {}
        hint = next((hint for text, hint in known.items() if text in said), "see above")
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
        raise BackendError(f"exit code {code} of {step}: {last.strip()[:300]}; {hint}")


def run_and_show(command: Sequence[str], given: str) -> tuple[int, str]:
    """Run a command: its exit code, and the end of what it wrote to standard error, which is shown as it comes.

    Raises
    ------
    BackendError
        There is no such program.
    """
    try:
        process = subprocess.Popen(  # noqa: S603  # commands of ours, without a shell
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except FileNotFoundError:
        raise BackendError(f"{command[0]} is not installed, or not on the PATH; install it, and try again") from None
    with process:
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # it ended without reading
                process.stdin.write(given)
                process.stdin.close()
        said: deque[str] = deque(maxlen=200)
        for line in process.stderr or ():
            sys.stderr.write(line)
            said.append(line)
    return process.returncode, "".join(said)
