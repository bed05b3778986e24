"""Steps of a build, a deployment or a deletion: commands to run and calls to make, each shown before it is done."""

import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maggjob.aws.image import Image
from maggjob.errors import BackendError


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


def repository_step(image: Image, ecr: Any) -> Step:
    """Return the step that creates an image's repository in ECR if it does not exist.

    Parameters
    ----------
    image : Image
    ecr : botocore.client.ECR
    """
    words = ("--repository-name", image.repository, "--region", image.region)
    return Step(("aws", "ecr", "create-repository", *words), call=lambda: ensure_repository(ecr, image.repository))


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


def carry_out(
    steps: Sequence[Step], say: Callable[[str], object], dry_run: bool = False, *, quiet: bool = False
) -> None:
    """Run steps one after the other, showing each before it runs.

    Parameters
    ----------
    steps : sequence of Step
    say : callable
        Called with the text of each step.
    dry_run : bool
        If True, only show the steps.
    quiet : bool
        If True, show neither the commands nor what they print; errors have their last line.

    Raises
    ------
    BackendError
        If a step fails or its program is not installed. The message names the step, its last output and a remedy.
    """
    for step in steps:
        if not quiet:
            say(str(step))
        if not dry_run:
            _carry_out(step, quiet)


def _carry_out(step: Step, quiet: bool) -> None:
    try:
        if step.call is not None:
            step.call()
            return
        given = "" if step.secret is None else step.secret()
    # Errors of boto3 and of botocore: AWS refused the request.
    except Exception as problem:  # noqa: BLE001
        raise BackendError(f"{step}: {type(problem).__name__}: {problem}; type 'maggjob doctor'") from None
    code, said = run_and_show(step.command, given, quiet)
    if code:
        known = HINTS if step.command[0] == "docker" else {}
        hint = next((hint for text, hint in known.items() if text in said), "see above")
        last = next((line for line in reversed(said.splitlines()) if line.strip()), "it printed nothing")
        if quiet:
            raise BackendError(last.strip()[:400])
        raise BackendError(f"exit code {code} of {step}: {last.strip()[:300]}; {hint}")


def run_and_show(command: Sequence[str], given: str, quiet: bool = False) -> tuple[int, str]:
    """Run a command, and copy its standard error to ours as it arrives.

    Parameters
    ----------
    command : sequence of str
    given : str
        Standard input of the command.
    quiet : bool
        If True, copy nothing.

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
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL if quiet else None,
            stderr=subprocess.PIPE,
            text=True,
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
            if not quiet:
                sys.stderr.write(line)
            said.append(line)
    return process.returncode, "".join(said)
