"""Open a result as an xarray Dataset; needs the extra "view"."""

import json
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maggjob.errors import InputError, StoreError
from maggjob.inputs.places import store_place
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import UPDATING
from maggjob.storage.stores import plain_message

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
    for name in ("dask", "matplotlib", "pyproj", "xarray", "xdggs"):
        if find_spec(name) is None:
            raise InputError(f"{name} is needed to look at a result; {EXTRA}")


def open_result(store: str | Path, group: str | None = None, region: str | None = None) -> "xr.Dataset":
    """Open a result as a lazy xarray Dataset with a HEALPix index.

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
    store = store_place(store)
    import xarray as xr

    # Registers the accessor.
    import xdggs  # noqa: F401
    import zarr
    from zarr.storage import ObjectStore

    if not exists(store, region):
        raise StoreError(f"no result found at {store}: run 'maggjob run' first, or give another path")
    zarr_store = ObjectStore(Folder(store, region).store)
    try:
        root = zarr.open_group(zarr_store, mode="r")
        groups = sorted(root.group_keys())
    except (FileNotFoundError, ValueError) as problem:
        raise StoreError(
            f"{store} cannot be opened: it is not a Zarr, or its run did not finish ({plain_message(problem)})"
        ) from problem
    if group is None:
        # The finest of several orders.
        groups = [str(root.attrs["group"])] if root.attrs.get("group") in groups else groups
        if len(groups) != 1:
            raise StoreError(f"{store} has the groups {groups}; select one with group=")
        group = groups[0]
    if root.attrs.get(UPDATING):
        raise StoreError(
            f"{store} is being updated, or an update was interrupted: wait for it, or complete it with "
            f"'maggjob update {store}'"
        )
    if group not in groups:
        raise StoreError(f"{store} has no group {group!r}; it has {', '.join(groups)}")
    array: Any = root[f"{group}/cell_ids"]
    _check_whole(Folder(store, region), root[group], store)
    # Reading a whole shard takes one request; reading its chunks would take one each.
    (rows,) = array.shards
    # A shard holds one window of a time axis.
    members: Any = root[group]
    times = {name: 1 for name in ("cycle", "month") if name in members}
    opened = xr.open_zarr(zarr_store, group=group, chunks={"cells": rows, **times})
    dataset: xr.Dataset = opened.dggs.decode()
    dataset.attrs = {key: _plain(value) for key, value in opened.attrs.items()}
    # xdggs removes them when it decodes; with the ellipsoid's name, a copy in netCDF or Zarr decodes, too.
    of = opened["cell_ids"].attrs
    dataset["cell_ids"].attrs = dict(of) | {"ellipsoid": of["ellipsoid"]["name"]}
    return dataset


def _check_whole(folder: Folder, group: Any, store: str) -> None:
    """Check that no shard is missing: Zarr would read it as fill values, without a word."""
    there = set(folder.keys(group.path))
    for name, array in group.arrays():
        pieces = array.shards or array.chunks
        every = product(*(range(-(-length // piece)) for length, piece in zip(array.shape, pieces, strict=True)))
        keys = ["/".join([group.path, name, "c", *map(str, place)]) for place in every]
        missing = [key for key in keys if key not in there]
        if missing:
            raise StoreError(
                f"{store} lacks {len(missing)} of {len(keys)} shards of {name}, such as {missing[0]}, which read as no "
                "data; 'maggjob verify' shows more"
            )


def _plain(value: Any) -> Any:
    """Return an attribute as netCDF stores it: one with structure as JSON text."""
    structured = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value))
    return json.dumps(value) if structured else value
