"""Assembly of the parts into one sharded Zarr store that xarray and xdggs open without maggjob.

Rows are the planned cells sorted by nested id, each with all its children. Shards are written one by one, in this
process or by calls (`maggjob.jobs.shards`), so that only the reports grow with the number of cells. Chunks carry crc32c
checksums, so that a flipped bit gives an error instead of a wrong height. Empty chunks are written too, so that a
missing chunk is known to be lost.

The group's metadata is written last, when parts and arrays agree with the ledger: until then the store cannot be
opened. For the same reason each array is created in a store of its own: in the group's store, zarr would write the
group's metadata before the data.

A local result is written to the run's folder and then renamed, and an old result stays until then. Buckets have no
renaming: there the old result is deleted once all new parts have been checked, its metadata before its data. Windows
that are added to a time axis in a bucket leave the old ones where they are.
"""

import json
import secrets
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from maggjob.config.schema import Config
from maggjob.errors import LedgerError, MaggjobError, StoreError
from maggjob.grid.healpix import parse_cell
from maggjob.inputs.plain_json import load_json
from maggjob.model.reports import CellReport, Tally
from maggjob.model.tasks import CellTask
from maggjob.output.assembly import Assembly, Attributes, Kept, Objects, WriteShards, write_shards_locally, write_store
from maggjob.output.time_axis import TimeAxis
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import NEW, OLD, PARTS, UPDATING, WRITING, run_folder
from maggjob.storage.stores import plain_message
from maggjob.storage.urls import is_remote, join_url, local_path

COPIES = 16
"""Objects copied concurrently."""
ROOT = "zarr.json"
"""Key of the metadata of the root."""


@dataclass(frozen=True)
class Assembled:
    """What was written."""

    objects: Objects
    """Size and SHA-256 of each shard by its key below the store, as read back after it was written."""
    attributes: Attributes
    """What was taken from the granules: ``units`` and ``long_name`` of their columns."""


def assemble(
    config: Config,
    tasks: Sequence[CellTask],
    reports: Sequence[CellReport],
    tally: Tally,
    store: str,
    *,
    region: str | None = None,
    write: WriteShards = write_shards_locally,
    guard: Callable[[], None] | None = None,
    rows: Sequence[int] | None = None,
    axis: TimeAxis | None = None,
    digest: str | None = None,
    kept: Kept | None = None,
) -> Assembled:
    """Write the Zarr store of a run, replacing an existing one.

    Parameters
    ----------
    config : Config
    tasks : sequence of CellTask
        Tasks of all planned cells, but for those of kept windows; cells without a part get fill values.
    reports : sequence of CellReport
        One report per task, in any order; they say which cells have parts, and what the parts must contain.
    tally : Tally
        Sum of these reports, and of those of kept windows; it must agree with the data.
    store : str
        A path, or s3://bucket/prefix.
    region : str, optional
        Region of the bucket.
    write : callable
        Runs the tasks of shards, and returns their reports in the same order.
    guard : callable, optional
        Called before an old result is touched and before the new one can be opened; raises if it must not be.
    rows : sequence of int, optional
        Nested ids of the cells of the result; by default those of the tasks.
    axis : TimeAxis, optional
        Time axis of the result.
    digest : str, optional
        Digest of the run; by default that of the tasks.
    kept : Kept, optional
        Windows of the result in the store that stay as they are.

    Raises
    ------
    LedgerError
        If the counts of reports, parts and data differ. The store then cannot be opened.
    StoreError
        If a part is missing, damaged or of another run, or if the store cannot be written.
    """
    order, of = config.grid.parent_order, {report.id: report for report in reports}
    for report in reports:
        if report.part is None and report.state != "failed":
            raise LedgerError(f"{report.id}: {report.state}, but it wrote no part; make its task with store={store!r}")
    by_window: dict[str, dict[int, CellReport]] = {}
    for report in (*(of[task.id] for task in tasks), *(kept.reports if kept else ())):
        by_window.setdefault(report.window, {})[parse_cell(report.cell, order)] = report
    cells = {cell for some in by_window.values() for cell in some} if rows is None else rows
    runs = {task.window: task.run for task in tasks}
    recipe = config.recipe()
    assembly = Assembly(
        config,
        tuple(sorted(cells)),
        tuple(by_window) if axis is None else axis.labels,
        # A window without granules has no parts.
        {label: runs.get(label, "") for label in (by_window if axis is None else axis.labels)},
        by_window,
        tally,
        digest or next(iter(runs.values())),
        next((str(task.parts) for task in tasks), join_url(run_folder(store), PARTS)),
        run_folder(store),
        region,
        write,
        guard or (lambda: None),
        recipe,
        recipe.grid.child_order,
        axis,
        kept,
    )
    try:
        if not is_remote(store):
            # A symbolic link stays, and its target is replaced.
            objects = _write_and_swap(assembly, local_path(store).resolve())
        elif kept is None:
            objects = _write_in_place(assembly, store)
        else:
            objects = _add_in_place(assembly, kept, store)
    except MaggjobError:
        raise
    except Exception as problem:
        raise StoreError(
            f"cannot write {store}: {plain_message(problem)}; check space and permissions, then run again"
        ) from problem
    return Assembled(objects, assembly.attributes["source"])


def _write_in_place(assembly: Assembly, store: str) -> Objects:
    """Write a store in a bucket. An old one is deleted first, once all parts have been checked."""
    folder, run = Folder(store, assembly.region), Folder(assembly.folder, assembly.region, create=True)
    if exists(store, assembly.region):
        assembly.check_parts(assembly.write(assembly.shards(store, write=False)))
        assembly.guard()
        old = folder.keys()
        run.put(WRITING, assembly.digest.encode())
        # The metadata goes first, so that a store with missing data cannot be opened.
        folder.delete(key for key in old if key.endswith("zarr.json"))
        folder.delete(key for key in old if not key.endswith("zarr.json"))
    run.put(WRITING, assembly.digest.encode())
    written = write_store(assembly, folder)
    run.delete([WRITING])
    return written


def _add_in_place(assembly: Assembly, kept: Kept, store: str) -> Objects:
    """Add windows to a store in a bucket, or replace some: data first, metadata last, that of the root at the very end.

    What is new is written to the run's folder and copied from there. A new window adds objects, so that the old state
    can be read until the root's metadata is replaced. If data of an old window are replaced, the store says that it is
    being updated meanwhile, and `maggjob.open_result` refuses it.
    """
    folder, run = Folder(store, assembly.region), Folder(assembly.folder, assembly.region, create=True)
    name = f"{NEW}-{secrets.token_hex(4)}"
    run.delete(key for key in run.keys() if key.startswith(f"{NEW}-"))  # noqa: SIM118
    staged = Folder(join_url(assembly.folder, name), assembly.region)
    objects = write_store(assembly, staged)
    there, fresh = folder.sizes(), staged.keys()
    data = [key for key in fresh if not key.endswith("zarr.json")]
    assembly.guard()
    replaced = [key for key in data if key in there and kept.objects.get(key) != objects.get(key)]
    if [key for key in replaced if key in objects]:
        _say_updating(folder)
    run.put(WRITING, assembly.digest.encode())

    def copy(key: str) -> None:
        folder.put(key, staged.get(key))

    with ThreadPoolExecutor(COPIES) as pool:
        list(pool.map(copy, data))
    metadata = [key for key in fresh if key.endswith("zarr.json")]
    for key in sorted(metadata, key=lambda key: -key.count("/")):
        copy(key)
    run.delete([WRITING, *run.keys(name)])
    return objects


def _say_updating(folder: Folder) -> None:
    """Write into the metadata of a store that it is being updated."""
    root = load_json(folder.get(ROOT), finite=False)
    root["attributes"][UPDATING] = True
    folder.put(ROOT, json.dumps(root).encode())


def restore(store: str) -> None:
    """Put an old local result back if a client was killed while it replaced the result."""
    if is_remote(store):
        return
    path = local_path(store).resolve()
    old = _aside(path, local_path(run_folder(store))) / OLD
    if old.exists() and not path.exists():
        old.rename(path)


def _aside(store: Path, folder: Path) -> Path:
    """Return the folder in which a new result is written: that of the run, if results can be renamed from there.

    A symbolic link may lead to another file system. There a hidden folder lies beside the result.
    """
    above = store.parent
    if not (folder.exists() and above.exists()) or folder.stat().st_dev == above.stat().st_dev:
        return folder
    return above / f".{store.name}.maggjob"


def _write_and_swap(assembly: Assembly, store: Path) -> Objects:
    """Write a local store to the run's folder, then put it in its place; the old one stays until then."""
    folder = _aside(store, local_path(assembly.folder))
    folder.mkdir(exist_ok=True)
    # A name of its own: a run that lost its lock may still be writing.
    fresh, old = folder / f"{NEW}-{secrets.token_hex(4)}", folder / OLD
    for left in (*folder.glob(f"{NEW}*"), old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        written = write_store(assembly, Folder(str(fresh), create=True), str(store) if assembly.kept else None)
        assembly.guard()
        swap(fresh, store, old)
        return written
    finally:
        # An error here must not hide the one raised before.
        shutil.rmtree(fresh, ignore_errors=True)
        if folder.name.startswith("."):
            # It stays if it holds an old result that could not be put back.
            with suppress(OSError):
                folder.rmdir()


def swap(fresh: Path, store: Path, old: Path) -> None:
    """Replace an old result by a new one. If this fails, one of the two is left in place.

    Parameters
    ----------
    fresh : Path
        The new result.
    store : Path
        Where it belongs.
    old : Path
        Where the old one is kept meanwhile.
    """
    there = store.exists()
    if there:
        store.rename(old)
    try:
        fresh.rename(store)
    except BaseException:
        if there:
            old.rename(store)
        raise
    if there:
        shutil.rmtree(old)
