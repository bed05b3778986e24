"""The files of a time series: a Zarr, a netCDF, and a picture, all made from one xarray Dataset."""

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maggjob.config.series import SeriesConfig
from maggjob.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

USED, DOUBLED, MISSING, FAILED = range(4)
"""States of a time: one granule was read, one of several was, there is none, or it could not be read."""
MEANINGS = "used doubled missing failed"
METHODS = {"mean": "area: mean", "min": "area: minimum", "max": "area: maximum"}
WORDS = {"mean": "area-weighted mean", "min": "minimum", "max": "maximum", "share": "share of the area with values"}


@dataclass(frozen=True)
class SeriesRow:
    """One time of a series."""

    time: int
    """Seconds since 1970-01-01."""
    state: int
    """One of `USED`, `DOUBLED`, `MISSING` and `FAILED`."""
    values: Mapping[str, Mapping[str, Any]]
    """Statistics by variable; empty if there are none."""


def series_dataset(
    config: SeriesConfig, rows: Sequence[SeriesRow], units: Mapping[str, str], attributes: Mapping[str, Any]
) -> "xr.Dataset":
    """Return a series as a CF dataset.

    Parameters
    ----------
    config : SeriesConfig
    rows : sequence of SeriesRow
        Ascending in time.
    units : mapping
        Units of each variable in the granules.
    attributes : mapping
        Global attributes.
    """
    import xarray as xr

    time = np.array([row.time for row in rows], np.int64)
    of_time = {"standard_name": "time", "units": "seconds since 1970-01-01T00:00:00Z", "calendar": "standard"}
    dataset = xr.Dataset(coords={"time": ("time", time, of_time)}, attrs=dict(attributes))
    for name, variable in config.variables.items():
        for statistic in variable.statistics:
            values = [row.values.get(name, {}).get(statistic) for row in rows]
            own: dict[str, Any] = {"long_name": f"{variable.attrs.get('long_name', name)}, {WORDS[statistic]}"}
            if statistic == "share":
                own["units"] = "1"
            else:
                own |= {key: value for key, value in variable.attrs.items() if key != "long_name"}
                own |= {"units": variable.units or units.get(name) or "1", "cell_methods": METHODS[statistic]}
            array = np.array([np.nan if value is None else value for value in values], np.float64)
            dataset[f"{name}_{statistic}"] = ("time", array, own)
    flags = {"long_name": "what the value comes from", "flag_values": np.arange(4, dtype=np.int8)}
    states = np.array([row.state for row in rows], np.int8)
    dataset["state"] = ("time", states, flags | {"flag_meanings": MEANINGS})
    return dataset


def check_installed() -> None:
    """Check that the packages that write a series are installed.

    Raises
    ------
    InputError
        If one is missing.
    """
    for name in ("h5netcdf", "matplotlib", "xarray"):
        if find_spec(name) is None:
            raise InputError(f"{name} is needed to write a series; install the extra: pip install 'maggjob[view]'")


def zarr_objects(dataset: "xr.Dataset") -> dict[str, bytes]:
    """Return the objects of a dataset as a consolidated Zarr, by key."""
    import warnings

    import zarr

    memory: dict[str, Any] = {}
    with warnings.catch_warnings():
        # zarr warns that format 3 has no consolidated metadata yet; readers support it.
        warnings.simplefilter("ignore")
        dataset.to_zarr(zarr.storage.MemoryStore(memory), mode="w", consolidated=True, zarr_format=3)
    return {key: content.to_bytes() for key, content in memory.items()}


def netcdf_bytes(dataset: "xr.Dataset") -> bytes:
    """Return a dataset as a netCDF-4 file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "series.nc")
        none = {name: {"_FillValue": None} for name in ("time", "state")}
        dataset.to_netcdf(path, engine="h5netcdf", encoding=none)
        return path.read_bytes()


def picture(dataset: "xr.Dataset", config: SeriesConfig) -> bytes:
    """Return a picture of a series as PNG: each variable with its range, and the times without values.

    Parameters
    ----------
    dataset : xarray.Dataset
        From `series_dataset`.
    config : SeriesConfig
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 1.2 + 2.8 * len(config.variables)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(len(config.variables), 1, sharex=True))
    time = dataset.time.values.astype("datetime64[s]")
    states = dataset.state.values
    for axis, (name, variable) in zip(axes, config.variables.items(), strict=True):
        shown = next((one for one in ("mean", "max", "min", "share") if one in variable.statistics), "mean")
        values = dataset[f"{name}_{shown}"]
        axis.plot(time, values, color="#1f4e79", linewidth=1.2, marker="." if len(time) < 60 else None, zorder=3)
        axis.set_ylabel(f"{name} {shown}\n[{values.attrs['units']}]")
        for state, color, label in ((MISSING, "#999999", "missing"), (FAILED, "#c0392b", "failed")):
            for number, at in enumerate(time[states == state]):
                axis.axvline(at, color=color, linewidth=1.5, alpha=0.7, label=None if number else label, zorder=1)
        twice = states == DOUBLED
        if twice.any():
            axis.plot(time[twice], values[twice], "o", mfc="none", color="#d68910", label="doubled", zorder=4)
        axis.grid(alpha=0.3)
        if (states != USED).any():
            axis.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, fontsize="small", frameon=False)
        axis.margins(x=0.01)
    locator = AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes[0].set_title(str(dataset.attrs.get("title", "")), fontsize="medium", loc="left")
    buffer = io.BytesIO()
    # Without metadata, which hold matplotlib's version, the bytes depend on the series alone.
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
