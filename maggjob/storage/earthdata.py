"""The private object of a run: what the archive asks for, where workers can read it, fresh while the run lasts.

Workers on this machine read a file that nobody else can read; those on Lambda an object in Lithops' own bucket, which
their role may read and nobody outside the account. A task says where it is and never holds what is in it.
"""

import logging
import shutil
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maggjob.errors import AccessError, StoreError
from maggjob.storage.credentials import CredentialSet, S3Credentials, data_centre, needs_login, write_private
from maggjob.storage.folder import Folder
from maggjob.storage.run_folder import PRIVATE
from maggjob.storage.urls import join_url

POLL = 30.0  # seconds between two looks at what ends when
LOG = logging.getLogger(__name__)

Write = Callable[[CredentialSet], None]


@contextmanager
def private_object(urls: Sequence[str], bucket: str | None = None, region: str | None = None) -> Iterator[str | None]:
    """Obtain what the archive asks for, and keep it fresh in a private object while the block runs.

    Parameters
    ----------
    urls : sequence of str
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
    auth = login() if any(map(needs_login, urls)) else None
    if auth is None:
        yield None
        return
    credential_set = obtain(urls, auth)
    with _local_file() if bucket is None else _object(bucket, region) as (url, write):
        write(credential_set)
        stop = threading.Event()
        keeper = threading.Thread(target=keep_fresh, args=(write, credential_set, urls, auth, stop), daemon=True)
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
        yield str(path), lambda credential_set: write_private(path, credential_set)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _object(bucket: str, region: str | None) -> Iterator[tuple[str, Write]]:
    place, key = Folder(f"s3://{bucket}/{PRIVATE}", region), f"{uuid.uuid4().hex}.json"
    try:
        yield join_url(place.url, key), lambda credential_set: place.put(key, credential_set.to_json())
    finally:
        try:
            place.delete([key])
        except StoreError as problem:  # what the run gave is not to be lost for it
            LOG.warning("credentials of an hour at most were left behind: %s", problem)


def keep_fresh(
    write: Write,
    credential_set: CredentialSet,
    urls: Iterable[str],
    auth: Any,
    stop: threading.Event,
    poll: float | None = None,
) -> None:
    """Renew the private object before what it holds ends, until told to stop; runs in a thread of its own.

    A renewal that fails is logged and tried again at the next look: what is there may last yet, and workers
    that find it ended say so in the ledger.

    Parameters
    ----------
    write : callable
        Writes the private object.
    credential_set : CredentialSet
        What it holds.
    urls : iterable of str
        URLs of granules.
    auth : earthaccess.Auth
        From `maggjob.storage.earthdata.login`.
    stop : threading.Event
    poll : float, optional
        Seconds between two looks; by default `POLL`.
    """
    urls = list(urls)
    while not stop.wait(POLL if poll is None else poll):
        if all(credentials.fresh(datetime.now(UTC)) for credentials in credential_set.s3.values()):
            continue
        try:
            renewed = obtain(urls, auth)
            write(renewed)
            credential_set = renewed
        except (AccessError, StoreError, OSError) as problem:
            LOG.warning("credentials were not renewed: %s", problem)


def login() -> Any:
    """Log in to NASA Earthdata.

    Tried in turn: EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD; ~/.netrc; a prompt,
    if there is a terminal to ask at.

    Returns
    -------
    earthaccess.Auth

    Raises
    ------
    AccessError
        None of these works.
    """
    import earthaccess  # 1 s
    import requests
    from earthaccess.exceptions import LoginAttemptFailure, LoginStrategyUnavailable

    strategies = ["environment", "netrc"] + (["interactive"] if sys.stdin and sys.stdin.isatty() else [])
    tried = []
    for strategy in strategies:
        auth = earthaccess.Auth()
        try:
            if auth.login(strategy=strategy).authenticated:
                return auth
        except LoginStrategyUnavailable as problem:
            tried.append(f"{strategy}: {problem}")
        except (LoginAttemptFailure, requests.RequestException) as problem:
            raise AccessError(f"Earthdata Login refused what {strategy} gave: {problem}") from None
    raise AccessError(
        "no Earthdata login: set EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD, or write ~/.netrc "
        f"(https://urs.earthdata.nasa.gov gives an account). Tried {'; '.join(tried)}"
    )


def fetch_s3(centre: str, auth: Any) -> S3Credentials:
    """Obtain one hour of S3 credentials from a data centre.

    Parameters
    ----------
    centre : str
        Such as NSIDC.
    auth : earthaccess.Auth
        From `login`.

    Raises
    ------
    AccessError
        The data centre gave none.
    """
    import requests

    try:
        answer = auth.get_s3_credentials(daac=centre)
        expires = datetime.fromisoformat(answer["expiration"])
        keys = (answer["accessKeyId"], answer["secretAccessKey"], answer["sessionToken"])
    except (KeyError, TypeError, ValueError, requests.RequestException) as problem:
        raise AccessError(
            f"{centre} gave no S3 credentials ({type(problem).__name__}: {problem}); accept its licences at "
            "https://urs.earthdata.nasa.gov and try again, or use --driver https"
        ) from None
    return S3Credentials(*keys, expires if expires.tzinfo else expires.replace(tzinfo=UTC))


def obtain(urls: Iterable[str], auth: Any) -> CredentialSet:
    """Credentials for everything that these granules need.

    Parameters
    ----------
    urls : iterable of str
        URLs of granules.
    auth : earthaccess.Auth
        From `login`.

    Raises
    ------
    AccessError
        A data centre gives none.
    """
    needy = [url for url in urls if needs_login(url)]
    centres = sorted({centre for centre in map(data_centre, needy) if centre is not None})
    https = any(url.startswith("https://") for url in needy)
    token = auth.token["access_token"] if https and auth.token else None
    return CredentialSet({centre: fetch_s3(centre, auth) for centre in centres}, token)
