"""The history of a result: the runs and updates that made it, one line each in the run's folder."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from maggjob._version import __version__
from maggjob.errors import InputError
from maggjob.inputs.places import store_place
from maggjob.inputs.plain_json import load_json
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import HISTORY, run_folder


@dataclass(frozen=True)
class HistoryEntry:
    """One run or update of a result."""

    started: str
    """Start of the run, UTC, ISO 8601."""
    what: str
    """``run`` or ``update``; a run that was resumed or retried is a run."""
    digest: str
    """Digest of configuration and catalog, which the result carries as ``run_digest``."""
    windows: tuple[str, ...]
    """Labels of the windows of the result."""
    cells: int
    """Number of planned cells of all windows."""
    mapped: int
    """Number of them that were mapped in this run."""
    granules: int
    """Number of granules of the result."""
    observations: int
    """Number of segments of the result."""
    complete: bool
    """Whether no cell of the result is partial or failed."""
    added: tuple[str, ...] = ()
    """Granules that are new or of a newer revision, if it was an update."""
    removed: tuple[str, ...] = ()
    """Granules that were withdrawn or replaced by a newer revision, if it was an update."""
    version: str = __version__
    """Version of maggjob."""


def add_entry(folder: Folder, entry: HistoryEntry) -> None:
    """Add an entry to the history in the folder of a run.

    Parameters
    ----------
    folder : Folder
    entry : HistoryEntry
    """
    content = folder.find(HISTORY) or b""
    folder.put(HISTORY, content + json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n")


def history(store: str, region: str | None = None) -> list[HistoryEntry]:
    """Return the runs and updates that made a result, the first one first.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If the result has no history, or it is damaged.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> catalog = maggjob.make_catalog("granules")
    >>> result = maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    >>> [(entry.what, entry.granules) for entry in history("map.zarr")] == [("run", len(paths))]
    True
    """
    folder = run_folder(store_place(store))
    content = Folder(folder, region).find(HISTORY) if exists(folder, region) else None
    name = f"{folder}/{HISTORY}"
    if content is None:
        raise InputError(f"no history at {name}: give the path of a Zarr that this version of 'maggjob run' wrote")
    try:
        return [_entry(load_json(line)) for line in content.splitlines()]
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise InputError(f"{name} is damaged ({problem})") from problem


def _entry(plain: Any) -> HistoryEntry:
    lists: dict[str, Sequence[str]] = {name: tuple(plain[name]) for name in ("windows", "added", "removed")}
    return HistoryEntry(**dict(plain) | lists)
