"""Which passes cross an area: a box in degrees, or any other area that tells what it holds."""

from typing import Protocol

import numpy as np

from maggjob.icesat2.orbit import CIRCUMFERENCE, OFFSETS, Pass, ground_track

KM_PER_DEGREE = CIRCUMFERENCE / 360e3
COARSE, FINE = 0.2, 0.005  # degrees
"""Angles along the orbit between the points that are tested for whether a pass crosses an area."""

Box = tuple[float, float, float, float]
"""West, south, east, north, degrees."""


class Outline(Protocol):
    """An area that is not a box, such as `maggjob.grid.areas.Area`."""

    def contains(self, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        """Return which points lie in the area.

        Parameters
        ----------
        latitude, longitude : ndarray, shape (n,), degrees
        """

    def widened(self, km: float) -> "Outline":
        """Return the area with a margin of some kilometres."""


def inside(latitude: np.ndarray, longitude: np.ndarray, area: Box | Outline) -> np.ndarray:
    """Return which points lie in an area.

    Parameters
    ----------
    latitude, longitude : ndarray, shape (n,), degrees
    area : tuple of float, or Outline
        West, south, east, north in degrees; or any other area.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    if not isinstance(area, tuple):
        return area.contains(latitude, longitude)
    west, south, east, north = area
    between = (longitude - west) % 360.0 <= (east - west) % 360.0 if east - west < 360.0 else True
    return np.asarray((latitude >= south) & (latitude <= north) & between)


def crosses(one: Pass, area: Box | Outline, around: Box | Outline) -> bool:
    """Return True if any beam of a pass enters an area; a coarse search with a margin precedes the fine one.

    Parameters
    ----------
    one : Pass
    area : tuple of float, or Outline
    around : tuple of float, or Outline
        The area `with_margin`.
    """
    if not inside(*ground_track(one.rgt, one.angles(COARSE)), around).any():
        return False
    fine = one.angles(FINE)
    return any(inside(*ground_track(one.rgt, fine, offset), area).any() for offset in OFFSETS)


def with_margin(area: Box | Outline) -> Box | Outline:
    """Return an area with the margin that `crosses` needs."""
    if not isinstance(area, tuple):
        # Half a step, and the outer beams.
        return area.widened(0.5 * COARSE * KM_PER_DEGREE + 5.0)
    west, south, east, north = area
    # The outer beams lie 0.03 degrees beside the track.
    margin = COARSE + 0.05
    wide = margin / max(0.02, float(np.cos(np.radians(max(abs(south), abs(north))))))
    return (west - wide, south - margin, east + wide, north + margin) if east - west + 2 * wide < 360 else area
