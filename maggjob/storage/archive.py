"""Byte ranges of granules, read from a path, s3:// or https:// URL with the archive's credentials.

Every failure becomes one of maggjob's errors. A read that is denied is repeated once with the current credentials,
because the previous ones may have expired. Failures of the network and of the server are asked again for more than a
minute (`maggjob.storage.patience`).
"""

import hashlib
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore.store import HTTPStore, LocalStore

from maggjob.errors import (
    AccessError,
    ChangedError,
    GranuleError,
    InputError,
    MissingGranuleError,
    NetworkError,
    StoreError,
    ThrottledError,
    TruncatedError,
)
from maggjob.storage.credentials import CredentialSet, data_centre, environment_token
from maggjob.storage.folder import Folder
from maggjob.storage.patience import Outage
from maggjob.storage.stores import LOG_IN, METADATA, RETRY, _client, _s3, check_not_forked, plain_message
from maggjob.storage.urls import is_remote, local_path, split_url, without_query

HEAD = 1 << 16
"""Bytes of the first read, which cover the superblock and usually the root group."""
ENDS = "ends-"
"""Beginning of a version that is a digest of an object's ends: it can only be compared after these are read again."""
SIDE_BY_SIDE = 10
"""Concurrent requests of one get_ranges: set by obstore."""
T = TypeVar("T")


@dataclass(frozen=True)
class RangeAnswer:
    """A range of an object, with the size and ETag of the object."""

    content: memoryview
    """The bytes; fewer than requested only at the object's end."""
    size: int
    """Size of the whole object, from Content-Range: no HEAD request is sent."""
    etag: str | None
    """Version of the whole object: its ETag; without one, its Last-Modified time; of a local file, its inode, times and
    size. None if the server tells neither."""


def version_in(meta: Any) -> str | None:
    """Return the version of an object, from obstore's metadata: its ETag, else its Last-Modified time, else None."""
    if meta.get("e_tag"):
        return str(meta["e_tag"])
    # obstore gives 1970 if the server does not tell the time.
    modified = meta["last_modified"].timestamp()
    return f"modified-{modified:.0f}" if modified > 0 else None


def version_of_file(path: Path) -> str:
    """Return the version of a local file. Nobody can set the change time, so every rewrite is noticed."""
    status = path.stat()
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_ctime_ns:x}-{status.st_size:x}"


def version_of_ends(head: bytes, tail: bytes) -> str:
    """Return a version for an object whose server tells none: a digest of its first and last bytes.

    Parameters
    ----------
    head, tail : bytes
        First and last bytes of the object, at most `HEAD` each.
    """
    return f"{ENDS}{hashlib.sha256(head + tail).hexdigest()[:32]}"


def same_object(size: int, etag: str | None, known_size: int, known_etag: str | None) -> bool:
    """Return True if sizes and ETags may belong to one object. A missing ETag matches any: some servers send none.

    Parameters
    ----------
    size, etag : int, str or None
        Of the object as it is now.
    known_size, known_etag : int, str or None
        Of the object as it was.
    """
    return size == known_size and (etag == known_etag or None in (etag, known_etag))


class Archive:
    """The stores that granules are read from, each opened once, with credentials that may be renewed.

    Counts ``bytes_read`` and ``requests`` of all its sources, including failed requests.

    Parameters
    ----------
    credentials : str, optional
        Path or URL of the private object (`maggjob.storage.credentials`).
    region : str, optional
        Region of the buckets. Defaults to AWS_REGION or AWS_DEFAULT_REGION, then to the region of the AWS profile in
        use, then to us-west-2.
    """

    def __init__(self, credentials: str | None = None, region: str | None = None) -> None:
        self.credentials = credentials
        self.region = region
        self.bytes_read = 0
        self.requests = 0
        self.outage = Outage()
        self._stores: dict[str, Any] = {}
        self._lock = threading.Lock()

    def credential_set(self) -> CredentialSet:
        """Read the credentials from the private object; without one, take the environment's token."""
        if self.credentials is None:
            return CredentialSet(token=environment_token())
        address = split_url(self.credentials)
        try:
            return CredentialSet.from_json(Folder(address.root, self.region).get(address.key))
        except (InputError, StoreError, ValueError, KeyError, TypeError) as problem:
            raise AccessError(f"cannot read credentials from {self.credentials}: {problem}; run again") from None

    def count(self, requests: int = 0, bytes_read: int = 0) -> None:
        """Add to the counts of what was read. Thread-safe.

        Parameters
        ----------
        requests : int
            Number of requests to add.
        bytes_read : int
            Number of bytes to add.
        """
        with self._lock:
            self.requests += requests
            self.bytes_read += bytes_read

    def store(self, root: str, stale: object = None) -> Any:
        """Return the store for a root, opened if necessary. Thread-safe.

        Parameters
        ----------
        root : str
            URL such as ``s3://bucket``.
        stale : object, optional
            A store that turned out to be useless: if it is still the root's store, that is opened again.
        """
        with self._lock:
            store = self._stores.get(root)
            if store is None or store is stale:
                store = self._stores[root] = self._open(root)
            return store

    def _open(self, root: str) -> Any:
        if root.startswith("file://"):
            folder = local_path(root)
            if not folder.is_dir():
                raise FileNotFoundError(f"folder {folder} does not exist")
            return LocalStore(str(folder))
        if root.startswith("s3://"):
            centre = data_centre(root) if self.credentials is not None else None
            try:
                own = {"credential_provider": partial(self._s3_credentials, centre)} if centre else {}
                return _s3(root, self.region, **own)
            except InputError as problem:
                raise AccessError(f"{root}: {problem}") from None
        return HTTPStore(root, client_options=_client(root, self.credential_set().token), retry_config=RETRY)

    def _s3_credentials(self, centre: str) -> dict[str, Any]:
        """Return the current credentials for a data centre in the form of obstore's providers."""
        # obstore calls this from its own runtime, where obstore itself cannot be called: hence a thread.
        with ThreadPoolExecutor(1) as apart:
            found = apart.submit(self.credential_set).result().s3.get(centre)
        if found is None:
            raise AccessError(f"the credentials at {self.credentials} have none for {centre}")
        if found.expires <= datetime.now(UTC):
            raise AccessError(f"the credentials for {centre} expired at {found.expires:%H:%M} UTC; check the clock")
        return found.for_obstore()


class Ranges:
    """Ranges of one object of the archive.

    Parameters
    ----------
    url : str
        Path or URL.
    access : Archive
    """

    def __init__(self, url: str, access: Archive) -> None:
        self.url = without_query(url)
        self.access = access
        self._address = split_url(url)
        self._store: object = None

    def get(self, start: int, end: int) -> RangeAnswer:
        """Read one range. Thread-safe.

        Parameters
        ----------
        start, end : int
            First byte, and the byte after the last.

        Raises
        ------
        GranuleError
            If they cannot be read.
        """

        def read(store: Any) -> RangeAnswer:
            before = self._version_of_file()
            answer = obstore.get(store, self._address.key, options={"range": (start, end)})
            content, meta = memoryview(answer.bytes()), answer.meta
            self.access.count(bytes_read=len(content))
            if before != self._version_of_file():
                raise ChangedError(f"{self.url}: it was replaced while it was being read; run again")
            return RangeAnswer(content, int(meta["size"]), before or version_in(meta))

        return self._request(1, read)

    def _version_of_file(self) -> str | None:
        """Return the version of a local file; None for any other object."""
        return None if is_remote(self.url) else version_of_file(local_path(self.url))

    def get_all(self, ranges: Sequence[tuple[int, int]]) -> list[RangeAnswer]:
        """Read several ranges in one call, up to `SIDE_BY_SIDE` at once.

        This takes half to three quarters of the CPU time of as many calls of `get`. The object's size and ETag come
        with the last range, which is requested after all others have arrived. If they still match, the object was not
        replaced before.

        Parameters
        ----------
        ranges : sequence of (int, int)
            First byte, and the byte after the last, of each range.

        Raises
        ------
        GranuleError
            If one of them cannot be read.
        """
        *most, (start, end) = ranges

        def read(store: Any) -> list[memoryview]:
            starts, ends = [start for start, _ in most], [end for _, end in most]
            found = obstore.get_ranges(store, self._address.key, starts=starts, ends=ends, coalesce=0)
            contents = [memoryview(content) for content in found]
            self.access.count(bytes_read=sum(map(len, contents)))
            return contents

        contents = self._request(len(most), read) if most else []
        last = self.get(start, end)
        return [*(RangeAnswer(content, last.size, last.etag) for content in contents), last]

    def _request(self, requests: int, read: Callable[[Any], T]) -> T:
        """Read from the store. If access is denied, repeat once with current credentials: the old may have expired."""
        try:
            return self._attempt(requests, read)
        except AccessError:
            return self._attempt(requests, read, stale=self._store)

    def _attempt(self, requests: int, read: Callable[[Any], T], stale: object = None) -> T:
        check_not_forked()

        def ask() -> T:
            self.access.count(requests=requests)
            store = self._store = self.access.store(self._address.root, stale)
            return read(store)

        try:
            return self.access.outage.patiently(ask) if is_remote(self.url) else ask()
        # obstore raises built-in exceptions and a dozen of its own.
        except Exception as problem:  # noqa: BLE001
            raise granule_error(problem, self.url) from None


class Source(Ranges):
    """The bytes of one granule. The constructor reads the first `HEAD` bytes.

    Parameters
    ----------
    url : str
        Path or URL.
    access : Archive
    size : int, optional
        Expected size of the object in bytes.
    etag : str, optional
        Expected version of the object.

    Raises
    ------
    GranuleError
        If the first bytes cannot be read, or the object has another size or version.
    """

    def __init__(self, url: str, access: Archive, size: int | None = None, etag: str | None = None) -> None:
        super().__init__(url, access)
        first = self.get(0, HEAD)
        self.head, self.size, self.etag = bytes(first.content), first.size, first.etag
        self.has_etag = self.etag is not None
        """True if every answer tells the version."""
        if size is not None and size != self.size:
            raise TruncatedError(f"{self.url}: {self.size} bytes, but {size} in the catalog; fetch or list it again")
        if not self.has_etag:
            tail = self.get(max(0, self.size - HEAD), self.size) if self.size > HEAD else first
            self.etag = version_of_ends(self.head, bytes(tail.content))
        if etag is not None and etag != self.etag:
            raise ChangedError(f"{self.url}: it was replaced after the run began; run again")

    def read(self, position: int, size: int) -> bytes:
        """Read some bytes.

        Parameters
        ----------
        position : int
            First byte.
        size : int
            Number of bytes; fewer are returned only at the object's end.

        Raises
        ------
        GranuleError
            If they cannot be read, or the position lies outside the object.
        """
        end = min(position + size, self.size)
        if position < 0 or position >= self.size:
            raise TruncatedError(f"{self.url}: cannot read at byte {position}, the object ends at {self.size}")
        if end <= len(self.head):
            return self.head[position:end]
        return bytes(self._checked(self.get(position, end), position, end))

    def _checked(self, answer: RangeAnswer, start: int, end: int) -> memoryview:
        """Return the bytes of a range after checking that they are complete, and of the object that was opened."""
        if not same_object(answer.size, answer.etag, self.size, self.etag):
            raise ChangedError(f"{self.url}: it was replaced while it was being read; run again")
        if len(answer.content) != end - start:
            raise NetworkError(f"{self.url}: received {len(answer.content)} of {end - start} bytes; try again")
        return answer.content

    def views(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Read several ranges that lie in the object, without copies.

        Parameters
        ----------
        ranges : sequence of (int, int)
            First byte, and the byte after the last, of each range.

        Raises
        ------
        GranuleError
            If one of them cannot be read, or the object was replaced after it was opened.
        """
        far = [one for one in ranges if one[1] > len(self.head)]
        answers = dict(zip(far, self.get_all(far), strict=True)) if far else {}
        found = {one: self._checked(answer, *one) for one, answer in answers.items()}
        return [found[one] if one in found else memoryview(self.head)[slice(*one)] for one in ranges]


def granule_error(problem: Exception, url: str) -> GranuleError:
    """Return the maggjob error that stands for an exception of obstore.

    Parameters
    ----------
    problem : Exception
        What obstore raised.
    url : str
        Path or URL of the granule.
    """
    if isinstance(problem, GranuleError):
        return problem
    text, kind = str(problem), type(problem).__name__
    message = f"{without_query(url)}: {plain_message(problem)}"
    if isinstance(problem, FileNotFoundError):
        return MissingGranuleError(f"{message}; list the granules again")
    if METADATA in text:
        return AccessError(f"{message}; {LOG_IN}")
    if "RequestTimeTooSkewed" in text:
        return AccessError(message)
    # Remove URLs: a file name with 416 in it is not a status.
    text = re.sub(r"(https?|s3|file)://[^\s\"')]+", "", text)
    denied = kind in ("PermissionDeniedError", "UnauthenticatedError") or isinstance(problem, PermissionError)
    if denied or re.search(r"ExpiredToken|InvalidAccessKeyId|AccessDenied|40[13] |AccessError", text):
        return AccessError(f"{message}; check the Earthdata login (s3:// URLs can be read in us-west-2 only)")
    if re.search(r"\b(429|503)\b|SlowDown|TooManyRequests", text):
        return ThrottledError(f"{message}; try again later, or with fewer workers")
    if re.search(r"InvalidRange|range was invalid|\b416\b", text):
        return TruncatedError(f"{message}; the object is shorter than expected")
    return NetworkError(f"{message}; try again")
