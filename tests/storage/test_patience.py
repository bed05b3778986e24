"""An outage of a minute: requests are asked again with pauses, and a store that stays away costs its time once."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from obstore.exceptions import GenericError

import maggjob
from maggjob.errors import InputError, StoreError
from maggjob.storage import folder as folder_module, patience
from maggjob.storage.archive import Archive, Ranges
from maggjob.storage.folder import Folder
from maggjob.storage.patience import LONGEST_PAUSE, Outage, is_temporary, pause
from tests.servers import Answer, Request, archive, reset, server, status


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


GONE = GenericError("Generic S3 error: Server returned non-2xx status code: 503 Service Unavailable: ")


def failing(clock: Clock, until: float, problem: Exception = GONE) -> Any:
    """Return a request that fails until a time."""

    def ask() -> str:
        if clock.now < until:
            raise problem
        return "answer"

    return ask


@given(st.floats(0, 70))
def test_an_outage_of_a_minute_is_waited_for(seconds: float) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGGJOB_PATIENCE", "75")
        assert Outage(clock, reached=True).patiently(failing(clock, 100.0 + seconds), clock.wait) == "answer"
    assert clock.now < 100.0 + seconds + LONGEST_PAUSE
    assert all(0 < one <= LONGEST_PAUSE for one in clock.pauses)


def test_a_store_that_stays_away_costs_its_time_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGGJOB_PATIENCE", "75")
    clock = Clock()
    outage = Outage(clock, reached=True)
    for _ in range(20):
        with pytest.raises(GenericError):
            outage.patiently(failing(clock, 1e9), clock.wait)
    assert 175.0 <= clock.now < 175.0 + LONGEST_PAUSE
    outage.end()
    with pytest.raises(GenericError):
        outage.patiently(failing(clock, 1e9), clock.wait)
    assert 250.0 <= clock.now < 250.0 + 2 * LONGEST_PAUSE


def test_one_object_that_stays_away_is_given_up_although_others_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGGJOB_PATIENCE", "75")
    clock = Clock()
    outage = Outage(clock, reached=True)

    def wait(seconds: float) -> None:
        clock.wait(seconds)
        outage.end()

    with pytest.raises(GenericError):
        outage.patiently(failing(clock, 1e9), wait)
    assert 175.0 <= clock.now < 175.0 + LONGEST_PAUSE


def test_a_store_that_was_never_reached_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGGJOB_PATIENCE", "75")
    clock = Clock()
    outage = Outage(clock)
    refused = GenericError("Generic HTTP error: HTTP error: error sending request\n\nDebug source:\nConnectionRefused")
    with pytest.raises(GenericError):
        outage.patiently(failing(clock, 1e9, refused), clock.wait)
    assert clock.pauses == []
    # A server that answers with an error has been reached.
    assert Outage(clock).patiently(failing(clock, clock.now + 60), clock.wait) == "answer"
    assert outage.patiently(lambda: "answer") == "answer"
    assert outage.patiently(failing(clock, clock.now + 60, refused), clock.wait) == "answer"


@pytest.mark.parametrize(
    "problem",
    [
        FileNotFoundError("Object at location k not found: Server returned non-2xx status code: 404 Not Found: "),
        GenericError("Generic S3 error: Server returned non-2xx status code: 400 Bad Request: "),
        GenericError("Generic S3 error: HTTP error: error sending request\n\nDebug source:\nUnknownIssuer"),
        GenericError("Generic LocalFileSystem error: Unable to open file"),
        ValueError("HTTP error"),
    ],
)
def test_what_will_not_pass_is_not_asked_again(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    monkeypatch.setenv("MAGGJOB_PATIENCE", "75")
    clock = Clock()
    assert not is_temporary(problem)
    with pytest.raises(type(problem)):
        Outage(clock, reached=True).patiently(failing(clock, 1e9, problem), clock.wait)
    assert clock.pauses == []


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_pauses_grow_and_differ(attempt: int, draw: float) -> None:
    assert 0 < pause(attempt, draw) <= LONGEST_PAUSE
    assert pause(attempt, 0.0) <= pause(attempt, draw) <= pause(attempt, 1.0)
    assert pause(attempt, draw) <= pause(attempt + 1, draw)


@pytest.mark.parametrize("text", ["-1", "nan", "soon", "inf"])
def test_a_patience_that_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MAGGJOB_PATIENCE", text)
    with pytest.raises(InputError, match="MAGGJOB_PATIENCE is"):
        patience.patience()


def cut(request: Request) -> None:
    """Break off in the middle of the body."""
    start, stop = request.range(1 << 20)
    request.send_response(206)
    request.send_header("Content-Length", str(stop - start))
    request.send_header("Content-Range", f"bytes {start}-{stop - 1}/{1 << 20}")
    request.end_headers()
    request.wfile.write(b"x" * min(10, stop - start - 1))
    request.wfile.flush()
    request.close_connection = True


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Do not wait between attempts, and be patient."""
    monkeypatch.setenv("MAGGJOB_PATIENCE", "75")
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.05)
    backoff = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=2), "base": 2}
    monkeypatch.setattr("maggjob.storage.archive.RETRY", {"max_retries": 1, "backoff": backoff})
    monkeypatch.setattr("maggjob.storage.stores.RETRY", {"max_retries": 1, "backoff": backoff})
    return


FAULTS = {"503": status(503), "429": status(429), "500": status(500), "reset": reset, "cut": cut}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.usefixtures("no_pauses")
def test_reads_are_asked_again_whatever_breaks(fault: Answer) -> None:
    content = np.random.default_rng(1).bytes(1 << 20)
    with server(archive({"/a.h5": content}, *[fault] * 7)) as there:
        access = Archive()
        access.outage.reached = True
        assert bytes(Ranges(there.url("/a.h5"), access).get(5, 99).content) == content[5:99]
    assert access.requests >= 4
    assert len(there.seen) == 8


@pytest.mark.usefixtures("no_pauses")
def test_writes_to_a_bucket_are_tried_again_and_a_lock_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    left = [503] * 5
    lock = threading.Lock()

    def answer(request: Request) -> None:
        with lock:
            code = left.pop() if left else 200
        request.reply(code, ETag='"e"')

    with server(answer) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.url())
        monkeypatch.setattr(folder_module, "OUTAGE", Outage(reached=True))
        folder = Folder("s3://bucket/run", "us-west-2")
        folder.put("a", b"x")
        assert left == []
        left += [503] * 9
        with pytest.raises(StoreError, match="503"):
            folder.create("lock-1.json", b"x")
        assert left


@pytest.mark.usefixtures("no_pauses")
def test_a_run_over_an_outage_is_complete(tmp_path: Path, sector: list[Path]) -> None:
    """Every request fails for a while in the middle of a run: no cell is lost, and the ledger is that of a calm run."""
    files = {f"/{path.name}": path.read_bytes() for path in sector[:3]}
    lock, seen = threading.Lock(), [0]
    calm = archive(files)

    def answer(request: Request) -> None:
        with lock:
            seen[0] += 1
            number = seen[0]
        (status(503) if 40 <= number < 160 else calm)(request)

    local = maggjob.make_catalog(sector[:3])
    with server(answer) as there:
        content: dict[str, Any] = local.to_dict()
        content["granules"]["urls"] = {"https": {"base": there.url("/"), "rest": [path.name for path in sector[:3]]}}
        how: dict[str, Any] = {"backend": "serial", "index": False}
        one = maggjob.run("atl06.yaml", catalog=content, store="one.zarr", **how)
    two = maggjob.run("atl06.yaml", catalog=local, store="two.zarr", **how)
    assert seen[0] > 160
    assert one.complete
    assert one.tally == two.tally
