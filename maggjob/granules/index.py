"""The index of one granule: which rows lie in which cell, and where their bytes are in the file.

An index is built once per granule and used for every cell that the granule touches. A worker then reads neither the
coordinates nor the structure of the file. `maggjob.granules.index_format` defines its encoding.
docs/decisions/indexes.md explains its key, and what happens to reads that it cannot serve.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

import numpy as np

from maggjob.errors import CorruptError, MissingDatasetError, StaleIndexError, UnsupportedError
from maggjob.granules.granule import OpenGranule, datasets_of, read_beams, read_constant
from maggjob.granules.screening import child_type
from maggjob.granules.selection import BeamSelection, Buffers, CellSelection, Constant, Dataset, Unindexed
from maggjob.grid.healpix import INVALID, Grid
from maggjob.grid.tracks import locate_runs
from maggjob.hdf5.chunks import merge
from maggjob.model.recipe import Recipe
from maggjob.storage.archive import same_object

INLINE = 1024
"""Largest chunk, in bytes, whose content is copied into the index. Such chunks are mostly quality flags: 10,000 flags
take 70 to 800 bytes. Reading each of them separately would cost one request per cell for less than one packet."""


@dataclass(frozen=True)
class BeamIndex:
    """Cells and storage of the rows of one beam."""

    group: str
    """Name of the beam."""
    ids: np.ndarray
    """Nested id, at the child order, of each run of consecutive rows in the same child cell, shape (runs,), integers;
    `maggjob.grid.healpix.INVALID` where coordinates cannot be binned."""
    lengths: np.ndarray
    """Number of rows of each run, shape (runs,), integers."""
    datasets: Mapping[str, Dataset]
    """Datasets that a cell needs, and the times, by path; datasets that the beam lacks are left out."""

    @cached_property
    def rows(self) -> int:
        """Number of rows of the beam."""
        return int(self.lengths.sum())


@dataclass(frozen=True)
class GranuleIndex:
    """Cells and storage of the rows of one granule."""

    granule: str
    """Id of the granule."""
    size: int
    """Size of the file when it was indexed, in bytes."""
    etag: str | None
    """ETag of the file when it was indexed, if the server sends one; for local files inode, change time and size."""
    digest: str
    """Digest of the grid's child order and latitude convention and of the datasets (see
    `maggjob.granules.index_format`)."""
    beams: tuple[BeamIndex, ...]
    """Beams in the granule, in the order of the configuration."""
    constants: Mapping[str, Constant] = field(default_factory=dict)
    """Datasets with one value, by path; those that cannot be read are left out."""
    slow: bool = False
    """Whether cells read the granule by h5py, at least in part, as h5coro cannot read its layout."""

    @property
    def rows(self) -> int:
        """Number of segments of the granule."""
        return sum(beam.rows for beam in self.beams)

    @property
    def invalid(self) -> int:
        """Number of segments whose coordinates cannot be binned."""
        return sum(int(beam.lengths[beam.ids == INVALID].sum()) for beam in self.beams)

    def cells(self, grid: Grid) -> dict[int, int]:
        """Return the number of rows in each cell of the parent order, by nested id, ascending.

        Only cells with rows are listed. The counts and `invalid` add up to `rows`, so the pairs of granule and cell
        are exact.
        """
        # INVALID stays negative when it is shifted.
        ids = np.concatenate([beam.ids for beam in self.beams]) >> grid.shift
        lengths = np.concatenate([beam.lengths for beam in self.beams])
        found, place = np.unique(ids, return_inverse=True)
        counts = np.bincount(place, lengths, len(found)).astype(np.int64)
        return {cell: count for cell, count in zip(found.tolist(), counts.tolist(), strict=True) if cell >= 0}

    def select(self, cell: int, grid: Grid) -> CellSelection:
        """Select the rows that lie in a cell.

        Parameters
        ----------
        cell : int
            Nested id at ``grid.parent_order``.
        grid : Grid
        """
        inside = [found for beam in self.beams if (found := _select_rows(beam, cell, grid)) is not None]
        present = [beam.group for beam in self.beams]
        return CellSelection(self.granule, present, self.rows, self.invalid, inside, self.constants)

    def check(self, size: int, etag: str | None) -> None:
        """Check that a granule has not changed since it was indexed.

        Parameters
        ----------
        size : int
            Size of the file now, in bytes.
        etag : str or None
            ETag of the file now.

        Raises
        ------
        StaleIndexError
            If size or ETag differ.
        """
        if not same_object(size, etag, self.size, self.etag):
            raise StaleIndexError(
                f"{self.granule}: it has {size} bytes, ETag {etag}; its index was made from {self.size} bytes, ETag "
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
    """Build the index of a granule from its coordinates, which are read once and completely.

    Parameters
    ----------
    granule : OpenGranule
    recipe : Recipe
    digest : str
        `maggjob.granules.index_format.index_digest` of the recipe.
    pool : Executor
        Runs reads concurrently.

    Raises
    ------
    GranuleError
        If the coordinates of a beam cannot be read, or the granule has none of the beams. Problems with
        other datasets are reported by the cells that read them.
    """
    grid, beams, indexed = recipe.grid, read_beams(granule, recipe, pool), []
    every = _with_inline(datasets_of(granule, beams, recipe.indexed_paths, pool), granule)
    for beam, datasets in zip(beams, every, strict=True):
        ids, lengths = locate_runs(beam.latitude, beam.longitude, grid.child_order, grid.latitude)
        indexed.append(BeamIndex(beam.group, ids, lengths, datasets))
    constants = _constants(granule, chain.from_iterable(recipe.constant_paths[beam.group] for beam in beams))
    source, file = granule.source, granule.file
    return GranuleIndex(granule.id, source.size, source.etag, digest, tuple(indexed), constants, file.slow)


def _constants(granule: OpenGranule, paths: Iterable[str]) -> dict[str, Constant]:
    """Read the datasets with one value; the cells report the problems of the others."""
    found = {}
    for path in dict.fromkeys(paths):
        with suppress(CorruptError, UnsupportedError, MissingDatasetError):
            found[path] = read_constant(granule.file, path)
    return found


def _with_inline(beams: Sequence[Mapping[str, Dataset]], granule: OpenGranule) -> list[dict[str, Dataset]]:
    """Return the datasets of each beam with their small chunks, which are read in one round."""

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
