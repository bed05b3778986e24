"""Where granules are read: ranges of bytes by path, s3:// or https:// URL, with the archive's credentials.

What goes wrong becomes one of our errors. A read that is denied is tried once more with the credentials as they are
then, as those before may have expired; everything else is tried again by the stores' own policy
(`maggjob.storage.stores.RETRY`).
"""

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import obstore
from obstore.store import HTTPStore, LocalStore

from maggjob.errors import (
    AccessError,
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
from maggjob.storage.stores import LOG_IN, METADATA, RETRY, _client, _s3, plain_message
from maggjob.storage.urls import local_path, split_url, without_query

HEAD = 1 << 16  # bytes of the first read: the superblock, and usually the root group
SIDE_BY_SIDE = 10  # requests of one get_ranges under way at once: obstore's own number
T = TypeVar("T")


@dataclass(frozen=True)
class RangeAnswer:
    """A range of an object, and what the server said of the object."""

    content: memoryview
    """The bytes; fewer than asked for only where the object ends."""
    size: int
    """Of the whole object, from Content-Range: a HEAD is never sent."""
    etag: str | None
    """Of the whole object; of a local file its inode, time of change and size."""


def same_object(size: int, etag: str | None, known_size: int, known_etag: str | None) -> bool:
    """Whether sizes and ETags can be those of one object: not every server gives ETags."""
    return size == known_size and (etag == known_etag or None in (etag, known_etag))


class Archive:
    """Stores that granules are read from, each opened once; picks up renewed credentials.

    Counts what all of its sources read, those that fail included, as ``bytes_read`` and ``requests``.

    Parameters
    ----------
    credentials : str, optional
        Path or URL of the private object (`maggjob.storage.credentials`).
    region : str, optional
        Region of the buckets; by default the environment's (AWS_REGION, AWS_DEFAULT_REGION), else that of the AWS
        profile whose credentials are used, else us-west-2.
    """

    def __init__(self, credentials: str | None = None, region: str | None = None) -> None:
        self.credentials = credentials
        self.region = region
        self.bytes_read = 0
        self.requests = 0
        self._stores: dict[str, Any] = {}
        self._lock = threading.Lock()

    def credential_set(self) -> CredentialSet:
        """The private object as it is now; without one, what the environment holds."""
        if self.credentials is None:
            return CredentialSet(token=environment_token())
        address = split_url(self.credentials)
        try:
            return CredentialSet.from_json(Folder(address.root, self.region).get(address.key))
        except (InputError, StoreError, ValueError, KeyError, TypeError) as problem:
            raise AccessError(f"no credentials at {self.credentials}: {problem}") from None

    def count(self, requests: int = 0, bytes_read: int = 0) -> None:
        """Add to what was read; called from several threads."""
        with self._lock:
            self.requests += requests
            self.bytes_read += bytes_read

    def store(self, root: str, stale: object = None) -> Any:
        """Store for a root; opened anew when it is the one that turned out ``stale``."""
        with self._lock:
            store = self._stores.get(root)
            if store is None or store is stale:
                store = self._stores[root] = self._open(root)
            return store

    def _open(self, root: str) -> Any:
        if root.startswith("file://"):
            folder = local_path(root)
            if not folder.is_dir():
                raise FileNotFoundError(f"there is no folder {folder}")
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
        """Credentials for a data centre as they are now, as obstore's providers give them."""
        with ThreadPoolExecutor(1) as apart:  # obstore calls this from its runtime, and cannot be called there
            found = apart.submit(self.credential_set).result().s3.get(centre)
        if found is None:
            raise AccessError(f"the credentials at {self.credentials} have none for {centre}")
        if found.expires <= datetime.now(UTC):
            raise AccessError(f"the credentials for {centre} ended at {found.expires:%H:%M} UTC; is the clock right?")
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
        """Bytes from ``start`` to before ``end``; called from several threads.

        Raises
        ------
        GranuleError
            They were not read.
        """

        def read(store: Any) -> RangeAnswer:
            answer = obstore.get(store, self._address.key, options={"range": (start, end)})
            content, meta = memoryview(answer.bytes()), answer.meta
            self.access.count(bytes_read=len(content))
            return RangeAnswer(content, int(meta["size"]), meta.get("e_tag"))

        return self._request(1, read)

    def get_all(self, ranges: Sequence[tuple[int, int]]) -> list[RangeAnswer]:
        """Several ranges (first byte, the one after the last) in one call, up to `SIDE_BY_SIDE` at once.

        It takes half to three quarters of the CPU of as many calls of `get`. What the server says of the object is
        asked for with the last range only, when all others have come: if that is the object of the index still, so
        were they.

        Raises
        ------
        GranuleError
            One of them was not read.
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
        """Read from the store, once more with the credentials as they are now if it is denied: expired, perhaps."""
        try:
            return self._attempt(requests, read)
        except AccessError:
            return self._attempt(requests, read, stale=self._store)

    def _attempt(self, requests: int, read: Callable[[Any], T], stale: object = None) -> T:
        self.access.count(requests=requests)
        try:
            store = self._store = self.access.store(self._address.root, stale)
            return read(store)
        except Exception as problem:  # noqa: BLE001  # obstore raises Python's own and a dozen of its own
            raise granule_error(problem, self.url) from None


class Source(Ranges):
    """One granule's bytes.

    Parameters
    ----------
    url : str
        Path or URL.
    access : Archive
    size : int, optional
        What the object's size must be, in bytes.

    Raises
    ------
    GranuleError
        From the constructor, which reads the first bytes, and from `read`.
    """

    def __init__(self, url: str, access: Archive, size: int | None = None) -> None:
        super().__init__(url, access)
        first = self.get(0, HEAD)
        self.head, self.size, self.etag = bytes(first.content), first.size, first.etag
        if size is not None and size != self.size:
            raise TruncatedError(f"{self.url}: {self.size} bytes, the catalog says {size}; fetch or list it again")

    def read(self, position: int, size: int) -> bytes:
        """``size`` bytes from ``position``; fewer only where the object ends."""
        end = min(position + size, self.size)
        if position < 0 or position >= self.size:
            raise TruncatedError(f"{self.url}: bytes at {position} wanted, it ends at {self.size}")
        if end <= len(self.head):
            return self.head[position:end]
        content = self.get(position, end).content
        if len(content) != end - position:
            raise NetworkError(f"{self.url}: {len(content)} bytes of {end - position} came")
        return bytes(content)

    def views(self, ranges: Sequence[tuple[int, int]]) -> list[memoryview]:
        """Several ranges (first byte, the one after the last) that lie in the object, without copies.

        Raises
        ------
        GranuleError
            One of them was not read, or the object has been replaced since it was opened.
        """
        far = [one for one in ranges if one[1] > len(self.head)]
        answers = dict(zip(far, self.get_all(far), strict=True)) if far else {}
        for (start, end), answer in answers.items():
            if not same_object(answer.size, answer.etag, self.size, self.etag):
                raise NetworkError(f"{self.url}: it was replaced while it was read; try again")
            if len(answer.content) != end - start:
                raise NetworkError(f"{self.url}: {len(answer.content)} bytes of {end - start} came")
        return [answers[one].content if one in answers else memoryview(self.head)[slice(*one)] for one in ranges]


def granule_error(problem: Exception, url: str) -> GranuleError:
    """Our error for whatever obstore raised."""
    if isinstance(problem, GranuleError):
        return problem
    text, kind = str(problem), type(problem).__name__
    message = f"{without_query(url)}: {plain_message(problem)}"
    if isinstance(problem, FileNotFoundError):
        return MissingGranuleError(f"{message}; list the granules again")
    if METADATA in text:
        return AccessError(f"{message}; {LOG_IN}")
    text = re.sub(r"(https?|s3|file)://[^\s\"')]+", "", text)  # a name with 416 in it is no status
    denied = kind in ("PermissionDeniedError", "UnauthenticatedError") or isinstance(problem, PermissionError)
    if denied or re.search(r"ExpiredToken|InvalidAccessKeyId|AccessDenied|40[13] |AccessError", text):
        return AccessError(f"{message}; check the Earthdata login, and that s3:// is read in us-west-2")
    if re.search(r"\b(429|503)\b|SlowDown|TooManyRequests", text):
        return ThrottledError(f"{message}; try again later, or with fewer workers")
    if re.search(r"InvalidRange|range was invalid|\b416\b", text):
        return TruncatedError(f"{message}; the object is shorter than expected")
    return NetworkError(f"{message}; try again")
