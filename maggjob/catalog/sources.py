"""Where granules may be read from: NASA's archive, this machine, https servers, and buckets that are named.

A catalog is a file that people pass on. Whoever wrote it must not decide to which buckets a run sends requests that are
signed with the user's own credentials. Other servers get no credential (`maggjob.storage.credentials.trusted_host`).
"""

import os
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from maggjob.errors import CatalogError
from maggjob.storage.credentials import DATA_CENTRES
from maggjob.storage.urls import LOOPBACK

HOSTS = ("nasa.gov", "nsidc.org")
"""Domains that publish granules."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Environment variables with which the user names a server of S3 of their own: all of its buckets are allowed."""


def of_the_archive(url: str) -> bool:
    """Return True if a URL is one of NASA's archive, or of this machine.

    Examples
    --------
    >>> of_the_archive("https://data.nsidc.earthdatacloud.nasa.gov/a.h5"), of_the_archive("s3://somebody/a.h5")
    (True, False)
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "s3":
        return parts.netloc in DATA_CENTRES
    return host in LOOPBACK or any(host == known or host.endswith(f".{known}") for known in HOSTS)


def check_sources(urls: Iterable[str], allowed: Sequence[str] = (), key: str = "data_source.sources") -> None:
    """Check that granules are read from no bucket but NASA's and those that are allowed besides.

    Parameters
    ----------
    urls : iterable of str
        Paths and URLs of granules.
    allowed : sequence of str
        Buckets that are allowed besides, such as ``s3://my-bucket``.
    key : str
        Key of the configuration that lists them, for the message.

    Raises
    ------
    CatalogError
        If a URL is of another bucket.
    """
    own_server = any(os.environ.get(name) for name in ENDPOINTS)
    known: set[str] = {root.rstrip("/") for root in allowed}
    for url in urls:
        if not url.startswith("s3://") or own_server:
            continue
        root = f"s3://{urlsplit(url).netloc}"
        if root in known or of_the_archive(url):
            known.add(root)
            continue
        raise CatalogError(
            f'{url} is not in NASA\'s archive; if you trust {root}, add it to the configuration: {key}: ["{root}"]'
        )
