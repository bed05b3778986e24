"""The target of a run: the check that the store may be written, and its default name.

Only a result of maggjob is replaced, which its own metadata shows, and only with ``overwrite``; whatever else lies in
the store, or beside it, is never touched. An incomplete result replaces an existing one only
with ``allow_partial``, or one of the same run that is no better (`maggjob.pipeline.resume.improves`).
"""

import os
import re
from pathlib import Path
from typing import Any

from maggjob.config.load import ConfigLike
from maggjob.errors import ExistsError, InputError
from maggjob.inputs.plain_json import load_json
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import NEW, OLD, OURS, WRITING, run_folder
from maggjob.storage.urls import is_remote, local_path

WRITTEN = re.compile(r"zarr\.json|\d+/zarr\.json|\d+/[A-Za-z_]\w*/(zarr\.json|c/\d+(/\d+)?)")
"""Keys of a result: metadata of root, group and arrays, and shards."""


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
        If the store exists, and is not to be replaced or is not in every part a result of maggjob; or if the folder of
        the run exists and is not one.
    """
    check_folder(run_folder(store), region)
    if not exists(store, region):
        return
    if not is_remote(store) and not local_path(store).is_dir():
        raise ExistsError(f"{store} is a file, not a result of maggjob; it is not replaced; give another store")
    keys = Folder(store, region).keys()
    ours = bool(result_attributes(store, region)) if "zarr.json" in keys else _is_half_written(store, region)
    if not ours:
        raise ExistsError(f"{store} is not a result of maggjob and is not replaced; give another store")
    foreign = [key for key in keys if not WRITTEN.fullmatch(key)]
    if foreign:
        raise ExistsError(
            f"{store} holds {len(foreign)} files that maggjob did not write, such as {foreign[0]}; it is not replaced: "
            "move them, or give another store"
        )
    if "zarr.json" in keys and not overwrite:
        raise ExistsError(
            f"{store} already exists; give --overwrite (overwrite=True) to replace it, or another --store"
        )


def check_folder(folder: str, region: str | None) -> None:
    """Check that the folder of a run is absent, empty, or holds something that a run wrote.

    Parameters
    ----------
    folder : str
        Path or URL of the folder.
    region : str or None
        Region of the bucket.

    Raises
    ------
    ExistsError
        If it holds something else.
    """
    if not exists(folder, region):
        return
    if not is_remote(folder) and not local_path(folder).is_dir():
        raise ExistsError(f"{folder} is a file, but a run keeps its parts there; move it, or give another store")
    keys = Folder(folder, region).keys()
    if keys and not any(key.startswith(OURS) or key.split("/")[0].startswith((NEW, OLD)) for key in keys):
        raise ExistsError(f"{folder} is not the folder of a run, and nothing is written there; give another store")


def _is_half_written(store: str, region: str | None) -> bool:
    """Return True if a run says that it was writing the store when it ended, in place, as in a bucket."""
    folder = run_folder(store)
    return exists(folder, region) and Folder(folder, region).has(WRITING)


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
        members = load_json(folder.get("zarr.json"), finite=False)["consolidated_metadata"]["metadata"]
        groups = [of for of in members.values() if of["node_type"] == "group" and "run_digest" in of["attributes"]]
        return dict(groups[0]["attributes"]) if groups else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


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
