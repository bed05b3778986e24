"""Parsing of paths and URLs."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from maggjob.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine."""


@dataclass(frozen=True)
class Address:
    """A URL, split into root and key."""

    root: str
    """URL at which a store is opened: ``file:///folder``, ``s3://bucket``, ``https://host``."""
    key: str
    """Path below the root, decoded."""


def is_remote(url: str) -> bool:
    """Return True if a URL is neither a local path nor file://."""
    return "://" in url and not url.startswith("file://")


def local_path(url: str) -> Path:
    """Return the path of a local file or folder, given as a path or a file:// URL."""
    return Path(unquote(urlsplit(url).path)) if url.startswith("file://") else Path(url)


def split_url(url: str) -> Address:
    """Split the path or URL of an object into root and key.

    Raises
    ------
    InputError
        If the scheme is not file, s3 or https (or http on this machine), or the URL has a user, password or query.
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
    """Return a URL without its query, which may be a signature. A path is returned unchanged."""
    return url.split("?", maxsplit=1)[0] if is_remote(url) else url


def join_url(root: str, *keys: str) -> str:
    """Return the path or URL of a key below a root.

    Parameters
    ----------
    root : str
        Path or URL.
    *keys : str
        Parts of the key, joined with ``/``; quoted for https.
    """
    below = "/".join(keys)
    return f"{root.rstrip('/')}/{quote(below) if root.startswith('https://') else below}"
