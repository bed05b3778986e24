"""The user's own folders and bucket prefixes, read and written with the credentials of the environment or AWS profile.

Granules are read by `maggjob.storage.archive` with the archive's credentials. The two kinds of credentials never mix.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore

from maggjob.errors import InputError, StoreError
from maggjob.storage.stores import ELSEWHERE, LOG_IN, METADATA, _s3, check_not_forked, plain_message
from maggjob.storage.urls import is_remote, local_path


class Folder:
    """A local folder or a prefix in a bucket.

    Parameters
    ----------
    url : str
        A path, or s3://bucket/prefix.
    region : str, optional
        Region of the bucket; see `maggjob.storage.archive.Archive` for the default.
    create : bool
        Make the folder if it does not exist.

    Raises
    ------
    InputError
        In the constructor, if the URL is neither a path nor s3://, or the AWS profile gives no credentials.
    StoreError
        In every method, if the folder or object cannot be accessed.
    """

    def __init__(self, url: str, region: str | None = None, *, create: bool = False) -> None:
        check_not_forked()
        self.url = url.rstrip("/") or "/"
        self.store: Any
        if url.startswith("s3://"):
            parts = urlsplit(self.url)
            options = {"prefix": parts.path.strip("/")} if parts.path.strip("/") else {}
            self.store = _s3(f"s3://{parts.netloc}", region, **options)
        elif is_remote(url):
            raise InputError(f"{url}: results go to a path or to s3://bucket/prefix")
        else:
            folder = local_path(self.url).absolute()
            with self._doing("open"):
                self.store = LocalStore(str(folder), mkdir=create)

    @contextmanager
    def _doing(self, what: str, key: str = "") -> Iterator[None]:
        """Turn whatever obstore raises into a StoreError that names the operation and the key."""
        check_not_forked()
        try:
            yield
        # obstore raises built-in exceptions and a dozen of its own.
        except Exception as problem:  # noqa: BLE001
            hint = "check that it exists, that you may read and write it, and that it has free space"
            if METADATA in str(problem):
                hint = LOG_IN
            elif ELSEWHERE in str(problem):
                hint = f"the bucket is not in {self.store.config['region']}; set AWS_REGION to its region"
            raise StoreError(f"cannot {what} {self.url}/{key}: {plain_message(problem)}; {hint}") from None

    def put(self, key: str, content: bytes) -> None:
        """Write a whole object. It appears only when it is complete.

        Parameters
        ----------
        key : str
            Key below the folder.
        content : bytes
        """
        with self._doing("write", key):
            obstore.put(self.store, key, content)

    def create(self, key: str, content: bytes) -> bool:
        """Write a whole object unless it exists; return whether it was written. Of several that try, one succeeds.

        Parameters
        ----------
        key : str
            Key below the folder.
        content : bytes
        """
        with self._doing("write", key):
            try:
                obstore.put(self.store, key, content, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        with self._doing("read", key):
            return bytes(obstore.get(self.store, key).bytes())

    def find(self, key: str) -> bytes | None:
        """Read a whole object; return None if it does not exist."""
        with self._doing("read", key):
            try:
                return bytes(obstore.get(self.store, key).bytes())
            except FileNotFoundError:
                return None

    def get_range(self, key: str, start: int, size: int) -> bytes:
        """Read a part of an object.

        Parameters
        ----------
        key : str
            Key below the folder.
        start : int
            First byte.
        size : int
            Number of bytes.
        """
        with self._doing("read", key):
            return bytes(obstore.get_range(self.store, key, start=start, length=size))

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys of all objects below a prefix, sorted."""
        return sorted(self.times(prefix))

    def times(self, prefix: str = "") -> dict[str, datetime]:
        """Return when each object below a prefix was last written, by the store's clock."""
        with self._doing("list", prefix):
            found = obstore.list(self.store, prefix or None)
            return {item["path"]: item["last_modified"] for batch in found for item in batch}

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size of each object below a prefix, in bytes."""
        with self._doing("list", prefix):
            found = obstore.list(self.store, prefix or None)
            return {item["path"]: item["size"] for batch in found for item in batch}

    def modified(self, key: str) -> datetime:
        """Return when an object was last written, by the store's clock; S3 gives whole seconds."""
        with self._doing("look for", key):
            return obstore.head(self.store, key)["last_modified"]

    def holds(self, prefix: str = "") -> bool:
        """Return True if any object exists below a prefix."""
        with self._doing("list", prefix):
            return any(len(batch) for batch in obstore.list(self.store, prefix or None, chunk_size=1))

    def has(self, key: str) -> bool:
        """Return True if an object exists."""
        with self._doing("look for", key):
            try:
                obstore.head(self.store, key)
            except FileNotFoundError:
                return False
            return True

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are ignored."""
        every = list(keys)
        # A batch of LocalStore stops at the first missing object.
        one_by_one = isinstance(self.store, LocalStore)
        for batch in [[key] for key in every] if one_by_one else [every] if every else []:
            with self._doing("delete", batch[0]), suppress(FileNotFoundError):
                obstore.delete(self.store, batch)

    def probe(self) -> None:
        """Write and delete an object, to find out before any work is done that the folder is not writable."""
        self.put(".maggjob-probe", b"probe")
        self.delete([".maggjob-probe"])


def exists(url: str, region: str | None = None) -> bool:
    """Return True if a file or a folder with content exists at a path, or an object below a prefix.

    Parameters
    ----------
    url : str
        A path, or s3://bucket/prefix.
    region : str, optional
        Region of the bucket.
    """
    if url.startswith("s3://"):
        return Folder(url, region).holds()
    path = local_path(url)
    return path.exists() and (not path.is_dir() or any(path.iterdir()))
