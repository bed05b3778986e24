"""Which granules share a pack of indexes, and how many requests for packs the cells of a plan make.

A pack is what one call of the index stage makes. Each cell reads a pack once, however many of its granules are in it.
So granules that lie in the same cells belong together. Neighbouring ground tracks cross the same cells; tracks that
follow each other in time are far apart. docs/decisions/indexes.md compares the orders.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np

from maggjob.icesat2.names import GranuleName
from maggjob.icesat2.orbit import track_place
from maggjob.model.tasks import GRANULES_A_PACK as MOST

LEAST = 5
"""Granules per pack, at least, if there are so many: with fewer, calls cost more than the work."""

Pairs = Mapping[int, Sequence[int]]
"""Positions in a catalog of the granules of each cell of one time window, by nested id of the cell."""


def pack_size(granules: int, workers: int) -> int:
    """Return the largest number of granules that a call indexes and packs: each worker gets a call, as far as it pays.

    Parameters
    ----------
    granules : int
        Number of all granules to index.
    workers : int
        Number of workers at once.

    Examples
    --------
    >>> [pack_size(4161, workers) for workers in (2, 200, 400, 1700)]
    [16, 16, 11, 5]
    """
    return min(MOST, max(LEAST, math.ceil(granules / workers)))


def order_granules(names: Sequence[str], windows: Sequence[Pairs]) -> list[int]:
    """Return the positions of all granules of some windows, each once, so that neighbours follow each other.

    Granules of ICESat-2 are ordered by region and by the longitude of their ground track; of one track, cycles follow
    each other. Others are ordered by their cells. A cell of one window reads only granules of that window, so the
    granules of a window stay together.

    Parameters
    ----------
    names : sequence of str
        Ids of all granules of the catalog.
    windows : sequence of mapping
        Granules of each planned cell; one mapping without a time axis.
    """
    ordered: dict[int, None] = {}
    for pairs in windows:
        cells: dict[int, list[int]] = {}
        for cell in sorted(pairs):
            for position in pairs[cell]:
                cells.setdefault(position, []).append(cell)
        keys = {position: _key(names[position], own) for position, own in cells.items()}
        ordered |= dict.fromkeys(sorted(cells, key=keys.__getitem__))
    return list(ordered)


def _key(name: str, cells: Sequence[int]) -> tuple[bool, Sequence[int], str]:
    """Return what orders a granule among those of its window."""
    of = GranuleName.parse(name)
    return (True, cells, name) if of is None else (False, (of.region, track_place(of.rgt), of.cycle), name)


def cut_packs(ordered: Sequence[int], workers: int) -> list[Sequence[int]]:
    """Cut ordered granules into packs of about the same size.

    Parameters
    ----------
    ordered : sequence of int
        Positions of granules (`order_granules`).
    workers : int
        Number of workers at once.
    """
    count = math.ceil(len(ordered) / pack_size(len(ordered), workers))
    cuts = [number * len(ordered) // count for number in range(count + 1)] if count else []
    return [ordered[first:last] for first, last in pairwise(cuts)]


def pack_reads(packs: Sequence[Collection[int]], windows: Sequence[Pairs], pieces: Sequence[int] | None = None) -> int:
    """Return the number of requests by which all cells read the packs, if no request fails.

    A cell reads each pack of its granules once, and each piece of a divided cell does.

    Parameters
    ----------
    packs : sequence of collection of int
        Positions of the granules of each pack.
    windows : sequence of mapping
        Granules of each planned cell.
    pieces : sequence of int, optional
        Number of pieces of each cell of each window, in their order; by default no cell is divided.
    """
    owner = np.full(1 + max((position for pack in packs for position in pack), default=0), -1)
    for number, pack in enumerate(packs):
        owner[list(pack)] = number
    reads = [_packs_of(owner, positions) for pairs in windows for positions in pairs.values()]
    return sum(reads) if pieces is None else sum(one * times for one, times in zip(reads, pieces, strict=True))


def _packs_of(owner: np.ndarray, positions: Sequence[int]) -> int:
    """Return the number of packs that some granules are in; those in none do not count."""
    some = np.asarray(positions, int)
    found = owner[some[some < len(owner)]]
    return len(np.unique(found[found >= 0]))
