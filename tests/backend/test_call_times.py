"""When calls ran: by whichever clock a worker has, kept in a few bytes, and read as it was written."""

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from maggjob.backend.call_times import StageCalls, corrected, stage_calls
from maggjob.backend.executor import run_tasks
from maggjob.backend.outcome import CallTimes, Outcome
from maggjob.backend.settings import lithops_config
from tests import calls

ROOT = str(Path(__file__).resolve().parents[2])
"""Workers import functions of the tests."""
TIMES = st.floats(0.0, 1e5)


@given(TIMES, TIMES, TIMES, st.floats(-1e6, 1e6))
def test_a_worker_whose_clock_is_off_is_seen_between_submission_and_answer(
    submitted: float, waited: float, took: float, off: float
) -> None:
    begin = submitted + waited
    seen = begin + took
    found = corrected(CallTimes(submitted, begin + off, seen + off), submitted, seen)
    assert found.started is not None
    assert found.ended - found.started == pytest.approx(took, abs=1e-3)
    assert submitted - 1e-3 <= found.started <= found.ended <= seen + 1e-3
    if off == 0.0:
        assert found.started == pytest.approx(begin, abs=1e-3)


def test_a_call_that_never_started_has_no_start() -> None:
    lost = CallTimes(1.0, None, 9.0)
    assert corrected(lost, 1.0, 9.0) is lost


COLUMNS = st.integers(0, 40).flatmap(
    lambda n: st.builds(
        StageCalls,
        stage=st.text(max_size=8),
        began=st.integers(0, 10**7),
        took=st.integers(0, 10**7),
        submitted=st.lists(st.integers(0, 3), min_size=n, max_size=n).map(tuple),
        started=st.lists(st.none() | st.integers(0, 10**7), min_size=n, max_size=n).map(tuple),
        ran=st.lists(st.integers(0, 10**7), min_size=n, max_size=n).map(tuple),
        init=st.dictionaries(st.integers(0, max(0, n - 1)), st.integers(1, 9999)),
        attempts=st.dictionaries(st.integers(0, max(0, n - 1)), st.integers(2, 9)),
        failed=st.dictionaries(st.integers(0, max(0, n - 1)), st.text(max_size=8)),
        workers=st.sampled_from(((), tuple(range(n)))),
    )
)


@pytest.mark.dear("thousands of calls")
@given(COLUMNS)
def test_columns_are_read_as_they_were_written(columns: StageCalls) -> None:
    assert StageCalls.from_dict(json.loads(json.dumps(columns.to_dict()))) == columns


@pytest.mark.parametrize("column", ["submitted", "started", "ran", "workers"])
def test_columns_of_other_lengths_are_refused(column: str) -> None:
    plain = StageCalls("map", 0, 9, (0, 0), (1, 2), (3, 3), workers=(0, 1)).to_dict()
    plain[column] = plain[column][:1] if column != "submitted" else [[0, 1]]
    with pytest.raises(ValueError, match="differ in length"):
        StageCalls.from_dict(plain)


def test_a_call_takes_a_few_bytes() -> None:
    """A thousand workers, twenty calls each: columns, and each time of submission once."""
    started = tuple(250 * (i // 1000) + i % 1000 for i in range(20_000))
    columns = StageCalls("map", 100, 6000, (3,) * 20_000, started, (240,) * 20_000, workers=tuple(range(1000)) * 20)
    assert len(json.dumps(columns.to_dict(), separators=(",", ":"))) < 20 * len(columns)


def times_of(outcomes: list[Outcome[int]]) -> list[CallTimes]:
    found = [outcome.call.times for outcome in outcomes]
    return [times for times in found if times is not None]


@pytest.mark.dear("starts workers; test_executor does, too", keep=("serial",))
@pytest.mark.parametrize("backend", ["serial", "localhost"])
def test_every_call_has_its_times(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    config = lithops_config(workers=2) if backend == "localhost" else None
    outcomes = run_tasks(calls.slow_first, list(range(3)), backend=backend, config=config)
    times = times_of(outcomes)
    assert len(times) == 3
    assert all(one.started is not None and one.submitted <= one.started <= one.ended for one in times)
    ran = [one.ended - (one.started or 0.0) for one in times]
    assert ran[0] >= 0.9, "it sleeps for a second"
    columns = stage_calls("map", outcomes, began=0.0, since=times[0].submitted, took=9.0)
    assert (len(columns), columns.failed, columns.attempts, columns.workers) == (3, {}, {}, ())
    assert columns.ran[0] >= 900


@pytest.mark.parametrize("backend", ["serial", "localhost"])
def test_a_call_that_failed_has_its_times(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    config = lithops_config(workers=2) if backend == "localhost" else None
    outcomes = run_tasks(calls.raises, list(range(3)), backend=backend, config=config)
    columns = stage_calls("map", outcomes, began=0.5, since=times_of(outcomes)[0].submitted, took=9.0)
    assert columns.failed == {1: "worker"}
    assert columns.started[1] is not None
    assert columns.began == 500


def test_tasks_after_the_deadline_never_started() -> None:
    outcomes = run_tasks(calls.square, [1, 2], backend="serial", deadline=0.0)
    columns = stage_calls("map", outcomes, began=0.0, since=0.0, took=0.0)
    assert columns.started == (None, None)
    assert columns.failed == {0: "deadline", 1: "deadline"}
    assert StageCalls.from_dict(columns.to_dict()) == columns
