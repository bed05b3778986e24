"""The polygons of cells in any coordinate reference system: whole at the poles, and split where the system ends."""

import math
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from shapely import affinity

from maggjob.errors import InputError
from maggjob.grid.coverage import outline
from maggjob.grid.healpix import Grid
from maggjob.show.export_grid import unit_of

POLAR = 0.97
"""Part of the way to a pole from which the sides of a cell are curves in degrees."""
CURVED = 24
"""Points per side of these cells."""
TORN = 20.0
"""How many times longer than others the longest side of a cell is that was torn apart."""
SEAM = ("Longitude of natural origin", "Longitude of false origin", "Longitude of projection centre")
WGS84 = CRS.from_epsg(4326)


def cell_polygons(ids: np.ndarray, grid: Grid, crs: Any) -> np.ndarray:
    """Return the polygons of cells.

    Parameters
    ----------
    ids : ndarray of int64, shape (n,)
        Nested ids.
    grid : Grid
    crs : pyproj.CRS
        Reference system of the polygons.

    Returns
    -------
    ndarray of shapely.Polygon or shapely.MultiPolygon, shape (n,)

    Raises
    ------
    InputError
        If the cells do not lie on the reference system.
    """
    rings = outline(ids, grid.child_order, grid.latitude, 1)
    if not crs.is_geographic:
        return _in_plane(rings, crs)
    there = _transformed(rings, crs)
    quarter = math.pi / 2 / unit_of(crs)
    found = np.empty(len(ids), object)
    curved = (np.abs(there[:, :, 1]) > POLAR * quarter).any(axis=1)
    if curved.any():
        finer = outline(ids[curved], grid.child_order, grid.latitude, CURVED)
        found[curved] = [_near_pole(ring, quarter) for ring in _transformed(finer, crs)]
    found[~curved] = _on_sphere(there[~curved], quarter)
    return found


def _transformed(rings: np.ndarray, crs: Any) -> np.ndarray:
    """Return outlines in a reference system; their ends that do not lie on it are no numbers."""
    if crs.equals(WGS84, ignore_axis_order=True):
        return rings
    x, y = Transformer.from_crs(WGS84, crs, always_xy=True).transform(rings[:, :, 0], rings[:, :, 1])
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError(f"some cells do not lie on {crs.name}; give another --crs, or a smaller --aoi")
    return np.stack([x, y], axis=-1)


def _on_sphere(rings: np.ndarray, quarter: float) -> np.ndarray:
    """Return polygons of narrow cells; those that cross the antimeridian are split there."""
    half = 2 * quarter
    unwrapped = rings.copy()
    first = rings[:, :1, 0]
    unwrapped[:, :, 0] = first + (rings[:, :, 0] - first + half) % (2 * half) - half
    found = np.asarray(shapely.polygons(unwrapped), object)
    for n in np.flatnonzero((np.abs(unwrapped[:, :, 0]) > half).any(axis=1)):
        found[n] = _split(found[n], quarter)
    return found


def _near_pole(ring: np.ndarray, quarter: float) -> Any:
    """Return the polygon of a cell that has a pole on its outline or inside, or lies near one."""
    half, points = 2 * quarter, ring[:-1]
    at_pole = np.abs(points[:, 1]) > quarter * (1 - 1e-9)
    # Begin after a corner at the pole, which has no longitude.
    start = int(np.flatnonzero(at_pole)[0]) + 1 if at_pole.any() else 0
    points = np.roll(points, -start, axis=0)[: len(points) - int(at_pole.any())]
    steps = (np.diff(points[:, 0]) + half) % (2 * half) - half
    x = np.concatenate([points[:1, 0], points[0, 0] + np.cumsum(steps)])
    path = np.column_stack([x, points[:, 1]])
    pole = math.copysign(quarter, points[0, 1])
    closing = (points[0, 0] - x[-1] + half) % (2 * half) - half
    if at_pole.any():
        # The pole is a line in degrees.
        path = np.vstack([path, [x[-1], pole], [x[0], pole]])
    elif abs(x[-1] + closing - x[0]) > half:
        # The outline goes round the pole.
        end = x[-1] + closing
        path = np.vstack([path, [end, points[0, 1]], [end, pole], [x[0], pole]])
    return _split(shapely.Polygon(path), quarter)


def _split(polygon: Any, quarter: float) -> Any:
    """Return a polygon in parts that lie between the antimeridian and itself."""
    half = 2 * quarter
    world = shapely.box(-half, -quarter, half, quarter)
    parts: list[Any] = []
    for turn in (-2 * half, 0.0, 2 * half):
        part = shapely.intersection(affinity.translate(polygon, -turn), world)
        parts += [one for one in shapely.get_parts(part) if one.geom_type == "Polygon" and not one.is_empty]
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def _in_plane(rings: np.ndarray, crs: Any) -> np.ndarray:
    """Return polygons in a projection; those that lie across its edge are split there."""
    plane = _transformed(rings, crs)
    found = np.asarray(shapely.polygons(plane), object)
    operation = (crs.source_crs if crs.is_bound else crs).coordinate_operation
    middle = next((p.value for p in (operation.params if operation else ()) if p.name in SEAM), 0.0)
    offset = (rings[:, :, 0] - middle + 180.0) % 360.0 - 180.0
    across = (np.abs(np.diff(offset, axis=1)) > 180.0).any(axis=1)
    longest = np.hypot(*np.diff(plane, axis=1).transpose(2, 0, 1)).max(axis=1)
    usual = float(np.median(longest[~across])) if (~across).any() else float(longest.min())
    to_plane = Transformer.from_crs(WGS84, crs, always_xy=True)

    def project(xy: np.ndarray) -> np.ndarray:
        # A hair's breadth within the edge, so that no point is taken for one on the other side.
        x = np.clip(xy[:, 0], -180.0 + 1e-9, 180.0 - 1e-9) + middle
        return np.column_stack(to_plane.transform(x, xy[:, 1]))

    for n in np.flatnonzero(across & (longest > TORN * usual)):
        shifted = np.stack([offset[n], rings[n, :, 1]], axis=-1)
        found[n] = shapely.transform(_on_sphere(shifted[None], 90.0)[0], project)
    return found
