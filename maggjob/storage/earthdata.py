"""The private object of a run: credentials for the archive, readable by workers and renewed while the run lasts.

Workers on this machine read a file that only the user can read. Workers on Lambda read an object in Lithops' bucket,
which their role may read and nobody outside the account. Its key begins with the id of the user at AWS, so that a
policy can keep it from other users of the bucket. A task contains its URL, never the credentials.
"""

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from maggjob.errors import AccessError, StoreError
from maggjob.storage.certificates import use_certificates
from maggjob.storage.credentials import CredentialSet, S3Credentials, data_centre, needs_login, write_private
from maggjob.storage.folder import Folder
from maggjob.storage.identity import caller_id
from maggjob.storage.owner import OWNER, Owner, is_gone, me, private_folder
from maggjob.storage.run_folder import private_prefix
from maggjob.storage.stores import cause_of, plain_message
from maggjob.storage.urls import join_url

POLL = 30.0
"""Seconds between two checks of the expiry."""
LOG = logging.getLogger(__name__)

Write = Callable[[CredentialSet], None]
"""Function that writes the private object."""


@contextmanager
def private_object(urls: Sequence[str], bucket: str | None = None, region: str | None = None) -> Iterator[str | None]:
    """Write credentials for the archive to a private object, and renew them while the block runs.

    Parameters
    ----------
    urls : sequence of str
        URLs of the granules to be read.
    bucket : str, optional
        Bucket to write the object to, with the user's AWS credentials. By default it is a local file.
    region : str, optional
        Region of the bucket.

    Yields
    ------
    str or None
        Path or URL of the object; None if the granules need no credentials.

    Raises
    ------
    AccessError
        If there is no login, or it gives no credentials.
    StoreError
        If the object cannot be written.
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
            # A renewal in progress would otherwise write the object again after it is removed.
            keeper.join()


@contextmanager
def _local_file() -> Iterator[tuple[str, Write]]:
    with private_folder() as folder:
        path = folder / "credentials.json"
        yield str(path), lambda credential_set: write_private(path, credential_set)


@contextmanager
def _object(bucket: str, region: str | None) -> Iterator[tuple[str, Write]]:
    place, owner = Folder(private_prefix(bucket, caller_id(region)), region), me()
    key = f"{owner.token}.json"
    place.put(f"{owner.token}.{OWNER}", owner.to_json())
    try:
        # What other clients left has expired, and may be out of this user's reach.
        with suppress(StoreError):
            _sweep(place)
        yield join_url(place.url, key), lambda credential_set: place.put(key, credential_set.to_json())
    finally:
        try:
            place.delete([key, f"{owner.token}.{OWNER}"])
        # A failed deletion must not fail the run.
        except StoreError as problem:
            LOG.warning("cannot delete the credentials, which expire within an hour: %s", problem)


def _sweep(place: Folder) -> None:
    """Delete the objects of this user's clients of this machine that were killed."""
    for key in place.keys():  # noqa: SIM118
        if key.endswith(OWNER):
            content = place.find(key)
            with suppress(ValueError):
                if content is not None and is_gone(Owner.from_json(content)):
                    place.delete([key, key.removesuffix(OWNER) + "json"])


def keep_fresh(
    write: Write,
    credential_set: CredentialSet,
    urls: Iterable[str],
    auth: Any,
    stop: threading.Event,
    poll: float | None = None,
) -> None:
    """Renew the credentials in the private object before they expire, until told to stop. Runs in its own thread.

    A failed renewal is logged and tried again at the next check. The credentials may still be valid; if they expire,
    the reads that fail are counted in the ledger.

    Parameters
    ----------
    write : callable
        Writes the private object.
    credential_set : CredentialSet
        Its present content.
    urls : iterable of str
        URLs of granules.
    auth : earthaccess.Auth
        From `login`.
    stop : threading.Event
        Set to end the renewals.
    poll : float, optional
        Seconds between two checks; by default `POLL`.
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
            LOG.warning("cannot renew the credentials, will try again: %s", problem)


def login() -> Any:
    """Log in to NASA Earthdata.

    These are tried in turn: EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD; ~/.netrc; a prompt, if
    standard input is a terminal.

    Returns
    -------
    earthaccess.Auth

    Raises
    ------
    AccessError
        If none of these works.
    """
    # Importing earthaccess takes 1 s.
    import earthaccess
    import requests
    from earthaccess.exceptions import LoginAttemptFailure, LoginStrategyUnavailable

    use_certificates()
    strategies = ["environment", "netrc"] + (["interactive"] if sys.stdin and sys.stdin.isatty() else [])
    tried = []
    for strategy in strategies:
        auth = earthaccess.Auth()
        try:
            if auth.login(strategy=strategy).authenticated:
                return auth
        except LoginStrategyUnavailable as problem:
            tried.append(f"{strategy}: {problem}")
        except LoginAttemptFailure as problem:
            raise AccessError(f"Earthdata Login refused the credentials from {strategy}: {problem}") from None
        except requests.RequestException as problem:
            why = cause_of(problem) or plain_message(problem)
            raise AccessError(f"Earthdata Login cannot be reached: {why}; try again") from None
    raise AccessError(
        "no Earthdata login: set EARTHDATA_TOKEN, or EARTHDATA_USERNAME and EARTHDATA_PASSWORD, or write ~/.netrc "
        f"(register at https://urs.earthdata.nasa.gov). Tried {'; '.join(tried)}"
    )


def fetch_s3(centre: str, auth: Any) -> S3Credentials:
    """Obtain S3 credentials from a data centre, which last for one hour.

    Parameters
    ----------
    centre : str
        Name of the data centre, such as NSIDC.
    auth : earthaccess.Auth
        From `login`.

    Raises
    ------
    AccessError
        If the data centre gives none.
    """
    import requests

    try:
        answer = auth.get_s3_credentials(daac=centre)
        expires = datetime.fromisoformat(answer["expiration"])
        keys = (answer["accessKeyId"], answer["secretAccessKey"], answer["sessionToken"])
    except (requests.ConnectionError, requests.Timeout) as problem:
        why = cause_of(problem) or plain_message(problem)
        raise AccessError(f"{centre} cannot be reached for S3 credentials: {why}; try again") from None
    except (KeyError, TypeError, ValueError, requests.RequestException) as problem:
        raise AccessError(
            f"{centre} gave no S3 credentials ({type(problem).__name__}: {problem}); accept its licences at "
            "https://urs.earthdata.nasa.gov and try again, or use --driver https"
        ) from None
    return S3Credentials(*keys, expires if expires.tzinfo else expires.replace(tzinfo=UTC))


def obtain(urls: Iterable[str], auth: Any) -> CredentialSet:
    """Obtain all credentials that some granules need.

    Parameters
    ----------
    urls : iterable of str
        URLs of granules.
    auth : earthaccess.Auth
        From `login`.

    Raises
    ------
    AccessError
        If a data centre gives none.
    """
    needy = [url for url in urls if needs_login(url)]
    centres = sorted({centre for centre in map(data_centre, needy) if centre is not None})
    https = any(url.startswith("https://") for url in needy)
    token = auth.token["access_token"] if https and auth.token else None
    return CredentialSet({centre: fetch_s3(centre, auth) for centre in centres}, token)
