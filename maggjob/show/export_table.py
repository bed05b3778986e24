"""The cells of a result that have data as a table: CSV, or GeoParquet with their polygons."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from pyproj import Transformer

from maggjob.errors import InputError
from maggjob.grid.coverage import outline
from maggjob.grid.polygons import Centres
from maggjob.show.export_options import Selection

PIECE = 100_000
"""Cells that are written at once."""
WORLD = shapely.box(-180, -90, 180, 90)
Columns = dict[str, np.ndarray]


def table_pieces(selection: Selection) -> Iterator[Columns]:
    """Yield the columns of the cells with data, some cells at a time.

    Parameters
    ----------
    selection : Selection

    Yields
    ------
    dict
        ``cell_ids`` (uint64), ``latitude`` and ``longitude`` of the centre (degrees), the label of the time if there is
        a time axis, and each variable.
    """
    result = selection.result
    fixed = {v.name: selection.values(v, None) for v in selection.variables if not v.timed}
    for time in selection.times or (None,):
        columns = {v.name: fixed[v.name] if v.name in fixed else selection.values(v, time) for v in selection.variables}
        there = np.zeros(len(result.ids), bool)
        for name, values in columns.items():
            if name not in fixed or not any(v.timed for v in selection.variables):
                there |= np.isfinite(values)
        rows = selection.chosen[there[selection.chosen]]
        for first in range(0, len(rows), PIECE):
            some = rows[first : first + PIECE]
            centres = Centres.of(result.ids[some], result.grid.child_order, result.grid.latitude)
            piece: Columns = {
                "cell_ids": result.ids[some].astype(np.uint64),
                "latitude": centres.latitude,
                "longitude": (centres.longitude + 180.0) % 360.0 - 180.0,
            }
            if time is not None and result.times is not None:
                label = result.times.labels[time]
                whole = result.times.kind == "cycle"
                piece[result.times.kind] = np.full(len(some), int(label) if whole else label)
            yield piece | {name: values[some] for name, values in columns.items()}


def write_csv(path: Path, selection: Selection) -> None:
    """Write the cells with data as CSV: one row per cell, and per time if there is a time axis.

    Parameters
    ----------
    path : Path
    selection : Selection

    Raises
    ------
    InputError
        If no cell has data.
    """
    import pandas as pd

    begun = False
    with path.open("w", encoding="utf-8", newline="") as file:
        for piece in table_pieces(selection):
            degrees = {name: np.char.mod("%.7f", piece[name]) for name in ("latitude", "longitude")}
            pd.DataFrame({**piece, **degrees}).to_csv(file, index=False, header=not begun, float_format="%.9g")
            begun = True
    _check_begun(selection, begun=begun)


def _check_begun(selection: Selection, *, begun: bool) -> None:
    if not begun:
        raise InputError(f"no cell of {selection.result.name} that was asked for has data; ask for others")


def write_parquet(path: Path, selection: Selection, crs: Any, attributes: Mapping[str, str]) -> None:
    """Write the polygons of the cells with data, and their values, as GeoParquet 1.1.

    Parameters
    ----------
    path : Path
    selection : Selection
    crs : pyproj.CRS
        Reference system of the polygons.
    attributes : mapping
        Metadata of the file.

    Raises
    ------
    InputError
        If no cell has data.
    """
    from arro3.core import RecordBatch, RecordBatchReader, Schema
    from arro3.io import write_parquet as write

    pieces = (_with_polygons(piece, selection, crs) for piece in table_pieces(selection))
    first = next(pieces, None)
    _check_begun(selection, begun=first is not None)
    arrays = _arrays(first or {})
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {
            "geometry": {
                "encoding": "WKB",
                "geometry_types": ["MultiPolygon", "Polygon"] if crs.is_geographic else ["Polygon"],
                "crs": crs.to_json_dict(),
            }
        },
    }
    batch = RecordBatch.from_pydict(arrays)
    schema: Any = Schema([batch.schema.field(name) for name in arrays], metadata={"geo": json.dumps(geo), **attributes})

    def batches() -> Iterator[Any]:
        yield RecordBatch.from_arrays(list(arrays.values()), schema=schema)
        for piece in pieces:
            yield RecordBatch.from_arrays(list(_arrays(piece).values()), schema=schema)

    write(RecordBatchReader.from_batches(schema, batches()), path, compression="zstd(3)", max_row_group_size=PIECE)


def _arrays(piece: Columns) -> dict[str, Any]:
    from arro3.core import Array, DataType

    def array(values: np.ndarray) -> Any:
        if values.dtype.kind == "O":
            return Array(values.tolist(), type=DataType.binary())
        if values.dtype.kind == "U":
            return Array(values.tolist(), type=DataType.string())
        return Array.from_numpy(np.ascontiguousarray(values))

    return {name: array(values) for name, values in piece.items()}


def _with_polygons(piece: Columns, selection: Selection, crs: Any) -> Columns:
    grid = selection.result.grid
    rings = outline(piece["cell_ids"].astype(np.int64), grid.child_order, grid.latitude, 1)
    return piece | {"geometry": np.array(shapely.to_wkb(polygons(rings, piece["longitude"], crs)), object)}


def polygons(rings: np.ndarray, longitude: np.ndarray, crs: Any) -> np.ndarray:
    """Return the polygons of cells.

    Parameters
    ----------
    rings : ndarray, shape (n, points, 2)
        Outlines: longitude and latitude, degrees.
    longitude : ndarray, shape (n,)
        Longitudes of the centres, degrees: an outline that crosses the antimeridian is continued beyond it.
    crs : pyproj.CRS
        Reference system of the polygons. In a geographic one, those that cross the antimeridian are split there.

    Raises
    ------
    InputError
        If the cells do not lie on the reference system.
    """
    center = longitude[:, None]
    unwrapped = rings.copy()
    unwrapped[:, :, 0] = center + (rings[:, :, 0] - center + 180.0) % 360.0 - 180.0
    # A corner at a pole has any longitude: that of the centre keeps the polygon narrow.
    at_pole = np.abs(rings[:, :, 1]) > 89.9999
    unwrapped[:, :, 0] = np.where(at_pole, center, unwrapped[:, :, 0])
    if not crs.is_geographic:
        x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(rings[:, :, 0], rings[:, :, 1])
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise InputError(f"some cells do not lie on {crs.name}; give another --crs, or a smaller --aoi")
        return np.asarray(shapely.polygons(np.stack([x, y], axis=-1)))
    found = np.asarray(shapely.polygons(unwrapped), object)
    for n in np.flatnonzero((np.abs(unwrapped[:, :, 0]) > 180.0).any(axis=1)):
        side = 360.0 if unwrapped[n, :, 0].max() > 180.0 else -360.0
        moved = shapely.polygons(unwrapped[n] - [side, 0.0])
        here, beyond = (shapely.intersection(one, WORLD) for one in (found[n], moved))
        parts = [p for p in (here, beyond) if p.geom_type == "Polygon" and not p.is_empty]
        found[n] = parts[0] if len(parts) == 1 else shapely.multipolygons(parts)
    return found
