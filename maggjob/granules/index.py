"""The index of one granule: which of its rows lie in which cell, and where their bytes are.

It is made once per granule and used by every cell that the granule lies in: a cell then reads no coordinates, and
nothing of the file's structure. `maggjob.granules.index_format` writes it down. docs/decisions/index.md tells what it
is keyed by, and what happens where it cannot serve a read.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np

from maggjob.errors import StaleIndexError
from maggjob.granules.granule import OpenGranule, datasets_of, read_beams
from maggjob.granules.screening import child_type
from maggjob.granules.selection import BeamSelection, Buffers, CellSelection, Dataset, Unindexed
from maggjob.grid.healpix import INVALID, Grid
from maggjob.grid.tracks import locate_runs
from maggjob.hdf5.chunks import merge
from maggjob.model.recipe import Recipe
from maggjob.storage.archive import same_object

INLINE = 1024
"""Chunks of at most so many bytes are kept in the index: quality flags, of which 10,000 take 70 to 800.
Each would cost a cell a request, and they would not fill a packet."""


@dataclass(frozen=True)
class BeamIndex:
    """The rows of one beam."""

    group: str
    """Name of the beam."""
    ids: np.ndarray
    """Nested ids, at the child order, of runs of rows that lie in the same child cell one after the other,
    shape (runs,), integers; `maggjob.grid.healpix.INVALID` where coordinates cannot be binned."""
    lengths: np.ndarray
    """Rows of each run, shape (runs,), integers."""
    datasets: Mapping[str, Dataset]
    """The datasets that a cell needs and the times, by path; one that the beam lacks is not there."""

    @cached_property
    def rows(self) -> int:
        """Rows of the beam."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class GranuleIndex:
    """The rows of one granule."""

    granule: str
    """Id of the granule."""
    size: int
    """Size in bytes of the object that it was made of."""
    etag: str | None
    """Its ETag, where the server gives one; of a local file its inode, time of change and size."""
    digest: str
    """Of the grid's child order and latitude convention and the datasets (`maggjob.granules.index_format`)."""
    beams: tuple[BeamIndex, ...]
    """The beams that the granule has, in the order of the configuration."""

    @property
    def rows(self) -> int:
        """Segments of the granule."""
        return sum(beam.rows for beam in self.beams)

    @property
    def invalid(self) -> int:
        """Segments whose coordinates cannot be binned."""
        return sum(int(beam.lengths[beam.ids == INVALID].sum()) for beam in self.beams)

    def cells(self, grid: Grid) -> dict[int, int]:
        """Rows in each cell of the parent order that has any, by nested id, ascending.

        With `invalid` they add up to `rows`: no pair of granule and cell is false, and none is missing.
        """
        ids = np.concatenate([beam.ids for beam in self.beams]) >> grid.shift  # INVALID stays negative
        lengths = np.concatenate([beam.lengths for beam in self.beams])
        found, place = np.unique(ids, return_inverse=True)
        counts = np.bincount(place, lengths, len(found)).astype(np.int64)
        return {cell: count for cell, count in zip(found.tolist(), counts.tolist(), strict=True) if cell >= 0}

    def select(self, cell: int, grid: Grid) -> CellSelection:
        """Return the rows in a cell.

        Parameters
        ----------
        cell : int
            Nested id at ``grid.parent_order``.
        grid : Grid
        """
        inside = [found for beam in self.beams if (found := _select_rows(beam, cell, grid)) is not None]
        return CellSelection(self.granule, [beam.group for beam in self.beams], self.rows, self.invalid, inside)

    def check(self, size: int, etag: str | None) -> None:
        """See that an object is still the one that the index was made of.

        Raises
        ------
        StaleIndexError
            It has another size or ETag.
        """
        if not same_object(size, etag, self.size, self.etag):
            raise StaleIndexError(
                f"{self.granule}: {size} bytes, ETag {etag}; its index was made of {self.size} bytes, ETag "
                f"{self.etag}; make the index anew"
            )


def _select_rows(beam: BeamIndex, cell: int, grid: Grid) -> BeamSelection | None:
    runs = np.flatnonzero(beam.ids >> grid.shift == cell)
    if not len(runs):
        return None
    first, last = int(runs[0]), int(runs[-1]) + 1
    child = (beam.ids[runs] & (grid.children - 1)).astype(child_type(grid.children))
    start, spanned = int(beam.lengths[:first].sum()), beam.lengths[first:last]
    chosen = None
    if last - first > len(runs):
        chosen = np.flatnonzero(np.repeat(beam.ids[first:last] >> grid.shift == cell, spanned))
    stop = start + int(spanned.sum())
    return BeamSelection(
        beam.group, beam.rows, start, stop, chosen, np.repeat(child, beam.lengths[runs]), beam.datasets
    )


def make_index(granule: OpenGranule, recipe: Recipe, digest: str, pool: Executor) -> GranuleIndex:
    """Make the index of a granule: its coordinates are read once, all of them.

    Parameters
    ----------
    granule : OpenGranule
    recipe : Recipe
    digest : str
        Of the recipe.
    pool : Executor
        Reads run in it side by side.

    Raises
    ------
    GranuleError
        The coordinates of a beam cannot be read, or the granule has none of the beams. What is wrong
        with other datasets is found, and told, by the cells that need them.
    """
    grid, beams, indexed = recipe.grid, read_beams(granule, recipe, pool), []
    every = _with_inline(datasets_of(granule, beams, recipe.indexed_paths, pool), granule)
    for beam, datasets in zip(beams, every, strict=True):
        ids, lengths = locate_runs(beam.latitude, beam.longitude, grid.child_order, grid.latitude)
        indexed.append(BeamIndex(beam.group, ids, lengths, datasets))
    return GranuleIndex(granule.id, granule.source.size, granule.source.etag, digest, tuple(indexed))


def _with_inline(beams: Sequence[Mapping[str, Dataset]], granule: OpenGranule) -> list[dict[str, Dataset]]:
    """Datasets of each beam, by path, their tables with their tiny chunks, which are read in one round."""

    def tiny(dataset: Dataset) -> dict[int, tuple[int, int]]:
        if isinstance(dataset, Unindexed):
            return {}
        return {number: dataset.range_of(number) for number in np.flatnonzero(dataset.sizes <= INLINE).tolist()}

    ranges = merge(chain.from_iterable(tiny(dataset).values() for beam in beams for dataset in beam.values()))
    buffers = Buffers(ranges, granule.source.views(ranges))

    def filled(dataset: Dataset) -> Dataset:
        if isinstance(dataset, Unindexed):
            return dataset
        return replace(dataset, inline={number: bytes(buffers.cut(*where)) for number, where in tiny(dataset).items()})

    return [{path: filled(dataset) for path, dataset in beam.items()} for beam in beams]
