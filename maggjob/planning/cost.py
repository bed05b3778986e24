"""What a run takes: a small model whose coefficients were measured, and prices with their date.

    seconds of a cell = CELL + sum over its granules of (VISIT + SCAN * segments of the granule
                        + KEEP * segments of it in the cell + requests * latency / side by side)

The coefficients come from ``python -m benchmarks.estimate``, which fits them to runs and holds the estimate
against others; they are in the pace of the machine that they were first fitted on. What is not known before the
run, the segments of each granule in each cell, is taken as the granule's segments spread evenly over the cells
that they are expected in.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from maggjob.backend.bill import CostLine, Prices

KEPT_SHARE = 0.9  # of the segments pass quality and fill: 0.85 to 0.96 over the ice sheets
# Where nothing is known of a granule, it is one of cycle 22 of v007 over Antarctica:
ROWS_A_VISIT = 20_000  # its segments in a cell of order 6
CELLS_A_GRANULE = 20  # cells of order 6 that they lie in
GRANULES_A_CALL = (5, 16)  # indexed by one call: fewer cost more in calls, of more too much is lost with one
CALLS_A_WORKER = 4  # so that workers end together
SPLIT_FROM = 3.0  # seconds of a cell: less is not worth three calls more
QUARTER = 0.4  # of the time of a cell, assumed: a track crosses two of its quarters, and chunks reach beyond both
LATENCY = {"file": 0.0, "s3": 0.03, "https": 0.15}  # seconds to the first byte


@dataclass(frozen=True)
class Work:
    """Measured coefficients of the work."""

    cell_s: float = 0.002
    """Seconds a cell: start, statistics of its children, the part."""
    visit_s: float = 0.0106
    """Seconds a granule of a cell: its structure."""
    scan_s: float = 3.5e-8
    """Seconds a segment of a granule: coordinates are read and binned."""
    keep_s: float = 6.8e-7
    """Seconds a segment in the cell: read, screened, sorted, reduced."""
    visit_bytes: float = 1.05e6
    """Bytes a granule of a cell: its structure, in lines of 64 KiB."""
    scan_bytes: float = 10.6
    """Bytes a segment of a granule."""
    rows_most: float = math.inf
    """Segments of a granule that count at most: those of the chunks that a cell reads."""
    line: float = 106e3
    """Bytes a request."""
    side_by_side: int = 8
    """Granules of a cell that are read at once."""


WITHOUT_INDEX = Work()
WITH_INDEX = Work(
    cell_s=0.0012,
    visit_s=0.0016,
    scan_s=1.7e-9,
    keep_s=1.06e-7,
    visit_bytes=60e3,
    scan_bytes=7.4,
    rows_most=60_000.0,
    line=35e3,
    side_by_side=64,
)


@dataclass(frozen=True)
class IndexWork:
    """Measured coefficients of making an index."""

    granule_s: float = 0.0118
    """Seconds a granule: its structure, and what is written."""
    row_s: float = 0.72e-7
    """Seconds a segment."""
    granule_bytes: float = 0.87e6
    """Bytes a granule: its structure."""
    row_bytes: float = 9.2
    """Bytes a segment: its coordinates, compressed."""
    line: float = 86e3
    """Bytes a request."""


@dataclass(frozen=True)
class Load:
    """The work of one cell."""

    cell: str
    """Its id."""
    visits: int
    """Granules that touch it."""
    granule_rows: float
    """Segments of these granules, in the cell or not."""
    rows: float
    """Segments expected in the cell."""


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take."""

    observations: float
    """Segments kept."""
    bytes_read: float
    """From the archive."""
    requests: float
    """To the archive."""
    worker_time_s: float
    """Seconds of all workers."""
    longest: tuple[tuple[str, float], ...]
    """Cells that take longest, and their seconds."""
    index_time_s: float = 0.0
    """Seconds of all workers, out of these, for making indexes."""
    indexes: int = 0
    """Granules that indexes are made of."""
    visits: int = 0
    """Pairs of a granule and a cell; each reads an index, if there are any."""

    def wall_s(self, workers: int, start_s: float = 0.0) -> float:
        """Seconds from start to end with so many workers: no less than the longest cell."""
        longest = self.longest[0][1] if self.longest else 0.0
        cells = self.worker_time_s - self.index_time_s
        if self.indexes and is_hot(longest, cells, workers):  # then the longest is a quarter, or one left whole
            longest = max(QUARTER * longest, SPLIT_FROM, cells / workers)
        return start_s + max(self.worker_time_s / workers + longest / 2 * (workers > 1), longest)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def seconds(load: Load, work: Work, latency: float) -> float:
    """Seconds that a cell takes a worker."""
    cpu = work.cell_s + work.visit_s * load.visits + work.scan_s * load.granule_rows + work.keep_s * load.rows
    return cpu + requests(load, work) * latency / min(work.side_by_side, max(1, load.visits))


def bytes_read(load: Load, work: Work) -> float:
    """Bytes that a cell reads from the archive."""
    rows = min(load.granule_rows, work.rows_most * load.visits)
    return work.visit_bytes * load.visits + work.scan_bytes * rows


def requests(load: Load, work: Work) -> float:
    """Requests that a cell makes to the archive."""
    return bytes_read(load, work) / work.line


def work_of(indexed: bool) -> Work:
    """Coefficients of the work on cells."""
    return WITH_INDEX if indexed else WITHOUT_INDEX


def estimate(
    loads: Sequence[Load],
    driver: str,
    work: Work | None = None,
    *,
    indexed: Sequence[float] | None = None,
    most: int = 5,
) -> Estimate:
    """What cells are expected to take.

    Parameters
    ----------
    loads : sequence of Load
    driver : {"s3", "https", "file"}
        How granules are reached: its latency counts.
    work : Work, optional
        Coefficients; by default those measured, with or without indexes.
    indexed : sequence of float, optional
        Segments of each granule that an index is made of; None for a run without indexes.
    most : int
        Number of the longest cells to name.
    """
    work, making = work or work_of(indexed is not None), IndexWork()
    rows = indexed or ()
    index_bytes = making.granule_bytes * len(rows) + making.row_bytes * sum(rows)
    index_time = making.granule_s * len(rows) + making.row_s * sum(rows)
    index_time += index_bytes / making.line * LATENCY[driver] / work.side_by_side
    times = sorted(((load.cell, seconds(load, work, LATENCY[driver])) for load in loads), key=lambda t: -t[1])
    return Estimate(
        observations=KEPT_SHARE * sum(load.rows for load in loads),
        bytes_read=sum(bytes_read(load, work) for load in loads) + index_bytes,
        requests=sum(requests(load, work) for load in loads) + index_bytes / making.line,
        worker_time_s=sum(time for _, time in times) + index_time,
        longest=tuple(times[:most]),
        index_time_s=index_time,
        indexes=len(rows),
        visits=sum(load.visits for load in loads),
    )


def is_hot(takes: float, total: float, workers: int) -> bool:
    """Whether a run would wait for one cell: it takes longer than a worker's share of all, and long enough to split."""
    return takes > max(SPLIT_FROM, total / workers)


def granules_a_call(granules: int, workers: int) -> int:
    """Granules that one call indexes."""
    least, most = GRANULES_A_CALL
    return min(most, max(least, granules // (CALLS_A_WORKER * workers)))


def lambda_cost(expected: Estimate, cells: int, workers: int, archive_is_free: bool, prices: Prices) -> list[CostLine]:
    """The bill of a run on AWS Lambda, line by line.

    Parameters
    ----------
    cells : int
        Calls on them, at most: small cells share one. There are calls for indexes, too.
    workers : int
        Workers at once; there are no more than calls of a stage.
    archive_is_free : bool
        Whether somebody else pays for requests to the granules' bucket, as NASA does.
    """
    of_indexes = math.ceil(expected.indexes / granules_a_call(expected.indexes, workers))
    calls, started = cells + of_indexes, min(workers, max(cells, of_indexes))
    index_reads = expected.visits if expected.indexes else 0
    return [
        CostLine("compute", expected.worker_time_s * prices.memory_gb, "GB-s", prices.gb_second),
        CostLine("starts", started * prices.init_s * prices.memory_gb, "GB-s", prices.gb_second),
        CostLine("calls", calls, "calls", prices.call),
        CostLine("S3 GET", calls * prices.gets_a_call + index_reads, "requests", prices.get),
        CostLine("S3 PUT", calls * prices.puts_a_call - of_indexes + expected.indexes, "requests", prices.put),
        CostLine("logs", calls * prices.log_mb_a_call, "MB", prices.log_mb),
        CostLine("archive GET", expected.requests, "requests", 0.0 if archive_is_free else prices.get),
    ]
