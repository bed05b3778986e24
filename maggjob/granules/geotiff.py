"""GeoTIFFs and pictures as bytes, and the pixels of a polygon; by rasterio, imported only where it is needed."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from maggjob.model.scenes import SceneRecipe, Template

NODATA = 0
"""Value without data."""
THUMBNAIL = 160
"""Largest side of a thumbnail, pixels."""


def pixels_inside(shape: Mapping[str, Any], template: Template) -> np.ndarray:
    """Return which pixels have their center in a polygon.

    Parameters
    ----------
    shape : mapping
        Polygon as GeoJSON, in the coordinates of the grid.
    template : Template

    Returns
    -------
    ndarray of bool, shape (rows, columns)
    """
    from affine import Affine
    from rasterio.features import geometry_mask

    size = (template.height, template.width)
    return np.asarray(geometry_mask([shape], size, Affine(*template.transform), invert=True))


def geotiff(values: np.ndarray, template: Template, recipe: SceneRecipe) -> bytes:
    """Return a cloud-optimised GeoTIFF.

    Parameters
    ----------
    values : ndarray of uint16, shape (bands, rows, columns)
    template : Template
    recipe : SceneRecipe
        Names, scale and offset of the bands.
    """
    from affine import Affine
    from rasterio.io import MemoryFile

    count, height, width = values.shape
    profile = {
        "driver": "COG",
        "count": count,
        "height": height,
        "width": width,
        "dtype": "uint16",
        "crs": template.crs,
        "transform": Affine(*template.transform),
        "nodata": NODATA,
        "compress": "deflate",
        "predictor": 2,
        "blocksize": 512,
        "overview_resampling": "nearest",
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(values)
            file.descriptions = recipe.bands
            file.scales, file.offsets = (recipe.scale,) * count, (recipe.offset,) * count
        return bytes(memory.read())


def thumbnail(values: np.ndarray) -> bytes:
    """Return a small grey picture of a band as PNG: from its 2nd to its 98th percentile, nodata black."""
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    step = max(1, -(-max(values.shape) // THUMBNAIL))
    small = values[::step, ::step]
    there = small[small != NODATA].astype(np.float64)
    low, high = np.percentile(there, (2, 98)) if len(there) else (0.0, 1.0)
    grey = np.clip((small - low) / max(high - low, 1.0), 0.0, 1.0) * 254 + 1
    grey = np.where(small == NODATA, 0, grey).astype(np.uint8)
    with MemoryFile() as memory, warnings.catch_warnings():
        # A picture lies nowhere on earth, of which rasterio warns.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(driver="PNG", count=1, height=grey.shape[0], width=grey.shape[1], dtype="uint8") as file:
            file.write(grey, 1)
        return bytes(memory.read())
