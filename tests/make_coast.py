"""Makes maggjob/show/assets/coast.npz, the lines of maps: ``python -m tests.make_coast LAND SHELVES``.

LAND is Natural Earth's land at 1:50m as TopoJSON (``land-50m.json`` of the npm package world-atlas), SHELVES its
Antarctic ice shelves as GeoJSON (``ne_50m_antarctic_ice_shelves_polys.json``); Natural Earth is in the public domain.
The grounding line is the outline of the 27 grounded drainage basins (Zwally et al., 2012, GSFC), which maggjob has.
Lines are in the polar plane of their hemisphere, and are simplified by half a kilometre, far from the poles by more.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape

from maggjob.grid.areas import BASINS, NORTH, SOUTH, outlines, transformer

OUT = Path(__file__).parent.parent / "maggjob" / "show" / "assets" / "coast.npz"
UNIT = 100.0  # metres
FINE, COARSE = 500.0, 5e3  # metres: by which lines are simplified near the poles, and elsewhere
NEAR = 55.0  # degrees: latitude beyond which lines are fine
SMALLEST = 4e6  # square metres: smaller islands are left out


def land(path: Path) -> list[np.ndarray]:
    """Outer rings of longitude and latitude of a TopoJSON file; the only hole is the Caspian Sea."""
    topology: Any = json.loads(path.read_text())
    scale, offset = (np.array(topology["transform"][key]) for key in ("scale", "translate"))
    arcs = [np.cumsum(np.array(arc), axis=0) * scale + offset for arc in topology["arcs"]]

    def ring(numbers: list[int]) -> np.ndarray:
        return np.concatenate([arcs[i] if i >= 0 else arcs[~i][::-1] for i in numbers])

    (geometry,) = topology["objects"]["land"]["geometries"]
    return [ring(rings[0]) for rings in geometry["arcs"]]


def project(ring: np.ndarray, crs: int) -> shapely.Geometry:
    """The area in a ring of longitude and latitude, in the polar plane of a hemisphere.

    Rings cross the antimeridian, and that of Antarctica goes round the pole.
    """
    sign = 1.0 if crs == NORTH else -1.0
    unwrapped = np.column_stack([np.unwrap(ring[:, 0], period=360.0), ring[:, 1]])
    dense = shapely.get_coordinates(shapely.segmentize(shapely.LineString(unwrapped), 0.1))
    # The far pole cannot be projected.
    north = sign * np.maximum(sign * dense[:, 1], -5.0)
    x, y = transformer(crs).transform(dense[:, 0] % 360.0, north)
    plane = shapely.make_valid(shapely.Polygon(np.column_stack([x, y])), method="structure", keep_collapsed=False)
    radius = np.hypot(*transformer(crs).transform(0.0, 0.0))
    return shapely.intersection(plane, shapely.Point(0, 0).buffer(radius, quad_segs=720))


def simplified(area: shapely.Geometry, crs: int) -> list[np.ndarray]:
    """Rings of an area, as fine as their latitude wants."""
    found = []
    limit = np.hypot(*transformer(crs).transform(0.0, NEAR if crs == NORTH else -NEAR))
    for polygon in shapely.get_parts(area):
        distance = np.hypot(*shapely.get_coordinates(polygon).T).min()
        tolerance = FINE if distance < limit else COARSE
        if polygon.area < SMALLEST * (1 if tolerance == FINE else 100):
            continue
        rings = shapely.get_rings(shapely.simplify(polygon, tolerance))
        found += [shapely.get_coordinates(ring) for ring in rings]
    return found


def main(at: Path, shelves: Path) -> None:
    """Make the file."""
    every = land(at)
    planes = {
        crs: shapely.union_all([project(ring, crs) for ring in every if (sign * ring[:, 1]).max() > 0])
        for crs, sign in ((SOUTH, -1), (NORTH, 1))
    }
    grounded = shapely.union_all([outlines()[f"basin-{number}"] for number in BASINS])
    features = json.loads(shelves.read_text())["features"]
    pieces = shapely.get_parts([shape(feature["geometry"]) for feature in features])
    floating = [project(shapely.get_coordinates(piece.exterior), SOUTH) for piece in pieces]
    # Sources differ by a kilometre or two: what would be slivers is closed.
    antarctic = shapely.buffer(shapely.buffer(shapely.union_all([planes[SOUTH], grounded, *floating]), 1500), -1500)
    grounded = shapely.buffer(shapely.buffer(grounded, 500), -500)
    lines: dict[str, list[np.ndarray]] = {
        "coast_3031": simplified(antarctic, SOUTH),
        "coast_3413": simplified(planes[NORTH], NORTH),
        "grounding_3031": [r for r in simplified(grounded, SOUTH) if shapely.Polygon(r).area > 25 * SMALLEST],
    }
    arrays: dict[str, np.ndarray] = {"unit": np.float64(UNIT)}  # type: ignore[dict-item]
    for name, rings in lines.items():
        units = [np.round(ring / UNIT).astype(np.int32) for ring in rings]
        arrays[f"{name}_steps"] = np.concatenate([np.diff(ring, axis=0, prepend=0) for ring in units]).astype(np.int32)
        arrays[f"{name}_sizes"] = np.array([len(ring) for ring in units], np.int32)
    np.savez_compressed(OUT, **arrays)
    sizes = {name: sum(map(len, rings)) for name, rings in lines.items()}
    print(f"{OUT}: {sizes}, {OUT.stat().st_size} bytes")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
