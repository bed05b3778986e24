"""The grid of pixels of an exported raster, in any coordinate reference system."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from maggjob.errors import InputError
from maggjob.grid.areas import NORTH, SOUTH
from maggjob.grid.coverage import outline
from maggjob.show.export_options import Selection
from maggjob.show.plane import CELL_WIDTH, REACH, Lookup, geographic, hemisphere

STRIP = 2_000_000
"""Pixels that are looked up at once: memory does not grow with the raster."""
MOST_PIXELS = 1_000_000_000
"""Largest number of pixels of a band."""
EARTH = 6_371_000.0  # metres
WIDEST = 1e9
"""Largest width of a pixel, in units of the reference system."""


@dataclass(frozen=True)
class PixelGrid:
    """A grid of square pixels."""

    crs: Any
    """Coordinate reference system (pyproj)."""
    left: float
    """Left edge, in units of the reference system."""
    top: float
    """Upper edge, likewise."""
    size: float
    """Width and height of a pixel, likewise."""
    width: int
    """Pixels in a row."""
    height: int
    """Rows."""

    @property
    def x(self) -> np.ndarray:
        """Coordinates of the centres of the columns."""
        return np.asarray(self.left + (np.arange(self.width) + 0.5) * self.size)

    @property
    def y(self) -> np.ndarray:
        """Coordinates of the centres of the rows, from the top."""
        return np.asarray(self.top - (np.arange(self.height) + 0.5) * self.size)

    def strips(self, lookup: Lookup) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield strips of rows with the position in the result of the cell at each pixel's centre, -1 for none.

        Parameters
        ----------
        lookup : Lookup
        """
        # The table of the polar planes reaches to the other hemisphere's tropics.
        near = math.hypot(max(map(abs, self.x[[0, -1]])), max(map(abs, self.y[[0, -1]]))) < REACH
        code = self.crs.to_epsg() if near else None
        to_degrees = Transformer.from_crs(self.crs, 4326, always_xy=True)
        several = max(1, STRIP // self.width)
        for first in range(0, self.height, several):
            rows = slice(first, min(self.height, first + several))
            x, y = np.meshgrid(self.x, self.y[rows])
            if code in (SOUTH, NORTH):
                latitude, longitude = geographic(code, x, y)
            else:
                longitude, latitude = to_degrees.transform(x, y)
                beyond = ~(np.isfinite(latitude) & np.isfinite(longitude) & (np.abs(latitude) <= 90))
                latitude = np.where(beyond, np.nan, latitude)
            yield rows, lookup.rows(latitude, longitude)


def parse_crs(asked: str | int | None, selection: Selection) -> Any:
    """Return a coordinate reference system; by default the polar stereographic one of the chosen cells' hemisphere.

    Parameters
    ----------
    asked : str or int, optional
        Anything that pyproj understands, such as ``EPSG:3031``.
    selection : Selection

    Raises
    ------
    InputError
        If it is unknown or has no plane or sphere, or none is given for cells in both hemispheres.
    """
    result = selection.result
    if asked is None:
        # The area may lie in the hemisphere of the fewer cells.
        code, here = hemisphere(np.unique(result.ids[selection.chosen] >> result.grid.shift), result.grid)
        if not here.all():
            what = result.name if selection.rows is None else f"the area of {result.name}"
            raise InputError(
                f"{what} has cells in both hemispheres: give --crs EPSG:4326 for all of them, or an --aoi in one"
            )
        return CRS.from_epsg(code)
    try:
        # Heights above an ellipsoid are left out.
        found = CRS.from_user_input(asked).to_2d()
    except CRSError as problem:
        raise InputError(f"crs {asked!r} is unknown ({problem}); give one such as EPSG:3031") from None
    if not (found.is_geographic or found.is_projected) or len(axes_of(found)) != 2:
        raise InputError(f"crs {asked!r} ({found.name}) is no map: give one with two axes, such as EPSG:3031")
    return found


def axes_of(crs: Any) -> list[Any]:
    """Return the axes of a reference system; of one that is bound to another, its own.

    Parameters
    ----------
    crs : pyproj.CRS
    """
    return list(crs.axis_info or (crs.source_crs.axis_info if crs.is_bound else ()))


def unit_of(crs: Any) -> float:
    """Return the unit of a reference system: in metres, or in radians for a geographic one.

    Parameters
    ----------
    crs : pyproj.CRS
    """
    return float(axes_of(crs)[0].unit_conversion_factor)


def default_resolution(crs: Any, order: int) -> float:
    """Return half the width of a cell, rounded to one digit, in units of the reference system.

    Parameters
    ----------
    crs : pyproj.CRS
    order : int
        Order of the cells.
    """
    width = CELL_WIDTH * 1e3 / 2**order / 2
    if crs.is_geographic:
        width /= EARTH
    return float(f"{width / unit_of(crs):.0e}")


def pixel_grid(selection: Selection, crs: Any, resolution: float | None) -> PixelGrid:
    """Return the grid that covers the chosen cells; its edges are multiples of the resolution.

    Parameters
    ----------
    selection : Selection
    crs : pyproj.CRS
    resolution : float, optional
        Width of a pixel in units of the reference system; by default about half the width of a cell.

    Raises
    ------
    InputError
        If the resolution is not positive, the cells do not lie on the reference system, or there would be too many
        pixels.
    """
    size = default_resolution(crs, selection.result.grid.child_order) if resolution is None else float(resolution)
    if not (math.isfinite(size) and 0 < size < WIDEST):
        raise InputError(f"resolution is {resolution}; give the width of a pixel, such as 1000")
    left, bottom, right, top = _bounds(selection, crs)
    if (right - left + top - bottom) / size > WIDEST:
        raise InputError(f"resolution {size:g} is too fine for an area {right - left:g} wide; give a larger one")
    first, last = math.floor(left / size), math.ceil(right / size)
    lowest, highest = math.floor(bottom / size), math.ceil(top / size)
    width, height = last - first, highest - lowest
    if width * height > MOST_PIXELS:
        least = size * math.sqrt(width * height / MOST_PIXELS)
        raise InputError(
            f"a raster of {width:,} x {height:,} pixels at resolution {size:g} is too large; give --resolution "
            f"{_rounded_up(least):g} or more, or a smaller --aoi"
        )
    return PixelGrid(crs, first * size, highest * size, size, width, height)


def _rounded_up(value: float) -> float:
    digit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(value / digit) * digit


def _bounds(selection: Selection, crs: Any) -> tuple[float, float, float, float]:
    """Return the bounds of the outlines of the cells; of many, those of their parents."""
    result, grid = selection.result, selection.result.grid
    cells, order = result.ids[selection.chosen], grid.child_order
    # Some hundred thousand outlines would take longer than the raster.
    while len(cells) > 20_000 and order > grid.parent_order:
        cells, order = np.unique(cells >> 2), order - 1
    rings = outline(cells, order, grid.latitude, 4)
    transform = Transformer.from_crs(4326, crs, always_xy=True)
    x, y = transform.transform(rings[:, :, 0].ravel(), rings[:, :, 1].ravel())
    there = np.isfinite(x) & np.isfinite(y)
    if not there.any():
        raise InputError(f"the cells do not lie on {crs.name}; give another --crs")
    return float(x[there].min()), float(y[there].min()), float(x[there].max()), float(y[there].max())
