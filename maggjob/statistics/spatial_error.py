"""Standard error of a mean over cells whose errors are correlated in space.

The variance of a weighted sum is the double sum of ``p_i * p_j * rho(d_ij)`` over all pairs of cells, where ``p`` is a
cell's weight times its standard error and ``d`` the distance of two cells. ``rho`` is the spherical model, which is
zero from its range on: Rolstad, Haug and Denby (2009), Spatially integrated geodetic glacier mass balance and its
uncertainty based on geostatistical analysis, Journal of Glaciology 55(192), 666-680. They integrate it over a disc.
Here it is summed, so that a basin may have any shape, and each cell has an error of its own.

Many cells are joined to blocks first. A block is an eighth of the range wide at most. It counts as one cell at its
centroid, apart from the distances inside it, for which its spread stands. As the model has a finite range, only blocks
that are close to each other are compared.
"""

from dataclasses import dataclass

import numpy as np

EXACT = 4096
"""Number of cells up to which all pairs are summed without blocks."""
BLOCKS_PER_RANGE = 8
"""Least number of blocks per range."""
TILE_SHIFT = 6
"""Bits of an id that tell apart the blocks of a tile: 64 blocks, 8 in a row."""
MEAN_OF_RMS = 0.903
"""Mean distance of two points of a square, as a share of the root mean square of that distance: 0.5214 * sqrt(3)."""


@dataclass(frozen=True)
class Blocks:
    """Blocks of cells, ascending by id."""

    cells: np.ndarray
    """Nested id of each block, shape (blocks,)."""
    parts: np.ndarray
    """Sum of the parts of its cells, shape (blocks,)."""
    positions: np.ndarray
    """Centroid, shape (blocks, 3), kilometres."""
    spread_km: np.ndarray
    """Mean distance of two of its cells, shape (blocks,); 0 for a single cell."""


def correlation(distance_km: np.ndarray, range_km: float) -> np.ndarray:
    """Return the correlation of two errors by the spherical model.

    Parameters
    ----------
    distance_km : ndarray
        Distances, kilometres.
    range_km : float
        Distance from which errors are independent, kilometres, greater than 0.
    """
    share = np.minimum(distance_km / range_km, 1.0)
    return 1.0 - 1.5 * share + 0.5 * share**3


def error_of_sum(
    parts: np.ndarray,
    positions: np.ndarray,
    cells: np.ndarray,
    side_km: float,
    range_km: float,
    exact: int = EXACT,
) -> float:
    """Return the standard error of a sum over cells with correlated errors.

    Parameters
    ----------
    parts : ndarray, shape (n,)
        Standard error of each cell times its weight in the sum, not negative.
    positions : ndarray, shape (n, 3), kilometres
        Position of each cell on the earth. Distances are straight lines; over 500 km an arc is 0.03 % longer.
    cells : ndarray of int64, shape (n,)
        Nested HEALPix ids, unique.
    side_km : float
        Width of a cell.
    range_km : float
        Range of the correlation: 0 for independent errors.
    exact : int
        Number of cells up to which all pairs are summed without blocks.
    """
    own = parts > 0
    parts, positions, cells = parts[own], positions[own], np.asarray(cells, np.int64)[own]
    if len(parts) == 0:
        return 0.0
    if range_km == 0:
        return float(np.sqrt(np.sum(parts**2)))
    levels = 0 if len(parts) <= exact else _levels(side_km, range_km)
    return float(np.sqrt(_double_sum(_blocks(parts, positions, cells, levels), range_km)))


def _levels(side_km: float, range_km: float) -> int:
    """Return by how many orders blocks are coarser than cells."""
    widest = range_km / BLOCKS_PER_RANGE
    # Beyond 29 orders there is nothing left to join.
    return min(29, int(np.log2(widest / side_km))) if widest > side_km else 0


def _blocks(parts: np.ndarray, positions: np.ndarray, cells: np.ndarray, levels: int) -> Blocks:
    """Join cells to blocks that are some orders coarser."""
    ordered = np.argsort(cells)
    parts, positions = parts[ordered], positions[ordered]
    ids, first = np.unique(cells[ordered] >> 2 * levels, return_index=True)
    counts = np.diff(first, append=len(parts))
    sums = np.add.reduceat(parts, first)
    centroids = np.add.reduceat(parts[:, None] * positions, first) / sums[:, None]
    aside = np.sum((positions - np.repeat(centroids, counts, axis=0)) ** 2, axis=1)
    variance = np.where(counts > 1, np.add.reduceat(parts * aside, first) / sums, 0.0)
    # The mean square of the distance of two points is twice their variance.
    return Blocks(ids, sums, centroids, MEAN_OF_RMS * np.sqrt(2.0 * variance))


def _double_sum(blocks: Blocks, range_km: float) -> float:
    """Return the sum over all pairs of blocks, tile by tile; tiles that are out of range of each other are skipped."""
    _, first = np.unique(blocks.cells >> TILE_SHIFT, return_index=True)
    counts = np.diff(first, append=len(blocks.cells))
    tiles = np.split(np.arange(len(blocks.cells)), first[1:])
    centres = np.add.reduceat(blocks.positions, first) / counts[:, None]
    aside = np.sqrt(np.sum((blocks.positions - np.repeat(centres, counts, axis=0)) ** 2, axis=1))
    radius = np.maximum.reduceat(aside, first)
    # A block and itself count with a distance of 0 below, and are corrected here.
    total = float(np.sum(blocks.parts**2 * (correlation(blocks.spread_km, range_km) - 1.0)))
    for number, own in enumerate(tiles):
        reach = radius + radius[number] + range_km
        near = np.flatnonzero(np.sum((centres - centres[number]) ** 2, axis=1) <= reach**2)
        others = np.concatenate([tiles[tile] for tile in near])
        squares = np.zeros((len(own), len(others)))
        for axis in range(3):
            squares += np.subtract.outer(blocks.positions[own, axis], blocks.positions[others, axis]) ** 2
        total += float(blocks.parts[own] @ correlation(np.sqrt(squares), range_km) @ blocks.parts[others])
    return total
