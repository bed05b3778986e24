"""Centres of cells, and positions of points relative to them.

Written here and not taken from mortie, whose import takes 0.4 s in every worker.
"""

import math

import numpy as np

from maggjob.grid.healpix import Grid, Latitude

SEMI_MAJOR, FLATTENING = 6378137.0, 1 / 298.257223563
"""WGS84, metres."""
_E2 = FLATTENING * (2 - FLATTENING)
_FACE_ROW = np.array([2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4])
_FACE_COLUMN = np.array([1, 3, 5, 7, 0, 2, 4, 6, 1, 3, 5, 7])


def centers(nested: np.ndarray, order: int, convention: Latitude) -> tuple[np.ndarray, np.ndarray]:
    """Return the geodetic latitudes and the longitudes of the centres of cells.

    The formulas are those of Gorski et al. (2005, ApJ 622, 759), section 5, in the nested scheme.

    Parameters
    ----------
    nested : ndarray of int, shape (n,)
        Nested ids.
    order : int
    convention : {"authalic", "geodetic-spherical"}

    Returns
    -------
    latitude, longitude : ndarray of float64, shape (n,)
        Degrees; longitudes from 0 to 360.
    """
    ids, nside = np.asarray(nested, np.int64), 1 << order
    face, within = ids >> 2 * order, ids & (nside * nside - 1)
    x, y = _every_second_bit(within), _every_second_bit(within >> 1)
    ring = _FACE_ROW[face] * nside - x - y - 1
    north, south = ring < nside, ring > 3 * nside
    in_ring = np.where(north, ring, np.where(south, 4 * nside - ring, nside))
    cap = in_ring / nside
    sine = np.where(north | south, 1.0 - cap * cap / 3.0, (2 * nside - ring) * 2.0 / (3.0 * nside))
    sine = np.where(south, -sine, sine)
    # Every second ring of the belt is shifted by half a cell.
    shifted = np.where(north | south, 0, (ring - nside) & 1)
    along = (_FACE_COLUMN[face] * in_ring + x - y + 1 + shifted) // 2 - (shifted + 1) * 0.5
    longitude = along / in_ring * 90.0 % 360.0
    # Near the poles the arcsine would lose half the digits.
    polar = np.degrees(2 * np.arcsin(cap / math.sqrt(6.0)))
    latitude = np.where(north, 90.0 - polar, np.where(south, polar - 90.0, np.degrees(np.arcsin(sine))))
    return (geodetic(latitude) if convention == "authalic" else latitude), longitude


def _every_second_bit(ids: np.ndarray) -> np.ndarray:
    found = np.zeros(len(ids), np.int64)
    for bit in range(30):
        found |= (ids >> 2 * bit & 1) << bit
    return found


def geodetic(authalic: np.ndarray) -> np.ndarray:
    """Return geodetic latitudes on WGS84 for authalic latitudes.

    By Newton's method on the equation for the authalic latitude (Snyder 1987, eq. 3-12 and 3-16).

    Parameters
    ----------
    authalic : ndarray, shape (n,), degrees

    Returns
    -------
    ndarray, shape (n,), degrees
    """
    eccentricity = math.sqrt(_E2)
    most = 1 + (1 - _E2) * math.atanh(eccentricity) / eccentricity
    found = np.radians(authalic)
    wanted = most * np.sin(found)
    for _ in range(6):
        sine, cosine = np.sin(found), np.cos(found)
        part = 1 - _E2 * sine * sine
        q = (1 - _E2) * (sine / part + np.arctanh(eccentricity * sine) / eccentricity)
        # At a pole the derivative is zero, and so is the difference.
        slope = 2 * (1 - _E2) * cosine / part**2
        found = found + np.divide(wanted - q, slope, out=np.zeros_like(q), where=np.abs(cosine) > 1e-9)
    return np.degrees(found)


def east_north(
    latitude: np.ndarray, longitude: np.ndarray, center_latitude: np.ndarray, center_longitude: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far points lie to the east and to the north of their centres.

    These are the first two coordinates of the local frame of the centre (east, north, up), of points on the ellipsoid
    WGS84. They are correct at the poles and across the antimeridian.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
        Geodetic coordinates of the points.
    center_latitude, center_longitude : ndarray, shape (n,), degrees
        Geodetic coordinates of the centre of each point.

    Returns
    -------
    east, north : ndarray of float64, shape (n,), metres
    """
    phi, phi0 = np.radians(latitude), np.radians(center_latitude)
    turn = np.radians(longitude - center_longitude)
    sine, cosine, sine0, cosine0 = np.sin(phi), np.cos(phi), np.sin(phi0), np.cos(phi0)
    radius = SEMI_MAJOR / np.sqrt(1 - _E2 * sine * sine)
    radius0 = SEMI_MAJOR / np.sqrt(1 - _E2 * sine0 * sine0)
    # Relative to the meridian of the centre: towards it, to the east, and along the axis of rotation.
    towards = radius * cosine * np.cos(turn) - radius0 * cosine0
    east = radius * cosine * np.sin(turn)
    up = (1 - _E2) * (radius * sine - radius0 * sine0)
    return east, up * cosine0 - towards * sine0


def child_centers(cell: int, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of the centres of all children of a cell.

    Parameters
    ----------
    cell : int
        Nested id at ``grid.parent_order``.
    grid : Grid

    Returns
    -------
    latitude, longitude : ndarray of float64, shape (grid.children,), degrees
    """
    ids = (np.int64(cell) << grid.shift) + np.arange(grid.children, dtype=np.int64)
    return centers(ids, grid.child_order, grid.latitude)
