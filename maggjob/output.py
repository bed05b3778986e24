"""The result: parts assembled into one sharded Zarr that xarray and xdggs open without us.

Rows are the planned cells sorted by nested id, each with all its children. Parts are read a shard at a
time, so that only their ledgers, some 8 KB a cell, grow with the number of cells. Chunks carry crc32c
checksums, so that a flipped bit is an error and no wrong height. The group's metadata is written last:
until then there is nothing to open.
"""

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.attributes import cell_ids_attributes, group_attributes, variable_attributes
from maggjob.cells import Grid, nested_children, nested_to_decimal, nested_to_word, parse_cell
from maggjob.config import Config
from maggjob.errors import LedgerError, MaggjobError, StoreError
from maggjob.model import CellTask, Tally
from maggjob.parts import PartFile
from maggjob.planning import run_folder
from maggjob.statistics import Statistic
from maggjob.storage import Place, is_remote, join_url, local_path

CHUNK_ROWS = 4096  # at least: smaller chunks cost more in the shard's index than they save
SHARD_ROWS = 1 << 22  # one shard up to 1,024 cells of 4,096 children: nine variables take 150 MB, which are held
READERS = 16


@dataclass(frozen=True)
class Layout:
    """Rows of the result."""

    grid: Grid
    """The grid."""
    nested: np.ndarray
    """Planned cells, nested ids, ascending, int64."""
    parts: tuple[PartFile | None, ...]
    """The part of each cell; None where the cell failed."""

    @property
    def rows(self) -> int:
        """Length of the ``cells`` dimension."""
        return len(self.nested) * self.grid.children

    @property
    def chunk(self) -> int:
        """Rows of a chunk: whole cells."""
        return max(1, CHUNK_ROWS // self.grid.children) * self.grid.children

    @property
    def shard(self) -> int:
        """Rows of a shard: whole chunks."""
        return min(-(-self.rows // self.chunk), max(1, SHARD_ROWS // self.chunk)) * self.chunk

    def ids(self, cells: slice) -> np.ndarray:
        """Nested ids of the children of some cells, uint64."""
        return nested_children(self.nested[cells], self.grid).ravel()

    def shards(self) -> Iterator[slice]:
        """The cells of each shard."""
        step = self.shard // self.grid.children
        for start in range(0, len(self.nested), step):
            yield slice(start, min(start + step, len(self.nested)))

    def values(self, statistics: Sequence[Statistic], cells: slice) -> dict[str, np.ndarray]:
        """The statistics of all children of some cells, by name, each in its own dtype; their parts are read now."""
        some = self.parts[cells]
        blocks = {s.name: np.full((len(some), self.grid.children), s.fill_value, s.dtype) for s in statistics}

        def place(row: int) -> None:
            file = some[row]
            if file is not None:
                part = file.load()
                for name, block in blocks.items():
                    block[row, part.child] = part.values[name]

        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(place, range(len(some))))
        return {name: block.ravel() for name, block in blocks.items()}


@dataclass(frozen=True)
class Assembled:
    """What was written."""

    rows: int
    """Length of the ``cells`` dimension."""
    group: str
    """Group of the Zarr that holds it: the child order."""


def read_parts(tasks: Sequence[CellTask], written: Mapping[str, bool]) -> dict[str, PartFile]:
    """Read and check the parts of a run; what they hold is read again when it is written.

    Parameters
    ----------
    tasks : sequence of CellTask
    written : mapping of task id to bool
        Which tasks must have left a part.

    Raises
    ------
    StoreError
        A part is missing, damaged, or belongs to something else.
    """
    todo = [task for task in tasks if written.get(task.id)]
    if not todo:
        return {}
    place = Place(str(todo[0].parts), todo[0].region)
    with ThreadPoolExecutor(READERS) as pool:
        return {file.task.id: file for file in pool.map(lambda task: PartFile.find(task, place), todo)}


def assemble(
    config: Config,
    tasks: Sequence[CellTask],
    parts: Mapping[str, PartFile],
    tally: Tally,
    store: str,
    *,
    region: str | None = None,
    overwrite: bool = False,
) -> Assembled:
    """Write the Zarr of a run.

    Parameters
    ----------
    config : Config
    tasks : sequence of CellTask
        All planned cells; those without a part become fill.
    parts : mapping of task id to PartFile
        From `read_parts`.
    tally : Tally
        What the workers reported; it must agree with the parts and with the data.
    store : str
        A path, or s3://bucket/prefix.
    overwrite : bool
        Replace what is there.

    Raises
    ------
    LedgerError
        The counts of tally, parts and data differ; nothing can be opened then.
    StoreError
        Something cannot be written.
    """
    held = sum(int(part.ledger["observations"]) for part in parts.values())
    if held != tally.observations:
        raise LedgerError(f"the parts hold {held} observations, workers reported {tally.observations}; run again")
    order = config.grid.parent_order
    cells = {parse_cell(task.cell, order): parts.get(task.id) for task in tasks}
    nested = sorted(cells)
    layout = Layout(config.grid, np.array(nested, np.int64), tuple(cells[cell] for cell in nested))
    try:
        if is_remote(store):
            place = Place(store, region)
            if overwrite:
                old = place.keys()
                place.delete(key for key in old if key.endswith("zarr.json"))  # first what makes it open
                place.delete(key for key in old if not key.endswith("zarr.json"))
            return _write(config, layout, tasks[0].run, tally, place, region)
        return _write_and_swap(config, layout, tasks[0].run, tally, local_path(store))
    except MaggjobError:
        raise
    except Exception as problem:
        raise StoreError(f"cannot write {store}: {problem}; check room and rights, then run again") from problem


def _write_and_swap(config: Config, layout: Layout, run: str, tally: Tally, store: Path) -> Assembled:
    """Write beside a local store, then put the new one in its place: the old one stays until then."""
    folder = Path(run_folder(str(store)))
    fresh, old = folder / "new", folder / "old"
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        written = _write(config, layout, run, tally, Place(str(fresh), create=True), None)
        if store.exists():
            store.rename(old)
        fresh.rename(store)
    finally:
        for left in (fresh, old):
            shutil.rmtree(left, ignore_errors=True)
    return written


def _write(config: Config, layout: Layout, run: str, tally: Tally, place: Place, region: str | None) -> Assembled:
    """Write all arrays, hold the counts against the tally, then write the metadata of the group."""
    import zarr  # 0.4 s
    from zarr.storage import ObjectStore

    group, statistics = str(config.grid.child_order), config.recipe().statistics
    own = [part for part in layout.parts if part is not None]
    arrays = {
        name: _create(Place(join_url(place.url, group, name), region, create=True), layout, *of)
        for name, of in _variables(config, own).items()
    }
    counts = {s.name: 0 for s in statistics if s.function in ("count", "len") and s.fill_value == 0}
    for cells in layout.shards():
        for name, values in _shard(config, layout, cells):
            counted = _write_shard(arrays[name], layout, cells, values, count=name in counts)
            if name in counts:
                counts[name] += counted
    for name, total in counts.items():
        if total != tally.observations:
            raise LedgerError(
                f"{name} sums to {total} in {place.url}, workers reported {tally.observations}; run again"
            )
    store = ObjectStore(place.store)
    zarr.create_group(store, path=group, attributes=group_attributes(config, run, own, tally))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # version 3 has no consolidated metadata in its text yet; readers have
        zarr.consolidate_metadata(store, path=group)
        zarr.consolidate_metadata(store)  # xarray looks for it at the root
    return Assembled(layout.rows, group)


def _variables(config: Config, parts: Sequence[PartFile]) -> dict[str, tuple[str, float, Mapping[str, Any]]]:
    """Name, dtype, fill value and attributes of each array, in the order in which they are written."""
    grid, coordinates = config.grid, config.aggregation.coordinates
    found: dict[str, tuple[str, float, Mapping[str, Any]]] = {
        "cell_ids": ("uint64", coordinates.cell_ids.fill_value, cell_ids_attributes(grid))
    }
    if coordinates.morton is not None:
        spelled = {"int64": "signed decimal id", "uint64": "packed word"}[coordinates.morton.dtype]
        attributes = {"long_name": f"mortie cell id ({spelled})"}
        found["morton"] = (coordinates.morton.dtype, coordinates.morton.fill_value, attributes)
    source: Mapping[str, Any] = next((own for part in parts if (own := part.ledger["attributes"])), {})
    for statistic in config.recipe().statistics:
        own = variable_attributes(statistic, source) | dict(config.aggregation.variables[statistic.name].attrs)
        found[statistic.name] = (statistic.dtype, statistic.fill_value, own)
    return found


def _shard(config: Config, layout: Layout, cells: slice) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of each array in one shard."""
    ids, morton = layout.ids(cells), config.aggregation.coordinates.morton
    yield "cell_ids", ids
    if morton is not None:
        form = nested_to_decimal if morton.dtype == "int64" else nested_to_word
        yield "morton", form(ids, config.grid.child_order)
    yield from layout.values(config.recipe().statistics, cells).items()


def _create(folder: Place, layout: Layout, dtype: str, fill: float, attributes: Mapping[str, Any]) -> Any:
    """Make one array, without values."""
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import ObjectStore

    return zarr.create_array(
        ObjectStore(folder.store),  # of its own: in the group's, zarr would write the group's metadata now
        shape=(layout.rows,),
        chunks=(layout.chunk,),
        shards=(layout.shard,),
        dtype=dtype,
        fill_value=fill,
        compressors=[ZstdCodec(level=3), Crc32cCodec()],
        dimension_names=["cells"],
        attributes=dict(attributes),
        config={"write_empty_chunks": True},  # a chunk that is missing is then a chunk that was lost
    )


def _write_shard(array: Any, layout: Layout, cells: slice, values: np.ndarray, *, count: bool) -> int:
    """Write one shard of one array; with ``count``, the sum of what is read back."""
    children = layout.grid.children
    rows = slice(cells.start * children, cells.stop * children)
    array[rows] = values
    return int(np.asarray(array[rows]).sum(dtype=np.int64)) if count else 0
