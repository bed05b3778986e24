"""Named polygons, and the cells whose centres lie in them: sizes and positions on the WGS84 ellipsoid."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely
from pyproj import Transformer

from maggjob.errors import InputError
from maggjob.grid.area_files import read_features
from maggjob.grid.areas import BASINS, NORTH, SOUTH, Area, AreaLike, outlines, parse_area, transformer
from maggjob.grid.healpix import Latitude, ellipsoid, nested_to_word
from maggjob.grid.regions import choose
from maggjob.inputs.places import local_place

EQUAL_AREA = {SOUTH: 6932, NORTH: 6931}
"""EPSG codes of the equal-area projection (EASE-Grid 2.0) of each hemisphere."""
EDGE = 10e3  # metres
"""Distance between the points of an outline before it is projected anew."""
EQUATOR = 1e-4  # degrees
"""Latitude that centres on the equator are given: there, chords of an outline lie 2 m beside the parallel."""

PolygonsLike = str | Path | Mapping[str, AreaLike]
"""Polygons as users give them: a file, or areas by name."""


@dataclass(frozen=True)
class Centres:
    """The centres of cells."""

    latitude: np.ndarray
    """Geodetic latitude, degrees, shape (n,)."""
    longitude: np.ndarray
    """Longitude, degrees, shape (n,)."""
    x: np.ndarray
    """Coordinate in the polar plane of the hemisphere, metres, shape (n,)."""
    y: np.ndarray
    """The other coordinate, metres, shape (n,)."""

    @classmethod
    def of(cls, cells: np.ndarray, order: int, convention: Latitude) -> "Centres":
        """Return the centres of cells.

        Parameters
        ----------
        cells : ndarray of int, shape (n,)
            Nested ids.
        order : int
        convention : {"authalic", "geodetic-spherical"}
        """
        import mortie

        latitude, longitude = mortie.mort2geo(nested_to_word(cells, order), latitude=convention)
        latitude, longitude = np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)
        latitude = np.where(np.abs(latitude) < EQUATOR, EQUATOR, latitude)
        x, y = np.empty(len(cells)), np.empty(len(cells))
        for crs, here in ((SOUTH, latitude < 0), (NORTH, latitude > 0)):
            x[here], y[here] = transformer(crs).transform(longitude[here], latitude[here])
        return cls(latitude, longitude, x, y)

    def positions(self) -> np.ndarray:
        """Return geocentric positions on the ellipsoid WGS84, kilometres, shape (n, 3)."""
        axis, square = _shape()
        phi, lam = np.radians(self.latitude), np.radians(self.longitude)
        normal = axis / np.sqrt(1.0 - square * np.sin(phi) ** 2)
        ring = normal * np.cos(phi)
        return np.column_stack([ring * np.cos(lam), ring * np.sin(lam), normal * (1.0 - square) * np.sin(phi)])

    def taken(self, rows: np.ndarray) -> "Centres":
        """Return some of the centres, by their positions or by a mask."""
        return Centres(self.latitude[rows], self.longitude[rows], self.x[rows], self.y[rows])

    def within(self, area: Area) -> np.ndarray:
        """Return which centres lie in an area, shape (n,)."""
        inside = np.zeros(len(self.x), bool)
        south = self.latitude < 0
        for part, here in ((area.south, south), (area.north, ~south)):
            if not part.is_empty and here.any():
                shapely.prepare(part)
                inside[here] = shapely.contains_xy(part, self.x[here], self.y[here])
        return inside


@lru_cache
def _shape() -> tuple[float, float]:
    """Return the semi-major axis of WGS84 in kilometres, and the square of its eccentricity."""
    of = ellipsoid("authalic")
    flattening = 1.0 / of["inverse_flattening"]
    return of["semimajor_axis"] / 1e3, flattening * (2.0 - flattening)


def cell_areas(latitude: np.ndarray, order: int, convention: Latitude) -> np.ndarray:
    """Return the area of each cell on the WGS84 ellipsoid.

    Cells of authalic latitudes have equal areas: that of the ellipsoid divided by their number. Cells of geodetic
    latitudes have equal areas on a sphere only. On the ellipsoid, their area is their solid angle times
    ``a**2 * (1 - e**2) / (1 - (e * sin(latitude))**2)**2``, the product of the radii of curvature (Snyder 1987, Map
    projections: a working manual, USGS Professional Paper 1395), taken at the centre. At order 6, the area is accurate
    to 1e-6 of itself.

    Parameters
    ----------
    latitude : ndarray, shape (n,)
        Geodetic latitude of the centres, degrees.
    order : int
    convention : {"authalic", "geodetic-spherical"}

    Returns
    -------
    ndarray, shape (n,), square kilometres
    """
    axis, square = _shape()
    if convention == "authalic":
        e = math.sqrt(square)
        whole = 2.0 * math.pi * axis**2 * (1.0 + (1.0 - square) / e * math.atanh(e))
        return np.full(len(latitude), whole / (12 << 2 * order))
    radii = axis**2 * (1.0 - square) / (1.0 - square * np.sin(np.radians(latitude)) ** 2) ** 2
    return np.asarray(4.0 * math.pi / (12 << 2 * order) * radii)


def size_km2(area: Area) -> float:
    """Return the area on the WGS84 ellipsoid, square kilometres."""
    total = 0.0
    for crs, part in ((SOUTH, area.south), (NORTH, area.north)):
        to_equal = Transformer.from_crs(crs, EQUAL_AREA[crs], always_xy=True)
        dense = shapely.segmentize(part, EDGE)
        x, y = to_equal.transform(*shapely.get_coordinates(dense).T)
        total += float(shapely.area(shapely.set_coordinates(dense, np.column_stack([x, y])))) / 1e6
    return total


def named_areas(polygons: PolygonsLike | None = None, names: Sequence[str] | None = None) -> list[Area]:
    """Return polygons with their names.

    Parameters
    ----------
    polygons : str, Path or mapping, optional
        A GeoJSON file, GeoPackage or shapefile whose polygons have a name, or areas by name (see
        `maggjob.grid.areas.parse_area`). By default the 27 drainage basins of Antarctica, whose names are their numbers
        (Zwally et al. 2012).
    names : sequence of str, optional
        Those that are wanted. In a file, a name is a value of any text column; polygons of one name are joined. All by
        default, by the column ``name`` or the first text column.

    Raises
    ------
    InputError
        If there is no polygon of a name, a file cannot be read, or something is not a polygon.

    Examples
    --------
    >>> [area.name for area in named_areas(names=["21", "22"])]
    ['21', '22']
    """
    if names is not None and not len(names):
        raise InputError("names are empty: leave them out for all polygons")
    if isinstance(polygons, str | Path):
        return _of_file(local_place(polygons, "polygons"), names)
    if polygons is None:
        own = {str(number): Area(str(number), south=outlines()[f"basin-{number}"]) for number in BASINS}
    elif isinstance(polygons, Mapping):
        own = {str(name): replace(parse_area(asked), name=str(name)) for name, asked in polygons.items()}
    else:
        raise InputError(f"polygons are {type(polygons).__name__}: give a file, or a mapping from names to areas")
    if not own:
        raise InputError("polygons are empty: give at least one")
    wanted = list(own) if names is None else list(dict.fromkeys(map(str, names)))
    unknown = [name for name in wanted if name not in own]
    if unknown:
        raise InputError(f"there is no polygon {unknown[0]!r}; there are {', '.join(own)}")
    return [own[name] for name in wanted]


def _of_file(path: Path, names: Sequence[str] | None) -> list[Area]:
    features = read_features(path)
    chosen = choose(features, str(path), names)
    nameless = len(features) - len(chosen)
    if names is None and nameless:
        raise InputError(f"{path}: {nameless} of {len(features)} polygons have no name; add it, or select by names")
    grouped: dict[str, list[Area]] = {}
    for name, geometry in chosen:
        if geometry is None:
            raise InputError(f"{path}: {name!r} has no geometry; remove it")
        try:
            grouped.setdefault(name, []).append(parse_area(geometry))
        except InputError as problem:
            raise InputError(f"{path}: {name!r}: {problem}") from problem
    return [
        Area(name, shapely.union_all([one.south for one in of]), shapely.union_all([one.north for one in of]))
        for name, of in grouped.items()
    ]
