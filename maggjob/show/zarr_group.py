"""Open the Zarr group of a result, after checks that it is one, and a whole one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np

from maggjob.errors import StoreError
from maggjob.grid.healpix import Latitude
from maggjob.inputs.places import store_place
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import UPDATING
from maggjob.storage.stores import plain_message
from maggjob.storage.urls import is_remote

NEEDED = ("config", "dggs", "latitude_convention", "tally")
"""Attributes that every result has."""


@dataclass(frozen=True)
class OpenGroup:
    """A group of a result that is open for reading."""

    store: str
    """Path or URL of the Zarr."""
    zarr_store: Any
    """The store as zarr reads it."""
    name: str
    """Name of the group."""
    group: Any
    """The ``zarr.Group``."""


def open_group(store: str | Path, group: str | None = None, region: str | None = None) -> OpenGroup:
    """Open the group of a result.

    Parameters
    ----------
    store : str or Path
        The Zarr: a path, or s3://bucket/prefix.
    group : str, optional
        Group, which is named by the child order; by default that of the finest order.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    StoreError
        If the store does not exist, is not a complete result, is being updated, lacks a shard or the group, or has
        several groups and ``group`` is not given.
    """
    import zarr
    from zarr.storage import ObjectStore

    store = store_place(store)
    if not exists(store, region):
        raise StoreError(f"no result found at {store}: run 'maggjob run' first, or give another path")
    if not is_remote(store) and not Path(store).is_dir():
        raise StoreError(f"{store} is a file: give the folder of a Zarr")
    folder = Folder(store, region)
    zarr_store = ObjectStore(folder.store)
    try:
        root = zarr.open_group(zarr_store, mode="r")
        groups = sorted(root.group_keys())
        of_all = dict(root.attrs)
    except Exception as problem:
        raise StoreError(
            f"{store} cannot be opened: it is not a Zarr, its run did not finish, or its metadata are damaged "
            f"({plain_message(problem)}); 'maggjob verify {store}' tells more"
        ) from problem
    if not groups:
        raise StoreError(f"{store} is not a map of cells, as 'maggjob run' writes: it has no groups")
    if group is None:
        # The finest of several orders.
        groups = [str(of_all["group"])] if of_all.get("group") in groups else groups
        if len(groups) != 1:
            raise StoreError(f"{store} has the groups {', '.join(groups)}: select one with --group")
        group = groups[0]
    if of_all.get(UPDATING):
        raise StoreError(
            f"{store} is being updated, or an update was interrupted: wait for it, or complete it with "
            f"'maggjob update {store}'"
        )
    if group not in groups:
        raise StoreError(f"{store} has no group {group!r}; it has {', '.join(groups)}")
    opened: Any = root[group]
    missing = [name for name in NEEDED if name not in opened.attrs] + ["cell_ids"] * ("cell_ids" not in opened)
    if missing:
        raise StoreError(
            f"{store} is not a map of cells that this version of maggjob made: group {group} has no {missing[0]}; "
            "run 'maggjob run' again"
        )
    damaged = damaged_attribute(dict(opened.attrs))
    if damaged:
        raise StoreError(
            f"{store}: the attribute {damaged} of group {group} is damaged; 'maggjob verify {store}' tells more"
        )
    _check_whole(folder, opened, store)
    return OpenGroup(store, zarr_store, group, opened)


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


def damaged_attribute(attributes: Mapping[str, Any]) -> str | None:
    """Return the first attribute of a result that cannot be what maggjob wrote; None if all can.

    Parameters
    ----------
    attributes : mapping
    """

    def number(value: Any) -> bool:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)

    config = _plain(attributes["config"])
    grid = config.get("output", {}).get("grid", {}) if isinstance(config, Mapping) else {}
    dggs, tally = _plain(attributes.get("dggs")), _plain(attributes.get("tally"))
    cells = tally.get("cells", {}) if isinstance(tally, Mapping) else None
    cycles = attributes.get("cycles", [])
    good = {
        # A result of several orders has several child orders.
        "config": isinstance(grid, Mapping)
        and number(grid.get("parent_order"))
        and bool(orders := grid.get("child_order"))
        and all(map(number, orders if isinstance(orders, list) else [orders])),
        # A dataset that was computed from a result may lack these.
        "dggs": dggs is None or (isinstance(dggs, Mapping) and number(dggs.get("refinement_level"))),
        "tally": tally is None
        or (isinstance(cells, Mapping) and all(map(number, cells.values())) and number(tally.get("observations", 0))),
        "latitude_convention": attributes["latitude_convention"] in get_args(Latitude),
        "number_of_granules": number(attributes.get("number_of_granules", 0)),
        "cycles": number(cycles)
        or (isinstance(cycles, list | tuple | np.ndarray) and all(number(one) for one in cycles)),
    }
    return next((name for name, right in good.items() if not right), None)


def _plain(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value or None
