"""How cells are divided into tasks, and tasks into calls: hot cells in quarters, small cells together.

The same functions divide a run (`maggjob.pipeline.balance`) and count its calls beforehand (`maggjob.planning.cloud`).
"""

from collections.abc import Sequence

from maggjob.planning.cost import is_hot

CALLS_A_WORKER = 8
"""Target number of calls per worker where calls cost nothing: workers then finish at about the same time, and a call
that dies loses little. On Lambda it is that of `maggjob.planning.cloud`."""
MOST = 16
"""Cells per call, at most."""


def divisions(seconds: Sequence[float], workers: int, *, split: bool, depths: Sequence[int] | None = None) -> list[int]:
    """Return how many times each cell is divided into quarters.

    Parameters
    ----------
    seconds : sequence of float
        Expected duration of each cell.
    workers : int
        Number of concurrent workers.
    split : bool
        If False, no cell is split to save time: without indexes, each quarter would read all coordinates.
    depths : sequence of int, optional
        How many times each cell must be divided so that its pieces fit in a worker's memory; by default never.
    """
    total = sum(seconds)
    needed = depths or [0] * len(seconds)
    return [
        max(depth, int(split and is_hot(takes, total, workers))) for takes, depth in zip(seconds, needed, strict=True)
    ]


def call_sizes(seconds: Sequence[float], workers: int, calls_a_worker: int = CALLS_A_WORKER) -> list[int]:
    """Return the number of tasks of each call: consecutive tasks, until a call takes its share of the total time.

    Parameters
    ----------
    seconds : sequence of float
        Expected duration of each task, longest first.
    workers : int
        Number of concurrent workers.
    calls_a_worker : int
        Target number of calls per worker.

    Examples
    --------
    >>> call_sizes([8.0, 2.0, 1.0, 1.0, 1.0], 1)
    [1, 1, 1, 1, 1]
    >>> call_sizes([1.0] * 32, 2)
    [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    share = sum(seconds) / (calls_a_worker * workers)
    sizes: list[int] = []
    count, time = 0, 0.0
    for takes in seconds:
        if count and (time + takes > share or count == MOST):
            sizes.append(count)
            count, time = 0, 0.0
        count += 1
        time += takes
    return [*sizes, count] if count else sizes


CHUNK_ROWS = 1 << 14
"""Target for the rows per chunk: four cells of 4,096 children, 64 KiB. In smaller chunks, zarr would spend more time on
the chunk than on its values."""
SHARD_ROWS = 1 << 20
"""Largest number of rows per shard: 256 cells of 4,096 children, which is a 3 MB object and one second of a worker."""


def cells_per_chunk(children: int) -> int:
    """Return the number of cells per chunk of a result, for cells of some number of children."""
    return max(1, CHUNK_ROWS // children)


def cells_per_shard(cells: int, children: int) -> int:
    """Return the number of cells per shard of a result: a shard is a whole number of chunks.

    Parameters
    ----------
    cells : int
        Number of cells of the result.
    children : int
        Number of children of a cell.
    """
    chunk = cells_per_chunk(children)
    return min(-(-cells // chunk), max(1, SHARD_ROWS // (chunk * children))) * chunk
