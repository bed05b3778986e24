"""Gridded granules: their axes and times, and windows of their variables, read in merged ranges."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from maggjob.errors import CorruptError, MissingDatasetError, UnsupportedError
from maggjob.granules.granule import OpenGranule
from maggjob.granules.selection import Buffers
from maggjob.hdf5.chunks import merge
from maggjob.hdf5.grids import GridInfo, GridTable, Window

BLOCK = 8 << 20
"""Grid cells that are read at once, about: whole chunks of the file."""
UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
SINCE = re.compile(r"(second|minute|hour|day)s?\s+since\s+(\d{4}-\d\d-\d\d)[T ]?([\d:.]*)\s*(?:UTC|Z)?")
"""Units of time as CF writes them."""


@dataclass(frozen=True)
class GridRegion:
    """The rows and columns of a grid that lie in a region."""

    latitude: np.ndarray
    """Latitudes of the grid, degrees."""
    longitude: np.ndarray
    """Longitudes of the grid, degrees east."""
    rows: np.ndarray
    """Which latitudes are in the region, bool."""
    columns: np.ndarray
    """Which longitudes are."""
    paths: tuple[str, str]
    """Paths of the latitudes and of the longitudes."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of latitudes and longitudes of the grid."""
        return len(self.latitude), len(self.longitude)

    @property
    def outside(self) -> int:
        """Number of grid cells outside the region."""
        return len(self.latitude) * len(self.longitude) - int(self.rows.sum()) * int(self.columns.sum())


class GridReader:
    """Datasets of one granule, of any number of dimensions.

    Parameters
    ----------
    granule : OpenGranule

    Raises
    ------
    GranuleError
        If a dataset is missing or cannot be read, from any method.
    """

    def __init__(self, granule: OpenGranule) -> None:
        self._granule = granule
        self._tables: dict[str, GridTable | None] = {}
        self._turned: dict[str, bool] = {}

    def info(self, path: str) -> GridInfo:
        """Return the header of a dataset."""
        info = self._granule.file.grid_info(path)
        if info is None:
            raise MissingDatasetError(f"{self._granule.id}: it has no dataset {path}; check the configuration")
        return info

    def text(self, path: str, name: str) -> str | None:
        """Return an attribute of a dataset that is a text; None if there is none.

        Parameters
        ----------
        path : str
        name : {"units", "long_name"}
        """
        self.info(path)
        return self._granule.file.text(path, name)

    def chunk(self, path: str) -> tuple[int, ...]:
        """Return the elements of a chunk along each dimension: windows of whole chunks are read once."""
        table = self._table(path)
        return self.info(path).shape if table is None else table.chunk

    def whole(self, path: str) -> np.ndarray:
        """Read a whole dataset."""
        return self.window(path, tuple(slice(0, n) for n in self.info(path).shape))

    def window(self, path: str, window: Window) -> np.ndarray:
        """Read a window of a dataset, in the type of the file, packed as it is there.

        Parameters
        ----------
        path : str
        window : tuple of slice

        Returns
        -------
        ndarray, shape of the window
        """
        table = self._table(path)
        if table is None:
            return self._granule.file.grid(path, window)
        numbers = table.numbers(window)
        chunks = [table.range_of(number) for number in numbers]
        size = self._granule.source.size
        if any(stop > size for _, stop in chunks):
            raise CorruptError(f"{self._granule.id}: {path}: a chunk lies beyond the end at {size}")
        ranges = merge(chunks)
        buffers = Buffers(ranges, self._granule.source.views(ranges))
        try:
            return table.values(window, numbers, [buffers.cut(*one) for one in chunks])
        except CorruptError as problem:
            raise CorruptError(f"{self._granule.id}: {path}: {problem}") from problem

    def _table(self, path: str) -> GridTable | None:
        self.info(path)
        if path not in self._tables:
            self._tables[path] = self._granule.file.grid_table(path)
        return self._tables[path]

    def region(
        self, latitude: str, longitude: str, band: tuple[float, float], sector: tuple[float, float] | None
    ) -> GridRegion:
        """Read the axes of the grid, and select a region.

        Parameters
        ----------
        latitude, longitude : str
            Paths.
        band : tuple of float
            Southern and northern latitude, both included, degrees.
        sector : tuple of float or None
            Western and eastern longitude, both included, degrees; west may be east of east. None for all.

        Raises
        ------
        UnsupportedError
            If the axes are not those of a grid, or none of its cells lies in the region.
        """
        y, x = self._axis(latitude), self._axis(longitude)
        if np.abs(y).max() > 90.0 or np.abs(x).max() > 720.0:
            raise UnsupportedError(f"{latitude} or {longitude}: not degrees")
        columns = np.ones(len(x), bool)
        if sector is not None:
            columns = in_sector(x, self._rounding(longitude), *sector)
        south, north = (float(self._rounding(latitude)(limit)) for limit in band)
        found = GridRegion(y, x, (y >= south) & (y <= north), columns, (latitude, longitude))
        if not found.rows.any() or not columns.any():
            raise UnsupportedError(f"no cell of the grid lies in the region: latitude {band}, longitude {sector}")
        return found

    def _axis(self, path: str) -> np.ndarray:
        """Read the positions along an axis, degrees."""
        info = self.info(path)
        if len(info.shape) != 1:
            raise UnsupportedError(f"{path} has {len(info.shape)} dimensions: no grid of latitudes and longitudes")
        scale, offset = info.packing
        values = self.whole(path).astype(np.float64) * scale + offset
        if len(values) == 0 or not np.isfinite(values).all():
            raise UnsupportedError(f"{path} has no positions")
        if not ((np.diff(values) > 0).all() or (np.diff(values) < 0).all()):
            raise UnsupportedError(f"{path} neither ascends nor descends: it is no axis of a grid")
        return values

    def _rounding(self, path: str) -> type[np.floating]:
        """Return the type in which limits are compared with an axis: 59.9 is not what float32 holds of it."""
        info = self.info(path)
        return np.float32 if info.dtype == np.float32 and info.packing == (1.0, 0.0) else np.float64

    def times(self, path: str, day: str) -> list[int]:
        """Return the times of the granule, seconds since 1970-01-01.

        Parameters
        ----------
        path : str
            Path of the times, with CF units.
        day : str
            Day of the granule, ISO 8601: its time if it has none itself.

        Raises
        ------
        UnsupportedError
            If the units are not those of a time.
        """
        info = self._granule.file.grid_info(path)
        if info is None:
            return [_seconds(day)]
        units = self.text(path, "units")
        found = SINCE.match(str(units))
        if found is None:
            raise UnsupportedError(f"{path} has units {units!r}; known are seconds, minutes, hours or days since a day")
        unit, zero, clock = found.groups()
        scale, offset = info.packing
        values = self.whole(path).astype(np.float64) * scale + offset
        return [round(_seconds(f"{zero}T{clock or '00:00:00'}") + UNITS[unit] * value) for value in values.ravel()]

    def times_of(self, path: str, region: GridRegion) -> tuple[list[tuple[int, ...]], bool]:
        """Return the leading indices of each time of a variable, and whether its last axes are turned.

        Where the shape does not tell, as on a square grid, dimension scales do; without any, latitude comes first, as
        CF recommends.

        Parameters
        ----------
        path : str
        region : GridRegion

        Raises
        ------
        UnsupportedError
            If the variable is not on the grid, or its dimension scales are others.
        """
        shape, grid = self.info(path).shape, region.shape
        if len(shape) < 2 or shape[-2:] not in (grid, grid[::-1]):
            raise UnsupportedError(f"{path} has shape {shape}, but the grid has {grid[0]} by {grid[1]} cells")
        if path not in self._turned:
            self._turned[path] = self._is_turned(path, region)
        return list(np.ndindex(*shape[:-2])), self._turned[path]

    def _is_turned(self, path: str, region: GridRegion) -> bool:
        """Return whether longitude comes before latitude in the last two axes."""
        shape, grid = self.info(path).shape, region.shape
        if shape.count(grid[0]) * shape.count(grid[1]) == 1:
            return shape[-2:] != grid
        order, last = self._granule.file.axis_order(path, *region.paths), (len(shape) - 2, len(shape) - 1)
        if order not in (None, last, last[::-1]):
            raise UnsupportedError(f"{path}: latitude and longitude are axes {order} of {shape}, expected the last two")
        return shape[-2:] != grid if order is None else order != last

    def bands(self, path: str, region: GridRegion, *, turned: bool) -> Iterator[slice]:
        """Yield ranges of latitudes of whole chunks, of about `BLOCK` cells, that hold rows of a region.

        Parameters
        ----------
        path : str
            Path of a variable.
        region : GridRegion
        turned : bool
            Whether longitude comes before latitude.
        """
        own = self.chunk(path)[-1 if turned else -2]
        step = max(1, BLOCK // region.shape[1] // own) * own
        for start in range(0, region.shape[0], step):
            rows = slice(start, min(start + step, region.shape[0]))
            if region.rows[rows].any():
                yield rows

    def block(self, path: str, lead: tuple[int, ...], rows: slice, region: GridRegion, *, turned: bool) -> np.ndarray:
        """Read the part of a band that lies in a region, shape (rows, columns), as it is stored.

        Parameters
        ----------
        path : str
        lead : tuple of int
            Indices along all axes but the last two.
        rows : slice
            Band of latitudes.
        region : GridRegion
        turned : bool
            Whether longitude comes before latitude.
        """
        columns = slice(0, region.shape[1])
        axes = (columns, rows) if turned else (rows, columns)
        window = (*(slice(n, n + 1) for n in lead), *axes)
        values = self.window(path, window).reshape([one.stop - one.start for one in axes])
        values = values.T if turned else values
        own = region.rows[rows]
        values = values if own.all() else values[own]
        return values if region.columns.all() else values[:, region.columns]


def in_sector(longitude: np.ndarray, rounding: type[np.floating], west: float, east: float) -> np.ndarray:
    """Return which columns of a grid lie in a sector; a meridian that is there twice counts once.

    Parameters
    ----------
    longitude : ndarray, shape (n,), float64, degrees east
    rounding : type
        Type in which the file holds them, to which limits are rounded.
    west, east : float
        Limits, both included, degrees; a span of 360 or more is the whole circle.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    # An axis from 0 to 360 has the first meridian at its end again.
    first = np.zeros(len(longitude), bool)
    first[np.unique(np.round(longitude % 360.0, 6) % 360.0, return_index=True)[1]] = True
    if east - west >= 360.0:
        return first
    span, inside = (east - west) % 360.0, np.zeros(len(longitude), bool)
    for turn in range(-1080, 1081, 360):
        low, high = float(rounding(west + turn)), float(rounding(west + span + turn))
        inside |= (longitude >= low) & (longitude <= high)
    return inside & first


def _seconds(text: str) -> int:
    """Return a time (UTC) as seconds since 1970-01-01."""
    moment = datetime.fromisoformat(text)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
