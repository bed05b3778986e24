"""The timeline of calls: no larger for a larger run, and every call counted in it."""

import re

import numpy as np
import pytest

from maggjob.backend.call_times import StageCalls
from maggjob.show.timeline import (
    AGAIN,
    FAILED,
    MOST_ROWS,
    RUNNING,
    SLOWER,
    STARTING,
    WAITING,
    StagePicture,
    running_at_once,
    running_svg,
    ticks,
)


def stage(count: int, **more: object) -> StageCalls:
    """Calls of 1 s, in four sandboxes, one after the other."""
    started = tuple(250 * i for i in range(count))
    given = {"submitted": (0,) * count, "started": started, "ran": (1000,) * count, **more}
    return StageCalls("map", 500, 250 * count + 1000, **given)  # type: ignore[arg-type]


def bars(picture: StagePicture) -> list[tuple[str, float, float]]:
    return [(bar.kind, bar.begin, bar.end) for row in picture.rows for bar in row]


def test_a_row_is_a_call() -> None:
    picture = StagePicture(stage(2, init={0: 400}))
    assert bars(picture) == [
        (WAITING, 500, 500),
        (RUNNING, 500, 1500),
        (STARTING, 500, 900),
        (WAITING, 500, 750),
        (RUNNING, 750, 1750),
    ]
    assert picture.counts() == {"new sandboxes": 1, "slow": 0, "submitted again": 0, "failed": 0}


def test_rows_are_sorted_by_start_and_what_never_started_comes_last() -> None:
    calls = stage(4, started=(900, None, 0, 300), failed={1: "never_started"})
    picture = StagePicture(calls)
    assert picture.order == [2, 3, 0, 1]
    assert bars(picture)[-1] == (FAILED, 500, 500 + calls.took)


def test_kinds() -> None:
    ran = [1000] * 30
    ran[7], ran[8] = 3500, 2900
    calls = stage(30, ran=tuple(ran), attempts={3: 2, 4: 3}, failed={4: "died"})
    kinds = StagePicture(calls).kinds
    assert {i: kind for i, kind in kinds.items() if kind != RUNNING} == {3: AGAIN, 4: FAILED, 7: SLOWER}


def test_a_call_is_slow_beside_its_neighbours_not_beside_all() -> None:
    """Large tasks come first: that they take ten times as long is no surprise."""
    ran = [10_000] * 100 + [1000] * 1000
    ran[50], ran[600] = 31_000, 3500
    slow = [i for i, kind in StagePicture(stage(1100, ran=tuple(ran))).kinds.items() if kind == SLOWER]
    assert slow == [50, 600]


def test_short_calls_are_never_slow() -> None:
    assert SLOWER not in StagePicture(stage(3, ran=(10, 10, 900))).kinds.values()


@pytest.mark.parametrize("count", [1, MOST_ROWS, MOST_ROWS + 1, 1344, 20_000])
def test_a_large_stage_is_a_small_picture(count: int) -> None:
    every = dict.fromkeys(range(0, count, 3), "died")
    picture = StagePicture(stage(count, failed=every, attempts=dict.fromkeys(range(1, count, 3), 2)))
    assert len(picture.rows) <= MOST_ROWS
    assert picture.per_row == max(1, -(-count // MOST_ROWS))
    assert sum(kind == FAILED for kind in picture.kinds.values()) == picture.counts()["failed"] == len(every)
    svg = picture.svg(250.0 * count + 2000)
    assert len(svg) < 60_000
    # Nothing is outside of the picture.
    for x, row, width in re.findall(r"M([\d.]+) (\d+)\.5h([\d.]+)", svg):
        assert 0 <= float(x) <= float(x) + float(width) <= 1000.05 + 1.5
        assert int(row) < len(picture.rows)


def test_an_empty_stage_is_a_picture() -> None:
    assert StagePicture(stage(0)).svg(1000.0).startswith("<svg")


def test_the_calls_at_once_are_the_time_of_all_calls() -> None:
    """Against a count at a million moments."""
    rng = np.random.default_rng(4)
    begin, took = rng.integers(0, 60_000, 500), rng.integers(0, 9000, 500)
    calls = StageCalls("map", 1000, 70_000, (0,) * 500, tuple(begin.tolist()), tuple(took.tolist()))
    end = 80_000.0
    running = running_at_once([calls, stage(3, started=(None, 0, 0))], end, 40)
    assert running.sum() * end / 40 == pytest.approx(took.sum() + 2000)
    moments = np.arange(2000 * 5, 2000 * 6) + 0.5
    there = ((begin[:, None] + 1000 <= moments) & (begin[:, None] + 1000 + took[:, None] > moments)).sum(axis=0)
    assert running[5] == pytest.approx(there.mean(), abs=1e-6)
    assert running_svg(running).count("V") == 41


@pytest.mark.parametrize("seconds", [0.02, 0.9, 7.0, 59.0, 61.0, 500.0, 4000.0, 90_000.0])
def test_ticks_are_few_and_round(seconds: float) -> None:
    found = ticks(1000 * seconds)
    assert 2 <= len(found) <= 7
    assert found[0] == (0.0, "0")
    assert all(0.0 <= at <= 1.0 for at, _ in found)
    for at, text in found[1:]:
        number, unit = text.split()
        assert float(number) * {"s": 1, "min": 60}[unit] == pytest.approx(at * seconds, rel=1e-4)
