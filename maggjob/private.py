"""The private object of a run: what the archive asks for, where workers can read it, fresh while the run lasts.

Workers on this machine read a file that nobody else can read; those on Lambda an object in Lithops' own bucket, which
their role may read and nobody outside the account. A task says where it is and never holds what is in it.
"""

import logging
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maggjob.credentials import Book, login, needs_login, obtain, write_private
from maggjob.errors import AccessError, StoreError
from maggjob.model import Granule
from maggjob.storage import Place, join_url

PREFIX = "maggjob.private"  # below it workers may read, and what a killed client leaves expires (runtime/template.yaml)
POLL = 30.0  # seconds between two looks at what ends when
LOG = logging.getLogger(__name__)

Write = Callable[[Book], None]


@contextmanager
def private_object(
    granules: Sequence[Granule], bucket: str | None = None, region: str | None = None
) -> Iterator[str | None]:
    """Obtain what the archive asks for, and keep it fresh in a private object while the block runs.

    Parameters
    ----------
    granules : sequence of Granule
        What is to be read.
    bucket : str, optional
        Bucket to write the object to, with our own credentials; by default it is a local file.
    region : str, optional
        Region of the bucket.

    Yields
    ------
    str or None
        Where it is; None when the granules need no credentials.

    Raises
    ------
    AccessError
        There is no login, or it gives no credentials.
    StoreError
        The object cannot be written.
    """
    urls = [granule.url for granule in granules]
    auth = login() if any(map(needs_login, urls)) else None
    if auth is None:
        yield None
        return
    book = obtain(urls, auth)
    with _local_file() if bucket is None else _object(bucket, region) as (url, write):
        write(book)
        stop = threading.Event()
        keeper = threading.Thread(target=keep_fresh, args=(write, book, urls, auth, stop), daemon=True)
        keeper.start()
        try:
            yield url
        finally:
            stop.set()
            keeper.join()  # or a renewal under way would write the object again after it is removed


@contextmanager
def _local_file() -> Iterator[tuple[str, Write]]:
    folder = Path(tempfile.mkdtemp(prefix="maggjob-"))
    path = folder / "credentials.json"
    try:
        yield str(path), lambda book: write_private(path, book)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _object(bucket: str, region: str | None) -> Iterator[tuple[str, Write]]:
    place, key = Place(f"s3://{bucket}/{PREFIX}", region), f"{uuid.uuid4().hex}.json"
    try:
        yield join_url(place.url, key), lambda book: place.put(key, book.to_json())
    finally:
        try:
            place.delete([key])
        except StoreError as problem:  # what the run gave is not to be lost for it
            LOG.warning("credentials of an hour at most were left behind: %s", problem)


def keep_fresh(
    write: Write, book: Book, urls: Iterable[str], auth: Any, stop: threading.Event, poll: float | None = None
) -> None:
    """Renew the private object before what it holds ends, until told to stop; runs in a thread of its own.

    A renewal that fails is logged and tried again at the next look: what is there may last yet, and workers
    that find it ended say so in the ledger.

    Parameters
    ----------
    write : callable
        Writes the private object.
    book : Book
        What it holds.
    urls : iterable of str
        URLs of granules.
    auth : earthaccess.Auth
        From `maggjob.credentials.login`.
    stop : threading.Event
    poll : float, optional
        Seconds between two looks; by default `POLL`.
    """
    urls = list(urls)
    while not stop.wait(POLL if poll is None else poll):
        if all(credentials.fresh(datetime.now(UTC)) for credentials in book.s3.values()):
            continue
        try:
            renewed = obtain(urls, auth)
            write(renewed)
            book = renewed
        except (AccessError, StoreError, OSError) as problem:
            LOG.warning("credentials were not renewed: %s", problem)
