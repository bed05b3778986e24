"""Paths and URLs: what is local, what is remote, and their parts."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from maggjob.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Address:
    """A URL in two halves."""

    root: str
    """What a store is opened at: ``file:///folder``, ``s3://bucket``, ``https://host``."""
    key: str
    """Path below it, decoded."""


def is_remote(url: str) -> bool:
    """Whether something is no local path."""
    return "://" in url and not url.startswith("file://")


def local_path(url: str) -> Path:
    """Path of a local file or folder, given as a path or as a file:// URL."""
    return Path(unquote(urlsplit(url).path)) if url.startswith("file://") else Path(url)


def split_url(url: str) -> Address:
    """Split the path or URL of an object.

    Raises
    ------
    InputError
        Another scheme than file, s3 and https (http on this machine only).
    """
    if not is_remote(url):
        path = local_path(url).absolute()
        return Address(path.parent.as_uri(), path.name)
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        shown = f"{parts.scheme}://...@{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"
        raise InputError(f"{shown}: a URL with a user or password is not read; log in to Earthdata instead")
    loopback = parts.scheme == "http" and parts.hostname in LOOPBACK
    if parts.scheme not in ("s3", "https") and not loopback:
        raise InputError(f"{url}: scheme {parts.scheme!r} is not read; give a path, or an s3:// or https:// URL")
    if parts.query:
        raise InputError(f"{without_query(url)}?...: a URL with a query is not read; give one without")
    key = parts.path.lstrip("/")
    return Address(f"{parts.scheme}://{parts.netloc}", key if parts.scheme == "s3" else unquote(key))


def without_query(url: str) -> str:
    """A URL without its query, which may be a signature; a path as it is."""
    return url.split("?", maxsplit=1)[0] if is_remote(url) else url


def join_url(root: str, *keys: str) -> str:
    """Path or URL of something below a place."""
    below = "/".join(keys)
    return f"{root.rstrip('/')}/{quote(below) if root.startswith('https://') else below}"
