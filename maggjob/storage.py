"""Bytes in files, S3 buckets and https servers, through obstore; its failures as our errors.

Two sides that never mix: granules are read with the archive's credentials (`Access`, and
`maggjob.source`); `Place` reads and writes our own output, with the environment's or an AWS profile's.
"""

import os
import re
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import obstore
from obstore.store import HTTPStore, LocalStore, S3Store

from maggjob import aws_profile
from maggjob.credentials import Book, data_centre, environment_token, trusted_host
from maggjob.errors import (
    AccessError,
    InputError,
    StoreError,
)

LOOPBACK = ("127.0.0.1", "localhost", "::1")
METADATA = "/latest/api/token"  # of an EC2 machine: where obstore asks for credentials when there are none elsewhere
LOG_IN = "there are no AWS credentials: log in (aws configure, aws sso login), or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
ELSEWHERE = "redirect without LOCATION"  # how obstore puts S3's answer for a bucket of another region
DEFAULT_REGION = "us-west-2"  # where NASA's Earthdata Cloud is
CLIENT: Any = {"connect_timeout": "10s", "timeout": "60s", "user_agent": "maggjob"}
RETRY: Any = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=5), "base": 2},
}


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


def _client(root: str, token: str | None = None) -> Any:
    options: dict[str, Any] = dict(CLIENT)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    http = root if root.startswith("http://") else endpoint if root.startswith("s3://") else ""
    if urlsplit(http).hostname in LOOPBACK:
        options["allow_http"] = True
    if token is not None and trusted_host(root):
        options["default_headers"] = {"Authorization": f"Bearer {token}"}
    return options


def _s3(root: str, region: str | None, **options: Any) -> Any:
    region = region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if "credential_provider" not in options and aws_profile.in_use():
        aws_profile.credentials()  # a login that has ended is told here, and in its own words
        options["credential_provider"] = aws_profile.credentials
        region = region or aws_profile.region()
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config: Any = {"region": region or DEFAULT_REGION}
    if endpoint:
        config["endpoint"] = endpoint
    bucket = urlsplit(root).netloc
    return S3Store(bucket, config=config, client_options=_client(root), retry_config=RETRY, **options)


class Access:
    """Stores that granules are read from, each opened once; picks up renewed credentials.

    Counts what all of its sources read, those that fail included, as ``bytes_read`` and ``requests``.

    Parameters
    ----------
    credentials : str, optional
        Path or URL of the private object (`maggjob.credentials`).
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

    def book(self) -> Book:
        """The private object as it is now; without one, what the environment holds."""
        if self.credentials is None:
            return Book(token=environment_token())
        address = split_url(self.credentials)
        try:
            return Book.from_json(Place(address.root, self.region).get(address.key))
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
                return _s3(root, self.region, **({"credential_provider": self._provider(centre)} if centre else {}))
            except InputError as problem:
                raise AccessError(f"{root}: {problem}") from None
        return HTTPStore(root, client_options=_client(root, self.book().token), retry_config=RETRY)

    def _provider(self, centre: str) -> Any:
        def credentials() -> dict[str, Any]:
            with ThreadPoolExecutor(1) as apart:  # obstore calls this from its runtime, and cannot be called there
                found = apart.submit(self.book).result().s3.get(centre)
            if found is None:
                raise AccessError(f"the credentials at {self.credentials} have none for {centre}")
            if found.expires <= datetime.now(UTC):
                raise AccessError(
                    f"the credentials for {centre} ended at {found.expires:%H:%M} UTC; is the clock right?"
                )
            return found.for_obstore()

        return credentials


def without_query(url: str) -> str:
    """A URL without its query, which may be a signature; a path as it is."""
    return url.split("?", maxsplit=1)[0] if is_remote(url) else url


def plain_message(problem: BaseException) -> str:
    """First line of an error, without the query of any URL: a signed URL is a credential."""
    return re.sub(
        r"(://[^\s\"')?]+)\?[^\s\"')]+", r"\1?...", (str(problem).splitlines() or [type(problem).__name__])[0]
    )


class Place:
    """A folder or prefix of our own, to write to and read from.

    Parameters
    ----------
    url : str
        A path, or s3://bucket/prefix.
    region : str, optional
        Region of the bucket; see `Access`.
    create : bool
        Make the folder when it is not there.

    Raises
    ------
    InputError
        From the constructor: no place for results, or an AWS profile that gives no credentials.
    StoreError
        From every method, naming the place and the key.
    """

    def __init__(self, url: str, region: str | None = None, *, create: bool = False) -> None:
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
        """Make whatever obstore raises an error that says what was done where."""
        try:
            yield
        except Exception as problem:  # noqa: BLE001  # obstore raises Python's own and a dozen of its own
            hint = "check that it exists, may be read and written, and has room"
            if METADATA in str(problem):
                hint = LOG_IN
            elif ELSEWHERE in str(problem):
                hint = f"the bucket is not in {self.store.config['region']}; set AWS_REGION to its region"
            raise StoreError(f"cannot {what} {self.url}/{key}: {plain_message(problem)}; {hint}") from None

    def put(self, key: str, content: bytes) -> None:
        """Write a whole object: it is there entirely, or not at all."""
        with self._doing("write", key):
            obstore.put(self.store, key, content)

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        with self._doing("read", key):
            return bytes(obstore.get(self.store, key).bytes())

    def find(self, key: str) -> bytes | None:
        """Read a whole object; None when it is not there."""
        with self._doing("read", key):
            try:
                return bytes(obstore.get(self.store, key).bytes())
            except FileNotFoundError:
                return None

    def get_range(self, key: str, start: int, size: int) -> bytes:
        """Read a part of an object."""
        with self._doing("read", key):
            return bytes(obstore.get_range(self.store, key, start=start, length=size))

    def keys(self, prefix: str = "") -> list[str]:
        """Keys of all objects below a prefix, sorted."""
        return sorted(self.times(prefix))

    def times(self, prefix: str = "") -> dict[str, datetime]:
        """When each object below a prefix was last written, by the store's clock."""
        with self._doing("list", prefix):
            found = obstore.list(self.store, prefix or None)
            return {item["path"]: item["last_modified"] for batch in found for item in batch}

    def modified(self, key: str) -> datetime:
        """When an object was last written, by the store's clock: S3 tells it in whole seconds."""
        with self._doing("look for", key):
            return obstore.head(self.store, key)["last_modified"]

    def holds(self, prefix: str = "") -> bool:
        """Whether there is any object below a prefix."""
        with self._doing("list", prefix):
            return any(len(batch) for batch in obstore.list(self.store, prefix or None, chunk_size=1))

    def has(self, key: str) -> bool:
        """Whether an object is there."""
        with self._doing("look for", key):
            try:
                obstore.head(self.store, key)
            except FileNotFoundError:
                return False
            return True

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""
        every = list(keys)
        one_by_one = isinstance(self.store, LocalStore)  # its batch stops at the first that is not there
        for batch in [[key] for key in every] if one_by_one else [every] if every else []:
            with self._doing("delete", batch[0]), suppress(FileNotFoundError):
                obstore.delete(self.store, batch)

    def probe(self) -> None:
        """Write and delete an object: what cannot be written is found before any work is done."""
        self.put(".maggjob-probe", b"probe")
        self.delete([".maggjob-probe"])


def exists(url: str, region: str | None = None) -> bool:
    """Whether there is anything at a path or below a prefix."""
    if url.startswith("s3://"):
        return Place(url, region).holds()
    path = local_path(url)
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def join_url(root: str, *keys: str) -> str:
    """Path or URL of something below a place."""
    below = "/".join(keys)
    return f"{root.rstrip('/')}/{quote(below) if root.startswith('https://') else below}"
