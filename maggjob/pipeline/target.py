"""The target of a run: the check that the store may be written, and its default name.

Only a result of maggjob is replaced, and only with ``overwrite``. An incomplete result replaces an existing one only
with ``allow_partial``.
"""

import json
import os
from pathlib import Path
from typing import Any

from maggjob.config.load import ConfigLike
from maggjob.errors import ExistsError, InputError
from maggjob.output.zarr_store import restore
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import RUN, SUMMARY, run_folder
from maggjob.storage.urls import is_remote, local_path


def check_target(store: str, overwrite: bool, region: str | None = None) -> None:
    """Check that a store may be written.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    overwrite : bool
        Whether an existing result of maggjob may be replaced.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    ExistsError
        If the store exists, and is not to be replaced or was not written by maggjob.
    """
    restore(store)
    if not exists(store, region):
        return
    ours = _ours(store, region)
    # The store has no metadata yet if a client died while it wrote the store to a bucket.
    half = ours and not is_published(store, region)
    if not (overwrite or half):
        raise ExistsError(f"{store} already exists; give --overwrite to replace it, or another --store")
    if not ours:
        raise ExistsError(f"{store} is not a result of maggjob and is not replaced; give another --store")


def is_published(store: str, region: str | None) -> bool:
    """Return True if a store is a complete Zarr, which has metadata at its root because they are written last.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    region : str or None
        Region of the bucket.
    """
    return (is_remote(store) or local_path(store).is_dir()) and Folder(store, region).has("zarr.json")


def result_attributes(store: str, region: str | None) -> dict[str, Any]:
    """Return the attributes of the group of a result; empty if it is not a result of maggjob.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    region : str or None
        Region of the bucket.
    """
    folder = Folder(store, region)
    try:
        members = json.loads(folder.get("zarr.json"))["consolidated_metadata"]["metadata"]
        groups = [of for of in members.values() if of["node_type"] == "group" and "run_digest" in of["attributes"]]
        return dict(groups[0]["attributes"]) if groups else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _ours(store: str, region: str | None) -> bool:
    """Return True if there is a Zarr at the store, or a run of maggjob has a folder beside it."""
    if not is_remote(store) and not local_path(store).is_dir():
        return False
    folder = run_folder(store)
    noted = exists(folder, region) and any(Folder(folder, region).has(name) for name in (SUMMARY, RUN))
    return noted or any(key.rsplit("/", 1)[-1] == "zarr.json" for key in Folder(store, region).keys())  # noqa: SIM118


def default_store(config: ConfigLike) -> str:
    """Return the default store, ``./<name of the configuration>.zarr``.

    Raises
    ------
    InputError
        If the configuration has no name, because it is not a file or a built-in one.
    """
    if not isinstance(config, (str, os.PathLike)):
        raise InputError("no store: give store=, or output.store in the configuration")
    return f"{Path(config).stem}.zarr"
