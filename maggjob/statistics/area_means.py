"""Area-weighted means on a regular grid of latitudes and longitudes, summed block by block.

Stored numbers are summed as they are, and unpacked once: a sum of integers is exact.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

UNEVEN = 1e-3
"""Relative difference of steps from which a grid counts as uneven; positions in float32 are rounded."""
CELLS = ("valid", "missing", "masked", "outside")
"""States of grid cells: in the mean, without a value, not selected by the mask, outside the region."""


def row_areas(latitude: np.ndarray) -> np.ndarray:
    """Return the area of a grid cell at each latitude, in any unit.

    On a grid of equal steps it is the cosine of the latitude, else that times the distance of the borders.

    Parameters
    ----------
    latitude : ndarray, shape (n,), degrees

    Returns
    -------
    ndarray, shape (n,)
    """
    cosine, height = np.clip(np.cos(np.radians(latitude)), 0.0, None), cell_widths(latitude)
    return cosine if height is None else cosine * height


def cell_widths(positions: np.ndarray) -> np.ndarray | None:
    """Return the distance between the borders of each cell; None if all are equal.

    Parameters
    ----------
    positions : ndarray, shape (n,), degrees
        Ascending or descending.
    """
    if len(positions) < 3:
        return None
    gaps = np.abs(np.diff(positions))
    if np.ptp(gaps) <= UNEVEN * gaps.mean():
        return None
    return np.concatenate([gaps[:1], (gaps[:-1] + gaps[1:]) / 2, gaps[-1:]])


@dataclass
class AreaSums:
    """Sums over the cells of a region, to which blocks of rows are added."""

    widths: np.ndarray | None = None
    """Width of the cells of each column, shape (columns,); None if all are equal."""
    cells: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CELLS, 0))
    """Number of grid cells by state."""
    _area: float = 0.0
    _valid: float = 0.0
    _sum: float = 0.0
    _low: float = np.inf
    _high: float = -np.inf

    def add(self, values: np.ndarray, valid: np.ndarray, kept: np.ndarray, areas: np.ndarray) -> None:
        """Add a block.

        Parameters
        ----------
        values : ndarray, shape (rows, columns)
            Stored values, of any numeric type.
        valid, kept : ndarray of bool, shape (rows, columns)
            Cells that have a value, and cells that the mask selects.
        areas : ndarray, shape (rows,)
            Area of the cells of each row.
        """
        own = valid & kept
        for state, count in (("masked", ~kept), ("missing", kept & ~valid), ("valid", own)):
            self.cells[state] += int(np.count_nonzero(count))
        filled = values if own.all() else np.where(own, values, values.dtype.type(0))
        if self.widths is None:
            exact = np.int64 if values.dtype.kind in "iu" and values.dtype.itemsize <= 4 else np.float64
            numbers, sums = own.sum(axis=1), filled.sum(axis=1, dtype=exact).astype(np.float64)
            every = np.full(len(areas), float(values.shape[1]))
        else:
            numbers, sums = own @ self.widths, filled.astype(np.float64) @ self.widths
            every = np.ones(values.shape, bool) @ self.widths
        # Summed alike, so that the share of a region without gaps is exactly 1.
        self._area += float(areas @ every)
        self._valid += float(areas @ numbers.astype(np.float64))
        self._sum += float(areas @ sums)
        if own.any():
            inside = values[own]
            self._low, self._high = min(self._low, inside.min()), max(self._high, inside.max())

    def result(self, scale: float, offset: float, add: float) -> dict[str, Any]:
        """Return the statistics.

        Parameters
        ----------
        scale, offset : float
            What turns stored into physical values.
        add : float
            Number added to physical values.

        Returns
        -------
        dict
            ``mean``, ``min`` and ``max``, None without a valid cell; ``share`` of the area of the region that is valid;
            ``cells``.
        """
        told: dict[str, Any] = {"mean": None, "min": None, "max": None}
        if self.cells["valid"]:
            ends = sorted(float(np.float64(end) * scale + offset) for end in (self._low, self._high))
            told = {"min": ends[0] + add, "max": ends[1] + add}
            told["mean"] = self._sum / self._valid * scale + offset + add if self._valid else None
        return told | {"share": self._valid / self._area if self._area else 0.0, "cells": self.cells}
