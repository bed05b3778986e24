"""A result as a CF netCDF file on a grid of pixels; needs h5netcdf, which is in the extra "export"."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.show.export_grid import PixelGrid
from maggjob.show.export_options import Selection
from maggjob.show.plane import Lookup

CHUNK = 512
"""Width and height of a chunk."""
DAYS = {"units": "days since 2018-01-01 00:00:00", "calendar": "standard"}
"""Attributes with which readers decode days."""
NO_DAY = -(2**31)
"""Day of a time without data."""
KEPT = ("units", "long_name", "standard_name", "cell_methods", "comment", "flag_meanings")
"""Attributes of a variable that are kept."""


def write_netcdf(path: Path, selection: Selection, grid: PixelGrid, attributes: Mapping[str, str]) -> None:
    """Write a netCDF file with the dimensions of the grid, and of time if the result has it.

    Parameters
    ----------
    path : Path
    selection : Selection
    grid : PixelGrid
    attributes : mapping
        Global attributes.
    """
    import h5netcdf

    # In memory first, compressed: HDF5 crashes when it closes a file on a full disk.
    content = io.BytesIO()
    with h5netcdf.File(content, "w") as file:
        file.attrs.update({"Conventions": "CF-1.11", **{key: _text(value) for key, value in attributes.items()}})
        names = _write_axes(file, selection, grid)
        arrays = {}
        for variable in selection.variables:
            values = {t: selection.values(variable, t) for t in (selection.times if variable.timed else (None,))}
            dims = (*((str(selection.result.times and selection.result.times.kind),) if variable.timed else ()), *names)
            shape = (*((1,) if variable.timed else ()), min(CHUNK, grid.height), min(CHUNK, grid.width))
            dtype = np.result_type(*(one.dtype for one in values.values()))
            array = file.create_variable(
                variable.name,
                dims,
                dtype,
                fillvalue=np.nan,
                chunks=shape,
                compression="gzip",
                compression_opts=4,
                shuffle=True,
            )
            array.attrs.update({k: _text(v) for k, v in variable.attributes.items() if k in KEPT and v is not None})
            flags = variable.attributes.get("flag_values")
            if isinstance(flags, list | tuple | np.ndarray) and all(
                isinstance(v, int | float | np.number) for v in flags
            ):
                # CF wants them in the type of the variable.
                array.attrs["flag_values"] = np.asarray(flags, dtype)
            array.attrs["grid_mapping"] = "crs"
            arrays[variable.name] = (array, values)
        for rows, at in grid.strips(Lookup(selection.result.ids, selection.result.grid)):
            for array, values in arrays.values():
                for number, one in enumerate(values.values()):
                    place = (rows, slice(None)) if array.ndim == 2 else (number, rows, slice(None))
                    array[place] = np.where(at >= 0, one[at], np.nan)
    path.write_bytes(content.getbuffer())


def _text(value: Any) -> str:
    # HDF5 ends a text at a zero.
    return str(value).replace("\x00", "")


def _write_axes(file: Any, selection: Selection, grid: PixelGrid) -> tuple[str, str]:
    """Write the coordinates and the reference system; return the names of the rows' and columns' dimensions."""
    mapping = file.create_variable("crs", (), np.int32)
    for key, value in grid.crs.to_cf().items():
        mapping.attrs[key] = value
    names = ("lat", "lon") if grid.crs.is_geographic else ("y", "x")
    axes = {axis["axis"]: axis for axis in grid.crs.cs_to_cf() if "axis" in axis}
    for name, axis, values in ((names[0], "Y", grid.y), (names[1], "X", grid.x)):
        file.dimensions[name] = len(values)
        coordinate = file.create_variable(name, (name,), np.float64)
        coordinate[:] = values
        coordinate.attrs.update({k: v for k, v in axes.get(axis, {}).items() if isinstance(v, str)})
    _write_times(file, selection)
    return names


def _write_times(file: Any, selection: Selection) -> None:
    """Write the time axis, if there is one, with the first and the last day of the data of each time."""
    times = selection.result.times
    if times is None:
        return
    file.dimensions[times.kind] = len(selection.times)
    labels = [times.labels[i] for i in selection.times]
    coordinate = file.create_variable(times.kind, (times.kind,), np.int32)
    if times.kind == "cycle":
        coordinate[:] = np.array([int(label) for label in labels], np.int32)
        coordinate.attrs["long_name"] = "91-day repeat cycle of ICESat-2"
    else:
        coordinate[:] = _days(labels)
        coordinate.attrs.update({"standard_name": "time", **DAYS})
    for number, (name, which) in enumerate((("time_start", "first"), ("time_end", "last"))):
        spans = [times.spans[i] for i in selection.times]
        day = file.create_variable(name, (times.kind,), np.int32, fillvalue=NO_DAY)
        day[:] = np.array([NO_DAY if span is None else _days([span[number]])[0] for span in spans], np.int32)
        day.attrs.update({"long_name": f"{which} day of the data", **DAYS})


def _days(labels: list[str]) -> np.ndarray:
    return (np.array(labels, "M8[D]") - np.datetime64("2018-01-01")).astype(np.int32)
