"""Assembly of the parts into one sharded Zarr store that xarray and xdggs open without maggjob.

Rows are the planned cells sorted by nested id, each with all its children. Shards are written one by one, in this
process or by calls (`maggjob.jobs.shards`), so that only the reports grow with the number of cells. Chunks carry crc32c
checksums, so that a flipped bit gives an error instead of a wrong height. Empty chunks are written too, so that a
missing chunk is known to be lost.

The group's metadata is written last, when parts and arrays agree with the ledger: until then the store cannot be
opened. For the same reason each array is created in a store of its own: in the group's store, zarr would write the
group's metadata before the data.

A local result is written to the run's folder and then renamed, and an old result stays until then. Buckets have no
renaming: there the old result is deleted once all new parts have been checked, its metadata before its data.
"""

import secrets
import shutil
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from maggjob.config.schema import Config
from maggjob.errors import LedgerError, MaggjobError, StoreError
from maggjob.grid.healpix import Grid, parse_cell
from maggjob.jobs.parts import agree, tag_in
from maggjob.jobs.shards import ShardReport, ShardTask, write_shard
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellReport, Tally
from maggjob.model.tasks import CellTask
from maggjob.output.arrays import create_array, source_attributes, variables
from maggjob.output.attributes import (
    group_attributes,
    root_attributes,
)
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import NEW, OLD, WRITING, run_folder
from maggjob.storage.stores import plain_message
from maggjob.storage.urls import is_remote, join_url, local_path

# Target for the rows per chunk: four cells of 4,096 children, 64 KiB. In smaller chunks, zarr would spend more time on
# the chunk than on its values.
CHUNK_ROWS = 1 << 14
# Largest number of rows per shard: 256 cells of 4,096 children, which is a 3 MB object and one second of a worker.
SHARD_ROWS = 1 << 20

WriteShards = Callable[[Sequence[ShardTask]], Sequence[ShardReport]]


@dataclass(frozen=True)
class Assembly:
    """Everything that a result is assembled from."""

    config: Config
    """Configuration that the parts were computed with."""
    tasks: tuple[CellTask, ...]
    """One task per planned cell, in the order of the rows."""
    reports: tuple[CellReport, ...]
    """One report per task, in the same order."""
    tally: Tally
    """The ledger."""
    folder: str
    """Folder of the run."""
    region: str | None
    """Region of the buckets."""
    write: WriteShards
    """Function that runs the tasks of shards."""
    guard: Callable[[], None]
    """Function that raises if nothing may be published."""
    recipe: Recipe
    """The configuration as workers need it."""
    order: int
    """Order of the children that are written."""

    @property
    def levels(self) -> list["Assembly"]:
        """The assembly of each order, the finest first."""
        return [replace(self, order=order) for order in self.recipe.orders]

    @property
    def grid(self) -> Grid:
        """Grid of the cells and the children that are written."""
        return self.recipe.at(self.order).grid

    @property
    def rows(self) -> int:
        """Length of the ``cells`` dimension."""
        return len(self.tasks) * self.grid.children

    @property
    def chunk(self) -> int:
        """Rows per chunk: a whole number of cells."""
        children = self.grid.children
        return max(1, CHUNK_ROWS // children) * children

    @property
    def shard(self) -> int:
        """Rows per shard: a whole number of chunks."""
        return min(-(-self.rows // self.chunk), max(1, SHARD_ROWS // self.chunk)) * self.chunk

    @property
    def group(self) -> str:
        """Name of the Zarr group that holds the arrays."""
        return str(self.order)

    def shards(self, store: str, *, write: bool = True) -> list[ShardTask]:
        """Return the tasks of the shards.

        Parameters
        ----------
        store : str
            Zarr store that the shards are written to.
        write : bool
            If False, the tasks only check the parts.
        """
        grid, first, morton = self.grid, self.tasks[0], self.config.aggregation.coordinates.morton
        cells = [parse_cell(task.cell, grid.parent_order) for task in self.tasks]
        step = self.shard // grid.children
        tags = [None if report.part is None else tag_in(report.part) for report in self.reports]
        return [
            ShardTask(
                join_url(store, self.group),
                str(first.parts),
                self.recipe,
                self.order,
                self.config.output.partial,
                first.window,
                first.run,
                self.region,
                None if morton is None else morton.dtype,
                write,
                step,
                start,
                cells[start : start + step],
                tags[start : start + step],
            )
            for start in range(0, len(cells), step)
        ]

    def check_parts(self, done: Sequence[ShardReport]) -> None:
        """Check that all parts are those that the reports describe.

        Raises
        ------
        LedgerError
            If a part differs from its report.
        """
        for report, ledger in zip(self.reports, (one for shard in done for one in shard.ledgers), strict=True):
            if ledger is not None:
                agree(report, ledger)


def write_shards_locally(shards: Sequence[ShardTask]) -> list[ShardReport]:
    """Write the shards in this process, one after the other."""
    return [write_shard(shard) for shard in shards]


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
) -> dict[str, tuple[int, str]]:
    """Write the Zarr store of a run, replacing an existing one.

    Parameters
    ----------
    config : Config
    tasks : sequence of CellTask
        Tasks of all planned cells; cells without a part get fill values.
    reports : sequence of CellReport
        One report per task, in any order; they say which cells have parts, and what the parts must contain.
    tally : Tally
        Sum of these reports; it must agree with the data.
    store : str
        A path, or s3://bucket/prefix.
    region : str, optional
        Region of the bucket.
    write : callable
        Runs the tasks of shards, and returns their reports in the same order.
    guard : callable, optional
        Called before an old result is touched and before the new one can be opened; raises if it must not be.

    Returns
    -------
    dict
        Size and SHA-256 of each shard by its key below the store, as read back after it was written.

    Raises
    ------
    LedgerError
        If the counts of reports, parts and data differ. The store then cannot be opened.
    StoreError
        If a part is missing, damaged or of another run, or if the store cannot be written.
    """
    order, of = config.grid.parent_order, {report.id: report for report in reports}
    ordered = tuple(sorted(tasks, key=lambda task: parse_cell(task.cell, order)))
    told = tuple(of[task.id] for task in ordered)
    for report in told:
        if report.part is None and report.state != "failed":
            raise LedgerError(f"{report.id}: {report.state}, but it wrote no part; make its task with store={store!r}")
    recipe, check = config.recipe(), guard or (lambda: None)
    own = (config, ordered, told, tally, run_folder(store), region, write, check)
    assembly = Assembly(*own, recipe, recipe.grid.child_order)
    try:
        if is_remote(store):
            return _write_in_place(assembly, store)
        # A symbolic link stays, and its target is replaced.
        return _write_and_swap(assembly, local_path(store).resolve())
    except MaggjobError:
        raise
    except Exception as problem:
        raise StoreError(
            f"cannot write {store}: {plain_message(problem)}; check space and permissions, then run again"
        ) from problem


def _write_in_place(assembly: Assembly, store: str) -> dict[str, tuple[int, str]]:
    """Write a store in a bucket. An old one is deleted first, once all parts have been checked."""
    folder, run = Folder(store, assembly.region), Folder(assembly.folder, assembly.region, create=True)
    if exists(store, assembly.region):
        assembly.check_parts(assembly.write(assembly.shards(store, write=False)))
        assembly.guard()
        old = folder.keys()
        run.put(WRITING, assembly.tasks[0].run.encode())
        # The metadata goes first, so that a store with missing data cannot be opened.
        folder.delete(key for key in old if key.endswith("zarr.json"))
        folder.delete(key for key in old if not key.endswith("zarr.json"))
    run.put(WRITING, assembly.tasks[0].run.encode())
    written = _write(assembly, folder)
    run.delete([WRITING])
    return written


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


def _write_and_swap(assembly: Assembly, store: Path) -> dict[str, tuple[int, str]]:
    """Write a local store to the run's folder, then put it in its place; the old one stays until then."""
    folder = _aside(store, local_path(assembly.folder))
    folder.mkdir(exist_ok=True)
    # A name of its own: a run that lost its lock may still be writing.
    fresh, old = folder / f"{NEW}-{secrets.token_hex(4)}", folder / OLD
    for left in (*folder.glob(f"{NEW}*"), old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        written = _write(assembly, Folder(str(fresh), create=True))
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


def _write(assembly: Assembly, folder: Folder) -> dict[str, tuple[int, str]]:
    """Create the arrays, write all shards, check them against the ledger, then write the group's metadata.

    Return size and digest of each shard by its key.
    """
    import zarr  # 0.4 s
    from zarr.storage import ObjectStore

    source = source_attributes(assembly.tasks, assembly.reports, assembly.region)
    for level in assembly.levels:
        for name, of in variables(level.config, level.recipe.at(level.order), source).items():
            where = Folder(join_url(folder.url, level.group, name), level.region, create=True)
            create_array(where, *of, rows=level.rows, chunk=level.chunk, shard=level.shard)
    shards = [level.shards(folder.url) for level in assembly.levels]
    left = iter(assembly.write([shard for some in shards for shard in some]))
    objects: dict[str, tuple[int, str]] = {}
    for level, some in zip(assembly.levels, shards, strict=True):
        done = list(islice(left, len(some)))
        _check_level(level, done, folder)
        objects |= {f"{level.group}/{key}": written for shard in done for key, written in shard.objects.items()}
    assembly.guard()
    store = ObjectStore(folder.store)
    run, config = assembly.tasks[0].run, assembly.config
    attributes = {
        level.group: group_attributes(config, level.grid, run, assembly.reports, assembly.tally)
        for level in assembly.levels
    }

    def publish() -> None:
        for group, own in attributes.items():
            zarr.open_group(store, mode="a", path=group, attributes=own)
        root = root_attributes(list(attributes), attributes[assembly.group], config.output.attrs)
        zarr.open_group(store, mode="r+").update_attributes(root)
        for group in attributes:
            zarr.consolidate_metadata(store, path=group)
        # xarray looks for it at the root.
        zarr.consolidate_metadata(store)

    with warnings.catch_warnings():
        # zarr warns that the specification of format 3 has no consolidated metadata yet; readers support it.
        warnings.simplefilter("ignore")
        folder.patiently(publish)
    return objects


def _check_level(level: Assembly, done: Sequence[ShardReport], folder: Folder) -> None:
    """Check the shards of one order against the ledger."""
    level.check_parts(done)
    for name in sorted({name for shard in done for name in shard.counts}):
        total = sum(shard.counts[name] for shard in done)
        if total != level.tally.observations:
            raise LedgerError(
                f"{name} sums to {total} in {folder.url}, workers reported {level.tally.observations}; run again"
            )
