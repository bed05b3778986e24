"""Draw a map of a result; needs the extra "view".

Each pixel looks up its cell, so cells have their true shape, and the cost does not depend on the number of cells.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maggjob.errors import InputError
from maggjob.grid.areas import NORTH, SOUTH, transformer
from maggjob.grid.healpix import Latitude, locate
from maggjob.inputs.places import local_place, may_replace
from maggjob.show.dataset import check_installed, open_result

if TYPE_CHECKING:
    import xarray as xr

WIDTH = 1100
"""Width of a panel, pixels."""


@dataclass(frozen=True)
class Canvas:
    """The pixels of a map, and the cell that each of them shows."""

    crs: int
    """EPSG code of the projection."""
    centres: Any
    """Centres of the cells of the result, as returned by xdggs."""
    extent: tuple[float, float, float, float]
    """Left, right, bottom and top, kilometres."""
    cell: np.ndarray
    """Nested id of the cell that each pixel lies in, shape (height, width)."""
    row: np.ndarray
    """Row of the result that each pixel shows, shape (height, width); -1 for none."""


def draw_map(
    store: str | Path,
    out: str | Path,
    variables: tuple[str, ...] | None = None,
    region: str | None = None,
) -> Path:
    """Draw a map of a result in polar stereographic projection, one panel per variable.

    Every pixel shows the cell that contains it, so cells have their true shape and place. Cells without data are grey.

    Parameters
    ----------
    store : str or Path
        The Zarr.
    out : str or Path
        PNG to write.
    variables : tuple of str, optional
        Variables to draw; by default ``h_mean``, or the first floating-point variable, and ``count``.
    region : str, optional
        Region of the bucket.

    Returns
    -------
    Path
        The PNG.

    Raises
    ------
    StoreError
        If the store is not a complete result.
    InputError
        If the result lacks a variable, or a package of the extra "view" is not installed.
    """
    check_installed()
    path = local_place(out, "map")
    may_replace(path, (b"\x89PNG",), "PNG")
    from matplotlib.figure import Figure

    dataset, of_window = latest_window(open_result(store, region=region))
    variables = variables if variables is not None else _default_variables(dataset)
    unknown = [name for name in variables if name not in dataset]
    if unknown:
        raise InputError(f"{store} has no variable {unknown[0]!r}; it has {', '.join(map(str, dataset.data_vars))}")
    canvas = canvas_of(dataset)
    order, height, width = int(dataset.dggs.grid_info.level), *canvas.row.shape
    parent_order = int(json.loads(dataset.attrs["config"])["output"]["grid"]["parent_order"])
    edges = edges_of(canvas.cell >> 2 * (order - parent_order), canvas.row >= 0)
    figure = Figure(figsize=(6.4 * len(variables), 5.2 * height / width + 0.9), layout="constrained", dpi=100)
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(variables))), variables, strict=True):
        draw_panel(figure, axes, dataset[name], canvas, edges)
    tally = json.loads(dataset.attrs["tally"])
    # Such as "simulated: ICESat-2 land-ice heights by HEALPix cell".
    title = dataset.attrs.get("title", "")
    simulated = f"{title}\n" if "simulated" in title else ""
    figure.suptitle(
        f"{simulated}{tally['observations']:,} observations of {dataset.attrs['number_of_granules']:,} granules in "
        f"{tally['cells']['planned']:,} cells, HEALPix order {order}, EPSG:{canvas.crs}{of_window}"
    )
    figure.savefig(path)
    return path


def latest_window(dataset: "xr.Dataset") -> tuple["xr.Dataset", str]:
    """Return the last window with granules of a result with a time axis, and its label for a title.

    A result without a time axis is returned as it is, with an empty label.
    """
    for kind in ("cycle", "month"):
        if kind in dataset.dims:
            there = np.flatnonzero(dataset["granules"].values > 0)
            number = int(there[-1]) if len(there) else dataset.sizes[kind] - 1
            value = dataset[kind].values[number]
            return dataset.isel({kind: number}), f"; {kind} {value if kind == 'cycle' else str(value)[:7]}"
    return dataset, ""


def _default_variables(dataset: "xr.Dataset") -> tuple[str, ...]:
    variables = json.loads(dataset.attrs["config"])["aggregation"]["variables"]
    # A fit gives variables of other names than its own; so does a list of quantiles.
    named = [str(name) for key, of in variables.items() for name in (of.get("outputs") or [key]) if name in dataset]
    first = "h_mean" if "h_mean" in dataset else next((n for n in named if dataset[n].dtype.kind == "f"), None)
    return tuple(name for name in (first, "count") if name is not None and name in dataset)


def canvas_of(dataset: "xr.Dataset") -> Canvas:
    """Look up the cell of each pixel."""
    centres = dataset.dggs.cell_centers()
    crs = SOUTH if float(centres.latitude.mean()) < 0 else NORTH
    to_plane = transformer(crs)
    px, py = to_plane.transform(centres.longitude.values, centres.latitude.values)
    margin = 0.03 * max(np.ptp(px), np.ptp(py)) + 2000.0
    x = np.linspace(px.min() - margin, px.max() + margin, WIDTH)
    y = np.arange(py.min() - margin, py.max() + margin, x[1] - x[0])
    longitude, latitude = to_plane.transform(*np.meshgrid(x, y), direction="INVERSE")
    convention: Latitude = dataset.attrs["latitude_convention"]
    cell = locate(latitude.ravel(), longitude.ravel(), int(dataset.dggs.grid_info.level), convention)
    cell = cell.reshape(latitude.shape)
    ids = dataset["cell_ids"].values.astype(np.int64)
    sorting = np.argsort(ids)
    at = np.minimum(np.searchsorted(ids, cell, sorter=sorting), len(ids) - 1)
    row = np.where(ids[sorting[at]] == cell, sorting[at], -1)
    return Canvas(crs, centres, (x[0] / 1e3, x[-1] / 1e3, y[0] / 1e3, y[-1] / 1e3), cell, row)


def draw_panel(
    figure: Any,
    axes: Any,
    variable: "xr.DataArray",
    canvas: Canvas,
    edges: np.ndarray,
    *,
    limits: tuple[float, float] | None = None,
    colours: str = "viridis",
) -> None:
    """Draw one variable.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes
    variable : xr.DataArray, dims ("cells",)
    canvas : Canvas
    edges : ndarray, shape (height, width)
        From `edges_of`.
    limits : tuple of float, optional
        Values at the ends of the colours; by default the 2nd and 98th percentiles.
    colours : str
        Name of matplotlib's colour map.
    """
    import matplotlib as mpl

    name, row = str(variable.name), canvas.row
    shown = np.where(row >= 0, variable.values.astype(np.float64)[row], np.nan)
    norm: Any = mpl.colors.Normalize(*(_limits(shown) if limits is None else limits))
    if name == "count":
        shown[shown == 0] = np.nan
        norm = mpl.colors.LogNorm(1, max(2.0, np.nanmax(shown, initial=1.0)))
    place: dict[str, Any] = {"extent": canvas.extent, "origin": "lower"}
    axes.imshow(np.where(row >= 0, 0.9, np.nan), **place, cmap="gray", vmin=0, vmax=1)
    image = axes.imshow(shown, **place, cmap=colours, norm=norm, interpolation="nearest")
    axes.imshow(edges, **place, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(title=_title(variable.attrs, name), xlabel="x (km)", ylabel="y (km)", aspect="equal")
    _graticule(axes, canvas)
    figure.colorbar(image, ax=axes, shrink=0.85)


def edges_of(parent: np.ndarray, planned: np.ndarray) -> np.ndarray:
    """Return an image of the borders of planned parent cells: 0.55 on a border, NaN elsewhere.

    Parameters
    ----------
    parent : np.ndarray
        Nested id of the parent cell of each pixel, shape (height, width).
    planned : np.ndarray
        True for pixels in planned cells, shape (height, width).
    """
    group = np.where(planned, parent, -1)
    edge = np.zeros(group.shape, bool)
    edge[:, 1:] |= group[:, 1:] != group[:, :-1]
    edge[1:] |= group[1:] != group[:-1]
    return np.where(edge, 0.55, np.nan)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Return colour limits, the 2nd and 98th percentiles, so that outliers do not stretch them."""
    good = values[np.isfinite(values)]
    return (0.0, 1.0) if not len(good) else (float(np.percentile(good, 2)), float(np.percentile(good, 98)))


def _title(attributes: Mapping[str, Any], name: str) -> str:
    units = attributes.get("units", "1")
    return f"{name}: {attributes.get('long_name', name)}" + (f" ({units})" if units != "1" else "")


def _graticule(axes: Any, canvas: Canvas) -> None:
    """Draw parallels and meridians."""
    latitude, longitude = canvas.centres.latitude.values, canvas.centres.longitude.values
    to_plane = transformer(canvas.crs)
    spread = float(np.ptp(latitude))
    step = next(s for s in (0.5, 1, 2, 5, 10) if spread / s <= 6 or s == 10)
    wide = step if abs(latitude).max() < 60 else min(30, max(1, round(step * 4)))
    for parallel in np.arange(np.floor(latitude.min()), np.ceil(latitude.max()) + step, step):
        x, y = to_plane.transform(np.linspace(-180, 180, 2000), np.full(2000, parallel))
        axes.plot(np.divide(x, 1e3), np.divide(y, 1e3), color="k", lw=0.4, alpha=0.5)
    for meridian in np.arange(-180, 180, wide):
        if ((longitude - meridian + 180) % 360 - 180 < 2 * wide).any():
            lines = np.linspace(latitude.min() - step, latitude.max() + step, 50)
            x, y = to_plane.transform(np.full(50, meridian), lines)
            axes.plot(np.divide(x, 1e3), np.divide(y, 1e3), color="k", lw=0.4, alpha=0.5)
    axes.set(xlim=canvas.extent[:2], ylim=canvas.extent[2:])
