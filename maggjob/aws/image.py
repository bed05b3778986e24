"""The image of the Lambda worker: its name in Lithops and in ECR, and the files that it is made from."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maggjob._version import __version__
from maggjob.errors import InputError

NAME = "maggjob"
NOT_IN_IMAGE = ("__pycache__", "runtime", "builtin", "cli", "show", "simulator")
"""Folders of the package that no worker imports; Dockerfile.dockerignore has the same."""


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


def locked_pythons() -> tuple[str, ...]:
    """Return the minor versions of Python that runtime/ has lock files for, such as ("3.12", "3.13")."""
    found = (re.fullmatch(r"worker-3\.(\d+)\.txt", path.name) for path in image_folder().glob("worker-3.*.txt"))
    return tuple(f"3.{minor}" for minor in sorted(int(match[1]) for match in found if match))


PYTHONS = locked_pythons()
"""Minor versions of Python that an image can be built for."""
