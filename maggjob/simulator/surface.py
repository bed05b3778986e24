"""An ice sheet to measure: its height, its DEM, and how it changes. Made up, and known exactly."""

from dataclasses import dataclass

import numpy as np

EARTH = 6371e3  # metres


@dataclass(frozen=True)
class Dome:
    """An ice dome of Vialov's profile: ``H (1 - (d/R)^(4/3))^(3/8)``."""

    latitude: float
    """Of its summit, degrees."""
    longitude: float
    """Of its summit, degrees."""
    radius: float
    """Distance from summit to margin, metres."""
    height: float
    """Of its summit, metres."""


@dataclass(frozen=True)
class Change:
    """A planted change of height: a bell around a point, growing linearly with time."""

    latitude: float = -75.2
    """Of its centre, degrees."""
    longitude: float = -103.0
    """Of its centre, degrees."""
    rate: float = -3.0
    """At the centre, metres a year."""
    radius: float = 150e3
    """Distance at which it has fallen to 1/e, metres."""
    since: float = 2019.0
    """Year in which it begins; the DEM is of this time."""


DOMES = (
    Dome(-81.0, 75.0, 2400e3, 4000.0),  # East Antarctica
    Dome(-79.5, -112.0, 800e3, 2100.0),  # West Antarctica
    Dome(-71.0, -65.0, 400e3, 1700.0),  # the Peninsula
    Dome(72.5, -38.0, 850e3, 3200.0),  # Greenland
)
WAVES = ((23e3, 4.0), (61e3, 11.0), (170e3, 25.0))  # wavelengths and amplitudes of bumps, metres


def distance(latitude: np.ndarray, longitude: np.ndarray, to_latitude: float, to_longitude: float) -> np.ndarray:
    """Great-circle distance in metres (haversine, on a sphere)."""
    a, b = np.radians(latitude), np.radians(to_latitude)
    half = np.sin((a - b) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(np.radians(longitude - to_longitude) / 2) ** 2
    return 2 * EARTH * np.arcsin(np.sqrt(np.minimum(half, 1.0)))


def dem(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Height of the surface at the time of the DEM, metres; 0 where there is no ice.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
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
    """The planted change of height at points and times, metres: what an analysis should find.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
    year : ndarray, shape (n,)
        Decimal years.
    planted : Change
    """
    far = distance(latitude, longitude, planted.latitude, planted.longitude) / planted.radius
    return planted.rate * np.maximum(0.0, year - planted.since) * np.exp(-(far**2))


def years(seconds: np.ndarray) -> np.ndarray:
    """Decimal years of times in seconds since 2018-01-01."""
    return 2018.0 + seconds / (365.25 * 86400.0)
