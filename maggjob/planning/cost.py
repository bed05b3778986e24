"""Estimate of a run's time, requests and cost: a small model with measured coefficients, and dated prices.

    seconds of a cell = CELL + sum over its granules of (VISIT + SCAN * segments of the granule
                        + KEEP * segments of it in the cell)
                        + connections * HANDSHAKE + requests * latency / requests that wait at once

A visit is the reading of one granule for one cell. ``python -m benchmarks.estimate`` fits the coefficients to runs and
checks the estimate against other runs; they hold for the machine that they were first fitted on. The last line was
measured by ``python -m benchmarks.waiting``; what it says of waiting holds on any machine. The number of segments of
each granule in each cell is unknown before the run: a granule's segments are assumed to be spread evenly over the cells
that they are expected in. What calls, workers and requests add on Lambda is in `maggjob.planning.cloud`.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Share of segments that pass the quality and fill filters: 0.85 to 0.96 over the ice sheets.
KEPT_SHARE = 0.9
# Assumed for granules about which nothing is known, from cycle 22 (version 007) over Antarctica: the number of segments
# of a granule in each of its cells of order 6, and the number of these cells.
ROWS_A_VISIT = 20_000
CELLS_A_GRANULE = 20
# A cell that takes less is not worth three more calls.
SPLIT_FROM = 3.0  # seconds
# Share of a cell's time that a quarter takes, measured: 0.44 to 0.79, 0.60 on average. It is more than a quarter: a
# track crosses two quarters, chunks extend beyond both, and each quarter reads the index of every granule.
QUARTER = 0.6
# Seconds of a core for a connection over TLS, measured: 0.4 to 0.8 ms.
HANDSHAKE = 0.0005
# Time to the first byte.
LATENCY = {"file": 0.0, "s3": 0.03, "https": 0.15}  # seconds


@dataclass(frozen=True)
class Work:
    """Measured coefficients of the work on cells."""

    cell_s: float = 0.002
    """Seconds per cell: start, statistics of its children, writing of the part."""
    visit_s: float = 0.0106
    """Seconds per visit: reading the structure of the granule."""
    scan_s: float = 3.5e-8
    """Seconds per segment of a granule: coordinates are read and assigned to cells."""
    keep_s: float = 6.8e-7
    """Seconds per segment in the cell: read, screened, sorted, reduced."""
    visit_bytes: float = 1.05e6
    """Bytes per visit: the structure of the granule, in blocks of 64 KiB."""
    scan_bytes: float = 10.6
    """Bytes per segment of a granule."""
    rows_most: float = math.inf
    """Maximum number of segments per granule that count: those of the chunks that a cell reads."""
    line: float = 106e3
    """Bytes per request."""
    side_by_side: float = 40.0
    """Number of requests of a cell that wait at once, at most. Measured with 58 granules: 33 to 42; on a busy machine
    the client waits less for the archive and more for its core."""
    each: float = 4.4
    """Number of requests of one granule that wait at once."""
    connections: int = 64
    """Number of connections of a cell, at most."""


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
    side_by_side=64.0,
    each=4.6,
    connections=200,
)


@dataclass(frozen=True)
class IndexWork:
    """Measured coefficients of building an index."""

    granule_s: float = 0.0118
    """Seconds per granule: reading its structure, writing the index."""
    row_s: float = 0.72e-7
    """Seconds per segment."""
    granule_bytes: float = 0.87e6
    """Bytes per granule: its structure."""
    row_bytes: float = 9.2
    """Bytes per segment: its coordinates, compressed."""
    line: float = 86e3
    """Bytes per request."""
    side_by_side: float = 20.0
    """Number of requests that wait at once, measured with sixteen granules per call."""


@dataclass(frozen=True)
class Load:
    """The work of one cell."""

    cell: str
    """Id of the cell."""
    visits: int
    """Number of granules that touch the cell."""
    granule_rows: float
    """Number of segments of these granules, in the cell or not."""
    rows: float
    """Expected number of segments in the cell."""


@dataclass(frozen=True)
class Estimate:
    """Expected work of a run."""

    observations: float
    """Number of segments kept."""
    bytes_read: float
    """Bytes read from the archive."""
    requests: float
    """Number of requests to the archive."""
    worker_time_s: float
    """Seconds of all workers together, including the indexes."""
    longest: tuple[tuple[str, float], ...]
    """Ids of the cells that take longest, and their seconds."""
    index_time_s: float = 0.0
    """Seconds of all workers together for building indexes."""
    indexes: int = 0
    """Number of granules that indexes are built for."""
    visits: int = 0
    """Number of pairs of a granule and a cell; each reads an index, if indexes are used."""

    def wall_s(self, workers: int, start_s: float = 0.0) -> float:
        """Return the seconds from start to end of the run, which is at least the time of the longest cell.

        Parameters
        ----------
        workers : int
            Number of workers at once.
        start_s : float
            Seconds until the workers have started.
        """
        longest = self.longest[0][1] if self.longest else 0.0
        cells = self.worker_time_s - self.index_time_s
        # A hot cell is split; the longest task is then one of its quarters, or a cell that is not split.
        if self.indexes and is_hot(longest, cells, workers):
            longest = max(QUARTER * longest, SPLIT_FROM, cells / workers)
        return start_s + max(self.worker_time_s / workers + longest / 2 * (workers > 1), longest)

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as plain values."""
        return asdict(self)


def seconds(load: Load, work: Work, latency: float) -> float:
    """Return the seconds that a worker needs for a cell.

    Parameters
    ----------
    load : Load
    work : Work
    latency : float
        Seconds per request until the first byte arrives.
    """
    cpu = work.cell_s + work.visit_s * load.visits + work.scan_s * load.granule_rows + work.keep_s * load.rows
    asked = requests(load, work)
    at_once = min(work.side_by_side, work.each * max(1, load.visits))
    # Only remote archives make one wait, and are read over TLS.
    connecting = HANDSHAKE * min(work.connections, asked) if latency else 0.0
    return cpu + connecting + asked * latency / at_once


def bytes_read(load: Load, work: Work) -> float:
    """Return the bytes that a cell reads from the archive.

    Parameters
    ----------
    load : Load
    work : Work
    """
    rows = min(load.granule_rows, work.rows_most * load.visits)
    return work.visit_bytes * load.visits + work.scan_bytes * rows


def requests(load: Load, work: Work) -> float:
    """Return the number of requests that a cell makes to the archive.

    Parameters
    ----------
    load : Load
    work : Work
    """
    return bytes_read(load, work) / work.line


def work_of(indexed: bool) -> Work:
    """Return the coefficients of the work on cells, with or without indexes."""
    return WITH_INDEX if indexed else WITHOUT_INDEX


def estimate(
    loads: Sequence[Load],
    driver: str,
    work: Work | None = None,
    *,
    indexed: Sequence[float] | None = None,
    most: int = 5,
) -> Estimate:
    """Estimate the work of a run from its cells.

    Parameters
    ----------
    loads : sequence of Load
    driver : {"s3", "https", "file"}
        How granules are read; each driver has its latency.
    work : Work, optional
        Coefficients; by default the measured ones, with or without indexes.
    indexed : sequence of float, optional
        Segments of each granule that an index is built for; None for a run without indexes.
    most : int
        Number of longest cells to list.
    """
    work, making = work or work_of(indexed is not None), IndexWork()
    rows = indexed or ()
    index_bytes = making.granule_bytes * len(rows) + making.row_bytes * sum(rows)
    index_time = making.granule_s * len(rows) + making.row_s * sum(rows)
    index_time += index_bytes / making.line * LATENCY[driver] / making.side_by_side
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
    """Return True if a run would wait for this cell and it is worth splitting.

    Parameters
    ----------
    takes : float
        Seconds of the cell.
    total : float
        Seconds of all cells.
    workers : int
        Number of workers at once.
    """
    return takes > max(SPLIT_FROM, total / workers)
