"""Cells along a track. Its points are close together, so most of them need not be binned one by one.

Only every seventh point is binned, to a finer cell that shows how far the point is at least from the edge of its child
cell. If the three points before and the three after it are closer to it than that, they lie in the same child cell;
otherwise they are binned one by one. The distance is bounded by the derivatives of the projection (`NARROWEST`), and a
test measures it. This saves a third of the time for binning, the largest part of building an index.
"""

from functools import cache

import numpy as np

from maggjob.grid.healpix import INVALID, MAX_PLAIN_ORDER, Latitude, locate, valid_coordinates

STRETCH = 7
"""Number of points whose cell is determined at once: 120 m of an ATL06 track, while a child cell measures 1,600 m."""
FINER = 6
"""Orders between a child cell and the finer cell, which gives the position of a point to 1/64 of the child's side."""
NARROWEST = 0.65
"""Lower bound of the scale of the projection. Two points at a distance d in the coordinates of a base cell, which go
from 0 to 1 along its sides, are more than ``NARROWEST * d`` radians apart on the sphere. The bound follows from the
derivatives of equations 4, 5, 8 and 9 of Gorski et al. (2005): the minimum of their smaller singular value is 0.656,
along the edges of the polar base cells; in the equatorial zone it is above 0.82."""


def locate_runs(
    latitude: np.ndarray, longitude: np.ndarray, order: int, convention: Latitude
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells along a track, as runs of consecutive points in the same cell.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
    order : int
    convention : {"authalic", "geodetic-spherical"}

    Returns
    -------
    ids : ndarray of int64, shape (runs,)
        Nested id of each run; `INVALID` for points whose coordinates cannot be binned.
    lengths : ndarray of int64, shape (runs,)
        Number of points of each run; the sum is n.
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
    """Return the cell that certainly contains all points of a stretch, binning only its middle point.

    The middle point is binned to a finer cell, which shows how far it is at least from the edge of its cell
    (`NARROWEST`). If all other points are closer to it than that, they lie in the same cell.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (`STRETCH`, m), degrees

    Returns
    -------
    ndarray of int64, shape (m,)
        Nested ids; `INVALID` if this is not certain and the points must be binned one by one.
    """
    lat, lon = latitude[STRETCH // 2], longitude[STRETCH // 2]
    with np.errstate(invalid="ignore"):
        north, east = np.abs(latitude - lat).max(axis=0), np.abs(longitude - lon).max(axis=0)
        # The comparisons are False if any coordinate of the stretch is NaN.
        good = np.flatnonzero((np.abs(lat) + north <= 90.0) & (np.abs(lon) + east <= 720.0))
    fine = locate(lat[good], lon[good], order + FINER, convention)
    # Haversine formula: sin(d/2)**2 = sin(north/2)**2 + cos(lat) * cos(lat + north) * sin(east/2)**2.
    # The factor 1.01 allows for authalic latitudes, which change distances by less than 0.5 %.
    north, east = np.radians(north[good]), np.radians(east[good])
    reach = 1.01 * np.hypot(north, east * (np.cos(np.radians(lat[good])) + north))
    sure = reach < NARROWEST * _margins()[fine & ((1 << 2 * FINER) - 1)] / (1 << order + FINER)
    ids = np.full(len(lat), INVALID, np.int64)
    ids[good[sure]] = fine[sure] >> 2 * FINER
    return ids


@cache
def _margins() -> np.ndarray:
    """Return the number of cells between a cell and the edge of its ancestor `FINER` orders above.

    The array is indexed by the cell's nested id within the ancestor.
    """
    nested, last = np.arange(1 << 2 * FINER), (1 << FINER) - 1
    x, y = (sum((nested >> 2 * i + odd & 1) << i for i in range(FINER)) for odd in (0, 1))
    return np.minimum(np.minimum(x, last - x), np.minimum(y, last - y))
