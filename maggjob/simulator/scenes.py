"""Simulated Sentinel-2 scenes: GeoTIFFs with known pixel values, their STAC items, and two regions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.errors import ExistsError, InputError

STEP = 10.0
"""Size of a pixel in metres; the classification has twice that."""
SNOW, CLOUD, CLEAR = 11, 9, 5
"""Classes that are written."""


@dataclass(frozen=True)
class Tile:
    """A tile of the simulated grid."""

    name: str
    """Its name."""
    epsg: int
    """UTM zone."""
    left: float
    """Western border, metres."""
    top: float
    """Northern border, metres."""
    side: int
    """Rows and columns."""


TILES = (
    Tile("22VEN", 32622, 600_000.0, 6_790_020.0, 600),
    # Overlaps its neighbour by 100 columns.
    Tile("22VFN", 32622, 605_000.0, 6_790_020.0, 600),
    Tile("23VLH", 32623, 280_020.0, 6_795_000.0, 600),
)
"""Tiles near 49 W, 61 N: two that overlap, and one of another zone over the same ground."""
REGIONS = {
    "134_Arsuk": [(-49.11, 61.22), (-49.06, 61.225), (-49.03, 61.205), (-49.09, 61.19)],
    "135_Next": [(-49.08, 61.215), (-49.0, 61.22), (-49.0, 61.2), (-49.08, 61.2)],
}
"""Regions on the tiles: name, and corners as longitude and latitude in degrees."""
SOURCE = "simulated by maggjob"
"""Title of a file of items that was written here."""


def value_at(tile: Tile, day: date, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return the reflectance times 10,000 that is written at pixels of a tile.

    Parameters
    ----------
    tile : Tile
    day : date
    row, column : ndarray of int
    """
    number = TILES.index(tile) if tile in TILES else 9
    return np.asarray(1000 + 500 * number + 10 * (day.toordinal() % 30) + (row % 50) + (column % 40))


def simulate_scenes(
    folder: str | Path,
    *,
    start: str | date,
    end: str | date,
    every: int = 5,
    tiles: Sequence[Tile] = TILES,
    offset: float = 0.0,
    block: int = 256,
) -> Path:
    """Write scenes, a file of their STAC items, and ``regions.json`` with two regions.

    Parameters
    ----------
    folder : str or Path
        Where to write; it is created.
    start, end : str or date
        First and last day.
    every : int
        Days between two passes.
    tiles : sequence of Tile
    offset : float
        Offset of reflectance, such as -0.1 as from processing baseline 4 on: stored numbers are 1,000 larger.
    block : int
        Side of the tiles in the files, pixels.

    Returns
    -------
    Path
        The file of items, ``items.json``.

    Raises
    ------
    InputError
        If a day is none, or the first is after the last.
    ExistsError
        If the folder has files and was not written here.
    """
    try:
        first, last = (one if isinstance(one, date) else date.fromisoformat(one) for one in (start, end))
    except ValueError as problem:
        raise InputError(f"start {start} and end {end} must be days, such as 2023-07-01 ({problem})") from problem
    if first > last:
        raise InputError(f"start {first} is after end {last}; swap them")
    place = Path(folder)
    path = place / "items.json"
    if place.exists() and (not place.is_dir() or (any(place.iterdir()) and not _is_simulated(path))):
        raise ExistsError(f"{place} exists and is not a folder of simulated scenes; nothing in it is replaced")
    place.mkdir(parents=True, exist_ok=True)
    items = []
    for number in range(0, (last - first).days + 1, every):
        items += [_scene(place, tile, first + timedelta(days=number), offset, block) for tile in tiles]
    shapes = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
        }
        for name, corners in REGIONS.items()
    ]
    (place / "regions.json").write_text(json.dumps({"type": "FeatureCollection", "features": shapes}))
    path.write_text(json.dumps({"type": "FeatureCollection", "title": SOURCE, "features": items}, indent=1))
    return path


def _is_simulated(path: Path) -> bool:
    """Return True if a file is a list of items that was written here."""
    try:
        return bool(json.loads(path.read_text()).get("title") == SOURCE)
    except (OSError, ValueError, AttributeError):
        return False


def _scene(place: Path, tile: Tile, day: date, offset: float, block: int) -> dict[str, Any]:
    from rasterio.warp import transform_bounds

    row, column = np.mgrid[0 : tile.side, 0 : tile.side]
    numbers = value_at(tile, day, row, column) - round(offset / 0.0001)
    # The swath ends within the tile.
    numbers[column + row // 4 > tile.side - 40] = 0
    classes = np.full((tile.side // 2, tile.side // 2), CLEAR)
    classes[:60] = SNOW
    classes[100:140, 40:120] = CLOUD
    name = f"S2A_{tile.name}_{day:%Y%m%d}_0_L2A"
    _geotiff(place / f"{name}_B08.tif", numbers.astype("u2"), tile, STEP, block)
    _geotiff(place / f"{name}_SCL.tif", classes.astype("u1"), tile, 2 * STEP, block)
    right, bottom = tile.left + tile.side * STEP, tile.top - tile.side * STEP
    west, south, east, north = transform_bounds(f"EPSG:{tile.epsg}", "EPSG:4326", tile.left, bottom, right, tile.top)
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    kind = "image/tiff; application=geotiff; profile=cloud-optimized"
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": "sentinel-2-l2a",
        "bbox": [west, south, east, north],
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "datetime": f"{day}T14:20:30.000000Z",
            "eo:cloud_cover": 3.5 + TILES.index(tile) if tile in TILES else 50,
        },
        "assets": {
            "nir": {
                "href": f"./{name}_B08.tif",
                "type": kind,
                "eo:bands": [{"name": "B08", "common_name": "nir"}],
                "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": offset}],
            },
            "scl": {"href": f"./{name}_SCL.tif", "type": kind},
        },
        "links": [],
    }


def _geotiff(path: Path, values: np.ndarray, tile: Tile, step: float, block: int) -> None:
    import rasterio
    from affine import Affine

    with rasterio.open(
        path,
        "w",
        driver="COG",
        count=1,
        height=values.shape[0],
        width=values.shape[1],
        dtype=values.dtype,
        crs=f"EPSG:{tile.epsg}",
        transform=Affine(step, 0.0, tile.left, 0.0, -step, tile.top),
        nodata=0,
        compress="deflate",
        blocksize=block,
    ) as file:
        file.write(values, 1)
