"""Requests that a run of the cells job on Lambda makes to the user's own buckets, as far as they cost something.

Counted from what the code does, request by request; a test compares the numbers with those that an emulator counts of
whole runs, of the client and of the workers together. S3 asks the same price for GET and HEAD, and another for PUT,
POST and LIST; deleting is free. Requests of calls that are submitted again are not foreseen.
"""

import math
from dataclasses import dataclass

INLINE = 8192
"""Bytes of the result of a call from which Lithops writes it to an object of its own."""
REPORT_BYTES, VISIT_BYTES = 400, 165
"""Bytes of the report of a cell, and of each of its granules, in the result of a call, measured."""
INDEXED_BYTES, INDEXED_CELL_BYTES = 260, 12
"""Bytes of the report of an indexed granule, and of each of its cells, in the result of a call, measured."""
POLL = 1.0
"""Seconds between two looks of Lithops' monitor at the bucket: 2 while nothing ends, 0.4 while calls end."""
PAGE = 1000
"""Keys per answer to a LIST."""
STAGES = 3
"""Index, map and assembly."""


@dataclass(frozen=True)
class S3Requests:
    """Requests to the user's own buckets."""

    gets: float = 0.0
    """GET and HEAD."""
    puts: float = 0.0
    """PUT, POST and LIST."""

    def __add__(self, other: "S3Requests") -> "S3Requests":
        return S3Requests(self.gets + other.gets, self.puts + other.puts)


@dataclass(frozen=True)
class RunSize:
    """What the number of requests of a run depends on."""

    index_calls: int = 0
    """Calls that build indexes; 0 for a run without indexes."""
    lookups: int = 0
    """Index objects that these calls read, because they are there."""
    indexes: int = 0
    """Index objects that they write."""
    map_calls: int = 0
    """Calls that map cells."""
    tasks: int = 0
    """Cells and pieces of cells that are mapped."""
    split: int = 0
    """Cells that are mapped in pieces."""
    pieces: int = 0
    """Pieces of these cells, all together."""
    saved: int = 0
    """Cells whose parts an earlier attempt left."""
    resumed: bool = False
    """Whether an earlier attempt is continued."""
    index_reads: float = 0.0
    """Index objects that all tasks read, each counted once for each task."""
    large_results: int = 0
    """Calls whose result is an object of its own."""
    shards: int = 0
    """Shards of the result, over all windows and orders; each is one call."""
    rows: int = 0
    """Parts that the shards are made of, over all orders."""
    arrays: int = 0
    """Arrays of the result, over all orders."""
    shard_arrays: int = 0
    """Pairs of a shard and an array."""
    orders: int = 1
    """Orders of the result, each a group of the Zarr."""
    workers: int = 1
    """Workers that start."""
    wall_s: float = 0.0
    """Seconds from the first call to the last answer."""

    @property
    def calls(self) -> int:
        """All calls."""
        return self.index_calls + self.map_calls + self.shards

    @property
    def stages(self) -> int:
        """Stages that have calls."""
        return sum(calls > 0 for calls in (self.index_calls, self.map_calls, self.shards))


def is_large(result_bytes: float) -> bool:
    """Return True if a result of so many bytes is an object of its own."""
    return result_bytes >= INLINE


def call_requests(calls: int, stages: int, started: int, large: int, wall_s: float) -> S3Requests:
    """Return the requests of calls through Lithops, whatever they do.

    A worker reads the function, and writes that it starts and how it ended; the client reads the latter. A large result
    is written and read as well. The client asks for the bucket once per stage, and each worker once when it starts.
    Lithops' monitor lists the objects of each job, two for each call, until the job ends.

    Parameters
    ----------
    calls : int
        Number of calls.
    stages : int
        Number of stages that they belong to.
    started : int
        Number of workers that start.
    large : int
        Number of calls with a large result.
    wall_s : float
        Seconds from the first call to the last answer.
    """
    # Half of the objects are there on average.
    pages = math.ceil((calls / max(1, stages) + 1) / PAGE)
    # The function is written, and all objects of the stage are listed when they are deleted.
    return S3Requests(2 * calls + large + stages + started, 2 * calls + large + 2 * stages + wall_s / POLL * pages)


def run_requests(run: RunSize) -> S3Requests:
    """Return the requests of a run."""
    started = min(run.workers, max(run.index_calls, run.map_calls, run.shards))
    return call_requests(run.calls, run.stages, started, run.large_results, run.wall_s) + job_requests(run)


def job_requests(run: RunSize) -> S3Requests:
    """Return the requests of a run without those of Lithops."""
    # Each call reads what its stage shares.
    shared = S3Requests(run.calls, run.stages)
    # Lists of granules are one object a stage, of which each call or task reads its own part.
    # The client lists the folder of indexes.
    of_index = S3Requests(run.index_calls + run.lookups, run.indexes + 2 * (run.index_calls > 0))
    of_map = S3Requests(run.tasks + run.index_reads + run.saved, run.tasks + 1)
    # The client reads the parts of pieces and writes that of their cell.
    of_pieces = S3Requests(run.pieces, run.split)
    return shared + of_index + of_map + of_pieces + _assembly(run) + CLIENT + (RESUME if run.resumed else NOTHING)


NOTHING = S3Requests()
CLIENT = S3Requests(9, 41)
"""The client's own, which do not grow with the run: 16 for lock, notes, plan, versions, manifest, ledger, history,
summary and bill, and 25 LISTs."""
RESUME = S3Requests(0, 5)
"""Requests by which a run finds what an earlier attempt left."""


def _assembly(run: RunSize) -> S3Requests:
    """Return the requests that write the result from the parts.

    A shard reads its parts, and of each array the metadata, then the shard itself before and after it is written. The
    client creates each array, for which zarr looks for five objects, and reads its metadata for the manifest.
    """
    return S3Requests(
        run.rows + 3 * run.shard_arrays + run.shards + 6 * run.arrays + 10 * run.orders + 11,
        run.shard_arrays + run.arrays + 2 * run.orders + 3,
    )
