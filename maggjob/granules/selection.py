"""Which rows of a granule lie in a cell: the ranges of the file that hold their values, and the values out of these.

A selection knows the rows and where their bytes are. It comes from the granule itself (`maggjob.granules.granule`) or
from its index (`maggjob.granules.index`).
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maggjob.errors import CorruptError
from maggjob.granules.screening import BeamRows, Column, GranuleRows, Paths
from maggjob.hdf5.chunks import ChunkTable, merge


@dataclass(frozen=True)
class Unindexed:
    """A dataset that only h5coro's own read can serve, or tell what is wrong with it."""

    reason: str
    """Why: for people."""


Dataset = ChunkTable | Unindexed


@dataclass(frozen=True)
class BeamSelection:
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
    """Datasets of the beam, by path; one that the beam lacks is not there."""

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
UnindexedRead = Callable[[BeamSelection, Sequence[str]], Columns]
"""Reads some datasets of a selection through h5coro: columns and attributes by path."""


@dataclass(frozen=True)
class CellSelection:
    """The rows of one granule that lie in a cell."""

    granule: str
    """Id of the granule."""
    present: Sequence[str]
    """The beams that the granule has."""
    rows: int
    """All segments of the granule."""
    invalid: int
    """Segments whose coordinates cannot be binned."""
    beams: Sequence[BeamSelection]
    """Beams with rows in the cell, in the order of ``present``."""

    def those_there(self, paths: Paths) -> dict[str, list[str]]:
        """Leave out the datasets that a beam lacks."""
        return {beam.group: [path for path in paths[beam.group] if path in beam.datasets] for beam in self.beams}

    def ranges(self, paths: Paths) -> list[tuple[int, int]]:
        """Return the ranges of the file that hold some datasets of these rows, merged, ascending.

        Chunks that are kept with the tables, and datasets that are read unindexed, are not among them.
        """
        chunks = []
        for beam in self.beams:
            for table in map(beam.datasets.get, paths[beam.group]):
                if isinstance(table, ChunkTable):
                    chunks += [table.range_of(n) for n in table.numbers(beam.start, beam.stop) if n not in table.inline]
        return merge(chunks)

    def has_unindexed(self, paths: Paths) -> bool:
        """Return whether any of some datasets is not served by ranges."""
        return not all(isinstance(b.datasets.get(path), ChunkTable) for b in self.beams for path in paths[b.group])

    def values(self, paths: Paths, buffers: Buffers, unindexed: UnindexedRead) -> GranuleRows:
        """Return the values of some datasets.

        Parameters
        ----------
        paths : mapping
            Datasets of each beam.
        buffers : Buffers
            What `ranges` asked for.
        unindexed : callable
            Called for datasets that are not served by ranges.

        Raises
        ------
        GranuleError
            If a chunk is damaged, or an unindexed dataset cannot be read.
        """
        beams = [_beam_rows(self.granule, beam, paths[beam.group], buffers, unindexed) for beam in self.beams]
        return GranuleRows(self.granule, self.present, self.rows, self.invalid, beams)


def join_paths(paths: Paths, more: Paths) -> dict[str, list[str]]:
    """Join paths of datasets, by beam; beams of ``more`` that are not among ``paths`` are left out."""
    return {group: [*some, *more.get(group, ())] for group, some in paths.items()}


def _beam_rows(
    granule: str, beam: BeamSelection, paths: Sequence[str], buffers: Buffers, unindexed: UnindexedRead
) -> BeamRows:
    tables = {path: table for path in paths if isinstance(table := beam.datasets.get(path), ChunkTable)}
    columns = {path: _column(granule, path, table, beam, buffers) for path, table in tables.items()}
    attributes: dict[str, Mapping[str, str]] = {path: table.attributes for path, table in tables.items()}
    others = [path for path in paths if path not in tables]
    if others:
        more, described = unindexed(beam, others)
        columns |= more
        attributes |= described
    return BeamRows(beam.group, beam.child, columns, attributes)


def _column(granule: str, path: str, table: ChunkTable, beam: BeamSelection, buffers: Buffers) -> Column:
    numbers = table.numbers(beam.start, beam.stop)
    stored = [table.inline[n] if n in table.inline else buffers.cut(*table.range_of(n)) for n in numbers]
    try:
        values = table.values(beam.start, beam.stop, stored)
    except CorruptError as problem:
        raise CorruptError(f"{granule}: {path}: {problem}") from problem
    return Column(beam.pick(values), table.fill)
