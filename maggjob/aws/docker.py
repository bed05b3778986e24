"""The image built and pushed by Docker, for those who have it (``maggjob runtime build --docker``).

Lithops itself builds images for x86-64 only.
"""

import base64
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from maggjob.aws.build import BuildOptions, base_name, build_arguments, check_inputs
from maggjob.aws.image import NOT_IN_IMAGE, Image, image_folder
from maggjob.aws.steps import Step, repository_step

PLATFORM = "linux/arm64"


def write_context(folder: Path) -> None:
    """Write the build context for docker: this package as installed, the Dockerfile and the lock files."""
    ignore = shutil.ignore_patterns(*NOT_IN_IMAGE)
    shutil.copytree(Path(str(resources.files("maggjob"))), folder / "maggjob", ignore=ignore)
    shutil.copytree(image_folder(), folder / "runtime")


def build_steps(image: Image, context: Path, options: BuildOptions) -> list[Step]:
    """Return the steps that build an image.

    Parameters
    ----------
    image : Image
    context : Path
        Build context, from `write_context`.
    options : BuildOptions
        ``runtime``, ``cache`` and ``base_login`` do not count: docker has its own.

    Raises
    ------
    InputError
        If no lock file exists for this Python version.
    """
    name = base_name(options)
    given = build_arguments(check_inputs(options), name, options.python)
    arguments = {**given, "REQUIREMENTS": options.lock.stem.removesuffix(f"-{options.python}")}
    flags = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    # Provenance and sbom would make an index of several manifests, which Lambda does not accept.
    plain = ["--platform", PLATFORM, "--provenance=false", "--sbom=false"]
    where = ["--file", str(context / "runtime" / "Dockerfile"), "--tag", image.uri, "--load", str(context)]
    return [
        Step(("docker", "buildx", "version")),
        Step(("docker", "buildx", "build", *plain, *flags, *where)),
    ]


def push_steps(image: Image, ecr: Any) -> list[Step]:
    """Return the steps that push an image to ECR.

    Parameters
    ----------
    image : Image
    ecr : botocore.client.ECR
        Used for the login and the repository when the steps are carried out.
    """
    return [
        repository_step(image, ecr),
        Step(
            ("docker", "login", "--username", "AWS", "--password-stdin", image.registry),
            secret=lambda: ecr_password(ecr),
        ),
        Step(("docker", "push", image.uri)),
    ]


def ecr_password(ecr: Any) -> str:
    """Return the password for docker's login to ECR, which is valid for 12 hours."""
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().split(":", 1)[1]
