"""An invented ice sheet: its heights, its DEM and its change, all known exactly."""

from dataclasses import dataclass

import numpy as np

EARTH = 6371e3  # metres


@dataclass(frozen=True)
class Dome:
    """An ice dome of Vialov's profile: ``H (1 - (d/R)^(4/3))^(3/8)``."""

    latitude: float
    """Latitude of the summit, degrees."""
    longitude: float
    """Longitude of the summit, degrees."""
    radius: float
    """Distance from the summit to the margin, metres."""
    height: float
    """Height of the summit, metres."""


@dataclass(frozen=True)
class Change:
    """A simulated change of height: a bell-shaped pattern around a point that grows linearly with time."""

    latitude: float = -75.2
    """Latitude of the centre, degrees."""
    longitude: float = -103.0
    """Longitude of the centre, degrees."""
    rate: float = -3.0
    """Rate of change at the centre, metres per year."""
    radius: float = 150e3
    """Distance from the centre at which the change falls to 1/e, metres."""
    since: float = 2019.0
    """Start of the change, which is also the time of the DEM, decimal years."""


DOMES = (
    Dome(-81.0, 75.0, 2400e3, 4000.0),
    Dome(-79.5, -112.0, 800e3, 2100.0),
    Dome(-71.0, -65.0, 400e3, 1700.0),
    Dome(72.5, -38.0, 850e3, 3200.0),
)
"""East Antarctica, West Antarctica, the Antarctic Peninsula and Greenland."""
WAVES = ((23e3, 4.0), (61e3, 11.0), (170e3, 25.0))  # metres
"""Wavelengths and amplitudes of undulations of the surface."""


def distance(latitude: np.ndarray, longitude: np.ndarray, to_latitude: float, to_longitude: float) -> np.ndarray:
    """Return great-circle distances to a point, with the haversine formula on a sphere.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
    to_latitude, to_longitude : float
        The point, degrees.

    Returns
    -------
    ndarray, shape (n,)
        Metres.
    """
    a, b = np.radians(latitude), np.radians(to_latitude)
    half = np.sin((a - b) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(np.radians(longitude - to_longitude) / 2) ** 2
    return 2 * EARTH * np.arcsin(np.sqrt(np.minimum(half, 1.0)))


def dem(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Return the height of the surface at the time of the DEM.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees

    Returns
    -------
    ndarray, shape (n,)
        Metres; 0 where the surface has no ice.
    """
    height = np.zeros(len(latitude))
    for dome in DOMES:
        reach = distance(latitude, longitude, dome.latitude, dome.longitude) / dome.radius
        profile = np.maximum(0.0, 1.0 - reach ** (4 / 3)) ** (3 / 8)
        height = np.maximum(height, dome.height * profile)
    ice = height > 0
    x = EARTH * np.radians(longitude) * np.cos(np.radians(latitude))
    y = EARTH * np.radians(latitude)
    for length, amplitude in WAVES:
        height += amplitude * np.sin(2 * np.pi * x / length) * np.cos(2 * np.pi * y / length)
    return np.where(ice, height + 40.0, 0.0)


def change(latitude: np.ndarray, longitude: np.ndarray, year: np.ndarray, planted: Change) -> np.ndarray:
    """Return the simulated change of height at points and times, which an analysis should recover.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
    year : ndarray, shape (n,)
        Decimal years.
    planted : Change

    Returns
    -------
    ndarray, shape (n,)
        Metres.
    """
    far = distance(latitude, longitude, planted.latitude, planted.longitude) / planted.radius
    return planted.rate * np.maximum(0.0, year - planted.since) * np.exp(-(far**2))


def years(seconds: np.ndarray) -> np.ndarray:
    """Convert times in seconds since 2018-01-01 to decimal years."""
    return 2018.0 + seconds / (365.25 * 86400.0)
