"""A result as a cloud-optimised GeoTIFF; needs rasterio, which is in the extra "export"."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.show.export_grid import PixelGrid
from maggjob.show.export_options import Field, Selection
from maggjob.show.plane import Lookup

TILE = 512
"""Width and height of a tile."""


def write_geotiff(path: Path, selection: Selection, grid: PixelGrid, attributes: Mapping[str, str]) -> None:
    """Write a cloud-optimised GeoTIFF with a band per variable and time.

    Parameters
    ----------
    path : Path
    selection : Selection
    grid : PixelGrid
    attributes : mapping
        Tags of the file.
    """
    import rasterio
    from rasterio.shutil import copy

    fields = list(selection.fields)
    values = [selection.values(field.variable, field.time) for field in fields]
    dtype = np.result_type(*(one.dtype for one in values))
    profile: dict[str, Any] = {
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
    # GDAL's COG driver copies: overviews must be known before the data are written.
    plain = path.with_name(f"{path.stem}-plain.tif")
    try:
        with rasterio.open(plain, "w", **profile) as file:
            _describe(file, fields, attributes)
            lookup = Lookup(selection.result.ids, selection.result.grid)
            for rows, at in grid.strips(lookup):
                window = rasterio.windows.Window(0, rows.start, grid.width, rows.stop - rows.start)
                for number, one in enumerate(values, 1):
                    file.write(np.where(at >= 0, one[at], np.nan).astype(dtype), number, window=window)
        options = {"compress": "deflate", "predictor": "3", "overview_resampling": "nearest", "blocksize": str(TILE)}
        copy(plain, path, driver="COG", bigtiff="if_safer", **options)
    finally:
        plain.unlink(missing_ok=True)


def _describe(file: Any, fields: list[Field], attributes: Mapping[str, str]) -> None:
    file.update_tags(**attributes)
    for number, field in enumerate(fields, 1):
        file.set_band_description(number, field.name)
        file.update_tags(number, long_name=field.variable.label)
        units = str(field.variable.attributes.get("units", ""))
        if units:
            file.set_band_unit(number, units)
