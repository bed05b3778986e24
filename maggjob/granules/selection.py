"""What a cell has of a granule: which ranges of the file it needs, and the values out of these.

A share knows the rows of one beam that lie in a cell and where their bytes are. It comes from the
granule itself (`maggjob.granules.granule`) or from its index (`maggjob.granules.index`).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maggjob.errors import CorruptError
from maggjob.granules.screening import BeamRows, Column
from maggjob.hdf5.chunks import GAP, ChunkTable, merge
from maggjob.model.recipe import Recipe


@dataclass(frozen=True)
class Slow:
    """A dataset that only h5coro's own read can serve, or tell what is wrong with it."""

    reason: str
    """Why: for people."""


Dataset = ChunkTable | Slow


@dataclass(frozen=True)
class Share:
    """The rows of one beam that lie in a cell."""

    group: str
    """Name of the beam."""
    rows: int
    """Rows of the whole beam."""
    start: int
    """The first row that lies in the cell."""
    stop: int
    """The one after the last."""
    chosen: np.ndarray | None
    """Which of the rows from ``start`` to ``stop`` lie in the cell, counted from ``start``, shape (n,), ascending;
    None for all, as nearly always: a track crosses a cell once."""
    child: np.ndarray
    """Child that each of them lies in, shape (n,), integers."""
    datasets: Mapping[str, Dataset]
    """The datasets of the beam that a cell needs and its times, by path; one that the beam lacks is not there."""

    def pick(self, values: np.ndarray) -> np.ndarray:
        """Of a value for each row from ``start`` to ``stop`` those that lie in the cell, shape (n,)."""
        return values if self.chosen is None else values[self.chosen]


@dataclass(frozen=True)
class Buffers:
    """Ranges of a file that were read."""

    ranges: Sequence[tuple[int, int]]
    """First byte of each, and the one after its last; ascending."""
    contents: Sequence[memoryview]
    """Their bytes."""

    def cut(self, start: int, stop: int) -> memoryview:
        """A part of one of the ranges."""
        number = bisect_right(self.ranges, start, key=lambda one: one[0]) - 1
        first = self.ranges[number][0]
        return self.contents[number][start - first : stop - first]


Columns = tuple[dict[str, Column], dict[str, Mapping[str, str]]]
SlowRead = Callable[[Share, Sequence[str]], Columns]
"""Reads some datasets of a share through h5coro: columns and attributes by path."""


def ranges_needed(shares: Iterable[Share], recipe: Recipe, *, timed: bool, gap: int = GAP) -> list[tuple[int, int]]:
    """Ranges of the file that hold the rows of some shares, merged, ascending.

    Chunks that are kept with the tables, and datasets that are read slowly, are not among them.
    """
    chunks = []
    for share in shares:
        times = [recipe.path(recipe.time, share.group)] if timed else []
        for path in [*recipe.needed_paths[share.group], *times]:
            table = share.datasets.get(path)
            if isinstance(table, ChunkTable):
                chunks += [table.range_of(n) for n in table.numbers(share.start, share.stop) if n not in table.inline]
    return merge(chunks, gap)


def has_slow(shares: Iterable[Share], recipe: Recipe, *, timed: bool) -> bool:
    """Whether any dataset that a cell needs is not served by ranges."""
    for share in shares:
        if not all(isinstance(share.datasets.get(p), ChunkTable) for p in recipe.needed_paths[share.group]):
            return True
        if timed and isinstance(share.datasets.get(recipe.path(recipe.time, share.group)), Slow):
            return True
    return False


def beam_rows(granule: str, recipe: Recipe, share: Share, buffers: Buffers, slow: SlowRead) -> BeamRows:
    """The values of a share.

    Parameters
    ----------
    granule : str
        Its id, for messages.
    recipe : Recipe
    share : Share
    buffers : Buffers
        What `ranges_needed` asked for.
    slow : callable
        Called for datasets that are not served by ranges.

    Raises
    ------
    GranuleError
        A chunk is damaged, or a slow dataset cannot be read.
    """
    paths = recipe.needed_paths[share.group]
    tables = {path: table for path in paths if isinstance(table := share.datasets.get(path), ChunkTable)}
    columns = {path: _column(granule, path, table, share, buffers) for path, table in tables.items()}
    attributes: dict[str, Mapping[str, str]] = {path: table.attributes for path, table in tables.items()}
    others = [path for path in paths if path not in tables]
    if others:
        more, described = slow(share, others)
        columns |= more
        attributes |= described
    time_path = recipe.path(recipe.time, share.group)

    def time() -> Column | None:
        table = share.datasets.get(time_path)
        if table is None:
            return None
        if isinstance(table, Slow):
            return slow(share, [time_path])[0][time_path]
        return _column(granule, time_path, table, share, buffers)

    return BeamRows(share.group, share.child, columns, attributes, time)


def _column(granule: str, path: str, table: ChunkTable, share: Share, buffers: Buffers) -> Column:
    numbers = table.numbers(share.start, share.stop)
    stored = [table.inline[n] if n in table.inline else buffers.cut(*table.range_of(n)) for n in numbers]
    try:
        values = table.values(share.start, share.stop, stored)
    except CorruptError as problem:
        raise CorruptError(f"{granule}: {path}: {problem}") from problem
    return Column(share.pick(values), table.fill)
