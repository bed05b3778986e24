"""Publication of a small result whose objects are in memory: complete, or not at all."""

import secrets
import shutil
from collections.abc import Mapping

from maggjob.output.zarr_store import swap
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import NEW, OLD, run_folder
from maggjob.storage.urls import is_remote, local_path


def publish(store: str, region: str | None, objects: Mapping[str, bytes]) -> None:
    """Write a store, replacing the one that is there.

    A local store is written to the run's folder and moved into its place. In a bucket, metadata go first and come last,
    so that a store that is not whole cannot be opened.

    Parameters
    ----------
    store : str
        Path or s3:// URL.
    region : str or None
        Region of the bucket.
    objects : mapping
        Content by key; ``zarr.json`` is among them.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    if is_remote(store):
        folder = Folder(store, region, create=True)
        old = folder.keys() if exists(store, region) else []
        folder.delete([key for key in old if key == "zarr.json"])
        for key in sorted(objects, key=lambda key: key == "zarr.json"):
            folder.put(key, objects[key])
        folder.delete([key for key in old if key not in objects])
        return
    place, run = local_path(store).resolve(), local_path(run_folder(store))
    fresh, aside = run / f"{NEW}-{secrets.token_hex(4)}", run / OLD
    for left in (*run.glob(f"{NEW}*"), aside):
        shutil.rmtree(left, ignore_errors=True)
    folder = Folder(str(fresh), create=True)
    try:
        for key, content in objects.items():
            folder.put(key, content)
        swap(fresh, place, aside)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
