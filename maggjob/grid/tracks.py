"""Cells along a track: its points are near each other, so that most need not be binned one by one.

One point in seven is binned, to a cell so much finer that it tells how far from the edge of its child cell the point
is, at least. If the three points before and the three after it are nearer than that, they lie in the same child cell;
the others are binned one by one. The bound is that of the projection's derivatives (`NARROWEST`), and a test measures
it. It spares a third of the binning, which was the largest part of making an index.
"""

from functools import cache

import numpy as np

from maggjob.grid.healpix import INVALID, MAX_PLAIN_ORDER, Latitude, locate, valid_coordinates

STRETCH = 7  # points whose cell is looked for at once: 120 m of ATL06, of the 1,600 m of a child cell
FINER = 6  # orders down to a cell that tells where in its ancestor a point is, to a 64th
NARROWEST = 0.65
"""Two points of a base cell that are apart by d in its own coordinates, which go from 0 to 1 along its sides, are more
than ``NARROWEST * d`` radians apart on the sphere. From the derivatives of equations 4, 5, 8 and 9 of Gorski et al.
(2005): their smaller singular value is least, 0.656, along the edges of the polar base cells; in the equatorial zone
it is above 0.82."""


def locate_runs(
    latitude: np.ndarray, longitude: np.ndarray, order: int, convention: Latitude
) -> tuple[np.ndarray, np.ndarray]:
    """Cells along a track, as runs of points that lie in the same cell one after the other.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees

    Returns
    -------
    ids : ndarray of int64, shape (runs,)
        Nested ids; `INVALID` for points whose coordinates cannot be binned.
    lengths : ndarray of int64, shape (runs,)
        Points of each run; their sum is n.
    """
    ids = np.full(len(latitude), INVALID, np.int64)
    whole = len(ids) // STRETCH * STRETCH
    if order <= MAX_PLAIN_ORDER - FINER:
        lat, lon = (np.ascontiguousarray(v[:whole].reshape(-1, STRETCH).T) for v in (latitude, longitude))
        ids[:whole] = np.repeat(_surely_in(lat, lon, order, convention), STRETCH)
    left = np.flatnonzero(ids == INVALID)
    left = left[valid_coordinates(latitude[left], longitude[left])]
    ids[left] = locate(latitude[left], longitude[left], order, convention)
    starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1])) if len(ids) else np.empty(0, np.int64)
    return ids[starts], np.diff(np.append(starts, len(ids)))


def _surely_in(latitude: np.ndarray, longitude: np.ndarray, order: int, convention: Latitude) -> np.ndarray:
    """The cell that all points of a stretch of a track surely lie in: only the middle one is binned.

    It is binned to a finer cell, which tells how far from the edge of its cell it is at least (`NARROWEST`). If none of
    the others is as far from it, they lie in the same cell.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (`STRETCH`, m), degrees

    Returns
    -------
    ndarray of int64, shape (m,)
        Nested ids; `INVALID` where it is not sure: the points must be binned one by one.
    """
    lat, lon = latitude[STRETCH // 2], longitude[STRETCH // 2]
    with np.errstate(invalid="ignore"):
        north, east = np.abs(latitude - lat).max(axis=0), np.abs(longitude - lon).max(axis=0)
        good = np.flatnonzero((np.abs(lat) + north <= 90.0) & (np.abs(lon) + east <= 720.0))  # not where any is NaN
    fine = locate(lat[good], lon[good], order + FINER, convention)
    # sin(d/2)**2 = sin(north/2)**2 + cos(lat) * cos(lat + north) * sin(east/2)**2; authalic latitudes: within 0.5 %
    north, east = np.radians(north[good]), np.radians(east[good])
    reach = 1.01 * np.hypot(north, east * (np.cos(np.radians(lat[good])) + north))
    sure = reach < NARROWEST * _margins()[fine & ((1 << 2 * FINER) - 1)] / (1 << order + FINER)
    ids = np.full(len(lat), INVALID, np.int64)
    ids[good[sure]] = fine[sure] >> 2 * FINER
    return ids


@cache
def _margins() -> np.ndarray:
    """Cells between a cell and the edge of its ancestor, `FINER` orders up, by its nested id in there."""
    nested, last = np.arange(1 << 2 * FINER), (1 << FINER) - 1
    x, y = (sum((nested >> 2 * i + odd & 1) << i for i in range(FINER)) for odd in (0, 1))
    return np.minimum(np.minimum(x, last - x), np.minimum(y, last - y))
