"""The image built and pushed by Docker, for those who have it (``maggjob runtime build --docker``).

Lithops builds images for x86-64 only. Therefore the commands are given here, under the name that Lithops looks for.
"""

import base64
import shutil
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maggjob._version import __version__
from maggjob.aws.image import PYTHONS, Image, image_folder
from maggjob.aws.steps import Step, ensure_repository, lithops_step
from maggjob.errors import InputError

PLATFORM = "linux/arm64"


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


def deploy_steps(image: Image, config_file: Path, ecr: Any) -> list[Step]:
    """Return the steps that push an image and create its Lambda function.

    Parameters
    ----------
    image : Image
    config_file : Path
        Lithops' configuration.
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
        lithops_step("deploy", config_file, image.runtime),
    ]


def ecr_password(ecr: Any) -> str:
    """Return the password for docker's login to ECR, which is valid for 12 hours."""
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().split(":", 1)[1]
