"""The polar plane of a map: which part of it is drawn, and which cell each of its pixels lies in.

A pixel is looked up at several points in it, each of which is assigned to the cell that contains it exactly. So cells
have their true shape, with smooth edges, and the cost does not depend on their number.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from maggjob.errors import InputError
from maggjob.grid.areas import NORTH, SOUTH, Area, transformer
from maggjob.grid.coverage import outline
from maggjob.grid.healpix import Grid, Latitude, locate

CELL_WIDTH = 6371.0 * math.sqrt(math.pi / 3)
"""Width of a cell of order 0 in kilometres: the square root of its area. Each order halves it."""
FEWEST, MOST = 1000, 4000
"""Pixels along the longer side of a map."""
PER_CELL = 4.0
"""Pixels that a cell is wide, if the map is small enough."""
SAMPLES = 2
"""Points per pixel in each direction."""
STRIP = 1_500_000
"""Points that are looked up at once: memory does not grow with the map."""
MARGIN = 0.04
"""Part of the longer side that is added on each side."""
SHAPES = (0.55, 1.5)
"""Least and largest height of a map, relative to its width."""
TABLE = 1 << 16
"""Distances from the pole for which PROJ is asked."""
REACH = 13e6
"""Largest of these distances, metres in the plane: beyond the equator."""
DENSE_ORDER = 9
"""Highest order of parent cells that are found in a table of all cells of that order."""
SIDE = 8
"""Points per side of the outline of a parent cell."""


@dataclass(frozen=True)
class Frame:
    """The part of a polar plane that a map shows, and its pixels."""

    crs: int
    """EPSG code of the projection."""
    extent: tuple[float, float, float, float]
    """Left, right, bottom and top, metres."""
    width: int
    """Pixels in a row."""
    height: int
    """Rows of pixels."""

    @property
    def pixel(self) -> float:
        """Width of a pixel, metres."""
        return (self.extent[1] - self.extent[0]) / self.width

    def holds(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return which points lie in the frame.

        Parameters
        ----------
        x, y : ndarray
            Coordinates, metres.
        """
        left, right, bottom, top = self.extent
        return (x >= left) & (x <= right) & (y >= bottom) & (y <= top)

    @cached_property
    def stretch(self) -> float:
        """Metres of the plane per metre on the ground, in the middle of the frame."""
        from pyproj import Geod

        middle = np.array([(self.extent[0] + self.extent[1]) / 2, (self.extent[2] + self.extent[3]) / 2])
        x, y = middle[0] + np.array([-500.0, 500.0]), np.full(2, middle[1])
        (west, east), (south, north) = transformer(self.crs).transform(x, y, direction="INVERSE")
        return 1000.0 / float(Geod(ellps="WGS84").inv(west, south, east, north)[2])

    def points(self, samples: int = SAMPLES) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Yield strips of pixels from the top: their rows, and latitude and longitude of the points in them.

        Parameters
        ----------
        samples : int
            Points per pixel in each direction.

        Yields
        ------
        rows : slice
            Rows of pixels.
        latitude, longitude : ndarray, shape (rows * samples, width * samples), degrees
        """
        left, _, _, top = self.extent
        step = self.pixel / samples
        x = left + (np.arange(self.width * samples) + 0.5) * step
        several = max(1, STRIP // (self.width * samples * samples))
        for first in range(0, self.height, several):
            rows = slice(first, min(self.height, first + several))
            y = top - (np.arange(rows.start * samples, rows.stop * samples) + 0.5) * step
            yield rows, *geographic(self.crs, x[None, :], y[:, None])


@lru_cache(maxsize=4)
def _latitudes(crs: int) -> tuple[np.ndarray, float]:
    """Return latitudes at equal steps of the distance from the pole, and the step in metres."""
    step = REACH / (TABLE - 1)
    _, latitude = transformer(crs).transform(np.zeros(TABLE), np.arange(TABLE) * step, direction="INVERSE")
    return np.asarray(latitude), step


def geographic(crs: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the latitude and longitude of points of a polar plane.

    In a polar projection the latitude depends on the distance from the pole only. So PROJ is asked for a table of
    distances instead of millions of points; between its entries, 200 m apart, a straight line is exact to a millimetre.

    Parameters
    ----------
    crs : int
        EPSG code of the projection: 3031 or 3413.
    x, y : ndarray, metres
        They are broadcast.

    Returns
    -------
    latitude, longitude : ndarray, degrees
        NaN further than `REACH` from the pole.
    """
    latitudes, step = _latitudes(crs)
    at = np.hypot(x, y) / step
    below = np.minimum(at.astype(np.int64), TABLE - 2)
    latitude = latitudes[below] + (at - below) * (latitudes[below + 1] - latitudes[below])
    latitude[at > TABLE - 1] = np.nan
    longitude = np.degrees(np.arctan2(x, y) if crs == SOUTH else np.arctan2(y, x) + math.pi / 4)
    return latitude, longitude if crs == SOUTH else np.where(longitude > 180.0, longitude - 360.0, longitude)


def parent_rings(parents: np.ndarray, grid: Grid, crs: int) -> np.ndarray:
    """Return the outlines of parent cells in a polar plane, metres, shape (n, points, 2).

    Parameters
    ----------
    parents : ndarray of int64, shape (n,)
        Nested ids.
    grid : Grid
    crs : int
        EPSG code of the projection.
    """
    rings = outline(parents, grid.parent_order, grid.latitude, SIDE)
    sign = -1.0 if crs == SOUTH else 1.0
    x, y = transformer(crs).transform(rings[:, :, 0], sign * np.maximum(sign * rings[:, :, 1], -30.0))
    return np.stack([x, y], axis=-1)


def hemisphere(parents: np.ndarray, grid: Grid) -> tuple[int, np.ndarray]:
    """Return the projection of the hemisphere with the most parent cells, and which of them lie in it.

    Parameters
    ----------
    parents : ndarray of int64, shape (n,)
        Nested ids.
    grid : Grid
    """
    rings = outline(parents, grid.parent_order, grid.latitude, 1)
    south = rings[:, :-1, 1].mean(axis=1) < 0
    return (SOUTH, south) if 2 * south.sum() >= len(south) else (NORTH, ~south)


def area_frame(area: Area, crs: int) -> tuple[float, float, float, float]:
    """Return the extent of an area in a polar plane: left, right, bottom and top, metres.

    Parameters
    ----------
    area : Area
    crs : int
        EPSG code of the projection.

    Raises
    ------
    InputError
        If no part of the area lies in the hemisphere.
    """
    part = area.south if crs == SOUTH else area.north
    if part.is_empty:
        side = "southern" if crs == SOUTH else "northern"
        raise InputError(f"area {area.name} has no part in the {side} hemisphere, where the cells of the result are")
    left, bottom, right, top = part.bounds
    return left, right, bottom, top


def frame_of(extent: tuple[float, float, float, float], crs: int, order: int, most: int = MOST) -> Frame:
    """Return a frame with a margin, and with as many pixels as show its cells.

    Parameters
    ----------
    extent : tuple of float
        Left, right, bottom and top, metres.
    crs : int
        EPSG code of the projection.
    order : int
        Order of the cells.
    most : int
        Largest number of pixels along the longer side.
    """
    left, right, bottom, top = extent
    longer = max(right - left, top - bottom)
    margin = MARGIN * longer + 500.0
    width, height = right - left + 2 * margin, top - bottom + 2 * margin
    # A map is neither a stripe nor a tower: there is room for what is written beside it.
    width, height = max(width, height / SHAPES[1]), max(height, width * SHAPES[0])
    cell = CELL_WIDTH * 1e3 / 2**order
    pixels = min(most, max(FEWEST, math.ceil(max(width, height) / cell * PER_CELL)))
    size = max(width, height) / pixels
    columns, rows = math.ceil(width / size), math.ceil(height / size)
    x, y = (left + right) / 2, (bottom + top) / 2
    half = columns * size / 2, rows * size / 2
    return Frame(crs, (x - half[0], x + half[0], y - half[1], y + half[1]), columns, rows)


class Lookup:
    """Finds the row of the result of each point.

    Parameters
    ----------
    ids : ndarray of int64, shape (n,)
        Nested id of each row, ascending.
    grid : Grid
    """

    def __init__(self, ids: np.ndarray, grid: Grid) -> None:
        self._ids, self._grid = ids, grid
        self._latitude: Latitude = grid.latitude
        parents = np.unique(ids >> grid.shift)
        self._table: Any = None
        # Most results have all children of their parent cells: then two steps replace a search among millions of ids.
        whole = len(ids) == len(parents) << grid.shift
        if (
            whole
            and grid.parent_order <= DENSE_ORDER
            and bool(((ids & (grid.children - 1)) == self._within(ids)).all())
        ):
            self._table = np.full(12 << 2 * grid.parent_order, -1, np.int64)
            self._table[parents] = np.arange(len(parents)) << grid.shift

    def _within(self, ids: np.ndarray) -> np.ndarray:
        return np.arange(len(ids)) & (self._grid.children - 1)

    def rows(self, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        """Return the row of the cell that contains each point, -1 where the result has none.

        Parameters
        ----------
        latitude, longitude : ndarray, degrees
            NaN for points that are not on the map.
        """
        found = np.full(latitude.shape, -1, np.int64)
        there = np.isfinite(latitude)
        cells = locate(latitude[there], longitude[there], self._grid.child_order, self._latitude)
        found[there] = self.of_cells(cells)
        return found

    def of_cells(self, cells: np.ndarray) -> np.ndarray:
        """Return the row of each cell, -1 where the result does not have it.

        Parameters
        ----------
        cells : ndarray of int64, shape (n,)
            Nested ids.
        """
        if self._table is not None:
            first = self._table[cells >> self._grid.shift]
            return np.where(first >= 0, first + (cells & (self._grid.children - 1)), -1)
        at = np.minimum(np.searchsorted(self._ids, cells), len(self._ids) - 1)
        return np.where(self._ids[at] == cells, at, -1)
