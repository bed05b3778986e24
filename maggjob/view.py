"""Looking at a result: as an xarray Dataset, and as a picture. Needs the extra "view"."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maggjob.cells import Latitude, locate
from maggjob.errors import InputError, StoreError
from maggjob.storage import Place, exists

if TYPE_CHECKING:
    import xarray as xr

EXTRA = "it is in the extra 'view': pip install 'maggjob[view]'"
POLAR = {"south": "EPSG:3031", "north": "EPSG:3413"}
WIDTH = 1100  # pixels of a panel: each is looked up in the cells, so a picture costs the same for any result


def check_installed() -> None:
    """See that all of the extra is there.

    Raises
    ------
    InputError
        Something is not.
    """
    for name in ("dask", "matplotlib", "pyproj", "xarray", "xdggs"):
        if find_spec(name) is None:
            raise InputError(f"{name} is needed to look at a result; {EXTRA}")


def open_result(store: str | Path, group: str | None = None, region: str | None = None) -> "xr.Dataset":
    """Open a result as an xarray Dataset with its HEALPix index, chunked.

    Parameters
    ----------
    store : str or Path
        The Zarr: a path, or s3://bucket/prefix.
    group : str, optional
        Group, which is the child order; by default the only one there is.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    StoreError
        There is no such result.
    InputError
        A package of the extra "view" is not installed.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> catalog = maggjob.make_catalog("granules")
    >>> result = maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    >>> heights = open_result("map.zarr")
    >>> float(heights.h_mean.where(heights["count"] > 0).max()) < 3000.0
    True
    """
    check_installed()
    import xarray as xr
    import xdggs  # noqa: F401  # registers the accessor
    import zarr
    from zarr.storage import ObjectStore

    if not exists(str(store), region):
        raise StoreError(f"no result at {store}: run 'maggjob run' first, or give another path")
    zarr_store = ObjectStore(Place(str(store), region).store)
    try:
        root = zarr.open_group(zarr_store, mode="r")
        groups = sorted(root.group_keys())
    except (FileNotFoundError, ValueError) as problem:
        raise StoreError(f"{store} cannot be opened: it is no Zarr, or its run did not end ({problem})") from problem
    if group is None:
        if len(groups) != 1:
            raise StoreError(f"{store} has the groups {groups}; say which with group=")
        group = groups[0]
    array: Any = root[f"{group}/cell_ids"]
    (rows,) = array.shards  # a whole shard is one request, its chunks would be one each
    dataset: xr.Dataset = xr.open_zarr(zarr_store, group=group, chunks={"cells": rows}).dggs.decode()
    return dataset


def draw_map(
    store: str | Path,
    out: str | Path,
    variables: tuple[str, ...] | None = None,
    region: str | None = None,
) -> Path:
    """Draw a map of a result in polar stereographic projection, one panel a variable.

    Every pixel shows the cell that it lies in, so cells keep their true shape and place. Planned cells
    without data are grey.

    Parameters
    ----------
    store : str or Path
        The Zarr.
    out : str or Path
        PNG to write.
    variables : tuple of str, optional
        What to show; by default the first variable of floating point, and ``count``.

    Raises
    ------
    StoreError
        There is no such result.
    InputError
        The result has no such variable, or a package of the extra "view" is not installed.
    """
    check_installed()
    import matplotlib as mpl
    import pyproj
    from matplotlib.figure import Figure

    dataset = open_result(store, region=region)
    if variables is None:
        floats = [str(name) for name in json.loads(dataset.attrs["config"])["aggregation"]["variables"]]
        shown_first = (
            "h_mean" if "h_mean" in dataset else next((n for n in floats if dataset[n].dtype.kind == "f"), None)
        )
        variables = tuple(name for name in (shown_first, "count") if name is not None and name in dataset)
    unknown = [name for name in variables if name not in dataset]
    if unknown:
        raise InputError(f"{store} has no variable {unknown[0]!r}; it has {', '.join(map(str, dataset.data_vars))}")
    order = int(dataset.dggs.grid_info.level)
    parent_order = int(json.loads(dataset.attrs["config"])["output"]["grid"]["parent_order"])
    convention: Latitude = dataset.attrs["latitude_convention"]
    ids = dataset["cell_ids"].values.astype(np.int64)
    centres = dataset.dggs.cell_centers()
    south = float(centres.latitude.mean()) < 0
    to_plane = pyproj.Transformer.from_crs(4326, POLAR["south" if south else "north"], always_xy=True)
    x, y, cell, row = _pixels(to_plane, centres, ids, order, convention)
    edges = _edges(cell >> 2 * (order - parent_order), row >= 0)
    figure = Figure(figsize=(6.4 * len(variables), 5.2 * len(y) / len(x) + 0.9), layout="constrained", dpi=100)
    extent = tuple(v / 1e3 for v in (x[0], x[-1], y[0], y[-1]))
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(variables))), variables, strict=True):
        values = dataset[name].values.astype(np.float64)
        shown = np.where(row >= 0, values[row], np.nan)
        if name == "count":
            shown[shown == 0] = np.nan
        planned = np.where(row >= 0, 0.9, np.nan)
        axes.imshow(planned, extent=extent, origin="lower", cmap="gray", vmin=0, vmax=1)
        norm = (
            mpl.colors.LogNorm(1, max(2.0, np.nanmax(shown, initial=1.0)))
            if name == "count"
            else mpl.colors.Normalize(*_limits(shown))
        )
        image = axes.imshow(shown, extent=extent, origin="lower", cmap="viridis", norm=norm, interpolation="nearest")
        axes.imshow(edges, extent=extent, origin="lower", cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set(title=_title(dataset[name].attrs, name), xlabel="x (km)", ylabel="y (km)", aspect="equal")
        _graticule(axes, to_plane, centres, extent)
        figure.colorbar(image, ax=axes, shrink=0.85)
    tally = dataset.attrs["tally"]
    figure.suptitle(
        f"{tally['observations']:,} observations of {dataset.attrs['number_of_granules']:,} granules in "
        f"{tally['cells']['planned']:,} cells, HEALPix order {order}, {POLAR['south' if south else 'north']}"
    )
    figure.savefig(out)
    return Path(out)


def _pixels(
    to_plane: Any, centres: Any, ids: np.ndarray, order: int, convention: Latitude
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the pixels of a map (metres), the cell of each, and the row that it shows; -1 for none."""
    px, py = to_plane.transform(centres.longitude.values, centres.latitude.values)
    margin = 0.03 * max(np.ptp(px), np.ptp(py)) + 2000.0
    x = np.linspace(px.min() - margin, px.max() + margin, WIDTH)
    y = np.arange(py.min() - margin, py.max() + margin, x[1] - x[0])
    longitude, latitude = to_plane.transform(*np.meshgrid(x, y), direction="INVERSE")
    cell = locate(latitude.ravel(), longitude.ravel(), order, convention)
    sorting = np.argsort(ids)
    cell = cell.reshape(latitude.shape)
    at = np.minimum(np.searchsorted(ids, cell, sorter=sorting), len(ids) - 1)
    row = np.where(ids[sorting[at]] == cell, sorting[at], -1)
    return x, y, cell, row


def _edges(parent: np.ndarray, planned: np.ndarray) -> np.ndarray:
    """Pixels between planned parent cells, as a picture: 0.55 there, NaN elsewhere."""
    group = np.where(planned, parent, -1)
    edge = np.zeros(group.shape, bool)
    edge[:, 1:] |= group[:, 1:] != group[:, :-1]
    edge[1:] |= group[1:] != group[:-1]
    return np.where(edge, 0.55, np.nan)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Colour limits that a few wild values do not stretch."""
    good = values[np.isfinite(values)]
    return (0.0, 1.0) if not len(good) else (float(np.percentile(good, 2)), float(np.percentile(good, 98)))


def _title(attributes: Mapping[str, Any], name: str) -> str:
    units = attributes.get("units", "1")
    return f"{name}: {attributes.get('long_name', name)}" + (f" ({units})" if units != "1" else "")


def _graticule(axes: Any, to_plane: Any, centres: Any, extent: tuple[float, ...]) -> None:
    """Draw parallels and meridians, labelled where they leave the map on the left and at the bottom."""
    latitude, longitude = centres.latitude.values, centres.longitude.values
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
    axes.set(xlim=extent[:2], ylim=extent[2:])
