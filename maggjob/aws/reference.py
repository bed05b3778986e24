"""Names of images, and the file that pins base images to digests."""

import re
from dataclasses import dataclass
from pathlib import Path

from maggjob.aws.login import DOCKER_HUB
from maggjob.errors import InputError

REFERENCE = re.compile(
    r"([a-z0-9]+(?:[._/-]+[a-z0-9]+)*)(?::([A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(sha256:[0-9a-f]{64}))?"
)
LOCK = "base.lock"
"""Name of the file that pins base images, one NAME:TAG@sha256:... per line."""
HEADER = """\
# Base images that are pinned, one NAME:TAG@sha256:... per line. 'maggjob runtime build' takes the digest from here.
# For a newer base, remove its line: the next build writes a new one.
"""


@dataclass(frozen=True)
class Reference:
    """Name of an image."""

    host: str
    """Host of the registry, with its port if it has one."""
    repository: str
    """Repository there."""
    tag: str
    """Tag."""
    digest: str | None = None
    """Digest of the manifest or index; None for whatever has the tag now."""

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}:{self.tag}"


def parse_reference(text: str) -> Reference:
    """Return an image's name as docker would understand it.

    Raises
    ------
    InputError
        If it is not a name of an image.

    Examples
    --------
    >>> str(parse_reference("python:3.13-slim"))
    'registry-1.docker.io/library/python:3.13-slim'
    >>> parse_reference("127.0.0.1:5000/base").tag
    'latest'
    """
    host, slash, rest = text.partition("/")
    if not slash or not (set(".:") & set(host) or host == "localhost"):
        host, rest = DOCKER_HUB, text if slash else f"library/{text}"
    match = REFERENCE.fullmatch(rest)
    if match is None:
        raise InputError(f"base image {text!r} is not a name such as HOST/NAME:TAG or NAME:TAG@sha256:DIGEST")
    return Reference(host, match[1], match[2] or "latest", match[3])


def pinned_digest(name: Reference, *files: Path) -> str | None:
    """Return the digest to which the first of some lock files pins a base image.

    Parameters
    ----------
    name : Reference
    *files : Path
        Files that may exist.

    Raises
    ------
    InputError
        If a line is not NAME:TAG@sha256:....
    """
    for file in files:
        if not file.is_file():
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            found = parse_reference(line.strip())
            if found.digest is None:
                raise InputError(f"{file}: {line.strip()!r} has no digest; write NAME:TAG@sha256:..., or remove it")
            if str(found) == str(name):
                return found.digest
    return None


def pin(name: Reference, digest: str, file: Path) -> None:
    """Add a base image to a lock file.

    Parameters
    ----------
    name : Reference
    digest : str
        Digest of its index or manifest.
    file : Path
        File; created if it does not exist.
    """
    before = file.read_text(encoding="utf-8") if file.is_file() else HEADER
    end = "" if before.endswith("\n") else "\n"
    file.write_text(f"{before}{end}{name}@{digest}\n", encoding="utf-8")
