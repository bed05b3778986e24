"""A result as a cloud-optimised GeoTIFF; needs rasterio, which is in the extra "export"."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.errors import InputError
from maggjob.show.export_grid import PixelGrid
from maggjob.show.export_options import Field, Selection
from maggjob.show.plane import Lookup

TILE = 512
"""Width and height of a tile."""
CACHE = 256
"""Megabytes that GDAL may keep."""
MOST_VALUES = 60_000_000
"""Values that are in memory at once."""


def write_geotiff(path: Path, selection: Selection, grid: PixelGrid, attributes: Mapping[str, str]) -> None:
    """Write a cloud-optimised GeoTIFF with a band per variable and time.

    Parameters
    ----------
    path : Path
    selection : Selection
    grid : PixelGrid
    attributes : mapping
        Tags of the file.

    Raises
    ------
    InputError
        If the file cannot hold the reference system.
    OSError
        If it cannot be written.
    """
    import rasterio
    from rasterio._err import CPLE_BaseError
    from rasterio.errors import RasterioError

    # Without files of its own beside ours, and with a cache of a known size.
    options = {"GDAL_PAM_ENABLED": "NO", "GDAL_CACHEMAX": CACHE}
    try:
        with rasterio.Env(**options):
            _write(path, selection, grid, attributes)
            with rasterio.open(path) as file:
                kept = file.crs is not None
    # A full disk is an error of GDAL, which is no OSError.
    except (RasterioError, CPLE_BaseError) as problem:
        raise OSError(f"GDAL: {' '.join(str(problem).split())}") from problem
    if not kept:
        raise InputError(f"a GeoTIFF cannot hold the crs {grid.crs.name!r}; give another --crs, or write a .nc")


def _write(path: Path, selection: Selection, grid: PixelGrid, attributes: Mapping[str, str]) -> None:
    import rasterio
    from rasterio.shutil import copy

    fields = list(selection.fields)
    several = max(1, MOST_VALUES // len(selection.result.ids))
    # GDAL's COG driver copies: overviews must be known before the data are written.
    plain = path.with_name(f"{path.stem}-plain.tif")
    try:
        with rasterio.open(plain, "w", **_profile(selection, grid, fields)) as file:
            _describe(file, fields, attributes)
            lookup = Lookup(selection.result.ids, selection.result.grid)
            for start in range(0, len(fields), several):
                values = [selection.values(one.variable, one.time) for one in fields[start : start + several]]
                for rows, at in grid.strips(lookup):
                    window = rasterio.windows.Window(0, rows.start, grid.width, rows.stop - rows.start)
                    for band, one in enumerate(values, start + 1):
                        file.write(np.where(at >= 0, one[at], np.nan).astype(file.dtypes[0]), band, window=window)
        options = {"compress": "deflate", "predictor": "3", "overview_resampling": "nearest", "blocksize": str(TILE)}
        copy(plain, path, driver="COG", bigtiff="if_safer", **options)
    finally:
        plain.unlink(missing_ok=True)


def _profile(selection: Selection, grid: PixelGrid, fields: Sequence[Field]) -> dict[str, Any]:
    import rasterio

    # All bands have one type, and which one is needed only the values say: they are read once for that, one by one.
    dtype = np.result_type(*(selection.values(one.variable, one.time).dtype for one in fields))
    return {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": len(fields),
        "dtype": dtype.name,
        "crs": rasterio.crs.CRS.from_wkt(grid.crs.to_wkt()),
        "transform": rasterio.Affine(grid.size, 0.0, grid.left, 0.0, -grid.size, grid.top),
        "nodata": np.nan,
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "lzw",
        "interleave": "band",
        "bigtiff": "if_safer",
    }


def _describe(file: Any, fields: list[Field], attributes: Mapping[str, str]) -> None:
    file.update_tags(**attributes)
    for number, field in enumerate(fields, 1):
        file.set_band_description(number, field.name)
        file.update_tags(number, long_name=field.variable.label)
        units = str(field.variable.attributes.get("units", ""))
        if units:
            file.set_band_unit(number, units)
