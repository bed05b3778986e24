"""Where a result goes: whether it may be written there, and its name where none is given.

Only something that maggjob wrote is replaced, and only when asked. The old result stays for good when the new one is
not complete, unless that is asked for, too.
"""

import os
from pathlib import Path

from maggjob.config.load import ConfigLike
from maggjob.errors import ExistsError, InputError
from maggjob.output.zarr_store import restore
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import RUN, SUMMARY, run_folder
from maggjob.storage.urls import is_remote, local_path


def check_target(store: str, overwrite: bool, region: str | None = None) -> None:
    """See that a store may be written.

    Raises
    ------
    ExistsError
        It is there and not to be replaced, or it is something that we did not write.
    """
    restore(store)
    if not exists(store, region):
        return
    ours = _ours(store, region)
    half = ours and not is_published(store, region)  # a client died that wrote it to a bucket
    if not (overwrite or half):
        raise ExistsError(f"{store} is there already; give --overwrite to replace it, or another --store")
    if not ours:
        raise ExistsError(f"{store} is no result of maggjob and is not replaced; give another --store")


def is_published(store: str, region: str | None) -> bool:
    """Whether there is a result: its metadata are written last."""
    return (is_remote(store) or local_path(store).is_dir()) and Folder(store, region).has("zarr.json")


def _ours(store: str, region: str | None) -> bool:
    """Whether there is a Zarr, or a run has written there."""
    if not is_remote(store) and not local_path(store).is_dir():
        return False
    folder = run_folder(store)
    noted = exists(folder, region) and any(Folder(folder, region).has(name) for name in (SUMMARY, RUN))
    return noted or any(key.rsplit("/", 1)[-1] == "zarr.json" for key in Folder(store, region).keys())  # noqa: SIM118


def default_store(config: ConfigLike) -> str:
    """``./<name of the configuration>.zarr``.

    Raises
    ------
    InputError
        The configuration is no file, so it has no name.
    """
    if not isinstance(config, (str, os.PathLike)):
        raise InputError("no store: give store=, or output.store in the configuration")
    return f"{Path(config).stem}.zarr"
