"""An invented ice sheet: its heights, its DEM and its change, all known exactly."""

from dataclasses import dataclass

import numpy as np

from maggjob.errors import InputError

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
    """A simulated change of height: a bell-shaped pattern around a point, which moves up or down with time.

    At the centre it is ``rate t + acceleration t^2 / 2 + annual sin(2 pi t)``, where t is the time since its start.
    """

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
    acceleration: float = 0.0
    """Acceleration at the centre, metres per year squared."""
    annual: float = 0.0
    """Amplitude of an annual cycle at the centre, metres."""


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


def change(
    latitude: np.ndarray, longitude: np.ndarray, year: np.ndarray, planted: Change | tuple[Change, ...]
) -> np.ndarray:
    """Return the simulated change of height at points and times, which an analysis should recover.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
    year : ndarray, shape (n,)
        Decimal years.
    planted : Change or tuple of Change
        The changes of several patterns are added.

    Returns
    -------
    ndarray, shape (n,)
        Metres.
    """
    height = np.zeros(len(latitude))
    for one in _patterns(planted):
        height += _motion(year, one) * _bell(latitude, longitude, one)
    return height


def planted_rate(
    latitude: np.ndarray, longitude: np.ndarray, planted: Change | tuple[Change, ...], years: np.ndarray
) -> np.ndarray:
    """Return the rate of the simulated change that a straight line through given times has at each place.

    This is the slope of the least-squares fit to the change at these times, each with the same weight: what an analysis
    of heights at these times should recover. Times before the start of the change count as times without change.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
    planted : Change or tuple of Change
    years : ndarray, shape (m,)
        Decimal years of the heights.

    Returns
    -------
    ndarray, shape (n,)
        Metres per year.

    Raises
    ------
    InputError
        If the years are not finite, or fewer than two of them are different.

    Examples
    --------
    >>> years = np.array([2020.0, 2021.0, 2022.5])
    >>> planted_rate(np.array([-75.2]), np.array([-103.0]), Change(), years).round(6).tolist()
    [-3.0]
    """
    times = np.asarray(years, float)
    if not np.isfinite(times).all() or np.unique(times).size < 2:
        raise InputError(f"no line fits through the years {times.tolist()}; give two different ones or more")
    centred = times - times.mean()
    weights = centred / (centred @ centred)
    rate = np.zeros(len(latitude))
    for one in _patterns(planted):
        rate += (weights @ _motion(times, one)) * _bell(latitude, longitude, one)
    return rate


def _patterns(planted: Change | tuple[Change, ...]) -> tuple[Change, ...]:
    return (planted,) if isinstance(planted, Change) else planted


def _motion(year: np.ndarray, one: Change) -> np.ndarray:
    """Return the change at the centre of a pattern, metres."""
    since = np.maximum(0.0, year - one.since)
    motion = one.rate * since + 0.5 * one.acceleration * since**2 + one.annual * np.sin(2 * np.pi * since)
    return np.asarray(motion)


def _bell(latitude: np.ndarray, longitude: np.ndarray, one: Change) -> np.ndarray:
    """Return which fraction of the change at the centre of a pattern there is at points."""
    far = distance(latitude, longitude, one.latitude, one.longitude) / one.radius
    return np.asarray(np.exp(-(far**2)))


def years(seconds: np.ndarray) -> np.ndarray:
    """Convert times in seconds since 2018-01-01 to decimal years."""
    return 2018.0 + seconds / (365.25 * 86400.0)
