"""Queries to NASA's Common Metadata Repository (CMR), with a check that every granule arrives.

earthaccess builds the query, but the pages are fetched here: earthaccess never compares the number of granules received
with the total that CMR reports, and it holds all of them in memory at once (docs/decisions/earthaccess.md).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from maggjob.errors import CatalogError, InputError
from maggjob.inputs.plain_json import load_json
from maggjob.storage.certificates import use_certificates
from maggjob.storage.stores import cause_of
from maggjob.storage.urls import LOOPBACK

CMR = "https://cmr.earthdata.nasa.gov/search/"
PAGE = 2000
"""Granules per page: CMR's maximum."""
TIMEOUT = (10.0, 120.0)
"""Seconds to connect, and between two bytes."""
RETRY = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)

Watch = Callable[[int, int], None]
"""Callback for progress: ``watch(granules so far, granules in total)``."""


class AnyQuery(Protocol):
    """A query that `pages` can send."""

    @property
    def endpoint(self) -> str:
        """URL of CMR's search service."""

    def build(self, form: str) -> Any:
        """Return the query as an earthaccess object; ``form`` of the answer is ``umm_json`` or ``json``."""


def finish(query: Any, endpoint: str, form: str) -> Any:
    """Return an earthaccess query with its endpoint and the form of the answer.

    Parameters
    ----------
    query : earthaccess.DataGranules
    endpoint : str
        URL of CMR's search service.
    form : str
        ``umm_json`` or ``json``.
    """
    query.mode(endpoint if endpoint.endswith("/") else f"{endpoint}/")
    # Its method format() refuses umm_json, although that is its default.
    query._format = form  # noqa: SLF001
    return query


@dataclass(frozen=True)
class Query:
    """A query to CMR."""

    short_name: str
    """Product, such as ATL06."""
    version: str
    """Version of the product, three digits."""
    provider: str
    """CMR's name of the provider, such as NSIDC_CPRD."""
    start: str
    """Start of the time range, UTC, ISO 8601."""
    stop: str
    """End of the time range, UTC, ISO 8601."""
    south: float
    """Southernmost latitude, degrees."""
    north: float
    """Northernmost latitude, degrees."""
    endpoint: str = CMR
    """URL of CMR's search service."""

    def build(self, form: str) -> Any:
        """Return the query as an earthaccess object; ``form`` of the answer is ``umm_json`` or ``json``."""
        from earthaccess.search import DataGranules

        query = DataGranules().short_name(self.short_name).version(self.version).provider(self.provider)
        query = query.temporal(self.start, self.stop).bounding_box(-180.0, self.south, 180.0, self.north)
        return finish(query, self.endpoint, form)


def check_endpoint(endpoint: str) -> str:
    """Return the endpoint, after checking that it uses https or lies on this machine.

    Raises
    ------
    InputError
        If it does neither.
    """
    parts = urlsplit(endpoint)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return endpoint
    raise InputError(f"CMR at {endpoint!r}: give an https:// URL, such as {CMR}")


def pages(query: AnyQuery, form: str, watch: Watch | None = None) -> Iterator[list[Any]]:
    """Yield the items of each page of CMR's answer.

    Parameters
    ----------
    query : AnyQuery
    form : str
        Form of the answer: ``umm_json`` or ``json``.
    watch : callable, optional
        Called after each page with the granules so far and in total.

    Raises
    ------
    CatalogError
        If CMR cannot be reached, its answer is not a page of granules, a page is short, or the total changes.
    """
    check_endpoint(query.endpoint)
    use_certificates()
    built = query.build(form)
    # earthaccess's own paging uses this private method, too.
    url, session = built._build_url(), built.session  # noqa: SLF001
    session.mount("https://", HTTPAdapter(max_retries=RETRY))
    session.mount("http://", HTTPAdapter(max_retries=RETRY))
    after, total, came = None, None, 0
    with session:
        while total is None or came < total:
            answer = _get(session, f"{url}&page_size={PAGE}", after)
            items, hits = _items(answer, form), _hits(answer)
            if total is not None and hits != total:
                raise CatalogError(f"CMR listed {total} granules and then {hits}: its list changed; search again")
            total, came = hits, came + len(items)
            after = answer.headers.get("CMR-Search-After")
            if came > total or (came < total and (len(items) < PAGE or after is None)):
                raise CatalogError(
                    f"CMR reports {total} granules, but a page of {len(items)} ended at {came} "
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
            f"CMR at {urlsplit(url).netloc} cannot be reached: {cause_of(problem) or problem}; try again later"
        ) from problem
    if answer.status_code != 200:
        raise CatalogError(f"CMR answered {answer.status_code}: {_said(answer)}; check the query, or try again later")
    return answer


def _said(answer: requests.Response) -> str:
    """Return the text of CMR's error, shortened."""
    try:
        return "; ".join(str(error) for error in answer.json()["errors"])[:300]
    except (ValueError, KeyError, TypeError):
        return " ".join(answer.text.split())[:200]


def _items(answer: requests.Response, form: str) -> list[Any]:
    try:
        content = load_json(answer.content)
        items = content["items"] if form == "umm_json" else content["feed"]["entry"]
    except (ValueError, KeyError, TypeError) as problem:
        kind = answer.headers.get("Content-Type", "nothing")
        raise CatalogError(
            f"CMR answered with {kind}, not with a page of {form} ({problem}): {_said(answer)}; try again later"
        ) from problem
    if not isinstance(items, list):
        raise CatalogError(f"CMR answered with a page of {type(items).__name__}; try again later")
    return items


def _hits(answer: requests.Response) -> int:
    text = answer.headers.get("CMR-Hits", "")
    if not text.isdecimal():
        raise CatalogError(f"CMR's answer does not say how many granules there are (CMR-Hits {text!r}); try again")
    return int(text)
