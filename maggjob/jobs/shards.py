"""One shard of a result: check the parts of some cells, and write them to every array of the Zarr.

A shard of an array is one object that contains whole cells, so independent calls can write the shards. On Lambda these
calls run in the region of the buckets. On localhost calls are used above some number of shards; below it, the client
writes them one by one. The client also writes every shard whose call failed. It creates the arrays beforehand, and
makes them visible once all shards agree with the ledger. The memory for a shard does not grow with the number of cells.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from maggjob.errors import StoreError
from maggjob.grid.healpix import format_cell, nested_children, nested_to_decimal, nested_to_word
from maggjob.jobs.parts import check_part, digest_of_bytes, ledger_digest, part_key
from maggjob.jobs.wire import WireTask, read_shared, wire_tasks
from maggjob.model.recipe import Recipe
from maggjob.model.tasks import CellTask
from maggjob.storage.folder import Folder
from maggjob.storage.stores import plain_message
from maggjob.storage.urls import join_url

COMPLETE, PARTIAL, FAILED = 0, 1, 2
"""Values of the variable ``partial``: whether all, some or none of the granules of the cell were read."""
NOTHING = "-"
"""In place of a tag: the cell has no granules in the window, so that it has no part, and nothing failed."""
READERS = 16
"""Parts read concurrently."""
CONFIG = {
    # With this, a missing chunk always means a lost chunk.
    "array.write_empty_chunks": True,
    # Single chunks take a third more time, because of asyncio.
    "codec_pipeline.batch_size": 16,
}


@dataclass(frozen=True)
class ShardTask:
    """Everything that `write_shard` needs."""

    group: str
    """Path or URL of the Zarr group that holds the arrays."""
    parts: str
    """Path or URL of the folder of the parts."""
    recipe: Recipe
    """Recipe of the run."""
    order: int
    """Order of the children in the group."""
    partial: bool
    """Whether to write the variable ``partial``."""
    window: str
    """As in `CellTask`."""
    run: str
    """As in `CellTask`."""
    region: str | None
    """Region of the buckets."""
    morton: str | None
    """Type of the morton ids: int64, uint64, or None for a result without them."""
    write: bool
    """False to check the parts without writing."""
    step: int
    """Number of cells per shard; the last shard may have fewer."""
    first: int
    """Position of the first cell among the cells of the result."""
    cells: Sequence[int]
    """Nested ids of the cells, ascending."""
    tags: Sequence[str | None]
    """Tag of each part (`maggjob.jobs.parts.tag_in`); None for a failed cell without a part, and `NOTHING` for a cell
    without granules, which get fill values."""
    index: int | None = None
    """Position of the window along the time axis; None without one."""
    ids: bool = True
    """Whether to write the ids of the cells, too, which have no time axis."""


@dataclass(frozen=True)
class ShardReport:
    """Ledgers of the parts of a shard, and sums of its arrays as read back."""

    ledgers: tuple[str | None, ...]
    """Digest of each part's ledger (`ledger_digest`), in the order of the cells; None for a cell without a part."""
    counts: Mapping[str, int]
    """Sum of each statistic that counts segments, read back from its array."""
    objects: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """Size in bytes and SHA-256 of each object that was written, by its key below the group."""


ZARR_IMPORTS = ("zarr",)
"""Modules imported when a shard is first written."""
OWN = ("first", "cells", "tags", "window", "run", "index", "ids", "group", "order", "step")
"""Fields of a `ShardTask` that differ between the shards of a result."""


def shard_calls(shards: Sequence[ShardTask], folder: str) -> list[WireTask]:
    """Return the calls that write the shards of one result.

    Parameters
    ----------
    shards : sequence of ShardTask
        At least one.
    folder : str
        Path or URL of the run's folder.
    """
    first = shards[0]
    shared = {key: value for key, value in vars(first).items() if key not in (*OWN, "region", "recipe")}
    own = [[list(of) if isinstance(of := getattr(shard, n), tuple | list) else of for n in OWN] for shard in shards]
    return wire_tasks(shared | {"recipe": first.recipe.to_dict()}, own, folder, first.region)


def shard_call(task: WireTask) -> ShardReport:
    """Write the shard of a call (`write_shard`)."""
    shared = read_shared(task)
    shared["recipe"] = Recipe.from_dict(shared["recipe"])
    return write_shard(ShardTask(**shared, region=task.region, **dict(zip(OWN, task.own, strict=True))))


def write_shard(shard: ShardTask) -> ShardReport:
    """Read the parts of some cells, check them, and write one shard of each array.

    Raises
    ------
    StoreError
        If a part is missing, damaged or belongs to another cell or run, or an array cannot be written.
    """
    ledgers, values = _read_parts(shard)
    counts: dict[str, int] = {}
    objects: dict[str, tuple[int, str]] = {}
    if shard.write:
        counted = shard.recipe.at(shard.order).counting
        for name, array in _arrays(shard, values):
            index = None if name in ("cell_ids", "morton") else shard.index
            total = _write(shard, name, array, index, count=name in counted)
            counts |= {name: total} if name in counted else {}
            objects |= _written(shard, name, index)
    return ShardReport(ledgers, counts, objects)


def _written(shard: ShardTask, name: str, index: int | None) -> dict[str, tuple[int, str]]:
    """Read the object of a shard back, and return its size and digest by its key."""
    window = "" if index is None else f"{index}/"
    key = f"{name}/c/{window}{shard.first // shard.step}"
    content = Folder(shard.group, shard.region).get(key)
    return {key: (len(content), digest_of_bytes(content))}


def _read_parts(shard: ShardTask) -> tuple[tuple[str | None, ...], dict[str, np.ndarray]]:
    """Return the digests of the ledgers, and the statistics of all children by name, each in its own dtype."""
    recipe, at = shard.recipe, shard.recipe.at(shard.order)
    shape = (len(shard.cells), at.grid.children)
    # Without any part the folder does not exist.
    there = any(tag not in (None, NOTHING) for tag in shard.tags)
    folder = Folder(shard.parts, shard.region) if there else None
    blocks = {s.name: np.full(shape, s.fill_value, s.dtype) for s in at.statistics}

    def task(row: int) -> CellTask:
        cell = format_cell(shard.cells[row], recipe.grid.parent_order)
        return CellTask(f"{shard.window}/{cell}", cell, shard.window, recipe, (), shard.run, shard.parts)

    def content(row: int) -> bytes | None:
        tag = shard.tags[row]
        return None if folder is None or tag in (None, NOTHING) else folder.get(part_key(task(row).id, str(tag)))

    ledgers: list[str | None] = []
    # Threads only hide the latency of reads. Unpacking in threads gains nothing, as they wait for each other.
    with ThreadPoolExecutor(READERS) as pool:
        for row, packed in enumerate(pool.map(content, range(len(shard.cells)))):
            part = None if packed is None else check_part(task(row), packed, shard.tags[row] or "")
            if part is not None:
                level = part.levels[shard.order]
                for name, block in blocks.items():
                    block[row, level.child] = level.values[name]
            ledgers.append(None if part is None else ledger_digest(part.ledger))
    return tuple(ledgers), {name: block.ravel() for name, block in blocks.items()}


def _arrays(shard: ShardTask, values: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and values of each array."""
    grid = shard.recipe.at(shard.order).grid
    ids = nested_children(np.array(shard.cells, np.int64), grid).ravel()
    if shard.ids:
        yield "cell_ids", ids
    if shard.ids and shard.morton is not None:
        form = nested_to_decimal if shard.morton == "int64" else nested_to_word
        yield "morton", form(ids, grid.child_order)
    yield from values.items()
    if shard.partial:
        flags = [FAILED if tag is None else PARTIAL if tag not in ("", NOTHING) else COMPLETE for tag in shard.tags]
        yield "partial", np.repeat(np.array(flags, np.int8), grid.children)


def _write(shard: ShardTask, name: str, values: np.ndarray, index: int | None, *, count: bool) -> int:
    """Write one shard of one array; with ``count``, read it back and return its sum."""
    # Importing zarr takes 0.4 s.
    import zarr
    from zarr.storage import ObjectStore

    url, children = join_url(shard.group, name), shard.recipe.at(shard.order).grid.children
    rows = slice(shard.first * children, (shard.first + len(shard.cells)) * children)
    folder = Folder(url, shard.region)

    def write() -> int:
        array: Any = zarr.open_array(ObjectStore(folder.store), mode="r+")
        where = rows if index is None else (index, rows)
        array[where] = values
        return int(np.asarray(array[where]).sum(dtype=np.int64)) if count else 0

    try:
        with zarr.config.set(CONFIG):
            return folder.patiently(write)
    except Exception as problem:
        raise StoreError(
            f"cannot write {url}: {plain_message(problem)}; check space and permissions, then run again"
        ) from problem
