"""Asking CMR: every page is counted, and every fault is named."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from urllib3.util import Retry

from maggjob.catalog.cmr import CMR, Query, check_endpoint, pages
from maggjob.errors import CatalogError, InputError
from tests.cmr_server import HTML, Cmr, Fault, cut, entry, faulty, halved, name_of, record, refused, says, serve
from tests.servers import redirect, reset

ITEMS = [record(name_of(rgt)) for rgt in range(1, 11)]
ENTRIES = [entry(item) for item in ITEMS]
QUERY = Query("ATL06", "007", "NSIDC_CPRD", "2023-12-02T00:00:00Z", "2024-04-03T23:59:59Z", -90.0, -57.1)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four granules a page, and no waiting between attempts."""
    monkeypatch.setattr("maggjob.catalog.cmr.PAGE", 4)
    monkeypatch.setattr("maggjob.catalog.cmr.TIMEOUT", (60.0, 60.0))
    retry = Retry(total=2, backoff_factor=0, status_forcelist=(429, 500, 502, 503, 504), raise_on_status=False)
    monkeypatch.setattr("maggjob.catalog.cmr.RETRY", retry)


@pytest.fixture
def cmr() -> Iterator[Cmr]:
    with serve(Cmr(ITEMS, ENTRIES)) as running:
        yield running


def ask(cmr: Cmr, form: str = "umm_json") -> list[Any]:
    return [item for page in pages(replace(QUERY, endpoint=cmr.endpoint), form) for item in page]


def test_all_pages_in_order(cmr: Cmr) -> None:
    told: list[tuple[int, int]] = []
    got = list(pages(replace(QUERY, endpoint=cmr.endpoint), "umm_json", lambda *now: told.append(now)))
    assert [len(page) for page in got] == [4, 4, 2]
    assert [item for page in got for item in page] == ITEMS
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert [seen.headers.get("cmr-search-after") for seen in cmr.seen] == [None, '[4, "x"]', '[8, "x"]']
    assert {seen.path for seen in cmr.seen} == {"/search/granules.umm_json"}


def test_the_json_form(cmr: Cmr) -> None:
    assert ask(cmr, "json") == ENTRIES
    assert {seen.path for seen in cmr.seen} == {"/search/granules.json"}


def test_what_cmr_is_asked(cmr: Cmr) -> None:
    ask(cmr)
    assert cmr.asked[0] == cmr.asked[2] == {
        "short_name": "ATL06",
        "version": "007",
        "provider": "NSIDC_CPRD",
        "temporal[]": "2023-12-02T00:00:00Z,2024-04-03T23:59:59Z",
        "bounding_box": "-180.0,-90.0,180.0,-57.1",
        "page_size": "4",
    }  # fmt: skip
    assert not any("authorization" in seen.headers for seen in cmr.seen)


@pytest.mark.parametrize("count", [0, 1, 4, 8])
def test_pages_that_are_just_full(count: int) -> None:
    with serve(Cmr(ITEMS[:count])) as cmr:
        assert ask(cmr) == ITEMS[:count]
        assert len(cmr.seen) == max(1, count // 4)


def test_an_endpoint_without_a_slash(cmr: Cmr) -> None:
    cmr.endpoint = cmr.endpoint.rstrip("/")
    assert ask(cmr) == ITEMS


def test_the_query_goes_to_nasa_by_default() -> None:
    assert QUERY.build("umm_json")._build_url().startswith(f"{CMR}granules.umm_json?")


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_failure_that_passes(cmr: Cmr, status: int, number: int) -> None:
    cmr.faults = {number: says(status, b"busy")}
    assert ask(cmr) == ITEMS
    assert len(cmr.seen) == 4


FAULTS: dict[str, tuple[Fault, str]] = {
    "500": (says(500, b"boom"), "CMR answered 500: boom"),
    "503 as a page": (says(503, HTML, "text/html"), "CMR answered 503: .*maintenance"),
    "400": (refused(400, "Parameter [nonsense] was not recognized."), r"CMR answered 400: Parameter \[nonsense\]"),
    "400 twice wrong": (refused(400, "one", "two"), "400: one; two"),
    "401": (refused(401, "Token does not exist"), "401: Token does not exist"),
    "404": (says(404, b""), "answered 404"),
    "a page of HTML": (says(200, HTML, "text/html"), "text/html, not with a page of umm_json .*maintenance"),
    "nothing": (says(200, b""), "not with a page of umm_json"),
    "204": (says(204, b""), "204"),
    "JSON that is no page": (says(200, b'{"feed": {}}', CMR_Hits="10"), "not with a page of umm_json"),
    "a list": (says(200, b"[]", CMR_Hits="10"), "not with a page of umm_json"),
    "null": (says(200, b"null", CMR_Hits="10"), "not with a page of umm_json"),
    "items that are none": (says(200, b'{"items": 3}', CMR_Hits="10"), "a page of int"),
    "not UTF-8": (says(200, b'{"items": ["\xff"]}', CMR_Hits="10"), "not with a page of umm_json"),
    "errors with 200": (says(200, json.dumps({"errors": ["broken"]}).encode()), "not with a page of umm_json .*broken"),
    "a body cut short": (cut, "cannot be reached|cut|incomplete"),
    "half of a body": (halved, "not with a page of umm_json"),
    "reset": (lambda cmr, request: reset(request), "cannot be reached"),
    "silence": (lambda cmr, request: threading.Event().wait(0.8) and None, "cannot be reached"),
    "a short page": (faulty(drop=1), "CMR reports 10 granules, but a page of 3 ended at 3"),
    "an empty page": (faulty(drop=4), "a page of 0 ended at 0"),
    "no total": (faulty(without=["CMR_Hits"]), "does not say how many"),
    "a total that is none": (says(200, b'{"items": []}', CMR_Hits="many"), "CMR-Hits 'many'"),
    "a negative total": (says(200, b'{"items": []}', CMR_Hits="-1"), "CMR-Hits '-1'"),
    "more than there are": (faulty(hits=-8), "CMR reports 2 granules, but a page of 4"),
    "no place to go on": (faulty(without=["CMR_Search_After"]), "CMR reports 10 granules, but a page of 4 ended at 4"),
    "a redirect to a login": (
        lambda cmr, request: (
            says(200, HTML, "text/html")(cmr, request) if request.key == "/login" else redirect("/login")(request)
        ),
        "30[12378]|not with a page of umm_json",
    ),
    "a redirect to itself": (lambda cmr, request: redirect(request.path)(request), "30[12378]|TooManyRedirects"),
    "a redirect elsewhere": (lambda cmr, request: redirect("http://example.invalid/")(request), "302|cannot be"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_first_page(cmr: Cmr, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "silence":
        monkeypatch.setattr("maggjob.catalog.cmr.TIMEOUT", (60.0, 0.5))
    answer, message = FAULTS[fault]
    cmr.faults = {-1: answer}
    with pytest.raises(CatalogError, match=message):
        ask(cmr)


SECOND = {
    "a total that grows": (faulty(hits=1), "listed 10 granules and then 11"),
    "a total that shrinks": (faulty(hits=-1), "listed 10 granules and then 9"),
    "a short page": (faulty(drop=2), "CMR reports 10 granules, but a page of 2 ended at 6"),
    "an empty page": (faulty(drop=4), "a page of 0 ended at 4"),
    "no place to go on": (faulty(without=["CMR_Search_After"]), "a page of 4 ended at 8"),
    "HTML": (says(200, HTML, "text/html"), "maintenance"),
    "a session that ended": (refused(400, "The search-after header is not valid"), "400: The search-after"),
    "half of a body": (halved, "not with a page of umm_json"),
    "the first page again": (says(200, json.dumps({"items": ITEMS[:5]}).encode(), CMR_Hits="8"), "10 granules and"),
}


@pytest.mark.parametrize("fault", SECOND)
def test_faults_of_the_second_page(cmr: Cmr, fault: str) -> None:
    answer, message = SECOND[fault]
    cmr.faults = {1: answer}
    with pytest.raises(CatalogError, match=message):
        ask(cmr)
    assert len(cmr.seen) == 2


def test_a_last_page_that_is_short(cmr: Cmr) -> None:
    cmr.faults = {2: faulty(drop=1)}
    with pytest.raises(CatalogError, match="CMR reports 10 granules, but a page of 1 ended at 9"):
        ask(cmr)


def test_an_answer_that_is_not_followed_leaves_the_host(cmr: Cmr) -> None:
    """A redirect must not turn the search to a host that nobody named."""
    with serve(Cmr(ITEMS[:3])) as other:
        cmr.faults = {-1: lambda _, request: redirect(f"{other.endpoint}granules.umm_json")(request)}
        with pytest.raises(CatalogError, match="302"):
            ask(cmr)
        assert other.seen == []


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    query = replace(QUERY, endpoint=f"http://127.0.0.1:{port}/search/")
    with pytest.raises(CatalogError, match=f"CMR at 127.0.0.1:{port} cannot be reached.*try again later"):
        list(pages(query, "umm_json"))


@pytest.mark.parametrize("good", [CMR, "https://cmr.uat.earthdata.nasa.gov/search", "http://127.0.0.1:8/search/"])
def test_endpoints(good: str) -> None:
    assert check_endpoint(good) == good


@pytest.mark.parametrize(
    "bad", ["http://cmr.earthdata.nasa.gov/search/", "ftp://x/", "cmr", "", "file:///etc", "http://127.0.0.1.evil.com/"]
)
def test_endpoints_that_are_refused(bad: str) -> None:
    with pytest.raises(InputError, match="https://"):
        list(pages(replace(QUERY, endpoint=bad), "umm_json"))
