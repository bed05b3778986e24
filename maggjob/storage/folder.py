"""The user's own folders and bucket prefixes, read and written with the credentials of the environment or AWS profile.

Granules are read by `maggjob.storage.archive` with the archive's credentials. The two kinds of credentials never mix.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore

from maggjob.errors import ExpiredKeysError, InputError, StoreError
from maggjob.storage.aws_profile import NO_LOGIN
from maggjob.storage.expiry import expiry_message, refused_keys
from maggjob.storage.patience import Outage
from maggjob.storage.stores import ELSEWHERE, LOG_IN, METADATA, _s3, check_not_forked, plain_message
from maggjob.storage.urls import is_remote, local_path

OUTAGE = Outage()
"""The outage of the user's own bucket, if there is one."""
T = TypeVar("T")


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
        In every method, if the folder or object cannot be accessed; `ExpiredKeysError` if AWS does not accept the
        credentials any more.
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
            self.store = self._do("open", "", lambda: LocalStore(str(folder), mkdir=create))

    def _do(self, what: str, key: str, ask: Callable[[], T], *, again: bool = True) -> T:
        """Return what a request returns; turn whatever obstore raises into a StoreError that names operation and key.

        Parameters
        ----------
        what : str
            The operation, for messages.
        key : str
            Key below the folder.
        ask : callable
            Sends the request.
        again : bool
            Whether the request may be sent again after a failure that may pass.
        """
        check_not_forked()
        try:
            return self.patiently(ask) if again else ask()
        # obstore raises built-in exceptions and a dozen of its own.
        except Exception as problem:  # noqa: BLE001
            expired = refused_keys(str(problem)) if is_remote(self.url) else None
            if expired is not None:
                raise ExpiredKeysError(f"cannot {what} {self.url}/{key}: {expiry_message(expired)}") from None
            if NO_LOGIN.search(str(problem)):
                said = plain_message(problem)
                raise ExpiredKeysError(f"cannot {what} {self.url}/{key}: {said}; then run again") from None
            hint = "check that it exists, that you may read and write it, and that it has free space"
            if METADATA in str(problem):
                hint = LOG_IN
            elif ELSEWHERE in str(problem):
                hint = f"the bucket is not in {self.store.config['region']}; set AWS_REGION to its region"
            raise StoreError(f"cannot {what} {self.url}/{key}: {plain_message(problem)}; {hint}") from None

    def patiently(self, ask: Callable[[], T]) -> T:
        """Return what a request of another library to this store returns, asked again as those of this class are.

        Parameters
        ----------
        ask : callable
            Sends the request, which must do the same if it is sent again.
        """
        return OUTAGE.patiently(ask) if is_remote(self.url) else ask()

    def put(self, key: str, content: bytes) -> None:
        """Write a whole object. It appears only when it is complete.

        Parameters
        ----------
        key : str
            Key below the folder.
        content : bytes
        """
        self._do("write", key, lambda: obstore.put(self.store, key, content))

    def put_pieces(self, key: str, pieces: Callable[[], Iterable[bytes]]) -> None:
        """Write a whole object whose content need not be in memory at once. It appears only when it is complete.

        Parameters
        ----------
        key : str
            Key below the folder.
        pieces : callable
            Returns the content in pieces, each time it is called.
        """
        self._do("write", key, lambda: obstore.put(self.store, key, iter(pieces())))

    def create(self, key: str, content: bytes) -> bool:
        """Write a whole object unless it exists; return whether it was written. Of several that try, one succeeds.

        Parameters
        ----------
        key : str
            Key below the folder.
        content : bytes
        """

        def ask() -> bool:
            try:
                obstore.put(self.store, key, content, mode="create")
            except AlreadyExistsError:
                return False
            return True

        # After a failure whose object was written all the same, a second attempt would find it there.
        return self._do("write", key, ask, again=False)

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        return self._do("read", key, lambda: bytes(obstore.get(self.store, key).bytes()))

    def find(self, key: str) -> bytes | None:
        """Read a whole object; return None if it does not exist."""

        def ask() -> bytes | None:
            try:
                return bytes(obstore.get(self.store, key).bytes())
            except FileNotFoundError:
                return None

        return self._do("read", key, ask)

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
        return self._do("read", key, lambda: bytes(obstore.get_range(self.store, key, start=start, length=size)))

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys of all objects below a prefix, sorted."""
        return sorted(self.times(prefix))

    def times(self, prefix: str = "") -> dict[str, datetime]:
        """Return when each object below a prefix was last written, by the store's clock."""
        return {item["path"]: item["last_modified"] for item in self._list(prefix)}

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Return the size of each object below a prefix, in bytes."""
        return {item["path"]: item["size"] for item in self._list(prefix)}

    def modified(self, key: str) -> datetime:
        """Return when an object was last written, by the store's clock; S3 gives whole seconds."""
        return self._do("look for", key, lambda: obstore.head(self.store, key)["last_modified"])

    def holds(self, prefix: str = "") -> bool:
        """Return True if any object exists below a prefix."""

        def ask() -> bool:
            return any(len(batch) for batch in obstore.list(self.store, prefix or None, chunk_size=1))

        return self._do("list", prefix, ask)

    def _list(self, prefix: str) -> list[Any]:
        """Return obstore's metadata of all objects below a prefix."""

        def ask() -> list[Any]:
            return [item for batch in obstore.list(self.store, prefix or None) for item in batch]

        return self._do("list", prefix, ask)

    def has(self, key: str) -> bool:
        """Return True if an object exists."""

        def ask() -> bool:
            try:
                obstore.head(self.store, key)
            except FileNotFoundError:
                return False
            return True

        return self._do("look for", key, ask)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; missing ones are ignored."""
        every = list(keys)
        # A batch of LocalStore stops at the first missing object.
        one_by_one = isinstance(self.store, LocalStore)
        for batch in [[key] for key in every] if one_by_one else [every] if every else []:
            self._do("delete", batch[0], partial(self._delete, batch))

    def _delete(self, keys: list[str]) -> None:
        with suppress(FileNotFoundError):
            obstore.delete(self.store, keys)

    def discard(self, keys: Callable[[], Iterable[str]]) -> str | None:
        """Delete objects that are no longer needed; return why they remain if that fails.

        A result is whole whether or not what is left over is deleted.

        Parameters
        ----------
        keys : callable
            Returns the keys below the folder.
        """
        try:
            self.delete(keys())
        except StoreError as problem:
            return str(problem)
        return None

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
