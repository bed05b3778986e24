"""GeoTIFFs read by rasterio through the archive's ranges: windows on a template grid.

rasterio (GDAL) knows every tiling, compression and projection, and asks for the tiles of a window in one call, which
become concurrent requests. It is imported only here, and only where rasters are read.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import numpy as np

from maggjob.errors import CorruptError, GranuleError, TruncatedError, UnsupportedError
from maggjob.model.scenes import Template
from maggjob.storage.archive import Archive, Source

NAME = "scene.tif"
"""Name under which GDAL knows the file."""
ALIGNED = 1e-6
"""Part of a pixel by which two grids may differ and still be one."""
CACHE = 256 << 20
"""Bytes of tiles that GDAL keeps, so that windows that share a tile read it once."""


def raster_problem(problem: Exception, name: str) -> GranuleError:
    """Return the maggjob error that stands for an exception of rasterio.

    Parameters
    ----------
    problem : Exception
    name : str
        Name of the raster.
    """
    if isinstance(problem, GranuleError):
        return problem
    return CorruptError(f"{name}: {type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}")


class Raster:
    """A raster of one band, and windows of it on a template grid.

    Parameters
    ----------
    name : str
        Name of the scene and the band, for messages.
    source : Source
        Its bytes.
    stack : ExitStack
        Closes what was opened.

    Raises
    ------
    GranuleError
        If it cannot be read, from any method.
    """

    def __init__(self, name: str, source: Source, stack: ExitStack) -> None:
        import rasterio

        self.name = name
        self._source = source
        self._problem: GranuleError | None = None
        with self._named():
            self._data = stack.enter_context(rasterio.open(NAME, opener=_opener(self)))
        if self._data.count != 1:
            raise UnsupportedError(f"{name}: {self._data.count} bands, expected 1")
        if self._data.crs is None:
            raise UnsupportedError(f"{name}: it has no coordinate reference system")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn what rasterio raises into our errors; what our reads raised comes first."""
        try:
            yield
        except Exception as problem:  # noqa: BLE001
            raise (self._problem or raster_problem(problem, self.name)) from None
        if self._problem is not None:
            raise self._problem

    def ranges(self, starts: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        """Read byte ranges for GDAL.

        Parameters
        ----------
        starts, sizes : sequence of int
            First byte and number of bytes of each range.

        Returns
        -------
        list of bytes
            Zeros if they cannot be read: an exception would not pass through GDAL, so it is raised after the call.
        """
        wanted = [(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        try:
            end = max((stop for _, stop in wanted), default=0)
            if end > self.size:
                raise TruncatedError(f"{self.name}: a tile ends at byte {end}, the file at {self.size}; fetch it again")
            return [bytes(one) for one in self._source.views(wanted)]
        except GranuleError as problem:
            self._problem = problem
            return [bytes(size) for size in sizes]

    def bytes_at(self, position: int, size: int) -> bytes:
        """Read some bytes for GDAL, as `ranges`; fewer at the end of the file.

        Parameters
        ----------
        position, size : int
            First byte and number of bytes.
        """
        try:
            return self._source.read(position, size) if position < self._source.size and size > 0 else b""
        except GranuleError as problem:
            self._problem = problem
            return bytes(size)

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self._source.size

    def on_grid(self, template: Template) -> tuple[int, int] | None:
        """Return the row and column of the raster at the corner of a template; None if the grids differ.

        Parameters
        ----------
        template : Template
        """
        own, step = self._data.transform, template.resolution
        alike = math.isclose(own.a, step, rel_tol=1e-9) and math.isclose(own.e, -step, rel_tol=1e-9)
        if not alike or own.b or own.d or not self._in_crs(template):
            return None
        column, row = (template.left - own.c) / step, (own.f - template.top) / step
        if abs(column - round(column)) > ALIGNED or abs(row - round(row)) > ALIGNED:
            return None
        return round(row), round(column)

    def _in_crs(self, template: Template) -> bool:
        from rasterio.crs import CRS

        return bool(self._data.crs == CRS.from_string(template.crs))

    def window(self, template: Template, resampling: str) -> tuple[np.ndarray, np.ndarray]:
        """Read the raster on a template grid: copied if the grids are one, else reprojected.

        Parameters
        ----------
        template : Template
        resampling : str
            How it is reprojected.

        Returns
        -------
        values : ndarray, shape (height, width)
            In the type of the file.
        valid : ndarray of bool, shape (height, width)
        """
        corner = self.on_grid(template)
        with self._named():
            if corner is None:
                return self._warped(template, resampling)
            return self._copied(template, *corner)

    def _copied(self, template: Template, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
        from rasterio.windows import Window

        values = np.zeros((template.height, template.width), self._data.dtypes[0])
        valid = np.zeros(values.shape, bool)
        rows = max(row, 0), min(row + template.height, self._data.height)
        columns = max(column, 0), min(column + template.width, self._data.width)
        if rows[0] < rows[1] and columns[0] < columns[1]:
            size = columns[1] - columns[0], rows[1] - rows[0]
            found = self._data.read(1, window=Window(columns[0], rows[0], *size))
            place = slice(rows[0] - row, rows[1] - row), slice(columns[0] - column, columns[1] - column)
            values[place], valid[place] = found, self._is_there(found)
        return values, valid

    def _warped(self, template: Template, resampling: str) -> tuple[np.ndarray, np.ndarray]:
        from affine import Affine
        from rasterio.enums import Resampling
        from rasterio.vrt import WarpedVRT

        nodata = 0 if self._data.nodata is None else self._data.nodata
        with WarpedVRT(
            self._data,
            crs=template.crs,
            transform=Affine(*template.transform),
            width=template.width,
            height=template.height,
            resampling=Resampling[resampling],
            src_nodata=nodata,
            nodata=nodata,
        ) as turned:
            values = turned.read(1)
        return values, self._is_there(values)

    def _is_there(self, values: np.ndarray) -> np.ndarray:
        nodata = 0 if self._data.nodata is None else self._data.nodata
        return ~np.isnan(values) if np.isnan(nodata) else np.asarray(values != nodata)


class Rasters:
    """The rasters of a task, each opened once while the block lasts; use it as a context manager.

    Parameters
    ----------
    archive : Archive
        Where they are read from.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._stack = ExitStack()
        self._open: dict[str, Raster | GranuleError] = {}

    def __enter__(self) -> Self:
        import rasterio

        options = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_CACHEMAX": CACHE >> 20, "GDAL_PAM_ENABLED": "NO"}
        self._stack.enter_context(rasterio.Env(**options))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def get(self, name: str, url: str) -> Raster:
        """Return a raster, opened if necessary.

        Parameters
        ----------
        name : str
            Name for messages.
        url : str

        Raises
        ------
        GranuleError
            If it cannot be read; it is not tried a second time.
        """
        if url not in self._open:
            try:
                self._open[url] = Raster(name, Source(url, self._archive), self._stack)
            except GranuleError as problem:
                self._open[url] = problem
        found = self._open[url]
        if isinstance(found, GranuleError):
            raise found
        return found


def _opener(raster: Raster) -> Any:
    """Return what gives GDAL the bytes of a raster."""
    from rasterio._vsiopener import MultiByteRangeResource
    from rasterio.abc import MultiByteRangeResourceContainer

    class File(MultiByteRangeResource):  # type: ignore[misc]
        """A file with a position."""

        def __init__(self) -> None:
            self._position = 0

        def read(self, size: int = -1) -> bytes:
            content = raster.bytes_at(self._position, raster.size if size < 0 else size)
            self._position += len(content)
            return content

        def seek(self, offset: int, whence: int = 0) -> int:
            self._position = offset + {0: 0, 1: self._position, 2: raster.size}[whence]
            return self._position

        def tell(self) -> int:
            return self._position

        def close(self) -> None:
            """Do nothing: ranges need no closing."""

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            """Do nothing: ranges need no closing."""

        def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
            return raster.ranges(offsets, sizes)

    class Container(MultiByteRangeResourceContainer):  # type: ignore[misc]
        """The one file that GDAL may open."""

        def open(self, path: str, mode: str = "rb", **_: object) -> File:
            if not self.isfile(path):
                raise FileNotFoundError(path)
            return File()

        def isfile(self, path: str) -> bool:
            return path.endswith(NAME)

        def isdir(self, path: str) -> bool:
            return False

        def ls(self, path: str) -> list[str]:
            return []

        def mtime(self, path: str) -> int:
            return 0

        def size(self, path: str) -> int:
            return raster.size

        def rm(self, path: str) -> None:
            raise PermissionError(path)

    return Container()
