"""What a result is assembled from, and the writing of its arrays, order by order and window by window."""

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from maggjob.config.schema import Config
from maggjob.errors import LedgerError, StoreError
from maggjob.grid.healpix import Grid, format_cell
from maggjob.jobs.parts import agree, tag_in
from maggjob.jobs.shards import NOTHING, ShardReport, ShardTask, write_shard
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellReport, Tally
from maggjob.model.tasks import CellTask
from maggjob.output.arrays import Shape, create_array, source_attributes, variables
from maggjob.output.attributes import group_attributes, root_attributes
from maggjob.output.time_axis import TimeAxis, write_coordinates
from maggjob.planning.division import cells_per_chunk, cells_per_shard
from maggjob.storage.folder import Folder
from maggjob.storage.urls import join_url, local_path

WriteShards = Callable[[Sequence[ShardTask]], Sequence[ShardReport]]
Objects = dict[str, tuple[int, str]]
"""Size and SHA-256 of objects of a store, by key."""
Attributes = Mapping[str, Mapping[str, str]]
"""``units`` and ``long_name`` of the columns in the granules, by name."""


@dataclass(frozen=True)
class Kept:
    """Windows of an earlier result that stay as they are."""

    windows: frozenset[str]
    """Their labels."""
    reports: tuple[CellReport, ...]
    """Reports of their cells."""
    objects: Mapping[str, tuple[int, str]]
    """Size and SHA-256 of every object of the earlier result, by key."""
    attributes: Attributes
    """What the earlier result took from the granules."""
    deleted: frozenset[str] = frozenset()
    """Keys of the parts of these windows that 'maggjob clean' deleted, below the folder of parts."""


@dataclass(frozen=True)
class Assembly:
    """Everything that a result is assembled from."""

    config: Config
    """Configuration that the parts were computed with."""
    cells: tuple[int, ...]
    """Nested ids of the cells of the result, ascending."""
    windows: tuple[str, ...]
    """Label of each window; a single one without a time axis."""
    runs: Mapping[str, str]
    """Digest that the parts of each window carry, by its label."""
    reports: Mapping[str, Mapping[int, CellReport]]
    """Reports by window and cell."""
    tally: Tally
    """The ledger."""
    digest: str
    """Digest of the run."""
    parts: str
    """Folder of the parts."""
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
    axis: TimeAxis | None = None
    """The time axis; None without one."""
    kept: Kept | None = None
    """Windows that are taken from the earlier result."""
    attributes: dict[str, Attributes] = field(default_factory=dict)
    """What was taken from the granules, under the key ``source``, once the arrays are created."""

    @property
    def levels(self) -> list["Assembly"]:
        """The assembly of each order, the finest first."""
        return [replace(self, order=order) for order in self.recipe.orders]

    @property
    def grid(self) -> Grid:
        """Grid of the cells and the children that are written."""
        return self.recipe.at(self.order).grid

    @property
    def shape(self) -> Shape:
        """Shape of the arrays: a chunk is a whole number of cells, a shard a whole number of chunks."""
        children = self.grid.children
        rows, chunk = len(self.cells) * children, cells_per_chunk(children) * children
        shard = cells_per_shard(len(self.cells), children) * children
        return Shape(rows, chunk, shard, self.axis.kind if self.axis else None, len(self.windows))

    @property
    def group(self) -> str:
        """Name of the Zarr group that holds the arrays."""
        return str(self.order)

    @property
    def every_report(self) -> list[CellReport]:
        """Reports of all cells of all windows, in the order of windows and rows."""
        return [self.reports[w][cell] for w in self.windows for cell in sorted(self.reports.get(w, ()))]

    @property
    def new_windows(self) -> list[str]:
        """Windows whose shards are written."""
        return [window for window in self.windows if self.kept is None or window not in self.kept.windows]

    def shards(self, store: str, *, write: bool = True) -> list[ShardTask]:
        """Return the tasks of the shards.

        Parameters
        ----------
        store : str
            Zarr store that the shards are written to.
        write : bool
            If False, the tasks only check the parts.
        """
        return [task for window in self.new_windows for task in self._shards_of(window, store, write)]

    def _shards_of(self, window: str, store: str, write: bool) -> list[ShardTask]:
        step, morton = self.shape.shard // self.grid.children, self.config.aggregation.coordinates.morton
        index = None if self.axis is None else self.windows.index(window)
        return [
            ShardTask(
                join_url(store, self.group),
                self.parts,
                self.recipe,
                self.order,
                self.config.output.partial,
                window,
                self.runs[window],
                self.region,
                None if morton is None else morton.dtype,
                write,
                step,
                start,
                self.cells[start : start + step],
                [self._tag(window, cell) for cell in self.cells[start : start + step]],
                index,
                # Ids have no time axis; those of an earlier result stay.
                window == self.windows[0] and self.kept is None,
            )
            for start in range(0, len(self.cells), step)
        ]

    def _tag(self, window: str, cell: int) -> str | None:
        report = self.reports.get(window, {}).get(cell)
        if report is None:
            return NOTHING
        return None if report.part is None else tag_in(report.part)

    def check_parts(self, done: Sequence[ShardReport]) -> None:
        """Check that all parts are those that the reports describe.

        Raises
        ------
        LedgerError
            If a part differs from its report.
        """
        pairs = [(window, cell) for window in self.new_windows for cell in self.cells]
        ledgers = (one for shard in done for one in shard.ledgers)
        for (window, cell), ledger in zip(pairs, ledgers, strict=True):
            if ledger is not None:
                agree(self.reports[window][cell], ledger)

    def source(self) -> Attributes:
        """Return the attributes of the granules' columns, from the first part that has any."""
        kept = self.kept
        for window in self.windows:
            if kept is not None and window in kept.windows:
                if any(report.observations for report in kept.reports if report.window == window):
                    return kept.attributes
                continue
            of = self.reports.get(window, {})
            tasks = [self._task(window, cell) for cell in sorted(of)]
            found = source_attributes(tasks, [of[cell] for cell in sorted(of)], self.region)
            if found:
                return found
        return {}

    def _task(self, window: str, cell: int) -> CellTask:
        name = format_cell(cell, self.recipe.grid.parent_order)
        return CellTask(f"{window}/{name}", name, window, self.recipe, (), self.runs[window], self.parts)


def write_shards_locally(shards: Sequence[ShardTask]) -> list[ShardReport]:
    """Write the shards in this process, one after the other."""
    return [write_shard(shard) for shard in shards]


def write_store(assembly: Assembly, folder: Folder, earlier: str | None = None) -> Objects:
    """Create the arrays, write all shards, check them against the ledger, then write the group's metadata.

    Parameters
    ----------
    assembly : Assembly
    folder : Folder
        The store, which is empty.
    earlier : str, optional
        Path of the earlier result that kept windows are taken from. If None, only what is new is written.

    Returns
    -------
    dict
        Size and digest of each shard by its key.

    Raises
    ------
    LedgerError
        If the counts of reports, parts and data differ.
    """
    source = assembly.source()
    assembly.attributes["source"] = source
    for level in assembly.levels:
        for name, of in variables(level.config, level.recipe.at(level.order), source).items():
            where = Folder(join_url(folder.url, level.group, name), level.region, create=True)
            create_array(where, *of, level.shape.of_ids if name in ("cell_ids", "morton") else level.shape)
    shards = [level.shards(folder.url) for level in assembly.levels]
    left = iter(assembly.write([shard for some in shards for shard in some]))
    objects = _kept_objects(assembly)
    for level, some in zip(assembly.levels, shards, strict=True):
        done = list(islice(left, len(some)))
        _check_level(level, done, folder)
        objects |= {f"{level.group}/{key}": written for shard in done for key, written in shard.objects.items()}
    _check_shards(assembly, objects, folder)
    if earlier is not None:
        _link(_kept_objects(assembly), local_path(earlier), local_path(folder.url))
    if assembly.axis is not None:
        by_window = {window: list(assembly.reports.get(window, {}).values()) for window in assembly.windows}
        for level in assembly.levels:
            write_coordinates(folder, level.group, assembly.axis, by_window, assembly.region)
    assembly.guard()
    _publish(assembly, folder)
    return objects


def _check_shards(assembly: Assembly, objects: Objects, folder: Folder) -> None:
    """Check that every shard of every array has been written, or stays: a missing one reads as fill values."""
    for level in assembly.levels:
        shape = level.shape
        rows, windows = range(-(-shape.rows // shape.shard)), range(shape.windows)
        for name in variables(level.config, level.recipe.at(level.order), {}):
            ids = name in ("cell_ids", "morton") or shape.time is None
            places = [str(row) for row in rows] if ids else [f"{w}/{row}" for w in windows for row in rows]
            for key in (f"{level.group}/{name}/c/{place}" for place in places):
                if key not in objects:
                    raise StoreError(f"{folder.url}: the shard {key} was not written; run again")


def _kept_objects(assembly: Assembly) -> Objects:
    """Return the shards of an earlier result that stay: those of kept windows, and the ids of the cells."""
    kept = assembly.kept
    if kept is None:
        return {}
    indexes = {str(assembly.windows.index(window)) for window in kept.windows}

    def stays(key: str) -> bool:
        name, _, place = key.partition("/c/")
        ids = name.rpartition("/")[2] in ("cell_ids", "morton")
        return bool(place) and (ids or ("/" in place and place.split("/")[0] in indexes))

    return {key: of for key, of in kept.objects.items() if stays(key)}


def _link(objects: Objects, earlier: Path, store: Path) -> None:
    """Put objects of an earlier result into a new one: as links, or as copies where the file system has no links."""
    for key in objects:
        (store / key).parent.mkdir(parents=True, exist_ok=True)
        try:
            (store / key).hardlink_to(earlier / key)
        except OSError:
            shutil.copyfile(earlier / key, store / key)


def _publish(assembly: Assembly, folder: Folder) -> None:
    """Write the metadata of the groups and of the root."""
    import zarr  # 0.4 s
    from zarr.storage import ObjectStore

    store, config = ObjectStore(folder.store), assembly.config
    attributes = {
        level.group: group_attributes(
            config, level.grid, assembly.digest, assembly.every_report, assembly.tally, assembly.axis
        )
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


def _check_level(level: Assembly, done: Sequence[ShardReport], folder: Folder) -> None:
    """Check the shards of one order against the ledger."""
    level.check_parts(done)
    stay = sum(report.observations for report in level.kept.reports) if level.kept else 0
    for name in sorted({name for shard in done for name in shard.counts}):
        total = sum(shard.counts[name] for shard in done) + stay
        if total != level.tally.observations:
            raise LedgerError(
                f"{name} sums to {total} in {folder.url}, workers reported {level.tally.observations}; run again"
            )
