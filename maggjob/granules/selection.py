"""The rows of a granule that lie in a cell: the byte ranges that hold their values, and the values from these bytes.

A selection knows the rows and where their bytes are. It is made from the granule itself (`maggjob.granules.granule`) or
from its index (`maggjob.granules.index`).
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from maggjob.errors import CorruptError
from maggjob.granules.columns import BeamRows, Column
from maggjob.granules.screening import GranuleRows, Paths
from maggjob.hdf5.chunks import ChunkTable, merge


@dataclass(frozen=True)
class Unindexed:
    """A dataset without a usable chunk table. h5coro reads it, or raises the error that describes its problem."""

    reason: str
    """Human-readable reason."""


Dataset = ChunkTable | Unindexed


@dataclass(frozen=True)
class BeamSelection:
    """The rows of one beam that lie in a cell."""

    group: str
    """Name of the beam."""
    rows: int
    """Number of rows of the whole beam."""
    start: int
    """First row that lies in the cell."""
    stop: int
    """Row after the last one that lies in the cell."""
    chosen: np.ndarray | None
    """Positions, relative to ``start``, of the rows in the cell, shape (n,), ascending; None if all rows from
    ``start`` to ``stop`` lie in the cell. That is the usual case, as a track crosses a cell once."""
    child: np.ndarray
    """Child cell of each row in the cell, shape (n,), integers."""
    datasets: Mapping[str, Dataset]
    """Datasets of the beam, by path; datasets that the beam lacks are left out."""

    def pick(self, values: np.ndarray) -> np.ndarray:
        """Return the values of the rows in the cell, shape (n,), from values of all rows ``start`` to ``stop``."""
        return values if self.chosen is None else values[self.chosen]


@dataclass(frozen=True)
class Buffers:
    """Byte ranges of a file that have been read."""

    ranges: Sequence[tuple[int, int]]
    """Start and stop byte of each range, ascending."""
    contents: Sequence[memoryview]
    """Content of each range."""

    def cut(self, start: int, stop: int) -> memoryview:
        """Return the bytes ``start`` to ``stop`` of the file, which must lie in one of the ranges.

        Parameters
        ----------
        start, stop : int
            Positions in the file, bytes.
        """
        number = bisect_right(self.ranges, start, key=lambda one: one[0]) - 1
        first = self.ranges[number][0]
        return self.contents[number][start - first : stop - first]


@dataclass(frozen=True)
class Constant:
    """A dataset with one value per granule or per beam."""

    value: np.ndarray
    """The value, shape (1,), any numeric type."""
    fill: float | int | None = None
    """The ``_FillValue`` attribute; None without one."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """``units`` and ``long_name``, if the dataset has them."""


Columns = tuple[dict[str, Column], dict[str, Mapping[str, str]]]
UnindexedRead = Callable[[BeamSelection, Sequence[str]], Columns]
"""Function that reads datasets of a selection through h5coro and returns columns and attributes by path."""


@dataclass(frozen=True)
class CellSelection:
    """The rows of one granule that lie in a cell."""

    granule: str
    """Id of the granule."""
    present: Sequence[str]
    """Names of the beams in the granule."""
    rows: int
    """Number of segments of the granule."""
    invalid: int
    """Number of segments whose coordinates cannot be binned."""
    beams: Sequence[BeamSelection]
    """Beams with rows in the cell, in the order of ``present``."""
    constants: Mapping[str, Constant] = field(default_factory=dict)
    """Datasets with one value, by path."""

    def those_there(self, paths: Paths) -> dict[str, list[str]]:
        """Return the paths without the datasets that a beam lacks, by beam."""
        return {beam.group: [path for path in paths[beam.group] if path in beam.datasets] for beam in self.beams}

    def ranges(self, paths: Paths) -> list[tuple[int, int]]:
        """Return the byte ranges that hold these rows of some datasets, merged, ascending.

        Inline chunks and datasets without a chunk table are left out.
        """
        chunks = []
        for beam in self.beams:
            for table in map(beam.datasets.get, paths[beam.group]):
                if isinstance(table, ChunkTable):
                    chunks += [table.range_of(n) for n in table.numbers(beam.start, beam.stop) if n not in table.inline]
        return merge(chunks)

    def has_unindexed(self, paths: Paths) -> bool:
        """Return True if any of the datasets cannot be read in ranges."""
        return not all(isinstance(b.datasets.get(path), ChunkTable) for b in self.beams for path in paths[b.group])

    def values(self, paths: Paths, buffers: Buffers, unindexed: UnindexedRead) -> GranuleRows:
        """Return the values of datasets.

        Parameters
        ----------
        paths : mapping
            Paths of the datasets, by beam.
        buffers : Buffers
            Content of `ranges` of the same paths.
        unindexed : callable
            Reads the datasets that cannot be read in ranges.

        Raises
        ------
        GranuleError
            If a chunk is damaged, or an unindexed dataset cannot be read.
        """
        beams = [_beam_rows(self.granule, beam, paths[beam.group], buffers, unindexed) for beam in self.beams]
        if self.constants:
            beams = [_with_constants(beam, self.constants) for beam in beams]
        return GranuleRows(self.granule, self.present, self.rows, self.invalid, beams)


def join_paths(paths: Paths, more: Paths) -> dict[str, list[str]]:
    """Join the paths of datasets, by beam.

    Parameters
    ----------
    paths, more : mapping
        Paths of datasets, by beam. Beams of ``more`` that are not in ``paths`` are left out.
    """
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


def _with_constants(beam: BeamRows, constants: Mapping[str, Constant]) -> BeamRows:
    """Repeat datasets with one value for each row of a beam."""
    rows = len(beam.child)
    columns = {path: Column(np.broadcast_to(one.value, rows), one.fill) for path, one in constants.items()}
    attributes = {path: one.attributes for path, one in constants.items()}
    return replace(beam, columns={**beam.columns, **columns}, attributes={**beam.attributes, **attributes})


def _column(granule: str, path: str, table: ChunkTable, beam: BeamSelection, buffers: Buffers) -> Column:
    numbers = table.numbers(beam.start, beam.stop)
    stored = [table.inline[n] if n in table.inline else buffers.cut(*table.range_of(n)) for n in numbers]
    try:
        values = table.values(beam.start, beam.stop, stored)
    except CorruptError as problem:
        raise CorruptError(f"{granule}: {path}: {problem}") from problem
    return Column(beam.pick(values), table.fill)
