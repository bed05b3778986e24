"""Open the Zarr group of a result, after checks that it is one, and a whole one."""

import json
from collections.abc import Callable, Mapping
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
        groups, attributes = sorted(root.group_keys()), dict(root.attrs)
    # zarr raises what it likes on metadata that are no such.
    except Exception as problem:
        raise StoreError(
            f"{store} cannot be opened: it is not a Zarr, its run did not finish, or its metadata are damaged "
            f"({plain_message(problem)}); 'maggjob verify {store}' tells more"
        ) from problem
    if attributes.get(UPDATING):
        raise StoreError(
            f"{store} is being updated, or an update was interrupted: wait for it, or complete it with "
            f"'maggjob update {store}'"
        )
    name = _chosen(store, group, groups, attributes)
    opened: Any = root[name]
    _check_attributes(store, name, opened)
    _check_whole(folder, opened, store)
    return OpenGroup(store, zarr_store, name, opened)


def _chosen(store: str, asked: str | None, groups: list[str], attributes: Mapping[str, Any]) -> str:
    """Return the name of the group that was asked for; by default that of the finest order."""
    if not groups:
        raise StoreError(f"{store} is not a map of cells, as 'maggjob run' writes: it has no groups")
    finest = [str(attributes["group"])] if attributes.get("group") in groups else groups
    if asked is None and len(finest) != 1:
        raise StoreError(f"{store} has the groups {', '.join(groups)}: select one with --group")
    name = finest[0] if asked is None else asked
    if name not in groups:
        raise StoreError(f"{store} has no group {name!r}; it has {', '.join(groups)}")
    return name


def _check_attributes(store: str, name: str, group: Any) -> None:
    """Check that a group has what every result has, in the form in which it is written."""
    missing = [key for key in NEEDED if key not in group.attrs] + ["cell_ids"] * ("cell_ids" not in group)
    if missing:
        raise StoreError(
            f"{store} is not a map of cells that this version of maggjob made: group {name} has no {missing[0]}; "
            "run 'maggjob run' again"
        )
    damaged = damaged_attribute(dict(group.attrs))
    if damaged:
        raise StoreError(f"{store}: the attribute {damaged} of group {name} is damaged; 'maggjob verify' tells more")


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
        A dataset that was computed from a result may lack all but ``config`` and ``latitude_convention``.
    """
    of = {key: structured(value) for key, value in attributes.items()}
    config, dggs, tally = of["config"], of.get("dggs", {}), of.get("tally", {})
    cycles = of.get("cycles", [])
    good: dict[str, Callable[[], bool]] = {
        "config": lambda: _is_grid(config["output"]["grid"]),
        "dggs": lambda: dggs == {} or _is_number(dggs["refinement_level"]),
        "tally": lambda: all(map(_is_number, [tally.get("observations", 0), *tally.get("cells", {}).values()])),
        "latitude_convention": lambda: of["latitude_convention"] in get_args(Latitude),
        "number_of_granules": lambda: _is_number(of.get("number_of_granules", 0)),
        "cycles": lambda: all(map(_is_number, np.atleast_1d(cycles).tolist())),
    }
    for name, check in good.items():
        try:
            if not check():
                return name
        except (KeyError, TypeError, AttributeError, IndexError, ValueError):
            return name
    return None


def _is_grid(grid: Mapping[str, Any]) -> bool:
    # A result of several orders has several child orders.
    orders = grid["child_order"]
    return all(map(_is_number, [grid["parent_order"], *(orders if isinstance(orders, list) and orders else [orders])]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def structured(value: Any) -> Any:
    """Return an attribute as plain values, if it is JSON.

    Parameters
    ----------
    value : object
    """
    if not isinstance(value, str) or value[:1] not in "{[":
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
