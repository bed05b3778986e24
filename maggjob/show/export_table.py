"""The cells of a result that have data as a table: CSV, or GeoParquet with their polygons."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from maggjob.errors import InputError
from maggjob.grid.polygons import Centres
from maggjob.show.export_options import Selection
from maggjob.show.export_polygons import cell_polygons

PIECE = 100_000
"""Cells that are written at once."""
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
            # The state of a cell that was read is no data.
            if name == "partial" and len(columns) > 1:
                continue
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
            texts = {name: np.char.mod("%.7f", piece[name]) for name in ("latitude", "longitude")}
            texts |= {name: _exact(own) for name, own in piece.items() if own.dtype == np.float64 and name not in texts}
            pd.DataFrame({**piece, **texts}).to_csv(file, index=False, header=not begun, float_format="%.9g")
            begun = True
    _check_begun(selection, begun=begun)


def _exact(values: np.ndarray) -> np.ndarray:
    """Return numbers as the shortest texts that give the same numbers."""
    texts = ["" if v != v else str(int(v)) if v.is_integer() and abs(v) < 1e18 else repr(v) for v in values.tolist()]
    return np.array(texts, object)


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
                "geometry_types": ["MultiPolygon", "Polygon"],
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

    reader = RecordBatchReader.from_batches(schema, batches())
    try:
        write(reader, path, compression="zstd(3)", max_row_group_size=PIECE)
    except BaseException as problem:
        # A full disk is a panic of the library, and a key that was pressed is text.
        if "KeyboardInterrupt" in str(problem) or "Stopped" in str(problem):
            raise KeyboardInterrupt("stopped") from problem
        if type(problem).__name__ == "PanicException":
            raise OSError(str(problem)) from problem
        raise


def _arrays(piece: Columns) -> dict[str, Any]:
    from arro3.core import Array, DataType

    def array(values: np.ndarray) -> Any:
        if isinstance(values, np.ma.MaskedArray):
            return Array(values.tolist(), type=DataType.int64())
        if values.dtype.kind == "O":
            return Array(values.tolist(), type=DataType.binary())
        if values.dtype.kind == "U":
            return Array(values.tolist(), type=DataType.string())
        return Array.from_numpy(np.ascontiguousarray(values))

    return {name: array(values) for name, values in piece.items()}


def _with_polygons(piece: Columns, selection: Selection, crs: Any) -> Columns:
    found = cell_polygons(piece["cell_ids"].astype(np.int64), selection.result.grid, crs)
    # Numbers of segments are no fractions, and where there is none there is no number.
    whole: Columns = {
        v.name: np.ma.array(np.nan_to_num(piece[v.name]).astype(np.int64), mask=np.isnan(piece[v.name]))
        for v in selection.variables
        if v.whole
    }
    return {**piece, **whole, "geometry": np.array(shapely.to_wkb(found), object)}
