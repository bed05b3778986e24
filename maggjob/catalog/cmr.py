"""Asking NASA's Common Metadata Repository, and counting what comes.

earthaccess builds the query; the pages are fetched here, as its own paging never compares what came with what CMR says
there is, and holds all of it at once (docs/decisions/earthaccess.md).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from maggjob.errors import CatalogError, InputError
from maggjob.storage.urls import LOOPBACK

CMR = "https://cmr.earthdata.nasa.gov/search/"
PAGE = 2000  # granules a page: the most that CMR gives
TIMEOUT = (10.0, 120.0)  # seconds to connect, and between two bytes
RETRY = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)

Watch = Callable[[int, int], None]
"""``watch(granules so far, granules in all)``"""


@dataclass(frozen=True)
class Query:
    """What CMR is asked for."""

    short_name: str
    """Product, such as ATL06."""
    version: str
    """Three digits."""
    provider: str
    """Such as NSIDC_CPRD."""
    start: str
    """First moment, UTC, ISO 8601."""
    stop: str
    """Last moment."""
    south: float
    """Southernmost latitude, degrees."""
    north: float
    """Northernmost latitude, degrees."""
    endpoint: str = CMR
    """Where CMR is."""

    def build(self, form: str) -> Any:
        """The query as an object of earthaccess, for a form of answer: ``umm_json`` or ``json``."""
        from earthaccess.search import DataGranules

        query = DataGranules().short_name(self.short_name).version(self.version).provider(self.provider)
        query = query.temporal(self.start, self.stop).bounding_box(-180.0, self.south, 180.0, self.north)
        query.mode(self.endpoint if self.endpoint.endswith("/") else f"{self.endpoint}/")
        query._format = form  # noqa: SLF001  # its .format() refuses umm_json, which is what it asks for
        return query


def check_endpoint(endpoint: str) -> str:
    """See that CMR is asked over https, or on this machine.

    Raises
    ------
    InputError
        It would not be.
    """
    parts = urlsplit(endpoint)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return endpoint
    raise InputError(f"CMR at {endpoint!r}: give an https:// URL, such as {CMR}")


def pages(query: Query, form: str, watch: Watch | None = None) -> Iterator[list[Any]]:
    """Items of each page of an answer.

    Raises
    ------
    CatalogError
        CMR cannot be reached or answers with something else; a page is short; the total changes.
    """
    check_endpoint(query.endpoint)
    built = query.build(form)
    url, session = built._build_url(), built.session  # noqa: SLF001  # as its own paging does
    session.mount("https://", HTTPAdapter(max_retries=RETRY))
    session.mount("http://", HTTPAdapter(max_retries=RETRY))
    after, total, came = None, None, 0
    with session:
        while total is None or came < total:
            answer = _get(session, f"{url}&page_size={PAGE}", after)
            items, hits = _items(answer, form), _hits(answer)
            if total is not None and hits != total:
                raise CatalogError(f"CMR listed {total} granules and then {hits}: they change just now; search again")
            total, came = hits, came + len(items)
            after = answer.headers.get("CMR-Search-After")
            if came > total or (came < total and (len(items) < PAGE or after is None)):
                raise CatalogError(
                    f"CMR says that there are {total} granules, and a page of {len(items)} ended at {came} "
                    f"(pages have {PAGE}); search again"
                )
            if watch is not None:
                watch(came, total)
            yield items


def _get(session: requests.Session, url: str, after: str | None) -> requests.Response:
    headers = {} if after is None else {"CMR-Search-After": after}
    try:
        answer = session.get(url, headers=headers, timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException as problem:
        raise CatalogError(
            f"CMR at {urlsplit(url).netloc} cannot be reached ({type(problem).__name__}: {problem}); try again later"
        ) from problem
    if answer.status_code != 200:
        raise CatalogError(f"CMR answered {answer.status_code}: {_said(answer)}; check the query, or try again later")
    return answer


def _said(answer: requests.Response) -> str:
    """What an error of CMR says, in short."""
    try:
        return "; ".join(str(error) for error in answer.json()["errors"])[:300]
    except (ValueError, KeyError, TypeError):
        return " ".join(answer.text.split())[:200]


def _items(answer: requests.Response, form: str) -> list[Any]:
    try:
        content = json.loads(answer.content)
        items = content["items"] if form == "umm_json" else content["feed"]["entry"]
    except (ValueError, KeyError, TypeError) as problem:
        kind = answer.headers.get("Content-Type", "nothing")
        raise CatalogError(
            f"CMR answered with {kind}, no page of {form} ({problem}): {_said(answer)}; try again later"
        ) from problem
    if not isinstance(items, list):
        raise CatalogError(f"CMR answered with a page of {type(items).__name__}; try again later")
    return items


def _hits(answer: requests.Response) -> int:
    text = answer.headers.get("CMR-Hits", "")
    if not text.isdecimal():
        raise CatalogError(f"CMR's answer does not say how many granules there are (CMR-Hits {text!r}); try again")
    return int(text)
