"""ICESat-2's orbit: reference ground tracks, regions and beams on a circular orbit.

The model is a circle of constant inclination that drifts west at a constant rate. The inclination and the node of
track 0 are fitted to footprints of real granules. Over the ice sheets real tracks lie within 1 km of the model, except
in the first two cycles and where the instrument points off-nadir.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import numpy as np

INCLINATION = 92.0055  # degrees
TRACKS = 1387
"""Number of reference ground tracks per cycle."""
CYCLE_DAYS = 90.82  # days
"""Time between the starts of two cycles. The nominal 91 days are not solar days: they are slightly shorter."""
REVOLUTIONS = 91
"""Turns of the Earth below the orbit per cycle."""
DRIFT = 360.0 * REVOLUTIONS / TRACKS  # degrees
"""Longitude by which the node moves west from one track to the next."""
NODE_0 = 23.50  # degrees east
"""Longitude of the ascending node of track 0."""
SEMIMAJOR, FLATTENING = 6378137.0, 1 / 298.257223563
"""Semimajor axis (in metres) and flattening of WGS84."""
ALTITUDE = 496e3  # metres
SPACING = 20.0  # metres
"""Distance between two segments."""
CIRCUMFERENCE = 2 * np.pi * 6371e3  # metres
"""Length of a revolution on the ground."""
BEAMS = ("gt1l", "gt1r", "gt2l", "gt2r", "gt3l", "gt3r")
OFFSETS = (-3345.0, -3255.0, -45.0, 45.0, 3255.0, 3345.0)  # metres
"""Distance of each beam to the right of the track."""
LIMITS = (0.0, 27.0, 59.5, 80.0)  # degrees
"""Latitudes at which regions 1 to 4 begin."""
LIMITS_SOUTH = (0.0, 27.0, 50.0, 79.0)  # degrees
"""Southern latitudes at which regions 8 to 11 begin."""
CYCLE_2 = date(2018, 12, 28)
"""First day of cycle 2."""
SECONDS_TO_CYCLE_2 = 361 * 86400.0  # seconds
"""Time from 2018-01-01 to the start of cycle 2 on 2018-12-28."""


def track_place(rgt: int) -> int:
    """Return the place of a track among all tracks from west to east, from 0: neighbouring tracks differ by one.

    Parameters
    ----------
    rgt : int
        Reference ground track.

    Examples
    --------
    >>> [track_place(rgt) for rgt in (1387, 442, 884)]
    [0, 1, 2]
    """
    return -REVOLUTIONS * rgt % TRACKS


def cycle_start(cycle: int) -> date:
    """Return the first day of a cycle, accurate to a few days. Cycle 2 began on 2018-12-28."""
    return CYCLE_2 + timedelta(days=(cycle - 2) * CYCLE_DAYS)


@dataclass(frozen=True)
class Pass:
    """The part of an orbit that one granule covers."""

    rgt: int
    """Reference ground track, 1 to 1387."""
    cycle: int
    """Cycle, from 1."""
    region: int
    """Region, 1 to 14."""

    def angles(self, step: float) -> np.ndarray:
        """Return arguments of latitude from the start to the end of the pass, ``step`` degrees apart, in degrees."""
        start, stop = region_angles()[self.region]
        return np.arange(start, stop, step)

    def times(self, angles: np.ndarray) -> np.ndarray:
        """Return the times at arguments of latitude (degrees), in seconds since 2018-01-01."""
        period = CYCLE_DAYS * 86400.0 / TRACKS
        start = SECONDS_TO_CYCLE_2 + (self.cycle - 2) * CYCLE_DAYS * 86400.0
        return start + (self.rgt - 1 + angles / 360.0) * period


def _geodetic(geocentric: np.ndarray) -> np.ndarray:
    """Return the geodetic latitude below a satellite at a geocentric latitude, both in radians."""
    e2, radius = FLATTENING * (2 - FLATTENING), SEMIMAJOR + ALTITUDE
    z, p = radius * np.sin(geocentric), radius * np.cos(geocentric)
    latitude = geocentric
    # Four iterations converge to less than a millimetre.
    for _ in range(4):
        normal = SEMIMAJOR / np.sqrt(1 - e2 * np.sin(latitude) ** 2)
        height = p / np.cos(latitude) - normal
        latitude = np.arctan2(z, p * (1 - e2 * normal / (normal + height)))
    return latitude


def ground_track(rgt: float, angles: np.ndarray, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return positions along a track, or parallel to it.

    Parameters
    ----------
    rgt : float
        Reference ground track.
    angles : ndarray, shape (n,)
        Arguments of latitude: angles along the orbit from the ascending node, degrees.
    offset : float
        Distance to the right of the direction of flight, metres.

    Returns
    -------
    latitude, longitude : ndarray, shape (n,)
        Degrees, geodetic; longitudes from -180 to 180.
    """
    u, inclination = np.radians(angles), np.radians(INCLINATION)
    phi = np.arcsin(np.sin(inclination) * np.sin(u))
    turn = np.degrees(np.arctan2(np.cos(inclination) * np.sin(u), np.cos(u)))
    longitude = np.radians(NODE_0 - rgt * DRIFT + turn - angles / 360.0 * DRIFT)
    latitude = _geodetic(phi)
    if offset:
        latitude, longitude = _beside(latitude, longitude, offset)
    return np.degrees(latitude), (np.degrees(longitude) + 180.0) % 360.0 - 180.0


def _beside(latitude: np.ndarray, longitude: np.ndarray, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Move points (radians) to the right of the line through them by a distance in metres.

    The points move along the local tangent plane, with the ellipsoid's two radii of curvature. Over a few kilometres
    this is accurate to centimetres, except within about 10 km of a pole, where no track passes.
    """
    e2 = FLATTENING * (2 - FLATTENING)
    w = np.sqrt(1 - e2 * np.sin(latitude) ** 2)
    meridian, normal = SEMIMAJOR * (1 - e2) / w**3, SEMIMAJOR / w
    north = np.gradient(latitude) * meridian
    east = np.gradient(np.unwrap(longitude)) * normal * np.cos(latitude)
    length = np.hypot(north, east)
    # On the curved surface, a move to the side also turns towards the equator, to second order in the offset.
    right_north, right_east = -east / length * offset, north / length * offset
    sag = right_east**2 * np.tan(latitude) / (2 * normal)
    moved = latitude + (right_north - sag) / meridian
    return moved, longitude + right_east / (normal * np.cos((latitude + moved) / 2))


def swath(rgt: float, start: float, stop: float, half_width: float, points: int) -> np.ndarray:
    """Return the outline of a part of a track.

    Parameters
    ----------
    rgt : float
        Reference ground track.
    start, stop : float
        Arguments of latitude, degrees.
    half_width : float
        Distance from the track to each side of the outline, metres.
    points : int
        Number of points on each side.

    Returns
    -------
    ndarray, shape (2 * points + 1, 2)
        Longitude and latitude in degrees, closed.
    """
    # The direction of the track at a point is derived from its neighbours, which must be close.
    fine = np.linspace(start, stop, 40 * points)
    chosen = np.linspace(0, len(fine) - 1, points).round().astype(int)
    left, right = (
        np.column_stack(ground_track(rgt, fine, offset)[::-1])[chosen] for offset in (-half_width, half_width)
    )
    return np.concatenate([left, right[::-1], left[:1]])


@lru_cache
def region_angles() -> dict[int, tuple[float, float]]:
    """Return the first and last argument of latitude, in degrees, of each region from 1 to 14."""
    angles = np.linspace(0.0, 90.0, 90001)
    north, _ = ground_track(0, angles)
    rise = [float(np.interp(limit, north, angles)) for limit in LIMITS]
    fall = [float(np.interp(limit, north, angles)) for limit in LIMITS_SOUTH]
    edges = [*rise, 180 - rise[3], 180 - rise[2], 180 - rise[1], 180.0]
    edges += [180 + fall[1], 180 + fall[2], 180 + fall[3], 360 - fall[3], 360 - fall[2], 360 - fall[1], 360.0]
    return {region: (edges[region - 1], edges[region]) for region in range(1, 15)}
