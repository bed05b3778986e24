"""What a run on Lambda takes: its bill worked out by hand, and the number of workers that is worth starting."""

from dataclasses import astuple, replace
from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

from maggjob.backend.bill import CostLine, Prices
from maggjob.planning import cloud, requests
from maggjob.planning.cloud import CloudRun, CloudWork, cloud_run, plain_run
from maggjob.planning.cost import QUARTER, SPLIT_FROM
from maggjob.planning.division import call_sizes, cells_per_shard, divisions
from maggjob.planning.index_counts import IndexCounts
from maggjob.planning.requests import CLIENT, RunSize, S3Requests, call_requests, job_requests, run_requests
from maggjob.planning.workers import SLACK_S, SLACK_SHARE, choose_workers, numbers_up_to

PRICES = Prices("never", gb_second=0.01, call=0.5, get=0.25, put=2.0, log_mb=4.0, log_mb_a_call=3.0, memory_gb=4.0)
times = st.lists(st.floats(0.01, 30.0), min_size=1, max_size=60)


def work_of(seconds: list[float], **changes: object) -> CloudWork:
    """Cells of ten granules each, which take some seconds."""
    cells = len(seconds)
    work = CloudWork(seconds, [10] * cells, [0] * cells, rows=cells, arrays=11, shard_arrays=11, pairs=10 * cells)
    return replace(work, **changes)  # type: ignore[arg-type]


def test_a_bill_by_hand() -> None:
    """Four cells of 2 s by one worker: a call each, as each takes a quarter of all; one shard; no indexes."""
    run = cloud_run(work_of([2.0] * 4), 1, replace(PRICES, init_s=3.0))
    # Each call takes a tenth of a second besides its work, the shard one second.
    busy = 4 * 2.0 + 1.0 + 5 * 0.1
    wall = 5.0 + busy
    expected = run_requests(
        RunSize(map_calls=4, tasks=4, shards=1, rows=4, arrays=11, shard_arrays=11, workers=1, wall_s=wall)
    )
    assert [astuple(line) for line in run.bill] == [
        ("compute", pytest.approx(busy * 4.0), "GB-s", 0.01),
        ("INIT", 1 * 3.0 * 4.0, "GB-s", 0.01),
        ("requests", 5, "calls", 0.5),
        ("S3 GET", expected.gets, "requests", 0.25),
        ("S3 PUT", expected.puts, "requests", 2.0),
        ("logs", 5 * 3.0, "MB", 4.0),
        ("archive GET", 0.0, "requests", 0.0),
    ]
    assert run.wall_s == pytest.approx(wall)
    assert run.dollars == pytest.approx(sum(line.quantity * line.price for line in run.bill))
    plain = run.to_dict()
    assert (plain["workers"], plain["calls"], plain["dollars"]) == (1, 5, run.dollars)
    assert [line["dollars"] for line in plain["bill"]] == [line.dollars for line in run.bill]


def test_requests_to_the_archive_are_paid_where_nobody_else_does() -> None:
    work = work_of([1.0], archive_requests=100.0)
    assert cloud_run(work, 1, PRICES).bill[-1] == CostLine("archive GET", 100.0, "requests", 0.0)
    paid = cloud_run(replace(work, archive_is_free=False), 1, PRICES).bill[-1]
    assert (paid.quantity, paid.dollars) == (100.0, 25.0)


def test_quarters_read_every_index_again() -> None:
    """One hot cell among small ones: four tasks, each of which reads ten indexes and takes more than a quarter."""
    seconds = [100.0, *[1.0] * 3]
    counts = IndexCounts(calls=3, lookups=40, written=40, reads=40.0)
    work = work_of(seconds, index_counts=lambda workers: counts, indexed=40)
    alone, split = cloud_run(work, 1), cloud_run(work, 20)
    assert (alone.in_quarters, split.in_quarters) == (0, 1)
    gets = {run.workers: {line.what: line.quantity for line in run.bill}["S3 GET"] for run in (alone, split)}
    # Three tasks more: their lists of granules, their ten indexes, and their parts, of which the client reads all four.
    calls = split.calls - alone.calls
    started = (split.bill[1].quantity - alone.bill[1].quantity) / alone.bill[1].quantity
    assert gets[20] - gets[1] == pytest.approx(3 + 30 + 4 + 3 * calls + started)
    compute = {run.workers: run.bill[0].quantity / Prices().memory_gb for run in (alone, split)}
    assert compute[20] - compute[1] == pytest.approx((4 * QUARTER - 1) * 100.0 + 0.1 * calls)


def test_indexes_are_counted_as_they_are_made() -> None:
    without = RunSize(map_calls=2, tasks=4, shards=1, rows=4, arrays=11, shard_arrays=11)
    made = replace(without, index_calls=3, lookups=30, indexes=30, index_reads=90.0)
    more = S3Requests(
        run_requests(made).gets - run_requests(without).gets, run_requests(made).puts - run_requests(without).puts
    )
    # A call reads the function, what the stage shares and its list; the client reads its status.
    # Once a stage, the client asks for the bucket.
    assert more.gets == 3 * 4 + 30 + 90 + 1
    # Start and end of a call; function, shared values, lists, and two listings.
    assert more.puts == 3 * 2 + 30 + 5


def test_large_results_are_objects_of_their_own() -> None:
    before, after = (call_requests(10, 1, 2, large, 0.0) for large in (0, 4))
    assert (after.gets - before.gets, after.puts - before.puts) == (4, 4)
    few, many = (work_of([1.0], visits=[n]) for n in (10, 60))
    assert {w.what: w.quantity for w in cloud_run(many, 1).bill}["S3 PUT"] == pytest.approx(
        {w.what: w.quantity for w in cloud_run(few, 1).bill}["S3 PUT"] + 1
    )
    assert requests.is_large(requests.REPORT_BYTES + 60 * requests.VISIT_BYTES)


def test_polls_are_counted_by_time_and_pages() -> None:
    short, long, large = (call_requests(calls, 1, 1, 0, wall) for calls, wall in ((10, 10), (10, 70), (2500, 70)))
    assert long.puts - short.puts == 60 / requests.POLL
    assert large.puts - long.puts == 2 * 2490 + 2 * 70 / requests.POLL


def test_a_small_run_is_mostly_the_clients_own() -> None:
    nothing = job_requests(RunSize())
    assert nothing.gets >= CLIENT.gets
    assert nothing.puts >= CLIENT.puts


@given(times, st.integers(1, 500), st.booleans())
def test_more_cells_cost_more(seconds: list[float], workers: int, split: bool) -> None:
    work = work_of(seconds, may_split=split)
    one = cloud_run(work, workers)
    more = cloud_run(work_of([*seconds, 1.0], may_split=split), workers)
    assert all(line.dollars >= 0 for line in one.bill)
    assert more.dollars > one.dollars
    assert one.wall_s > cloud.START_S


@given(times, st.integers(1, 300))
def test_calls_are_those_of_the_run(seconds: list[float], workers: int) -> None:
    """The plan divides cells as the run does: pieces of equal cells, longest first, in calls of a share of the time."""
    run = cloud_run(work_of(seconds), workers)
    depths = divisions(seconds, workers, split=True)
    assert run.in_quarters == sum(takes > max(SPLIT_FROM, sum(seconds) / workers) for takes in seconds)
    pieces = sorted((QUARTER**d * s for s, d in zip(seconds, depths, strict=True) for _ in range(4**d)), reverse=True)
    sizes = call_sizes(pieces, workers, cloud.CALLS_A_WORKER)
    assert sum(sizes) == len(pieces)
    assert run.calls == len(sizes) + 1


def test_a_plain_run_has_a_call_for_each_task() -> None:
    run = plain_run([2.0, 4.0], S3Requests(10, 20), 5, replace(PRICES, init_s=1.0))
    lines = {line.what: line.quantity for line in run.bill}
    assert run.calls == lines["requests"] == 2
    assert lines["compute"] == pytest.approx((6.0 + 0.2) * 4.0)
    assert lines["INIT"] == 2 * 4.0
    assert lines["S3 GET"] == 10 + 4 + 1 + 2


@pytest.mark.parametrize(
    ("cells", "children", "step"), [(1, 4096, 4), (5, 4096, 8), (1000, 4096, 256), (9, 1 << 20, 1)]
)
def test_a_shard_is_a_whole_number_of_chunks(cells: int, children: int, step: int) -> None:
    assert cells_per_shard(cells, children) == step


# ---- the number of workers


def runs(wall: dict[int, float], dollars: dict[int, float]) -> object:
    """An estimate that knows some numbers of workers; between them it is that of the next smaller one."""

    def estimate(workers: int, prices: Prices | None = None) -> CloudRun:
        known = max(number for number in wall if number <= workers)
        return CloudRun(workers, wall[known], (CostLine("all", dollars[known], "dollars", 1.0),), 1)

    return estimate


def test_the_cheapest_that_is_almost_as_fast_is_chosen() -> None:
    wall = {1: 500.0, 100: 24.0, 200: 14.0, 400: 11.0, 1000: 9.0}
    dollars = {1: 0.01, 100: 0.08, 200: 0.09, 400: 0.12, 1000: 0.2}
    choice = choose_workers(runs(wall, dollars), 400, 1000)  # type: ignore[arg-type]
    assert (choice.chosen.workers, choice.fastest.workers) == (200, 1000)
    # 14 s are 5 s later than the fastest with up to 1,000.
    assert choose_workers(runs(wall, dollars), 1000).chosen.workers == 200  # type: ignore[arg-type]
    assert choose_workers(runs(wall, dollars), 150).chosen.workers == 100  # type: ignore[arg-type]
    assert "200 workers; at the fastest" in choice.brief


def test_a_long_run_may_end_a_tenth_later() -> None:
    wall, dollars = {1: 1200.0, 10: 1090.0, 20: 1000.0}, {1: 1.0, 10: 2.0, 20: 3.0}
    assert choose_workers(runs(wall, dollars), 20).chosen.workers == 10  # type: ignore[arg-type]


@given(times, st.integers(1, 1500))
def test_no_choice_passes_its_limits(seconds: list[float], limit: int) -> None:
    work = work_of(seconds)
    choice = choose_workers(lambda workers, prices=None: cloud_run(work, workers, prices), limit, 1000)
    chosen, fastest = choice.chosen, choice.fastest
    assert 1 <= chosen.workers <= limit
    assert fastest.workers <= max(limit, 1000)
    assert fastest.wall_s <= chosen.wall_s
    within = [cloud_run(work, number) for number in numbers_up_to(limit)]
    soonest = min(run.wall_s for run in within)
    assert chosen.wall_s <= soonest + max(SLACK_S, SLACK_SHARE * soonest)
    cheaper = [run for run in within if run.dollars < chosen.dollars]
    assert all(run.wall_s > soonest + max(SLACK_S, SLACK_SHARE * soonest) for run in cheaper)


def test_numbers_of_workers_reach_the_limit() -> None:
    assert numbers_up_to(1) == [1]
    assert numbers_up_to(400)[-2:] == [300, 400]
    assert numbers_up_to(3500)[-3:] == [2000, 3000, 3500]
    assert all(b <= 2 * a for a, b in pairwise(numbers_up_to(9000)))
