"""Areas of interest: from the user's description to exact polygons in polar projections.

Each hemisphere has its own polar stereographic plane, in which the pole and the antimeridian need no special treatment.
Edges are straight in longitude and latitude (RFC 7946), so an edge along a parallel stays on it. To preserve this, an
area is unwrapped in longitude, cut at the equator, sampled every 0.1 degrees and then projected. The built-in basins
are simplified by 100 m, which changes no cell of order 6 in either latitude convention (tests/make_outlines.py creates
the outlines and checks this).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from maggjob.errors import InputError
from maggjob.grid.area_files import check_crs, polygons_in, read_area_file
from maggjob.inputs.places import local_place

SOUTH, NORTH = 3031, 3413
"""EPSG codes of WGS84 / Antarctic Polar Stereographic and NSIDC Sea Ice Polar Stereographic North."""
STEP = 0.1  # degrees
"""Distance between the points of an edge. Chords are then off by metres, while a cell measures kilometres."""
FILES = "or a file (GeoJSON, GeoPackage, shapefile)"
NAMES = ("antarctica", "grounded", "greenland", "basins:<numbers>", "south-of:<latitude>", "north-of:<latitude>")
BASINS = range(1, 28)
ROUNDING = 1e-9  # degrees
"""Distance by which a point may lie beyond a pole: 0.1 mm."""
EMPTY = shapely.Polygon()

AreaLike = str | Path | Sequence[float] | np.ndarray | Mapping[str, Any]
"""An area as users give it: a name, a file, west, south, east and north, or GeoJSON."""
Ring = np.ndarray
"""A closed ring, shape (points, 2): longitude and latitude in degrees."""


@dataclass(frozen=True)
class Area:
    """An area of the earth's surface."""

    name: str
    """Name, as the user gave it."""
    south: BaseGeometry = EMPTY
    """Part in the southern hemisphere, in EPSG:3031, metres."""
    north: BaseGeometry = EMPTY
    """Part in the northern hemisphere, in EPSG:3413, metres."""

    def __str__(self) -> str:
        return self.name

    def contains(self, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        """Return which points lie in the area.

        Parameters
        ----------
        latitude, longitude : ndarray, shape (n,), degrees

        Returns
        -------
        ndarray of bool, shape (n,)
        """
        inside = np.zeros(latitude.shape, bool)
        for crs, part, here in ((SOUTH, self.south, latitude < 0), (NORTH, self.north, latitude >= 0)):
            if not part.is_empty and here.any():
                shapely.prepare(part)
                x, y = transformer(crs).transform(longitude[here], latitude[here])
                inside[here] = shapely.contains_xy(part, x, y)
        return inside

    def widened(self, km: float) -> "Area":
        """Return the area with a margin, which is that wide or wider wherever the projections enlarge.

        Parameters
        ----------
        km : float
            Width, kilometres.
        """
        # At the equator, the projections enlarge twice.
        return Area(self.name, self.south.buffer(2e3 * km), self.north.buffer(2e3 * km))

    def latitudes(self) -> tuple[float, float]:
        """Return the southernmost and northernmost latitude in degrees, accurate to 0.1 degrees."""
        found: list[float] = []
        for crs, part in ((SOUTH, self.south), (NORTH, self.north)):
            if part.is_empty:
                continue
            points = shapely.get_coordinates(shapely.segmentize(part, 20e3))
            _, latitude = transformer(crs).transform(points[:, 0], points[:, 1], direction="INVERSE")
            found += [float(latitude.min()), float(latitude.max())]
            if shapely.intersects_xy(part, 0.0, 0.0):
                found.append(-90.0 if crs == SOUTH else 90.0)
        return min(found), max(found)


@lru_cache
def transformer(crs: int) -> Transformer:
    """Return the transformer from longitude and latitude to the projection with an EPSG code."""
    return Transformer.from_crs(4326, crs, always_xy=True)


def on_an_ice_sheet(area: Area) -> bool:
    """Return True if any part of an area lies in Antarctica or Greenland."""
    here = shapely.intersects(area.south, outlines()["antarctica"])
    return bool(here or shapely.intersects(area.north, outlines()["greenland"]))


def parse_area(asked: AreaLike) -> Area:
    """Return the area that a user describes.

    Parameters
    ----------
    asked : str, Path, sequence of four numbers, or mapping
        One of:

        - ``antarctica``: grounded ice, islands and shelves with a margin of 50 km
        - ``grounded``: the 27 drainage basins; ``basins:2,17`` are some of them
        - ``greenland``: with a margin of 20 km
        - ``south-of:-65``, ``north-of:60``
        - ``west,south,east,north`` in degrees; east may be less than west for a box across the antimeridian
        - path of a GeoJSON file or, if pyogrio is installed, of a shapefile or GeoPackage
        - GeoJSON as a mapping

    Raises
    ------
    InputError
        If the area is none of these, or is ambiguous.

    Examples
    --------
    >>> parse_area("basins:2,17").name
    'basins:2,17'
    """
    if isinstance(asked, Mapping):
        return _from_geojson(asked, "area")
    if isinstance(asked, np.ndarray | Sequence) and not isinstance(asked, str):
        box = box_of(asked)
        return _box(box, ",".join(f"{number:g}" for number in box))
    text = str(asked).strip()
    if not text:
        raise InputError(f"area is empty; give {', '.join(NAMES)}, <west>,<south>,<east>,<north>, {FILES}")
    kind, _, value = text.partition(":")
    match kind:
        case "antarctica" | "greenland" if not value:
            return Area(text, **{"south" if kind == "antarctica" else "north": outlines()[kind]})
        case "grounded" if not value:
            return _basins(BASINS, text)
        case "basins":
            return _basins(_numbers(value, text, int), text)
        case "south-of" | "north-of":
            (latitude,) = _numbers(value, text, float, 1)
            if not -90 < latitude < 90:
                raise InputError(f"area {text}: latitude {latitude} is not between -90 and 90")
            south, north = (-90.0, latitude) if kind == "south-of" else (latitude, 90.0)
            return _box([-180.0, south, 180.0, north], text)
    path = local_place(text, "area")
    if path.is_file():
        return _from_geojson(read_area_file(path), str(path))
    if "," in text:
        return _box(_numbers(text, text, float, 4), text)
    if path.suffix:
        raise InputError(f"area {text}: no such file")
    raise InputError(f"area {text!r} is unknown; give {', '.join(NAMES)}, <west>,<south>,<east>,<north>, {FILES}")


def _numbers(text: str, asked: str, kind: type, count: int | None = None) -> list[Any]:
    try:
        numbers = [kind(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or (count is not None and len(numbers) != count) or not all(map(math.isfinite, numbers)):
        wanted = "numbers separated by commas" if count is None else f"{count} number{'s'[: count > 1]}"
        raise InputError(f"area {asked!r}: {text!r} is not {wanted}")
    return numbers


def _basins(numbers: Sequence[int], name: str) -> Area:
    for number in numbers:
        if number not in BASINS:
            raise InputError(f"area {name}: basin {number} does not exist; basins go from 1 to {BASINS[-1]}")
    return Area(name, south=shapely.union_all([outlines()[f"basin-{number}"] for number in numbers]))


@lru_cache
def outlines() -> dict[str, BaseGeometry]:
    """Return the built-in outlines by name, in the projections of their hemispheres (from tests/make_outlines.py)."""
    with np.load(Path(str(resources.files("maggjob.grid"))) / "outlines.npz") as file:
        names, sizes, owners = file["names"].tolist(), file["sizes"], file["owners"]
        pieces = np.split(file["steps"], np.cumsum(sizes)[:-1])
        unit = float(file["unit"])
    found: dict[str, list[list[np.ndarray]]] = {name: [] for name in names}
    for (owner, hole), steps in zip(owners.tolist(), pieces, strict=True):
        ring = np.cumsum(steps, axis=0) * unit
        found[names[owner]][-1].append(ring) if hole else found[names[owner]].append([ring])
    return {
        name: shapely.union_all(shapely.make_valid([shapely.Polygon(rings[0], rings[1:]) for rings in polygons]))
        for name, polygons in found.items()
    }


def box_of(numbers: Sequence[float] | np.ndarray) -> tuple[float, float, float, float]:
    """Return west, south, east and north of a box, degrees, as numbers of Python.

    Parameters
    ----------
    numbers : sequence of four numbers, or ndarray of shape (4,)

    Raises
    ------
    InputError
        If they are not four finite numbers.
    """
    given = numbers.tolist() if isinstance(numbers, np.ndarray) else list(numbers)
    # True and text are no numbers, though float() takes them for some.
    real = [float(n) for n in given if isinstance(n, int | float | np.number) and not isinstance(n, bool)]
    if len(given) != 4 or len(real) != 4 or not all(map(math.isfinite, real)):
        raise InputError(f"area {given!r}: give west, south, east and north, four numbers in degrees")
    return real[0], real[1], real[2], real[3]


def _box(numbers: Sequence[float], name: str) -> Area:
    """Return the area of a box of west, south, east and north, which extends eastwards from west to east."""
    west, south, east, north = (float(number) for number in numbers)
    if not -90 <= south < north <= 90:
        raise InputError(f"area {name}: south {south} must lie below north {north}, both within 90 degrees")
    if abs(west) > 360 or abs(east) > 360 or west == east or abs(east - west) > 360:
        raise InputError(
            f"area {name}: west {west} and east {east} must differ, by at most 360 degrees, and lie within 360"
        )
    if east < west:
        east += 360.0
    if east == west:
        raise InputError(f"area {name}: west and east are the same meridian; write -180 and 180 for all longitudes")
    # With a point in the middle, no edge is longer than 180 degrees.
    across = np.linspace(west, east, 3)
    lower, upper = (np.column_stack([across, np.full(3, latitude)]) for latitude in (south, north))
    return _area([[np.concatenate([lower, upper[::-1], lower[:1]])]], name)


def _from_geojson(content: Any, name: str) -> Area:
    check_crs(content, name)
    polygons = [[_ring(ring, name) for ring in polygon] for polygon in polygons_in(content, name) if polygon]
    if not polygons:
        raise InputError(f"area {name}: it contains no polygon")
    return _area(polygons, name)


def _ring(points: Any, name: str) -> Ring:
    try:
        ring = np.array([[float(point[0]), float(point[1])] for point in points])
    except (TypeError, ValueError, IndexError, KeyError) as problem:
        raise InputError(f"area {name}: a ring is not a list of [longitude, latitude]; check the GeoJSON") from problem
    if not (ring.ndim == 2 and np.isfinite(ring).all()):
        raise InputError(f"area {name}: a ring is empty or has coordinates that are not finite; check the GeoJSON")
    apart = abs(ring[0, 0] - ring[-1, 0])
    if ring[0, 1] != ring[-1, 1] or (apart != 0 and abs(apart - 360.0) > 1e-9):
        ring = np.concatenate([ring, ring[:1]])
    if len(np.unique(ring, axis=0)) < 3:
        raise InputError(f"area {name}: a ring of {len(np.unique(ring, axis=0))} points; give at least three")
    # Rounding may carry a point beyond a pole.
    beyond = (np.abs(ring[:, 1]) > 90) & (np.abs(ring[:, 1]) < 90 + ROUNDING)
    ring[beyond, 1] = np.sign(ring[beyond, 1]) * 90.0
    wrong = (np.abs(ring[:, 1]) > 90) | (np.abs(ring[:, 0]) > 720)
    if wrong.any():
        worst = ring[np.argmax(wrong)]
        raise InputError(
            f"area {name}: a point at longitude {worst[0]}, latitude {worst[1]}; longitude comes first, in degrees"
        )
    return ring


def _area(polygons: Sequence[Sequence[Ring]], name: str) -> Area:
    """Return the area of polygons, each given as an outer ring and its holes."""
    parts: dict[int, list[BaseGeometry]] = {SOUTH: [], NORTH: []}
    for outer, *holes in polygons:
        whole, cut = _project(outer, name), [_project(hole, name) for hole in holes]
        for crs, found in parts.items():
            found.append(shapely.difference(whole[crs], shapely.union_all([hole[crs] for hole in cut])))
    area = Area(name, south=shapely.union_all(parts[SOUTH]), north=shapely.union_all(parts[NORTH]))
    if area.south.is_empty and area.north.is_empty:
        raise InputError(f"area {name}: nothing lies inside it")
    return area


def _unwrap(ring: Ring, name: str) -> tuple[Ring, bool]:
    """Return a ring with continuous longitudes, and True if it goes round a pole.

    An edge of exactly 360 degrees follows a parallel. An edge of more than 180 degrees is taken to cross the
    antimeridian if the ring then goes round a pole; otherwise it is ambiguous and an error.
    """
    steps = np.diff(ring[:, 0])
    jumps = (np.abs(steps) > 180) & (np.abs(np.abs(steps) - 360) > 1e-9)
    if jumps.any():
        short = (steps + 180) % 360 - 180
        if round(float(short.sum()) / 360) == 0:
            i = int(np.flatnonzero(jumps)[0])
            raise InputError(
                f"area {name}: the edge from longitude {ring[i, 0]} to {ring[i + 1, 0]} goes over "
                f"{abs(steps[i]):g} degrees; to cross the antimeridian write longitudes beyond 180 (170 to 190), "
                "to go the long way round add points so that no edge is longer than 180 degrees"
            )
        steps = np.where(jumps, short, steps)
    longitude = ring[0, 0] + np.concatenate([[0.0], np.cumsum(steps)]) if jumps.any() else ring[:, 0]
    return np.column_stack([longitude, ring[:, 1]]), abs(float(longitude[-1] - longitude[0])) > 180


def _project(ring: Ring, name: str) -> dict[int, BaseGeometry]:
    """Return the interior of a ring in each hemisphere, by EPSG code."""
    flat, round_pole = _unwrap(ring, name)
    if not round_pole and abs(flat[-1, 0] - flat[-2, 0]) == 360 and not shapely.Polygon(flat).is_valid:
        # The last edge repeats the first point after a full turn: the ring was closed already.
        flat, round_pole = flat[:-1], True
    if round_pole:
        if flat[:, 1].min() < 0 < flat[:, 1].max():
            raise InputError(f"area {name}: a ring round a pole crosses the equator; cut it there")
        crs = SOUTH if flat[:, 1].min() < 0 else NORTH
        inside = shapely.Polygon(_to_plane(flat, crs))
        _check(inside, name)
        return {SOUTH: EMPTY, NORTH: EMPTY, crs: inside}
    polygon = shapely.Polygon(flat)
    _check(polygon, name)
    west, _, east, _ = polygon.bounds
    found: dict[int, BaseGeometry] = {}
    for crs, (low, high) in ((SOUTH, (-90.0, 0.0)), (NORTH, (0.0, 90.0))):
        part = shapely.intersection(polygon, shapely.box(west, low, east, high))
        pieces = [piece for piece in shapely.get_parts(part) if isinstance(piece, shapely.Polygon)]
        found[crs] = shapely.union_all([_to_polygon(piece, crs, east - west, name) for piece in pieces])
    return found


def _to_polygon(piece: shapely.Polygon, crs: int, width: float, name: str) -> BaseGeometry:
    """Project a polygon of longitude and latitude to a polar plane, without the seam of a full turn."""
    inside = shapely.Polygon(_to_plane(shapely.get_coordinates(piece.exterior), crs))
    if width > 360.000001:
        _check(inside, name)
    return shapely.make_valid(inside, method="structure", keep_collapsed=False)


def _check(polygon: shapely.Polygon, name: str) -> None:
    if not polygon.is_valid:
        where = shapely.is_valid_reason(polygon)
        raise InputError(f"area {name}: a ring crosses itself ({where}); split it into parts that do not")


def _to_plane(ring: Ring, crs: int) -> np.ndarray:
    """Project a ring, sampled every `STEP`, to a polar plane, metres."""
    dense = shapely.get_coordinates(shapely.segmentize(shapely.LineString(ring), STEP))
    # PROJ does not accept longitudes beyond about 570 degrees.
    x, y = transformer(crs).transform(np.fmod(dense[:, 0], 360.0), dense[:, 1])
    return np.column_stack([x, y])
