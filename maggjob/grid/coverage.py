"""Cells touched by an area or by the footprint of a granule, computed with the true curved edges of cells."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from maggjob.grid.areas import NORTH, SOUTH, Area, AreaLike, parse_area, transformer
from maggjob.grid.footprints import Footprints
from maggjob.grid.healpix import Latitude, nested_to_word

FIRST_ORDER = 3
"""Order of the largest cells; the search divides them."""
SIDE = 32
"""Points per side of a cell. Chords are then off by a metre at order 6."""
EARTH = 6371e3  # metres
GEODESIC_STEP = 20e3  # metres
"""Distance between the points of a footprint that is widened."""
DRAWN = 5e3  # metres
"""Largest error of an area's outline in a catalog."""
BEYOND = 60.0  # degrees
"""Latitude in the other hemisphere at which outlines of cells are cut off: the far pole cannot be projected."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of a granule and a cell that it touches."""

    granule: np.ndarray
    """Position of each pair's granule, shape (pairs,), ascending."""
    cell: np.ndarray
    """Nested id of each pair's cell, shape (pairs,), unique and ascending for each granule."""

    def among(self, cells: np.ndarray) -> "Pairs":
        """Return the pairs with one of some cells."""
        there = np.isin(self.cell, cells)
        return Pairs(self.granule[there], self.cell[there])

    def by_cell(self) -> dict[int, tuple[int, ...]]:
        """Return the granules of each cell, both ascending."""
        order = np.lexsort((self.granule, self.cell))
        cells, first = np.unique(self.cell[order], return_index=True)
        pieces = np.split(self.granule[order], first[1:]) if len(cells) else []
        granules = (tuple(piece.tolist()) for piece in pieces)
        return dict(zip(cells.tolist(), granules, strict=True))


def outline(cells: np.ndarray, order: int, latitude: Latitude, side: int = SIDE) -> np.ndarray:
    """Return the outlines of cells.

    Parameters
    ----------
    cells : ndarray of int64, shape (n,)
        Nested ids.
    order : int
    latitude : {"authalic", "geodetic-spherical"}
    side : int
        Points per side of a cell.

    Returns
    -------
    ndarray, shape (n, 4 * side + 1, 2)
        Longitude and geodetic latitude in degrees.
    """
    import mortie

    if len(cells) == 0:
        return np.empty((0, 4 * side + 1, 2))
    rings = mortie.mort2polygon(nested_to_word(cells, order), step=side, latitude=latitude)
    # For one cell, mortie returns no outer dimension.
    return np.asarray(rings, np.float64).reshape(len(cells), 4 * side + 1, 2)[:, :, ::-1]


def area_cells(area: Area | AreaLike, order: int = 6, latitude: Latitude = "authalic") -> np.ndarray:
    """Return the nested ids of exactly the cells that an area touches.

    The search starts with large cells. Cells inside the area are not examined further, cells at its edge are
    divided, and only cells of the requested order are compared with the edge exactly.

    Parameters
    ----------
    area : Area, str, Path, sequence of four numbers, or mapping
        See `maggjob.grid.areas.parse_area`.
    order : int
    latitude : {"authalic", "geodetic-spherical"}

    Returns
    -------
    ndarray of int64, ascending

    Raises
    ------
    InputError
        If the area cannot be parsed.

    Examples
    --------
    >>> len(area_cells("grounded")), len(area_cells("grounded", latitude="geodetic-spherical"))
    (1344, 1334)
    """
    area = area if isinstance(area, Area) else parse_area(area)
    found = [_cells(area.south, SOUTH, order, latitude), _cells(area.north, NORTH, order, latitude)]
    return np.unique(np.concatenate(found))


def describe_area(area: Area) -> dict[str, Any]:
    """Describe an area for a catalog: its name, and an outline for maps that is accurate to some kilometres.

    The outline is a list of rings, in metres, by EPSG code.
    """
    rings: dict[str, list[list[list[int]]]] = {}
    for crs, part in ((SOUTH, area.south), (NORTH, area.north)):
        coarse = shapely.simplify(part, DRAWN)
        for ring in shapely.get_rings(shapely.get_parts(coarse)):
            rings.setdefault(str(crs), []).append(np.round(shapely.get_coordinates(ring)).astype(int).tolist())
    return {"area": area.name, "outline": rings}


def _cells(part: BaseGeometry, crs: int, order: int, latitude: Latitude) -> np.ndarray:
    level = min(order, FIRST_ORDER)
    inside = np.empty(0, np.int64)
    if part.is_empty:
        return inside
    shapely.prepare(part)
    edge, shapes = _first(level, crs, latitude)
    while True:
        if level == order:
            return np.concatenate([inside, edge[shapely.intersects(part, shapes)]])
        # A child's outline may lie metres outside its parent's.
        slack = 0.02 * EARTH / 2**level
        near = shapely.dwithin(part, shapes, slack)
        within = near & shapely.contains_properly(part, shapes)
        inside = _children(np.concatenate([inside, edge[within]]))
        edge = _children(edge[near & ~within])
        level += 1
        edge, shapes = _drawn(edge, level, crs, latitude)


@lru_cache(maxsize=8)
def _first(order: int, crs: int, latitude: Latitude) -> tuple[np.ndarray, np.ndarray]:
    """Return all cells of a hemisphere. They are cached, as they take most of the time for a small area."""
    return _drawn(np.arange(12 << 2 * order), order, crs, latitude)


def _children(cells: np.ndarray) -> np.ndarray:
    return (4 * cells[:, None] + np.arange(4)).ravel()


def _drawn(cells: np.ndarray, order: int, crs: int, latitude: Latitude) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells that reach into a hemisphere, and their polygons in its projection."""
    rings = outline(cells, order, latitude, SIDE if order > FIRST_ORDER else 4 * SIDE)
    sign = -1.0 if crs == SOUTH else 1.0
    here = (sign * rings[:, :, 1]).max(axis=1) >= 0
    rings = rings[here]
    north = sign * np.maximum(sign * rings[:, :, 1], -BEYOND)
    x, y = transformer(crs).transform(rings[:, :, 0], north)
    return cells[here], np.asarray(shapely.polygons(np.stack([x, y], axis=-1)))


def footprint_pairs(footprints: Footprints, order: int, latitude: Latitude, buffer_km: float = 0.0) -> Pairs:
    """Return the pairs of granules and cells that their footprints touch.

    Parameters
    ----------
    footprints : Footprints
        Footprints whose edges are great circles.
    order : int
    latitude : {"authalic", "geodetic-spherical"}
    buffer_km : float
        Distance by which footprints are widened first.
    """
    import mortie

    wide = widen(footprints, buffer_km) if buffer_km > 0 else footprints
    if len(wide.owner) == 0:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
    words, start = mortie.polygons_to_morton_mocs(
        np.ascontiguousarray(wide.latitude), np.ascontiguousarray(wide.longitude), wide.start, order, latitude=latitude
    )
    owner = np.repeat(wide.owner, np.diff(start))
    owner, cell = _flatten(owner, np.asarray(words), order)
    # The 12 * 4**order cells fit in 2 * order + 4 bits.
    key = np.unique(owner << 2 * order + 4 | cell)
    return Pairs(key >> 2 * order + 4, key & (1 << 2 * order + 4) - 1)


def _flatten(owner: np.ndarray, words: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide cells of different orders into cells of one order."""
    import mortie

    levels = mortie.orders_of(words)
    owners, cells = [], []
    for level in np.unique(levels).tolist():
        these = levels == level
        nested = np.asarray(mortie.mort2healpix(words[these])[0], np.int64)
        each = 1 << 2 * (order - level)
        cells.append((nested[:, None] * each + np.arange(each)).ravel())
        owners.append(np.repeat(owner[these], each))
    return np.concatenate(owners), np.concatenate(cells)


def great_circle(ring: np.ndarray, step: float = GEODESIC_STEP) -> np.ndarray:
    """Add points to a ring, along great circles.

    The great circles are those of a sphere. They lie metres beside the ellipsoid's geodesics over 100 km.

    Parameters
    ----------
    ring : ndarray, shape (points, 2)
        Longitude and latitude in degrees, closed.
    step : float
        Largest distance between two points, metres.

    Returns
    -------
    ndarray, shape (n, 2)
        Longitude and latitude in degrees, closed.
    """
    longitude, latitude = np.radians(ring[:, 0]), np.radians(ring[:, 1])
    points = np.column_stack(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)]
    )
    one, other = points[:-1], points[1:]
    angle = 2 * np.arcsin(np.minimum(1.0, np.linalg.norm(one - other, axis=1) / 2))
    count = np.maximum(1, np.ceil(angle * EARTH / step)).astype(int)
    edge = np.repeat(np.arange(len(count)), count)
    share = (np.arange(1, len(edge) + 1) - (np.cumsum(count) - count)[edge]) / count[edge]
    # Avoid a division by zero between two equal points.
    turn = np.maximum(angle[edge], 1e-12)
    before, after = np.sin((1 - share) * turn) / np.sin(turn), np.sin(share * turn) / np.sin(turn)
    dense = np.concatenate([points[:1], before[:, None] * one[edge] + after[:, None] * other[edge]])
    return np.degrees(np.column_stack([np.arctan2(dense[:, 1], dense[:, 0]), np.arcsin(np.clip(dense[:, 2], -1, 1))]))


def widen(footprints: Footprints, buffer_km: float) -> Footprints:
    """Return footprints that are widened by at least a given distance.

    Each footprint is widened in the polar plane of its hemisphere, by the distance times the largest scale factor of
    the projection along the footprint.

    Parameters
    ----------
    footprints : Footprints
    buffer_km : float
        Distance in kilometres.
    """
    widened: list[list[np.ndarray]] = [[] for _ in range(int(footprints.owner.max(initial=-1)) + 1)]
    for owner, ring in zip(footprints.owner.tolist(), footprints.rings(), strict=True):
        dense = great_circle(ring)
        crs = SOUTH if dense[:, 1].mean() < 0 else NORTH
        # Largest distance from the pole, in degrees.
        away = np.abs(dense[:, 1] - (-90.0 if crs == SOUTH else 90.0)).max()
        stretch = 1.01 / np.cos(np.radians(min(away, 150.0)) / 2) ** 2
        x, y = transformer(crs).transform(dense[:, 0], dense[:, 1])
        shape = shapely.make_valid(shapely.Polygon(np.column_stack([x, y])), method="structure", keep_collapsed=False)
        for part in shapely.get_parts(shapely.buffer(shape, 1000 * buffer_km * stretch)):
            edge = shapely.get_coordinates(shapely.segmentize(part.exterior, GEODESIC_STEP))
            longitude, latitude = transformer(crs).transform(edge[:, 0], edge[:, 1], direction="INVERSE")
            widened[owner].append(np.column_stack([longitude, latitude]))
    return Footprints.of(widened)
