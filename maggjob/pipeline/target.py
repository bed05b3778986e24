"""TODO pipeline.target."""

import os
from pathlib import Path

from maggjob.config.load import ConfigLike
from maggjob.errors import ExistsError, InputError
from maggjob.output.zarr_store import restore
from maggjob.planning.plan import Plan
from maggjob.storage.folder import Place, exists
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
    half = ours and not _opens(store, region)  # a client died that wrote it to a bucket
    if not (overwrite or half):
        raise ExistsError(f"{store} is there already; give --overwrite to replace it, or another --store")
    if not ours:
        raise ExistsError(f"{store} is no result of maggjob and is not replaced; give another --store")


def _opens(store: str, region: str | None) -> bool:
    """Whether there is a result: its metadata are written last."""
    return (is_remote(store) or local_path(store).is_dir()) and Place(store, region).has("zarr.json")


def _ours(store: str, region: str | None) -> bool:
    """Whether there is a Zarr, or a run has written there."""
    if not is_remote(store) and not local_path(store).is_dir():
        return False
    folder = run_folder(store)
    noted = exists(folder, region) and any(Place(folder, region).has(name) for name in (SUMMARY, RUN))
    return noted or any(key.rsplit("/", 1)[-1] == "zarr.json" for key in Place(store, region).keys())  # noqa: SIM118


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


def check_reach(backend: str, made: Plan, indexes: str | None = None) -> None:
    """See that workers can reach what they are to read and write.

    Raises
    ------
    InputError
        Something of it lies on the client, and the workers are on Lambda.
    """
    if backend != "aws_lambda":
        return
    why = "workers on Lambda cannot reach this machine"
    if made.store_path is not None and not made.store_path.startswith("s3://"):
        raise InputError(f"store {made.store_path}: {why}; give --store s3://BUCKET/NAME.zarr")
    if indexes is not None and not indexes.startswith("s3://"):
        raise InputError(f"indexes at {indexes}: {why}; give --indexes s3://BUCKET/FOLDER, or leave it out")
    local = [granule.url for granule in made.used_granules if not is_remote(granule.url)]
    if local:
        raise InputError(
            f"{len(local)} of {len(made.used_granules)} granules are local files, such as {local[0]}: {why}; "
            "copy them to a bucket, or make a catalog of the archive with 'maggjob catalog'"
        )
