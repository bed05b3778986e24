"""One shard of a result: the parts of some cells, checked, and written to every array of the Zarr.

A shard of an array is one object, and whole cells lie in it: so shards can be written by calls that know
nothing of each other. The client has made the arrays, and makes them visible when all shards agree with the ledger.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from maggjob.errors import StoreError
from maggjob.grid.healpix import format_cell, nested_children, nested_to_decimal, nested_to_word
from maggjob.jobs.parts import ledger_digest, opened, part_key
from maggjob.jobs.wire import Written, read_recipe
from maggjob.model.recipe import Recipe
from maggjob.model.tasks import CellTask
from maggjob.storage.folder import Place
from maggjob.storage.urls import join_url

READERS = 16
CONFIG = {
    "array.write_empty_chunks": True,  # a chunk that is missing is then a chunk that was lost
    "codec_pipeline.batch_size": 16,  # chunks one by one take a third more time, of asyncio
}


@dataclass(frozen=True)
class ShardTask(Written):
    """Everything that `write_shard` needs; what all shards of a run share is written down in its folder."""

    group: str
    """Path or URL of the Zarr group that holds the arrays."""
    folder: str
    """Path or URL of the run's folder."""
    parts: str
    """Path or URL that parts lie below."""
    recipe: str
    """Key of the recipe in the run's folder."""
    rows: str
    """Key of the list of all cells, in the order of the rows."""
    first: int
    """Number of the first cell in that list."""
    stop: int
    """Number of the cell after the last."""
    window: str
    """As in `CellTask`."""
    run: str
    """As in `CellTask`."""
    region: str | None
    """Region of the buckets."""
    morton: str | None
    """Type of the morton ids: int64, uint64, or None for a result without them."""
    write: bool = True
    """Whether to write; else parts are only checked."""


@dataclass(frozen=True)
class ShardReport:
    """What was found in the parts of a shard, and in the arrays after they were written."""

    ledgers: tuple[str | None, ...]
    """Digest of each part's ledger (`ledger_digest`), in the order of the cells; None without a part."""
    counts: Mapping[str, int]
    """Sum of each count of segments, read back from its array."""


@dataclass(frozen=True)
class Rows:
    """The cells of a result."""

    nested: Sequence[int]
    """Nested ids, ascending."""
    tags: Sequence[str | None]
    """Tag of each part (`maggjob.jobs.parts.tag_in`); None for those that left none: they failed, and are fill."""

    def to_json(self) -> bytes:
        """As it is written down in the folder of a run."""
        return json.dumps([list(self.nested), list(self.tags)], separators=(",", ":")).encode()

    @classmethod
    def read(cls, folder: str, key: str, region: str | None) -> "Rows":
        """Read what was written down.

        Raises
        ------
        StoreError
            It is not there, or damaged.
        """
        try:
            nested, tags = json.loads(Place(folder, region).get(key))
            return cls(list(nested), list(tags))
        except (ValueError, TypeError) as problem:
            raise StoreError(f"{join_url(folder, key)} is no list of cells ({problem}); run again") from problem


def write_shard(shard: ShardTask) -> ShardReport:
    """Read the parts of some cells, check them, and write one shard of each array.

    Raises
    ------
    StoreError
        A part is missing, damaged or belongs to something else; or an array cannot be written.
    """
    recipe = read_recipe(shard.folder, shard.recipe, shard.region)
    rows, some = Rows.read(shard.folder, shard.rows, shard.region), slice(shard.first, shard.stop)
    nested = np.array(rows.nested[some], np.int64)
    ledgers, values = _read(shard, recipe, nested, rows.tags[some])
    counts: dict[str, int] = {}
    if shard.write:
        counted = {s.name for s in recipe.statistics if s.function in ("count", "len") and s.fill_value == 0}
        for name, array in _arrays(shard, recipe, nested, values):
            total = _write(shard, recipe, name, array, count=name in counted)
            counts |= {name: total} if name in counted else {}
    return ShardReport(ledgers, counts)


def _read(
    shard: ShardTask, recipe: Recipe, nested: np.ndarray, tags: Sequence[str | None]
) -> tuple[tuple[str | None, ...], dict[str, np.ndarray]]:
    """Digests of the ledgers, and the statistics of all children, by name, each in its own dtype."""
    shape = (len(nested), recipe.grid.children)
    some = any(tag is not None for tag in tags)
    place = Place(shard.parts, shard.region) if some else None  # without parts, it would not be there
    blocks = {s.name: np.full(shape, s.fill_value, s.dtype) for s in recipe.statistics}

    def task(row: int) -> CellTask:
        cell = format_cell(int(nested[row]), recipe.grid.parent_order)
        return CellTask(f"{shard.window}/{cell}", cell, shard.window, recipe, (), shard.run, shard.parts)

    def content(row: int) -> bytes | None:
        tag = tags[row]
        return None if place is None or tag is None else place.get(part_key(task(row).id, tag))

    ledgers: list[str | None] = []
    with ThreadPoolExecutor(READERS) as pool:  # for the waits; to unpack, threads would wait for each other
        for row, packed in enumerate(pool.map(content, range(len(nested)))):
            part = None if packed is None else opened(task(row), packed, tags[row] or "")
            if part is not None:
                for name, block in blocks.items():
                    block[row, part.child] = part.values[name]
            ledgers.append(None if part is None else ledger_digest(part.ledger))
    return tuple(ledgers), {name: block.ravel() for name, block in blocks.items()}


def _arrays(
    shard: ShardTask, recipe: Recipe, nested: np.ndarray, values: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of each array."""
    ids = nested_children(nested, recipe.grid).ravel()
    yield "cell_ids", ids
    if shard.morton is not None:
        form = nested_to_decimal if shard.morton == "int64" else nested_to_word
        yield "morton", form(ids, recipe.grid.child_order)
    yield from values.items()


def _write(shard: ShardTask, recipe: Recipe, name: str, values: np.ndarray, *, count: bool) -> int:
    """Write one shard of one array; with ``count``, the sum of what is read back."""
    import zarr  # 0.4 s
    from zarr.storage import ObjectStore

    url, children = join_url(shard.group, name), recipe.grid.children
    rows = slice(shard.first * children, shard.stop * children)
    try:
        with zarr.config.set(CONFIG):
            array: Any = zarr.open_array(ObjectStore(Place(url, shard.region).store), mode="r+")
            array[rows] = values
            return int(np.asarray(array[rows]).sum(dtype=np.int64)) if count else 0
    except Exception as problem:
        raise StoreError(f"cannot write {url}: {problem}; check room and rights, then run again") from problem
