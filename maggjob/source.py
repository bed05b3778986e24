"""The bytes of one granule, in ranges; what goes wrong becomes one of our errors."""

import re
from dataclasses import dataclass

import obstore

from maggjob.errors import (
    AccessError,
    GranuleError,
    MissingGranuleError,
    NetworkError,
    ThrottledError,
    TruncatedError,
)
from maggjob.storage import LOG_IN, METADATA, Access, plain_message, split_url, without_query

HEAD = 1 << 16  # bytes of the first read: the superblock, and usually the root group


@dataclass(frozen=True)
class Answer:
    """A range of an object, and what the server said of the object."""

    content: memoryview
    """The bytes; fewer than asked for only where the object ends."""
    size: int
    """Of the whole object, from Content-Range: a HEAD is never sent."""
    etag: str | None
    """Of the whole object; of a local file its inode, time of change and size."""


class Ranges:
    """Ranges of one object of the archive.

    Parameters
    ----------
    url : str
        Path or URL.
    access : Access
    """

    def __init__(self, url: str, access: Access) -> None:
        self.url = without_query(url)
        self.access = access
        self._address = split_url(url)
        self._store: object = None

    def get(self, start: int, end: int) -> Answer:
        """Bytes from ``start`` to before ``end``; called from several threads.

        Raises
        ------
        GranuleError
            They were not read.
        """
        try:
            return self._request(start, end)
        except AccessError:  # expired, perhaps: once more with the credentials as they are now
            return self._request(start, end, stale=self._store)

    def _request(self, start: int, end: int, stale: object = None) -> Answer:
        self.access.count(requests=1)
        try:
            store = self._store = self.access.store(self._address.root, stale)
            answer = obstore.get(store, self._address.key, options={"range": (start, end)})
            content, meta = memoryview(answer.bytes()), answer.meta
        except Exception as problem:  # noqa: BLE001  # obstore raises Python's own and a dozen of its own
            raise granule_error(problem, self.url) from None
        self.access.count(bytes_read=len(content))
        return Answer(content, int(meta["size"]), meta.get("e_tag"))


class Source(Ranges):
    """One granule's bytes.

    Parameters
    ----------
    url : str
        Path or URL.
    access : Access
    size : int, optional
        What the object's size must be, in bytes.

    Raises
    ------
    GranuleError
        From the constructor, which reads the first bytes, and from `read`.
    """

    def __init__(self, url: str, access: Access, size: int | None = None) -> None:
        super().__init__(url, access)
        first = self.get(0, HEAD)
        self.head, self.size, self.etag = bytes(first.content), first.size, first.etag
        if size is not None and size != self.size:
            raise TruncatedError(f"{self.url}: {self.size} bytes, the catalog says {size}; fetch or list it again")

    def read(self, position: int, size: int) -> bytes:
        """``size`` bytes from ``position``; fewer only where the object ends."""
        return bytes(self.view(position, size))

    def view(self, position: int, size: int) -> memoryview:
        """What `read` gives, without a copy."""
        end = min(position + size, self.size)
        if position < 0 or position >= self.size:
            raise TruncatedError(f"{self.url}: bytes at {position} wanted, it ends at {self.size}")
        if end <= len(self.head):
            return memoryview(self.head)[position:end]
        content = self.get(position, end).content
        if len(content) != end - position:
            raise NetworkError(f"{self.url}: {len(content)} bytes of {end - position} came")
        return content


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
