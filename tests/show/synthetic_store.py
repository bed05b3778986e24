"""Results whose values a test decides, written by zarr itself: any cells, orders, conventions, times and states."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from maggjob.config.load import load_config
from maggjob.grid.centers import centers
from maggjob.grid.healpix import Grid, ellipsoid

Values = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Values at latitudes and longitudes, and at the number of a time."""
EPOCH = np.datetime64("2018-01-01")


def height(latitude: np.ndarray, longitude: np.ndarray, time: int = 0) -> np.ndarray:
    """Two gentle waves that rise away from the coast, a tenth of a metre higher each time."""
    away = 90 - np.abs(latitude)
    waves = np.sin(np.radians(4 * longitude)) * away + np.cos(np.radians(9 * latitude))
    return (3000 - 80 * away + 20 * waves + 0.1 * time).astype(np.float32)


def segments(latitude: np.ndarray, longitude: np.ndarray, time: int = 0) -> np.ndarray:
    """Numbers of segments: more near the pole, and none in some cells."""
    rng = np.random.default_rng([1, time])
    dense = 400 / (90.5 - np.abs(latitude))
    return (rng.poisson(dense) * (rng.random(len(latitude)) < 0.3 + dense / 60)).astype(np.int32)


def write_store(
    path: Path,
    parents: Sequence[int] | np.ndarray,
    grid: Grid,
    floats: Mapping[str, tuple[Values, Mapping[str, Any]]],
    count: Values = segments,
    cycles: Sequence[int] = (),
    states: Mapping[str, int] | None = None,
    flags: np.ndarray | None = None,
    attributes: Mapping[str, Any] | None = None,
    dtype: str = "f4",
) -> Path:
    """Write a result; values are NaN where the count is 0.

    Parameters
    ----------
    path : Path
    parents : nested ids of the parent cells
    grid : Grid
    floats : mapping
        Values and attributes of each variable but ``count``.
    count : callable
        Number of segments.
    cycles : sequence of int
        Time axis, if any.
    states : mapping, optional
        Number of parent cells by state, for the tally; all complete by default.
    flags : ndarray, optional
        Values of ``partial``, shape (cells,) or (cycles, cells).
    attributes : mapping, optional
        Further attributes.
    dtype : str
        Type of the floats.
    """
    parents = np.sort(np.asarray(parents, np.int64))
    ids = ((parents[:, None] << grid.shift) + np.arange(grid.children)).ravel()
    latitude, longitude = centers(ids, grid.child_order, grid.latitude)
    group = zarr.open_group(path, mode="w").create_group(str(grid.child_order))
    rows = min(len(ids), 1 << 20)

    def put(name: str, values: np.ndarray, own: Mapping[str, Any], timed: bool) -> None:
        shape = (1, rows) if timed else (rows,)
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=shape,
            dimension_names=("cycle", "cells") if timed else ("cells",),
            attributes=dict(own),
            fill_value=np.nan if values.dtype.kind == "f" else 0,
        )
        with zarr.config.set({"array.write_empty_chunks": True}):
            array[:] = values

    timed, times = bool(cycles), range(len(cycles)) if cycles else [0]
    place = {"grid_name": "healpix", "level": grid.child_order, "indexing_scheme": "nested"}
    put("cell_ids", ids.astype(np.uint64), place | {"ellipsoid": ellipsoid(grid.latitude)}, False)
    counts = np.stack([count(latitude, longitude, time) for time in times])
    shaped = counts if timed else counts[0]
    put("count", shaped, {"long_name": "number of segments", "units": "1"}, timed)
    for name, (values, own) in floats.items():
        found = np.stack([values(latitude, longitude, time).astype(dtype) for time in times])
        found[counts == 0] = np.nan
        put(name, found if timed else found[0], own, timed)
    if flags is not None:
        put(
            "partial",
            flags.astype(np.int8),
            {"flag_values": [0, 1, 2], "flag_meanings": "complete partial failed"},
            flags.ndim > 1,
        )
    if timed:
        starts = (np.array(cycles) - 1) * 90.82 * 86400
        for name, values in (("time_start", starts), ("time_end", starts + 80 * 86400.0)):
            own = {"units": "seconds since 2018-01-01 00:00:00", "calendar": "standard"}
            array = group.create_array(
                name, shape=(len(cycles),), chunks=(1,), dtype="f8", dimension_names=("cycle",), attributes=own
            )
            array[:] = values
        for name, numbers in (("cycle", np.array(cycles)), ("granules", np.full(len(cycles), 7))):
            array = group.create_array(name, shape=(len(cycles),), chunks=(1,), dtype="i8", dimension_names=("cycle",))
            array[:] = numbers
    config = load_config("atl06.yaml").science()
    config["output"]["grid"] |= {"parent_order": grid.parent_order, "child_order": grid.child_order}
    cells = {"planned": len(parents), "complete": len(parents), "empty": 0, "partial": 0, "failed": 0}
    group.attrs.update(
        {
            "dggs": {"name": "healpix", "refinement_level": grid.child_order, "indexing_scheme": "nested"},
            "coordinates": "cell_ids" + " time_start time_end granules" * timed,
            "latitude_convention": grid.latitude,
            "config": json.dumps(config),
            "tally": {"observations": int(counts.sum()), "cells": cells | dict(states or {})},
            "cycles": list(cycles) or [22],
            "number_of_granules": 60,
            "title": "simulated: ICESat-2 land-ice heights by HEALPix cell",
            "product": ["ATL06"],
            "product_version": ["006"],
            "time_coverage_start": "2023-12-18T17:07:23.821312Z",
            "time_coverage_end": "2024-03-15T23:23:50.145527Z",
            **(attributes or {}),
        }
    )
    consolidate(path)
    return path


def consolidate(path: Path) -> None:
    """Copy the metadata of all groups to those above them, as maggjob does."""
    with warnings.catch_warnings():
        # zarr says that it is no part of the format yet.
        warnings.simplefilter("ignore")
        for group in zarr.open_group(path, mode="r", use_consolidated=False).group_keys():
            zarr.consolidate_metadata(path, path=group)
        zarr.consolidate_metadata(path)


HEIGHTS: dict[str, tuple[Values, dict[str, Any]]] = {
    "h_mean": (height, {"units": "meters", "long_name": "Land Ice height, weighted mean"}),
    "h_sigma": (lambda latitude, longitude, time: 0.01 + 0.001 * (90 - np.abs(latitude)), {"units": "meters"}),
}
"""A height and its error."""
