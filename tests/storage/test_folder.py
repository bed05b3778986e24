"""Bytes come whole or not at all, each failure has its reason, and no token goes astray."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maggjob.errors import (
    AccessError,
    ChangedError,
    GranuleError,
    InputError,
    MissingGranuleError,
    NetworkError,
    StoreError,
    ThrottledError,
    TruncatedError,
)
from maggjob.storage import stores
from maggjob.storage.archive import HEAD, SIDE_BY_SIDE, Archive, Source
from maggjob.storage.folder import Folder, exists
from maggjob.storage.stores import plain_message
from maggjob.storage.urls import is_remote, join_url, local_path, split_url
from tests.servers import (
    Answer,
    Request,
    archive,
    redirect,
    reset,
    s3_server,
    server,
    short,
    stall,
    status,
    whole,
    with_token,
    without_token,
)

CONTENT = np.random.default_rng(0).integers(0, 256, 3 * HEAD + 1000, np.uint8).tobytes()
NAME = "ATL06_20190222031203_08500211_006_01.h5"
KEY = f"/atl06/{NAME}"
SPREAD = [(start, start + 1000) for start in range(HEAD, HEAD + 25 * 4000, 4000)]
RANGES = ((0, 1), (0, HEAD), (100, 200), (HEAD - 1, 2), (HEAD, 1000), (3 * HEAD, 5000), (len(CONTENT) - 1, 1))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between attempts; a minute for what a busy machine answers late."""
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=2), "base": 2}
    retry = {"max_retries": 1, "retry_timeout": timedelta(seconds=60), "backoff": backoff}
    monkeypatch.setattr(stores, "RETRY", retry)
    monkeypatch.setattr(stores, "CLIENT", {"connect_timeout": "60s", "timeout": "60s", "user_agent": "maggjob"})


STALL = stall(3)


def impatient(fault: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for half a second only, if the fault is that there is no answer."""
    if fault is STALL:
        monkeypatch.setattr(stores, "CLIENT", {"connect_timeout": "60s", "timeout": "500ms", "user_agent": "maggjob"})


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_server("granules", "results") as endpoint:
        yield endpoint


def use_s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def assert_reads(source: Source) -> None:
    """Check that a source returns the ranges of CONTENT, and counts them."""
    assert source.size == len(CONTENT)
    assert source.head == CONTENT[:HEAD]
    assert (source.access.bytes_read, source.access.requests) == (HEAD, 1)
    read, requests = HEAD, 1
    for position, size in RANGES:
        wanted = CONTENT[position : position + size]
        assert source.read(position, size) == wanted
        if position + size > HEAD:
            read, requests = read + len(wanted), requests + 1
        assert (source.access.bytes_read, source.access.requests) == (read, requests)
    for position in (-1, len(CONTENT), len(CONTENT) + 5):
        with pytest.raises(TruncatedError):
            source.read(position, 1)


ODD_NAMES = ("plain.h5", "with space.h5", "a#b.h5", "100%.h5", "a%20b.h5", "what?.h5", "ünï.h5", "[x]{y}~&+=.h5")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_of_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / f"folder {name}"
    folder.mkdir()
    (folder / name).write_bytes(CONTENT)
    for url in (str(folder / name), (folder / name).as_uri()):
        assert_reads(Source(url, Archive()))


def test_a_relative_path(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    assert_reads(Source(NAME, Archive()))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingGranuleError) as caught:
        Source(str(tmp_path / name), Archive())
    assert caught.value.reason == "missing"
    assert name in str(caught.value)


def test_a_short_file(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:10])
    source = Source(str(tmp_path / NAME), Archive())
    assert (source.head, source.size) == (CONTENT[:10], 10)
    assert source.read(4, 100) == CONTENT[4:10]


def test_an_empty_file_is_truncated(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"")
    with pytest.raises(TruncatedError):
        Source(str(tmp_path / NAME), Archive())


def test_the_size_must_be_that_of_the_catalog(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(CONTENT)
    assert Source(str(path), Archive(), len(CONTENT)).size == len(CONTENT)
    for size in (len(CONTENT) - 1, len(CONTENT) + 1):
        with pytest.raises(TruncatedError) as caught:
            Source(str(path), Archive(), size)
        assert caught.value.reason == "truncated"
        assert str(path) in str(caught.value)


def test_a_file_that_shrinks_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(CONTENT)
    source = Source(str(path), Archive())
    path.write_bytes(CONTENT[: HEAD + 10])
    for position in (HEAD, 2 * HEAD):
        with pytest.raises(GranuleError) as caught:
            source.read(position, 1000)
        assert caught.value.reason in ("truncated", "changed")


def test_http_reads_ranges_and_never_sends_a_head() -> None:
    with server(archive({KEY: CONTENT})) as there:
        assert_reads(Source(there.url(KEY), Archive()))
    assert {seen.method for seen in there.seen} == {"GET"}
    assert all(seen.headers["range"].startswith("bytes=") for seen in there.seen)
    assert all("authorization" not in seen.headers for seen in there.seen)


@pytest.mark.parametrize("name", [name for name in ODD_NAMES if not {"#", "?", "%"} & set(name)] + ["a%23b%3Fc%25.h5"])
def test_http_with_any_name(name: str) -> None:
    from urllib.parse import unquote

    with server(archive({f"/{unquote(name)}": CONTENT})) as there:
        assert Source(there.url(f"/{name}"), Archive()).size == len(CONTENT)


def test_the_token_does_not_follow_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARTHDATA_TOKEN", "s3cret")
    with server(without_token(archive({"/signed": CONTENT}))) as there:
        signed = there.url("/signed?X-Amz-Signature=s3cret", "localhost")
        with server(with_token("s3cret", archive({}, always=redirect(signed)))) as here:
            assert_reads(Source(here.url(KEY), Archive()))
        assert len(here.seen) == len(there.seen) > 3
        assert all(seen.headers["authorization"] == "Bearer s3cret" for seen in here.seen)
        assert all("authorization" not in seen.headers for seen in there.seen)
        assert {seen.method for seen in [*here.seen, *there.seen]} == {"GET"}


def test_no_token_no_access() -> None:
    with server(with_token("s3cret", archive({KEY: CONTENT}))) as there, pytest.raises(AccessError):
        Source(there.url(KEY), Archive())


ALWAYS: list[tuple[Answer, type[GranuleError], str]] = [
    (status(404), MissingGranuleError, "missing"),
    (status(401), AccessError, "auth"),
    (status(403), AccessError, "auth"),
    (status(429), ThrottledError, "throttled"),
    (status(503, b"SlowDown"), ThrottledError, "throttled"),
    (status(500), NetworkError, "network"),
    (status(502), NetworkError, "network"),
    (status(416), TruncatedError, "truncated"),
    (reset, NetworkError, "network"),
    (STALL, NetworkError, "network"),
    (short(CONTENT), NetworkError, "network"),
    (whole(CONTENT), NetworkError, "network"),
    (status(206, CONTENT[:HEAD]), NetworkError, "network"),
]
IDS = "404 401 403 429 503 500 502 416 reset stall short whole no-content-range".split()


@pytest.mark.parametrize(("fault", "error", "reason"), ALWAYS, ids=IDS)
def test_each_failure_has_its_reason(
    fault: Answer, error: type[GranuleError], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(fault, monkeypatch)
    with server(archive({}, always=fault)) as there:
        url = there.url(KEY)
        with pytest.raises(error) as caught:
            Source(url, Archive())
    assert 1 <= len(there.seen) <= 8  # it tries again, but not for ever
    assert type(caught.value) is error
    assert caught.value.reason == reason
    assert str(caught.value).startswith(url)


@pytest.mark.parametrize(
    "fault", [status(429), status(503, b"SlowDown"), status(500), reset], ids="429 503 500 reset".split()
)
def test_what_fails_once_is_asked_for_again(fault: Answer) -> None:
    with server(archive({KEY: CONTENT}, fault)) as there:
        source = Source(there.url(KEY), Archive())
        assert source.head == CONTENT[:HEAD]
        assert source.access.bytes_read == HEAD
    assert len(there.seen) == 2


@pytest.mark.parametrize("ranges", [[(HEAD, HEAD + 1000)], SPREAD], ids=["one", "many"])
@pytest.mark.parametrize(("fault", "error", "reason"), ALWAYS[:-1], ids=IDS[:-1])
def test_a_read_fails_as_the_first_one_does(
    fault: Answer, error: type[GranuleError], reason: str, ranges: list[tuple[int, int]]
) -> None:
    # The first answer must come in time, so the server hangs up before a client that waits for a minute does.
    fault = stall(0.02) if fault is STALL else fault
    answers: list[Answer] = [archive({KEY: CONTENT})]

    def answer(request: Request) -> None:
        answers[-1](request)

    with server(answer) as there:
        source = Source(there.url(KEY), Archive())
        answers.append(archive({}, always=fault))
        with pytest.raises(error) as caught:
            source.views(ranges)
        assert caught.value.reason == reason
        if len(ranges) == 1:
            with pytest.raises(error):
                source.read(HEAD, 1000)
        answers.append(archive({KEY: CONTENT}))
        assert [bytes(one) for one in source.views(ranges)] == [CONTENT[slice(*one)] for one in ranges]
        assert source.read(HEAD, 1000) == CONTENT[HEAD : HEAD + 1000]


def with_etag(etags: Sequence[str]) -> Answer:
    """CONTENT, with one ETag an answer; the last one stays."""
    left, lock = list(etags), threading.Lock()

    def answer(request: Request) -> None:
        with lock:
            etag = left.pop(0) if len(left) > 1 else left[0]
        start, stop = request.range(len(CONTENT))
        where = f"bytes {start}-{stop - 1}/{len(CONTENT)}"
        request.reply(206, CONTENT[start:stop], Content_Range=where, ETag=etag)

    return answer


def test_ranges_of_one_call_are_those_of_single_reads(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    with server(archive({KEY: CONTENT})) as there:
        for url in (there.url(KEY), str(tmp_path / NAME)):
            source = Source(url, Archive())
            wanted = [(0, 10), (HEAD - 5, HEAD + 5), *SPREAD, (len(CONTENT) - 1, len(CONTENT)), (100, 200)]
            assert [bytes(one) for one in source.views(wanted)] == [CONTENT[slice(*one)] for one in wanted]
            assert source.access.requests == 1 + 27
            assert source.access.bytes_read == HEAD + 10 + 25 * 1000 + 1
            assert source.views([]) == []
            assert source.access.requests == 1 + 27
        last = there.seen[-1].headers["range"]
        assert last == f"bytes={len(CONTENT) - 1}-{len(CONTENT) - 1}"  # what it says of the object holds for all others


def test_ranges_of_one_call_come_side_by_side_but_not_all_at_once() -> None:
    under_way, most, lock, full = [0], [0], threading.Lock(), threading.Event()

    def answer(request: Request) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        if most[0] >= SIDE_BY_SIDE:
            full.set()
        # The first bytes are asked for alone. The ranges wait for each other, and then for one too many.
        if request.range(len(CONTENT))[0] > 0:
            full.wait(60)
            time.sleep(0.02)
        with lock:
            under_way[0] -= 1
        archive({KEY: CONTENT})(request)

    with server(answer) as there:
        Source(there.url(KEY), Archive()).views(SPREAD)
    assert most[0] == SIDE_BY_SIDE


@pytest.mark.parametrize("before", [1, 5, 25])
def test_an_object_that_is_replaced_while_it_is_read(before: int) -> None:
    """It does not matter which of the 25 ranges came from another object."""
    with server(with_etag(['"a"'] * before + ['"b"'])) as there:
        source = Source(there.url(KEY), Archive())
        with pytest.raises(ChangedError, match="replaced while it was being read"):
            source.views(SPREAD)
    with server(with_etag(['"a"'])) as there:
        assert len(Source(there.url(KEY), Archive()).views(SPREAD)) == 25


@pytest.mark.parametrize(
    "name", ["ATL06_20190416031203_08500211_006_01.h5", "503/a.h5", "429.h5", "403 .h5", "AccessDenied.h5"]
)
def test_a_name_is_no_reason(name: str) -> None:
    with server(archive({}, always=reset)) as there, pytest.raises(GranuleError) as caught:
        Source(there.url(f"/{name.replace(' ', '%20')}"), Archive())
    assert caught.value.reason == "network"


@pytest.mark.parametrize(
    "fault", [reset, status(403), status(503), status(500), STALL], ids="reset 403 503 500 stall".split()
)
def test_no_message_shows_a_signature(fault: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(fault, monkeypatch)
    with server(archive({}, always=fault)) as there:
        signed = there.url("/signed?X-Amz-Signature=s3cret&X-Amz-Credential=s3cret", "localhost")
        with server(archive({}, always=redirect(signed))) as here, pytest.raises(GranuleError) as caught:
            Source(here.url(KEY), Archive())
    assert here.url(KEY) in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_query_is_refused_and_not_shown() -> None:
    with pytest.raises(InputError) as caught:
        Source(f"https://data.nsidc.example{KEY}?X-Amz-Signature=s3cret", Archive())
    assert "s3cret" not in str(caught.value)
    assert KEY in str(caught.value)


def test_nobody_listens() -> None:
    with server(archive({})) as there:
        url = there.url(KEY)
    with pytest.raises(NetworkError) as caught:
        Source(url, Archive())
    assert caught.value.reason == "network"
    assert url in str(caught.value)


def test_s3_reads_ranges(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(monkeypatch, s3)
    Folder("s3://granules/atl06").put(NAME, CONTENT)
    assert_reads(Source(f"s3://granules{KEY}", Archive()))
    with pytest.raises(TruncatedError):
        Source(f"s3://granules{KEY}", Archive(), 7)


@pytest.mark.parametrize("url", [f"s3://granules/nothing/{NAME}", f"s3://no-such-bucket/{NAME}"])
def test_s3_has_no_such_object(s3: str, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    use_s3(monkeypatch, s3)
    with pytest.raises(MissingGranuleError) as caught:
        Source(url, Archive())
    assert url in str(caught.value)


def error_xml(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(400, error_xml("ExpiredToken")), AccessError),
        (status(403, error_xml("ExpiredToken")), AccessError),
        (status(403, error_xml("AccessDenied")), AccessError),
        (status(403, error_xml("InvalidAccessKeyId")), AccessError),
        (status(503, error_xml("SlowDown")), ThrottledError),
        (status(404, error_xml("NoSuchKey")), MissingGranuleError),
        (status(500, error_xml("InternalError")), NetworkError),
        (reset, NetworkError),
        (short(CONTENT), NetworkError),
    ],
    ids="expired400 expired403 denied key slowdown nosuchkey internal reset short".split(),
)
def test_each_failure_of_s3_has_its_reason(
    monkeypatch: pytest.MonkeyPatch, fault: Answer, error: type[GranuleError]
) -> None:
    with server(archive({}, always=fault)) as there:
        use_s3(monkeypatch, there.url())
        with pytest.raises(error) as caught:
            Source(f"s3://granules{KEY}", Archive())
    assert type(caught.value) is error
    assert f"s3://granules{KEY}" in str(caught.value)


def test_s3_that_slows_down_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(archive({f"/granules{KEY}": CONTENT}, status(503, error_xml("SlowDown")))) as there:
        use_s3(monkeypatch, there.url())
        assert Source(f"s3://granules{KEY}", Archive()).head == CONTENT[:HEAD]
    assert len(there.seen) == 2


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x.h5", "http://data.nasa.gov/x.h5", "gs://bucket/x.h5"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="is not read") as caught:
        Source(url, Archive())
    assert caught.value.reason == "input"


def test_urls_are_split() -> None:
    halves = [
        ("s3://bucket/a/b.h5", "s3://bucket", "a/b.h5"),
        ("https://data.nasa.gov/a/b%20c.h5", "https://data.nasa.gov", "a/b c.h5"),
        ("http://localhost:5/a.h5", "http://localhost:5", "a.h5"),
        ("/a/b c.h5", "file:///a", "b c.h5"),
        ("file:///a/b%20c.h5", "file:///a", "b c.h5"),
    ]
    for url, root, key in halves:
        assert (split_url(url).root, split_url(url).key) == (root, key)
    assert is_remote("s3://b")
    assert not is_remote("/a")
    assert not is_remote("file:///a")
    assert local_path("file:///a%20b") == Path("/a b")
    assert join_url("s3://b/p/", "a b", "c") == "s3://b/p/a b/c"
    assert join_url("https://data.nasa.gov/p", "a b") == "https://data.nasa.gov/p/a%20b"


def test_a_message_is_one_line_without_queries() -> None:
    problem = ValueError("GET http://localhost/a?X=s3cret (http://localhost/b?Y=s3cret) failed\nDebug: s3cret")
    assert plain_message(problem) == "GET http://localhost/a?... (http://localhost/b?...) failed"
    assert plain_message(ValueError()) == "ValueError"


@pytest.fixture(params=["file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    if request.param == "file":
        return Folder(str(tmp_path / "a new place#1"), create=True)
    use_s3(monkeypatch, request.getfixturevalue("s3"))
    return Folder(f"s3://results/{tmp_path.name}/")


def test_a_place_keeps_what_it_is_given(place: Folder) -> None:
    assert place.keys() == []
    assert not exists(place.url)
    place.put("cycle02/-6134114.npz", CONTENT)
    place.put("cycle02/-6134113.npz", b"old")
    place.put("cycle02/-6134113.npz", b"new")
    place.put("other", b"")
    assert place.get("cycle02/-6134114.npz") == CONTENT
    assert place.get("cycle02/-6134113.npz") == b"new"
    assert place.get("other") == b""
    assert place.get_range("cycle02/-6134114.npz", 100, 50) == CONTENT[100:150]
    assert place.keys() == ["cycle02/-6134113.npz", "cycle02/-6134114.npz", "other"]
    assert place.keys("cycle02") == ["cycle02/-6134113.npz", "cycle02/-6134114.npz"]
    assert exists(place.url)
    place.delete(["other", "cycle02/-6134113.npz"])
    assert place.keys() == ["cycle02/-6134114.npz"]
    place.delete(["other"])
    place.delete([])


def test_a_probe_leaves_nothing(place: Folder) -> None:
    place.probe()
    assert place.keys() == []


def test_all_are_deleted_even_if_one_is_not_there(place: Folder) -> None:
    there = [f"there{i}" for i in range(40)]
    for key in there:
        place.put(key, b"x")
    place.delete(["not there", *there[:20], "nor there", *there[20:]])
    assert place.keys() == []


def test_many_are_deleted(place: Folder) -> None:
    keys = [f"part/{i:04}" for i in range(30)]
    for key in keys:
        place.put(key, b"x")
    place.delete(iter(keys))
    assert place.keys() == []


def test_what_is_not_in_a_place_cannot_be_read(place: Folder) -> None:
    place.put("short", b"12345")
    for read in (lambda: place.get("nothing"), lambda: place.get_range("nothing", 0, 5)):
        with pytest.raises(StoreError, match="cannot read") as caught:
            read()
        assert caught.value.reason == "store"
        assert place.url in str(caught.value)
        assert "nothing" in str(caught.value)


def test_a_range_beyond_the_end_is_an_error_or_short(place: Folder) -> None:
    place.put("short", b"12345")
    with pytest.raises(StoreError):
        place.get_range("short", 10, 5)


def below_a_file(tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(b"x")
    return str(tmp_path / "file" / "results")


def test_a_place_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        Folder(below_a_file(tmp_path), create=True).probe()
    assert caught.value.reason == "store"
    assert str(tmp_path / "file") in str(caught.value)


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Folder(str(tmp_path / "nothing")).get("key")
    assert not (tmp_path / "nothing").exists()


def test_a_bucket_that_is_not_there(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_s3(monkeypatch, s3)
    missing = Folder("s3://no-such-bucket/results")
    attempts: list[Callable[[], Any]] = [
        missing.probe,
        missing.keys,
        lambda: missing.get("x"),
        lambda: missing.put("x", b""),
    ]
    for attempt in attempts:
        with pytest.raises(StoreError) as caught:
            attempt()
        assert "s3://no-such-bucket/results" in str(caught.value)


def test_a_bucket_that_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(archive({}, always=status(403, error_xml("AccessDenied")))) as there:
        use_s3(monkeypatch, there.url())
        with pytest.raises(StoreError) as caught:
            Folder("s3://results").probe()
    assert "s3://results" in str(caught.value)


def test_results_go_to_no_web_server() -> None:
    with pytest.raises(InputError, match="results go to"):
        Folder("https://data.nasa.gov/results")


def test_what_exists(tmp_path: Path) -> None:
    assert not exists(str(tmp_path / "nothing"))
    assert not exists(str(tmp_path))
    (tmp_path / "file").write_bytes(b"")
    assert exists(str(tmp_path))
    assert exists(str(tmp_path / "file"))
    assert exists(tmp_path.as_uri())


@pytest.mark.parametrize("folder", ["plain", "with space", "a#b", "100%", "a%20b", "what?"])
def test_a_place_is_where_its_address_says(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    address = split_url(str(tmp_path / folder / "list.jsonl"))
    Folder(str(tmp_path / folder)).put("list.jsonl", b"x")
    assert Folder(address.root).get(address.key) == b"x"


def test_a_store_is_opened_once(tmp_path: Path) -> None:
    access = Archive()
    first = access.store(f"file://{tmp_path}")
    assert access.store(f"file://{tmp_path}") is first
    renewed = access.store(f"file://{tmp_path}", stale=first)
    assert renewed is not first
    assert access.store(f"file://{tmp_path}", stale=first) is renewed


def test_a_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    place = Folder(str(tmp_path / "results"), create=True)
    place.put("part", b"old")
    with ExitStack() as stack:
        handles = [stack.enter_context((tmp_path / "results" / "part").open("rb")) for _ in range(3)]
        place.put("part", CONTENT)
        assert all(handle.read() == b"old" for handle in handles)
    assert [there.name for there in (tmp_path / "results").iterdir()] == ["part"]
    assert place.keys() == ["part"]


@pytest.mark.parametrize("scheme", ["https", "s3", "http", "ftp"])
def test_a_password_in_a_url_is_refused_and_not_shown(scheme: str) -> None:
    with pytest.raises(InputError) as caught:
        Source(f"{scheme}://user:s3cret@127.0.0.1/a.h5", Archive())
    assert "s3cret" not in str(caught.value)
    assert "user" not in str(caught.value).split("a URL with a user")[0]
