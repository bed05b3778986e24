"""Open a result as an xarray Dataset; needs the extra "view", and "xdggs" for the index of xdggs."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maggjob.errors import InputError
from maggjob.show.zarr_group import open_group

if TYPE_CHECKING:
    import xarray as xr

EXTRA = "install the extra 'view': pip install 'maggjob[view]'"


def check_installed() -> None:
    """Check that all packages of the extra "view" are installed.

    Raises
    ------
    InputError
        If a package is missing.
    """
    for name in ("dask", "matplotlib", "xarray"):
        if find_spec(name) is None:
            raise InputError(f"{name} is needed to look at a result; {EXTRA}")


def open_result(store: str | Path, group: str | None = None, region: str | None = None) -> "xr.Dataset":
    """Open a result as a lazy xarray Dataset.

    If xdggs is installed (the extra "xdggs"), the dataset has its HEALPix index, and the accessor ``.dggs`` works.

    Parameters
    ----------
    store : str or Path
        The Zarr: a path, or s3://bucket/prefix.
    group : str, optional
        Group, which is named by the child order; by default that of the finest order.
    region : str, optional
        Region of the bucket.

    Returns
    -------
    xr.Dataset
        One row per child cell, along the dimension ``cells``; chunks are the shards of the Zarr. It can be written to
        netCDF and Zarr: attributes with structure, such as ``tally``, are JSON text in it.

    Raises
    ------
    StoreError
        If the store does not exist, is not a complete Zarr, lacks a shard or the group, or has several groups and
        ``group`` is not given.
    InputError
        If a package of the extra "view" is not installed.

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

    found = open_group(store, group, region)
    array: Any = found.group["cell_ids"]
    # Reading a whole shard takes one request; reading its chunks would take one each.
    (rows,) = array.shards or array.chunks
    # A shard holds one window of a time axis.
    times = {name: 1 for name in ("cycle", "month") if name in found.group}
    opened = xr.open_zarr(found.zarr_store, group=found.name, chunks={"cells": rows, **times})
    dataset: xr.Dataset = _decoded(opened)
    dataset.attrs = {key: _plain(value) for key, value in opened.attrs.items()}
    # xdggs removes them when it decodes; with the ellipsoid's name, a copy in netCDF or Zarr decodes, too.
    of = opened["cell_ids"].attrs
    dataset["cell_ids"].attrs = dict(of) | {"ellipsoid": of["ellipsoid"]["name"]}
    return dataset


def _decoded(opened: "xr.Dataset") -> "xr.Dataset":
    """Return the dataset with the HEALPix index of xdggs if that is installed, else with an index of the ids."""
    if find_spec("xdggs") is None:
        return opened.set_xindex("cell_ids")
    # Registers the accessor.
    import xdggs  # noqa: F401

    decoded: xr.Dataset = opened.dggs.decode()
    return decoded


def _plain(value: Any) -> Any:
    """Return an attribute as netCDF stores it: one with structure as JSON text."""
    structured = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value))
    return json.dumps(value) if structured else value
