"""Makes maggjob/data/outlines.npz, the built-in areas: ``python -m tests.make_outlines FOLDER``.

FOLDER holds what Natural Earth (public domain, 1:50m) has of Antarctica's land and ice shelves and of
Greenland, as GeoJSON; the 27 grounded drainage basins (Zwally et al., 2012, GSFC) come with mortie.
Basins are simplified by 100 m, which leaves the cells of order 6 as they are in both latitude
conventions (this script checks it); the rest is widened first, so that nothing of it is lost.
"""

import json
import sys
from pathlib import Path

import mortie
import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry import shape

from maggjob.grid.areas import NORTH, SOUTH, Area
from maggjob.grid.coverage import area_cells

OUT = Path(__file__).parent.parent / "maggjob" / "grid" / "outlines.npz"
BASINS = "Ant_Grounded_DrainageSystem_Polygons.txt"
SIMPLIFIED, UNIT = 100.0, 10.0  # metres: of the basins, and of every coordinate written
MARGIN_SOUTH, MARGIN_NORTH, COARSE = 50e3, 20e3, 1e3  # metres: round the ice, and of the widened outlines


def basins() -> list[shapely.Polygon]:
    """The 27 basins in EPSG:3031, as fine as they come."""
    table = np.loadtxt(Path(mortie.__file__).parent / "tests" / BASINS)
    x, y = Transformer.from_crs(4326, SOUTH, always_xy=True).transform(table[:, 1], table[:, 0])
    number = table[:, 2].astype(int)
    return [shapely.Polygon(np.column_stack([x, y])[number == i]) for i in range(1, 28)]


def natural_earth(path: Path, crs: int) -> shapely.Geometry:
    """The union of a file's features in a polar projection."""
    transform = Transformer.from_crs(4326, crs, always_xy=True).transform
    features = [shape(f["geometry"]) for f in json.loads(path.read_text())["features"]]
    dense = shapely.segmentize(np.array(features), 0.1)
    parts = [shapely.transform(part, lambda p: np.column_stack(transform(p[:, 0], p[:, 1]))) for part in dense]
    return shapely.union_all([shapely.make_valid(part, method="structure", keep_collapsed=False) for part in parts])


def widened(shape_: shapely.Geometry, margin: float) -> shapely.Geometry:
    """Return an outline that is at least ``margin`` wider everywhere, with few points."""
    return shapely.simplify(shapely.buffer(shape_, margin + COARSE), COARSE)


def rings(polygon: shapely.Polygon) -> list[np.ndarray]:
    """Exterior and holes, in units."""
    every = [polygon.exterior, *polygon.interiors]
    return [np.round(shapely.get_coordinates(ring) / UNIT).astype(np.int32) for ring in every]


def main(folder: Path) -> None:
    """Make the file, and check it."""
    fine = basins()
    simple = [shapely.simplify(basin, SIMPLIFIED) for basin in fine]
    for order, latitude, number in ((6, "authalic", 1344), (6, "geodetic-spherical", 1334)):
        found = set()
        for name, before, after in zip(range(1, 28), fine, simple, strict=True):
            cells = [area_cells(Area(f"basin {name}", south=basin), order, latitude) for basin in (before, after)]
            if not np.array_equal(*cells):
                raise ValueError(f"basin {name}: its cells of order {order}, {latitude}, change")
            found |= set(cells[0].tolist())
        if len(found) != number:
            raise ValueError(f"{len(found)} cells of order {order}, {latitude}, expected {number}")
    land = natural_earth(folder / "ne_50m_land_antarctica_land.geojson", SOUTH)
    shelves = natural_earth(folder / "ne_50m_antarctic_ice_shelves_polys.json", SOUTH)
    antarctica = widened(shapely.union_all([*fine, land, shelves]), MARGIN_SOUTH)
    greenland = widened(natural_earth(folder / "ne_50m_land_greenland.geojson", NORTH), MARGIN_NORTH)
    named = {f"basin-{i}": basin for i, basin in enumerate(simple, 1)} | {
        "antarctica": antarctica,
        "greenland": greenland,
    }
    points, sizes, owners, names = [], [], [], sorted(named)
    for owner, name in enumerate(names):
        for polygon in shapely.get_parts(named[name]):
            for hole, ring in enumerate(rings(polygon)):
                points.append(np.diff(ring, axis=0, prepend=0))
                sizes.append(len(ring))
                owners.append((owner, int(hole > 0)))
    np.savez_compressed(
        OUT,
        names=np.array(names),
        steps=np.concatenate(points).astype(np.int32),
        sizes=np.array(sizes, np.int32),
        owners=np.array(owners, np.int32),
        unit=np.float64(UNIT),
    )
    print(f"{OUT}: {len(names)} areas, {sum(sizes)} points, {OUT.stat().st_size} bytes")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
