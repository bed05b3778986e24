"""Files that hold areas: GeoJSON, and whatever pyogrio reads, all turned into GeoJSON in longitude and latitude."""

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from maggjob.errors import InputError
from maggjob.inputs.plain_json import load_json

OGR = (".shp", ".gpkg", ".fgb", ".zip")
"""Suffixes of files that pyogrio reads."""


def read_area_file(path: Path) -> Any:
    """Read the polygons of a file as GeoJSON in longitude and latitude.

    Raises
    ------
    InputError
        If it is not GeoJSON or a file that pyogrio reads, or has no coordinate reference system.
    """
    if path.suffix.lower() in OGR:
        polygons = [list(polygon) for _, one in _from_ogr(path) for polygon in polygons_in(one, str(path))]
        return {"type": "MultiPolygon", "coordinates": polygons}
    try:
        # Some programs begin a file with a byte order mark.
        content = load_json(path.read_bytes())
    except (OSError, ValueError) as problem:
        raise InputError(f"area {path}: it is not GeoJSON ({problem})") from problem
    return content


def read_features(path: Path) -> list[tuple[dict[str, str], Any]]:
    """Read the features of a file: the texts that each has by column, and its geometry as GeoJSON in degrees.

    Raises
    ------
    InputError
        If it is not GeoJSON or a file that pyogrio reads, or has no coordinate reference system.
    """
    if path.suffix.lower() in OGR:
        return _from_ogr(path)
    content = read_area_file(path)
    check_crs(content, str(path))
    try:
        listed = content["features"] if content["type"] == "FeatureCollection" else [content]
        return [
            (
                {str(k): str(v) for k, v in (one.get("properties") or {}).items() if isinstance(v, str | int)},
                one["geometry"],
            )
            for one in listed
        ]
    except (KeyError, TypeError, AttributeError) as problem:
        raise InputError(f"area {path}: it is not GeoJSON with features ({problem}); check it") from problem


def texts_of(fields: Any, columns: Any, number: int) -> dict[str, str]:
    """Return the texts and whole numbers of a feature, by column.

    Parameters
    ----------
    fields : sequence of str
        Names of the columns.
    columns : sequence of ndarray
        Values of each column.
    number : int
        Number of the feature.
    """
    return {
        str(name): str(values[number])
        for name, values in zip(fields, columns, strict=True)
        if values[number] is not None and values.dtype.kind in "OUSiu"
    }


def _from_ogr(path: Path) -> list[tuple[dict[str, str], Any]]:
    """Return the features of a file's first layer that have a geometry: their texts, and a MultiPolygon in degrees."""
    if find_spec("pyogrio") is None:
        raise InputError(f"area {path}: pyogrio is needed to read it (pip install pyogrio), or give GeoJSON")
    import pyogrio

    try:
        meta, _, shapes, columns = pyogrio.raw.read(path)
    except Exception as problem:
        raise InputError(f"area {path}: cannot be read ({problem})") from problem
    geometries = shapely.force_2d(shapely.from_wkb(shapes))
    if meta["crs"] is None:
        raise InputError(f"area {path}: it has no coordinate reference system; add one, or give GeoJSON")
    own = CRS.from_user_input(meta["crs"])
    to_degrees = Transformer.from_crs(own, 4326, always_xy=True)
    # In a projected file, edges are straight in its own plane.
    if not own.is_geographic:
        geometries = shapely.segmentize(geometries, 5e3 / own.axis_info[0].unit_conversion_factor)

    def turned(ring: Any) -> list[list[float]]:
        longitude, latitude = to_degrees.transform(*np.array(ring).T)
        # The points are close together now, so a jump in longitude crosses the antimeridian.
        if not own.is_geographic:
            longitude = np.unwrap(longitude, period=360.0)
            longitude[-1] = longitude[0] + 360.0 * round((longitude[-1] - longitude[0]) / 360.0)
        latitude[-1] = latitude[0]
        return np.column_stack([longitude, latitude]).tolist()

    features = []
    for number in np.flatnonzero(~(shapely.is_missing(geometries) | shapely.is_empty(geometries))).tolist():
        content = json.loads(shapely.to_geojson(geometries[number]))
        polygons = [[turned(ring) for ring in polygon] for polygon in polygons_in(content, str(path))]
        geometry = {"type": "MultiPolygon", "coordinates": polygons}
        features.append((texts_of(meta["fields"], columns, number), geometry))
    return features


def check_crs(content: Any, name: str) -> None:
    """Check that GeoJSON does not name a projection; RFC 7946 has removed the member, but older programs write it.

    Parameters
    ----------
    content : object
        Content of the GeoJSON.
    name : str
        Name of the area, for messages.

    Raises
    ------
    InputError
        If it names a coordinate reference system other than longitude and latitude.
    """
    named = content.get("crs") if isinstance(content, Mapping) else None
    if named is None:
        return
    properties = named.get("properties") if isinstance(named, Mapping) else None
    spelled = properties.get("name") if isinstance(properties, Mapping) else None
    try:
        geographic = CRS.from_user_input(str(spelled)).is_geographic
    except CRSError:
        geographic = False
    if not geographic:
        raise InputError(
            f"area {name}: its member crs names {spelled or named}, GeoJSON is read in longitude and latitude; "
            "convert it (ogr2ogr -t_srs EPSG:4326), or give a shapefile or GeoPackage"
        )


def polygons_in(content: Any, name: str) -> Iterator[Any]:
    """Yield the coordinates of every polygon in a GeoJSON object.

    Parameters
    ----------
    content : object
        Content of the GeoJSON.
    name : str
        Name of the area, for messages.

    Raises
    ------
    InputError
        If it is not GeoJSON, or holds something else than polygons.
    """
    kind = content.get("type") if isinstance(content, Mapping) else None
    try:
        match kind:
            case "FeatureCollection" | "GeometryCollection":
                for part in content["features" if kind == "FeatureCollection" else "geometries"]:
                    yield from polygons_in(part, name)
            case "Feature":
                if content["geometry"] is not None:
                    yield from polygons_in(content["geometry"], name)
            case "MultiPolygon":
                yield from (list(polygon) for polygon in content["coordinates"])
            case "Polygon":
                yield list(content["coordinates"])
            case _:
                raise InputError(f"area {name}: {kind!r} is not a polygon; give GeoJSON with Polygon or MultiPolygon")
    except (KeyError, TypeError) as problem:
        raise InputError(f"area {name}: a {kind} is not valid ({problem}); check the GeoJSON") from problem
