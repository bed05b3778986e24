"""Paths and URLs as people give them: one rule for the command line, configurations and Python.

``~`` is the home folder, ``$NAME`` a variable of the environment, ``..`` the folder above; a file:// URL is a path.
Whatever cannot be meant is refused before any work: an undefined variable, ``s3:/bucket``, characters that a URL or a
store would read otherwise.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maggjob.errors import ExistsError, InputError

PlaceLike = str | os.PathLike[str]
"""A path or URL as users give it."""
VARIABLE = re.compile(r"\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))")
ONE_SLASH = re.compile(r"^(s3|https?|gs|abfss?):/(?!/)", re.IGNORECASE)
"""What ``Path("s3://bucket")`` becomes."""
MOST_NAME, MOST_PATH = 255, 4096
"""Bytes of the longest name and of the longest path."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# A query, a fragment, an escape, and what object stores and shells take for something else.
NOT_IN_KEYS = re.compile(r"[?#%\\*\[\]{}|^`<>\"]")


def expand(given: PlaceLike, what: str) -> str:
    """Return a path or URL in its plain form.

    Parameters
    ----------
    given : str or path-like
        As the user gave it.
    what : str
        What it is, for messages, such as ``store``.

    Raises
    ------
    InputError
        If it is empty, names an undefined variable or an unknown user, or cannot be a path or URL.

    Examples
    --------
    >>> expand("./map.zarr/", "store")
    'map.zarr'
    >>> expand("s3://bucket/map.zarr/", "store")
    's3://bucket/map.zarr'
    """
    if not isinstance(given, str | os.PathLike):
        raise InputError(f"{what} is {given!r}: give a path or a URL")
    text = os.fspath(given)
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{what} is empty: give a path or a URL")
    if CONTROL.search(text):
        raise InputError(f"{what} {text!r} contains a control character; rename it")
    text = VARIABLE.sub(lambda found: _variable(found, given, what), text)
    if ONE_SLASH.match(text):
        raise InputError(f"{what} {text!r}: write {text.replace(':/', '://', 1)} as text, not as a Path")
    if text.lower().startswith("file:"):
        text = _of_file_url(text, what)
    elif "://" in text:
        return _url(text, what)
    return _path(text, what)


def _variable(found: re.Match[str], given: PlaceLike, what: str) -> str:
    name = found[1] or found[2]
    if not os.environ.get(name):
        raise InputError(f"{what} {str(given)!r}: the environment variable {name} is not set; set it, or write it out")
    return os.environ[name]


def _of_file_url(text: str, what: str) -> str:
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise InputError(f"{what} {text!r}: a file URL needs three slashes, such as file:///data/map.zarr")
    return unquote(parts.path)


def _path(text: str, what: str) -> str:
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise InputError(
            f"{what} {text!r}: {text.split('/', maxsplit=1)[0]} has no home folder; write the path out"
        ) from None
    if any(len(os.fsencode(part)) > MOST_NAME for part in path.parts) or len(os.fsencode(path)) > MOST_PATH:
        raise InputError(f"{what} {text[:80]!r}...: it is longer than a path can be; check it")
    # The folder above a symbolic link is that of its target, so names cannot simply be dropped.
    return os.path.realpath(path) if ".." in path.parts else str(path)


def _url(text: str, what: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme.lower() != "s3":
        return text
    bucket, _, key = rest.rstrip("/").partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{1,62}", bucket):
        raise InputError(f"{what} {text!r}: {bucket!r} is not the name of a bucket; write s3://BUCKET/NAME")
    wrong = NOT_IN_KEYS.search(key)
    if wrong:
        raise InputError(f"{what} {text!r}: keys with {wrong[0]!r} are not read or written; choose another name")
    if key and any(part in ("", ".", "..") for part in key.split("/")):
        raise InputError(f"{what} {text!r}: '//', '.' and '..' mean nothing in a bucket; write the key without them")
    return f"s3://{bucket}/{key}" if key else f"s3://{bucket}"


def local_place(given: PlaceLike, what: str) -> Path:
    """Return the path of a local file or folder (see `expand`).

    Parameters
    ----------
    given : str or path-like
        As the user gave it.
    what : str
        What it is, for messages.

    Raises
    ------
    InputError
        If it is a URL, or as in `expand`.
    """
    text = expand(given, what)
    if "://" in text:
        raise InputError(f"{what} {text!r}: give a path on this machine")
    return Path(text)


def store_place(given: PlaceLike) -> str:
    """Return the path or URL of a store: a path, or s3://bucket/name (see `expand`).

    Parameters
    ----------
    given : str or path-like
        As the user gave it.

    Raises
    ------
    InputError
        If it is a whole bucket, the root or the working folder, another URL, or as in `expand`.
    """
    text = expand(given, "store")
    if "://" in text and not text.startswith("s3://"):
        raise InputError(f"store {text!r}: results go to a path or to s3://BUCKET/NAME.zarr")
    if text.startswith("s3://") and text.count("/") < 3:
        raise InputError(f"store {text!r} is a whole bucket; the run's folder lies beside the store: add /NAME.zarr")
    if "://" not in text and os.path.realpath(text) in (os.path.realpath("."), "/", os.path.realpath(Path.home())):
        raise InputError(f"store {text!r} is a folder of yours; give the name of a new one, such as map.zarr")
    return text


def may_replace(path: Path, starts: tuple[bytes, ...], what: str) -> None:
    """Check that a file that is to be written replaces only one of its own kind.

    Parameters
    ----------
    path : Path
        File to write.
    starts : tuple of bytes
        How files of this kind begin.
    what : str
        What it is, for messages, such as ``catalog``.

    Raises
    ------
    ExistsError
        If a file exists that begins otherwise.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        if not file.read(max(map(len, starts))).startswith(starts):
            raise ExistsError(f"{path} exists and is not a {what}; it is not replaced: give another name")
