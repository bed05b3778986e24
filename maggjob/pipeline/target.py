"""Check that a result may be written to a store, and choose the store's default name.

Only a store that maggjob wrote is replaced, and only on request (``overwrite``). An incomplete result replaces an old
one only if that is requested, too (``allow_partial``).
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
    """Check that a store may be written.

    Parameters
    ----------
    store : str
        Path or URL of the Zarr.
    overwrite : bool
        Allow an existing result of maggjob to be replaced.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    ExistsError
        If the store exists and ``overwrite`` is not set, or if maggjob did not write it.
    """
    restore(store)
    if not exists(store, region):
        return
    ours = _ours(store, region)
    # A client that died while it wrote to a bucket leaves an unpublished store.
    half = ours and not is_published(store, region)
    if not (overwrite or half):
        raise ExistsError(f"{store} already exists; give --overwrite to replace it, or another --store")
    if not ours:
        raise ExistsError(f"{store} was not written by maggjob and is not replaced; give another --store")


def is_published(store: str, region: str | None) -> bool:
    """Return True if a store holds a complete result; its metadata is written last.

    Parameters
    ----------
    store : str
        Path or URL of the Zarr.
    region : str or None
        Region of the bucket.
    """
    return (is_remote(store) or local_path(store).is_dir()) and Folder(store, region).has("zarr.json")


def _ours(store: str, region: str | None) -> bool:
    """Return True if the store is a Zarr, or a run of maggjob has written to its folder."""
    if not is_remote(store) and not local_path(store).is_dir():
        return False
    folder = run_folder(store)
    noted = exists(folder, region) and any(Folder(folder, region).has(name) for name in (SUMMARY, RUN))
    return noted or any(key.rsplit("/", 1)[-1] == "zarr.json" for key in Folder(store, region).keys())  # noqa: SIM118


def default_store(config: ConfigLike) -> str:
    """Return the default store, ``<name of the configuration>.zarr`` in the current folder.

    Raises
    ------
    InputError
        If the configuration is not a file, and so has no name.
    """
    if not isinstance(config, (str, os.PathLike)):
        raise InputError("no store is given: pass store=, or set output.store in the configuration")
    return f"{Path(config).stem}.zarr"
