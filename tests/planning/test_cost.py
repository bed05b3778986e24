"""The model of what a run takes: its formulas worked out by hand, and what must hold for any work."""

import math
from dataclasses import astuple, replace

import pytest
from hypothesis import given, strategies as st

from maggjob.planning.cost import (
    HANDSHAKE,
    KEPT_SHARE,
    LATENCY,
    Load,
    Work,
    bytes_read,
    estimate,
    requests,
    seconds,
)

WORK = Work(
    cell_s=2.0,
    visit_s=0.5,
    scan_s=0.01,
    keep_s=0.1,
    visit_bytes=1000.0,
    scan_bytes=10.0,
    rows_most=80.0,
    line=100.0,
    side_by_side=4.0,
    each=1.0,
    connections=10,
)
ONE = Load("-6", visits=3, granule_rows=300.0, rows=20.0)

numbers = st.floats(0, 1e9)
loads = st.builds(Load, st.text("-123456", min_size=1, max_size=7), st.integers(1, 500), numbers, numbers)
many = st.lists(loads, min_size=1, max_size=20)
drivers = st.sampled_from(sorted(LATENCY))
workers = st.integers(1, 5000)


def test_a_cell_by_hand() -> None:
    assert bytes_read(ONE, WORK) == 3 * 1000 + 3 * 80 * 10 == 5400
    assert requests(ONE, WORK) == 54
    assert seconds(ONE, WORK, 0.0) == pytest.approx(2.0 + 3 * 0.5 + 300 * 0.01 + 20 * 0.1)
    connecting = 10 * HANDSHAKE
    # Three granules: no more requests wait at once.
    assert seconds(ONE, WORK, 0.3) == pytest.approx(8.5 + connecting + 54 * 0.3 / 3)
    twice = replace(WORK, each=2.0)
    assert seconds(ONE, twice, 0.3) == pytest.approx(8.5 + connecting + 54 * 0.3 / 4)
    many_visits = replace(ONE, visits=10)
    assert requests(many_visits, WORK) == 130  # all 300 segments count: 80 each at most
    assert seconds(many_visits, WORK, 0.3) == pytest.approx(2.0 + 10 * 0.5 + 3.0 + 2.0 + connecting + 130 * 0.3 / 4)


def test_a_run_by_hand() -> None:
    other = Load("-5", visits=1, granule_rows=100.0, rows=80.0)
    made = estimate([ONE, other], "s3", WORK)
    latency = LATENCY["s3"]
    both = [
        # 1000 + 800 bytes: 18 requests, one after the other, over ten connections.
        2.0 + 0.5 + 1.0 + 8.0 + 10 * HANDSHAKE + 18 * latency,
        8.5 + 10 * HANDSHAKE + 54 * latency / 3,
    ]
    assert made.observations == pytest.approx(KEPT_SHARE * 100.0)
    assert (made.bytes_read, made.requests) == (7200.0, 72.0)
    assert made.worker_time_s == pytest.approx(sum(both))
    assert [cell for cell, _ in made.longest] == ["-5", "-6"]
    assert [time for _, time in made.longest] == pytest.approx(both)
    assert made.wall_s(1) == pytest.approx(sum(both))
    assert made.wall_s(2, 7.0) == pytest.approx(7.0 + sum(both) / 2 + both[0] / 2)
    assert made.wall_s(1000) == pytest.approx(both[0])
    assert made.to_dict()["longest"] == made.longest


@pytest.mark.parametrize("driver", LATENCY)
def test_nothing_takes_nothing(driver: str) -> None:
    made = estimate([], driver)
    assert astuple(made) == (0.0, 0, 0, 0, (), 0, 0, 0)
    assert made.wall_s(1) == 0.0


@given(loads, st.integers(0, 100), numbers, numbers, drivers)
def test_more_work_is_no_less_time(load: Load, visits: int, granule_rows: float, rows: float, driver: str) -> None:
    """More segments, or as many granules more: never less to read, and never less processor time."""
    more = Load(load.cell, load.visits + visits, load.granule_rows + granule_rows, load.rows + rows)
    work = Work()
    assert bytes_read(more, work) >= bytes_read(load, work) > 0
    assert requests(more, work) >= requests(load, work) > 0
    assert seconds(more, work, 0.0) >= seconds(load, work, 0.0) > 0
    same_visits = replace(more, visits=load.visits)
    assert seconds(same_visits, work, LATENCY[driver]) >= seconds(load, work, LATENCY[driver])
    assert estimate([more], driver).observations >= estimate([load], driver).observations


@given(loads, drivers)
def test_farther_away_is_no_faster(load: Load, driver: str) -> None:
    assert seconds(load, Work(), LATENCY["file"]) <= seconds(load, Work(), LATENCY["s3"])
    assert seconds(load, Work(), LATENCY["s3"]) <= seconds(load, Work(), LATENCY["https"])


@given(many, loads, drivers)
def test_another_cell_adds_its_own(some: list[Load], load: Load, driver: str) -> None:
    before, alone, after = (estimate(cells, driver) for cells in (some, [load], [*some, load]))
    for name in ("observations", "bytes_read", "requests", "worker_time_s"):
        both = getattr(before, name) + getattr(alone, name)
        assert math.isclose(getattr(after, name), both, rel_tol=1e-9)


@given(many, drivers, st.integers(1, 8))
def test_the_longest_are_the_longest(some: list[Load], driver: str, most: int) -> None:
    every = sorted((seconds(load, Work(), LATENCY[driver]) for load in some), reverse=True)
    made = estimate(some, driver, most=most)
    assert [time for _, time in made.longest] == every[:most]
    times = [(load.cell, seconds(load, Work(), LATENCY[driver])) for load in some]
    assert all(pair in times for pair in made.longest)


@given(many, drivers, workers, st.floats(0, 100))
def test_the_wall_time_has_its_bounds(some: list[Load], driver: str, number: int, start: float) -> None:
    made = estimate(some, driver)
    longest, wall = made.longest[0][1], made.wall_s(number, start)
    slack = 1e-9 * (wall + 1)
    assert wall >= start + longest - slack
    assert wall >= start + made.worker_time_s / number - slack
    assert wall <= start + made.worker_time_s + slack  # no worse than one worker
    assert made.wall_s(number + 1, start) <= wall + slack
    assert made.wall_s(1) == made.worker_time_s
