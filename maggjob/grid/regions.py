"""Regions by name: polygons of a file, in degrees and on a grid."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shapely
from pyproj import CRS, Transformer

from maggjob.errors import InputError
from maggjob.grid.area_files import OGR, texts_of
from maggjob.inputs.places import local_place
from maggjob.inputs.plain_json import load_json

DENSE = 0.01
"""Degrees between two points of an outline before it is projected: its edges are straight in degrees."""
MOST_NAMED = 12
"""Names that a message lists."""


@dataclass(frozen=True)
class NamedRegion:
    """A region of a file."""

    name: str
    """Its name."""
    shape: Any
    """Its polygon (shapely), degrees."""

    @property
    def utm(self) -> str:
        """UTM zone of the centroid, as an EPSG code."""
        center = self.shape.centroid
        zone = min(60, int((center.x + 180.0) // 6.0) + 1)
        return f"EPSG:{(32600 if center.y >= 0 else 32700) + zone}"

    def projected(self, crs: str) -> Any:
        """Return the polygon on a grid.

        Parameters
        ----------
        crs : str
            EPSG code.

        Raises
        ------
        InputError
            If the grid is in degrees, or does not cover the region.
        """
        if CRS.from_user_input(crs).is_geographic:
            raise InputError(f"crs {crs} is in degrees; give one in metres, such as {self.utm}")
        transform = Transformer.from_crs(4326, crs, always_xy=True).transform
        turned = shapely.transform(shapely.segmentize(self.shape, DENSE), lambda p: _columns(transform, p))
        if not all(math.isfinite(one) for one in turned.bounds):
            raise InputError(f"region {self.name} does not lie on {crs}; take another crs")
        return turned


def _columns(transform: Any, points: Any) -> Any:
    import numpy as np

    return np.column_stack(transform(points[:, 0], points[:, 1]))


def read_regions(path: str | Path, names: Sequence[str] | None = None) -> list[NamedRegion]:
    """Read regions from a GeoPackage, a shapefile or GeoJSON.

    Parameters
    ----------
    path : str or Path
    names : sequence of str, optional
        Names of the regions that are wanted: a value of any text column. All by default, by the column ``name`` or the
        first text column.

    Raises
    ------
    InputError
        If the file cannot be read, a name is not there or there twice, or a region is no polygon, not valid, or crosses
        the antimeridian.
    """
    place = local_place(path, "regions")
    features = _from_ogr(place) if place.suffix.lower() in OGR else _from_geojson(place)
    if not features:
        raise InputError(f"{path} holds no region")
    found = choose(features, str(path), names)
    for name, _ in found:
        if sum(one == name for one, _ in found) > 1:
            raise InputError(f"{path} has several regions called {name!r}; give them names of their own")
        if not all(letter.isalnum() or letter in "._- " for letter in name) or name.startswith("."):
            raise InputError(f"{path}: region {name!r} cannot be a folder's name; rename it")
    return [NamedRegion(name, _checked(shape, name)) for name, shape in found]


def choose(
    features: Sequence[tuple[dict[str, str], Any]], path: str, names: Sequence[str] | None
) -> list[tuple[str, Any]]:
    """Return the features that are wanted, with their names.

    Parameters
    ----------
    features : sequence of pairs
        Texts by column, and geometry.
    path : str
        Path of their file, for messages.
    names : sequence of str, optional
        Values of any text column. By default all that have a name, which is in the column ``name`` or the first one.

    Raises
    ------
    InputError
        If no feature has a text, or a name is not there.
    """
    columns = list(dict.fromkeys(key for texts, _ in features for key in texts))
    if not columns:
        raise InputError(f"{path}: its regions have no name, which is a text column")
    own = next((key for key in columns if key.lower() == "name"), columns[0])
    every = [(texts.get(own, ""), shape) for texts, shape in features]
    if names is None:
        return [(name, shape) for name, shape in every if name]
    found = []
    for name in dict.fromkeys(names):
        own_shapes = [shape for texts, shape in features if name in texts.values()]
        if not own_shapes:
            listed = ", ".join(sorted(one for one, _ in every if one)[:MOST_NAMED])
            raise InputError(f"{path} has no region {name!r}; it has {len(every)}, such as {listed}")
        found += [(name, shape) for shape in own_shapes]
    return found


def _checked(shape: Any, name: str) -> Any:
    if shape is None or shape.is_empty or shape.geom_type not in ("Polygon", "MultiPolygon"):
        raise InputError(f"region {name} is {'nothing' if shape is None else shape.geom_type}, not a polygon")
    west, south, east, north = shape.bounds
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise InputError(f"region {name} reaches from {west}, {south} to {east}, {north}: not degrees of this earth")
    if east - west > 180:
        raise InputError(f"region {name} crosses the antimeridian; split it there into two regions")
    if not shape.is_valid:
        raise InputError(f"region {name} is not valid: {shapely.is_valid_reason(shape)}; mend it")
    return shape


def _from_geojson(path: Path) -> list[tuple[dict[str, str], Any]]:
    try:
        content = load_json(path.read_bytes())
        listed = content["features"] if content["type"] == "FeatureCollection" else [content]
        return [
            (
                {str(k): str(v) for k, v in (one.get("properties") or {}).items() if isinstance(v, (str, int))},
                None if one.get("geometry") is None else shapely.force_2d(shapely.geometry.shape(one["geometry"])),
            )
            for one in listed
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, shapely.errors.GEOSException) as problem:
        raise InputError(
            f"regions {path}: it is not GeoJSON of regions ({type(problem).__name__}: {problem})"
        ) from problem


def _from_ogr(path: Path) -> list[tuple[dict[str, str], Any]]:
    try:
        import pyogrio
    except ImportError as problem:
        raise InputError(f"regions {path}: pyogrio is needed to read it (pip install 'maggjob[scenes]')") from problem
    try:
        meta, _, shapes, columns = pyogrio.raw.read(path)
    except Exception as problem:
        raise InputError(f"regions {path}: cannot be read ({problem})") from problem
    if meta["crs"] is None:
        raise InputError(f"regions {path}: it has no coordinate reference system; add one, or give GeoJSON")
    turn = Transformer.from_crs(CRS.from_user_input(meta["crs"]), 4326, always_xy=True).transform
    geometries = shapely.force_2d(shapely.from_wkb(shapes))
    found = []
    for number, shape in enumerate(geometries):
        texts = texts_of(meta["fields"], columns, number)
        found.append((texts, None if shape is None else shapely.transform(shape, lambda p: _columns(turn, p))))
    return found
