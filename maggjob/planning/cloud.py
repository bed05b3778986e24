"""What a run on AWS Lambda takes with some number of workers: its calls, requests, seconds and dollars.

A run has three stages: calls that build indexes, calls that map cells (hot ones in quarters, small ones together), and
calls that write shards. The functions are pure; `maggjob.planning.plan.Plan.cloud_work` collects what they are given.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from maggjob.backend.bill import CostLine, Prices
from maggjob.planning.cost import QUARTER
from maggjob.planning.division import call_sizes, divisions
from maggjob.planning.index_counts import IndexCounts, no_indexes
from maggjob.planning.requests import (
    INDEXED_BYTES,
    INDEXED_CELL_BYTES,
    REPORT_BYTES,
    VISIT_BYTES,
    RunSize,
    S3Requests,
    call_requests,
    is_large,
    run_requests,
)

CALL_S = 0.1
"""Seconds of every call besides its work: 0.10 to 0.12 in the emulator (``python -m benchmarks.lambda_handler``)."""
CALLS_A_WORKER = 4
"""Calls that map cells per worker on Lambda, where each costs as much as a second of a worker, most of it for requests.
"""
SHARD_S = 1.0
"""Seconds of a call that writes a shard of 256 cells."""
START_S = 5.0
"""Assumed time until the first workers of a run on Lambda have started, seconds."""


@dataclass(frozen=True)
class CloudRun:
    """What a run on Lambda takes with some number of workers."""

    workers: int
    """Largest number of workers at once."""
    wall_s: float
    """Seconds from start to end of the run."""
    bill: tuple[CostLine, ...]
    """Lines of the bill."""
    calls: int
    """Number of calls."""
    in_quarters: int = 0
    """Number of cells that are mapped in pieces."""

    @property
    def dollars(self) -> float:
        """Sum of the bill, US dollars."""
        return sum(line.dollars for line in self.bill)

    @property
    def brief(self) -> str:
        """The estimate in a few words."""
        return f"${self.dollars:.4f}, {self.wall_s:,.0f} s with {self.workers:,} workers"

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain values."""
        bill = [asdict(line) | {"dollars": line.dollars} for line in self.bill]
        own = {"workers": self.workers, "wall_time_s": self.wall_s, "calls": self.calls, "dollars": self.dollars}
        return own | {"cells_in_quarters": self.in_quarters, "bill": bill}


class CloudEstimate(Protocol):
    """Function that tells what a run on Lambda takes with some number of workers."""

    def __call__(self, workers: int, prices: Prices | None = None) -> CloudRun:
        """Return what the run takes with so many workers, by default at the prices of `Prices.date`."""


@dataclass(frozen=True)
class CloudWork:
    """The work of a run of the cells job on Lambda, for any number of workers."""

    seconds: Sequence[float]
    """Seconds of each cell to map, without dividing it."""
    visits: Sequence[int]
    """Number of granules of each of these cells."""
    depths: Sequence[int]
    """How many times each of these cells must be divided so that it fits in a worker's memory."""
    may_split: bool = True
    """Whether cells may be divided to save time."""
    saved: int = 0
    """Number of cells whose parts an earlier attempt left."""
    resumed: bool = False
    """Whether an earlier attempt is continued."""
    indexed: int = 0
    """Number of granules whose indexes are built or looked for; 0 for a run without indexes."""
    index_s: float = 0.0
    """Seconds of all workers together for building indexes."""
    index_cells: float = 0.0
    """Number of pairs of these granules and a cell."""
    index_counts: Callable[[int], IndexCounts] = no_indexes
    """Numbers of index objects, given the number of workers."""
    pairs: int = 0
    """Number of pairs of a granule and a cell, mapped or not."""
    archive_requests: float = 0.0
    """Number of requests to the archive."""
    archive_is_free: bool = True
    """True if somebody else pays for requests to the granules' bucket, as NASA does."""
    shards: int = 1
    """Shards of the result, over all windows and orders."""
    rows: int = 0
    """Parts that the shards are made of, over all orders."""
    arrays: int = 0
    """Arrays of the result, over all orders."""
    shard_arrays: int = 0
    """Pairs of a shard and an array."""
    orders: int = 1
    """Orders of the result."""


@dataclass(frozen=True)
class _Tasks:
    """Tasks of the map, longest first."""

    seconds: list[float]
    visits: list[int]
    split: int
    pieces: int

    @classmethod
    def of(cls, work: CloudWork, workers: int) -> "_Tasks":
        times = divisions(work.seconds, workers, split=work.may_split, depths=work.depths)
        every = [
            (QUARTER**depth * takes, visits)
            for takes, visits, depth in zip(work.seconds, work.visits, times, strict=True)
            for _ in range(4**depth)
        ]
        every.sort(key=lambda one: -one[0])
        split = [depth for depth in times if depth]
        return cls([s for s, _ in every], [v for _, v in every], len(split), sum(4**depth for depth in split))


def cloud_run(work: CloudWork, workers: int, prices: Prices | None = None) -> CloudRun:
    """Return what a run takes with some number of workers.

    Parameters
    ----------
    work : CloudWork
    workers : int
        Maximum number of workers at once; no stage starts more than it has calls.
    prices : Prices, optional
        By default the prices of `Prices.date`.
    """
    prices, tasks = prices or Prices(), _Tasks.of(work, workers)
    sizes = call_sizes(tasks.seconds, workers, CALLS_A_WORKER)
    indexes = work.index_counts(workers)
    calls = indexes.calls + len(sizes) + work.shards
    busy = sum(tasks.seconds) + work.index_s + SHARD_S * work.shards + CALL_S * calls
    wall = _wall(busy, CALL_S + max(tasks.seconds, default=0.0), workers)
    started = min(workers, max(indexes.calls, len(sizes), work.shards))
    size = RunSize(
        index_calls=indexes.calls,
        lookups=indexes.lookups,
        indexes=indexes.written,
        map_calls=len(sizes),
        tasks=len(tasks.seconds),
        split=tasks.split,
        pieces=tasks.pieces,
        saved=work.saved,
        resumed=work.resumed,
        index_reads=indexes.reads * sum(tasks.visits) / max(1, work.pairs),
        large_results=_large_results(work, tasks, sizes, indexes.calls),
        shards=work.shards,
        rows=work.rows,
        arrays=work.arrays,
        shard_arrays=work.shard_arrays,
        orders=work.orders,
        workers=started,
        wall_s=wall,
    )
    bill = bill_of(busy, started, calls, run_requests(size), prices)
    archive = CostLine("archive GET", work.archive_requests, "requests", 0.0 if work.archive_is_free else prices.get)
    return CloudRun(workers, wall, (*bill, archive), calls, tasks.split)


def _large_results(work: CloudWork, tasks: _Tasks, sizes: Sequence[int], index_calls: int) -> int:
    """Return the number of calls whose result is an object of its own."""
    large, left = 0, iter(tasks.visits)
    for size in sizes:
        large += is_large(REPORT_BYTES * size + VISIT_BYTES * sum(next(left) for _ in range(size)))
    reports = INDEXED_BYTES * work.indexed + INDEXED_CELL_BYTES * work.index_cells
    return large + index_calls * is_large(reports / max(1, index_calls))


def plain_run(seconds: Sequence[float], own: S3Requests, workers: int, prices: Prices | None = None) -> CloudRun:
    """Return what a run of one stage takes whose tasks are one call each.

    Parameters
    ----------
    seconds : sequence of float
        Seconds of each call.
    own : S3Requests
        Requests of the job to the user's buckets, apart from those of Lithops.
    workers : int
        Maximum number of workers at once.
    prices : Prices, optional
        By default the prices of `Prices.date`.
    """
    prices, calls = prices or Prices(), len(seconds)
    busy, longest = sum(seconds) + CALL_S * calls, CALL_S + max(seconds, default=0.0)
    wall, started = _wall(busy, longest, workers), min(workers, calls)
    requests = own + call_requests(calls, 1, started, 0, wall)
    return CloudRun(workers, wall, bill_of(busy, started, calls, requests, prices), calls)


def _wall(busy: float, longest: float, workers: int) -> float:
    """Return the seconds from start to end of a run, which is at least the time of the longest call."""
    return START_S + max(busy / workers + longest / 2 * (workers > 1), longest)


def bill_of(seconds: float, started: int, calls: int, requests: S3Requests, prices: Prices) -> tuple[CostLine, ...]:
    """Return the bill of a run, line by line, as the stages of a run have it.

    Parameters
    ----------
    seconds : float
        Seconds of all workers together, without their start.
    started : int
        Number of workers that start.
    calls : int
        Number of calls.
    requests : S3Requests
        Requests to the user's own buckets.
    prices : Prices
    """
    return (
        CostLine("compute", seconds * prices.memory_gb, "GB-s", prices.gb_second),
        CostLine("INIT", started * prices.init_s * prices.memory_gb, "GB-s", prices.gb_second),
        CostLine("requests", calls, "calls", prices.call),
        CostLine("S3 GET", requests.gets, "requests", prices.get),
        CostLine("S3 PUT", requests.puts, "requests", prices.put),
        CostLine("logs", calls * prices.log_mb_a_call, "MB", prices.log_mb),
    )


def sum_of(bill: Sequence[CostLine]) -> Mapping[str, float]:
    """Return the dollars of each line of a bill, by what is paid for."""
    return {line.what: line.dollars for line in bill}
