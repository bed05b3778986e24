"""Reading of one ATL06 granule without an index: its structure, its coordinates and its rows in a cell.

h5coro walks the structure. The chunks of the selected rows are then read in merged byte ranges; datasets
that are stored in an unusual way are read by h5coro itself. A granule is used completely or not at all: if
one beam cannot be read, the whole granule fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from maggjob.errors import CorruptError, MissingDatasetError, TruncatedError, UnsupportedError
from maggjob.granules.built_in import TURNING
from maggjob.granules.columns import Column
from maggjob.granules.screening import Paths, ScreenedGranule, screen_with_times
from maggjob.granules.selection import (
    BeamSelection,
    Buffers,
    CellSelection,
    Columns,
    Constant,
    Dataset,
    Unindexed,
    UnindexedRead,
    join_paths,
)
from maggjob.grid.healpix import INVALID, child_index
from maggjob.hdf5.chunks import merge
from maggjob.hdf5.superblock import read_superblock
from maggjob.model.recipe import ORIENTATION, Recipe
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive, Source

if TYPE_CHECKING:
    from maggjob.hdf5.auto_file import AutoFile
    from maggjob.hdf5.dataset_info import DatasetInfo

MOST_CONSTANTS = 100
"""Values that are compared of a dataset that should have one."""
READING_IMPORTS = ("maggjob.hdf5.auto_file", "mortie")
"""Modules imported when a granule is first read without an index."""


@dataclass(frozen=True)
class Beam:
    """Coordinates of one beam."""

    group: str
    """Name of the beam."""
    latitude: np.ndarray
    """Shape (rows,), degrees."""
    longitude: np.ndarray
    """Shape (rows,), degrees."""


@dataclass(frozen=True)
class OpenGranule:
    """A granule that can be read."""

    id: str
    """Id of the granule, for messages."""
    source: Source
    """Bytes of the granule."""
    file: AutoFile
    """HDF5 structure of the granule."""


def open_granule(granule: Granule, archive: Archive, reader: str = "auto") -> OpenGranule:
    """Open a granule after checking that its file is complete.

    Parameters
    ----------
    granule : Granule
    archive : Archive
        Where granules are read from.
    reader : str
        Library that reads it, as in `Recipe`.

    Raises
    ------
    GranuleError
        If the file cannot be reached, is not HDF5, was replaced after the run began, or differs in size from what its
        superblock says.
    """
    # Importing h5coro takes 0.05 s, and a worker that reads by index never needs it.
    from maggjob.hdf5.auto_file import AutoFile

    source = Source(granule.url, archive, granule.size, granule.etag)
    superblock = read_superblock(source.head, granule.id)
    if superblock.end != source.size:
        raise TruncatedError(
            f"{granule.id}: it has {source.size} bytes, but its superblock says {superblock.end}; fetch the granule "
            "again"
        )
    file = AutoFile(source.read, source.size, granule.id, reader, superblock.odd)
    return OpenGranule(granule.id, source, file)


def read_beams(granule: OpenGranule, recipe: Recipe, pool: Executor) -> list[Beam]:
    """Read the coordinates of all beams in the granule, in one round of merged ranges.

    Parameters
    ----------
    granule : OpenGranule
    recipe : Recipe
    pool : Executor
        Runs reads concurrently.

    Returns
    -------
    list of Beam
        In the order of the recipe's groups; absent beams are left out.

    Raises
    ------
    GranuleError
        If a beam lacks one of its coordinates, or the granule has none of the beams.
    """
    file = granule.file
    present = [group for group in recipe.groups if has_beam(file, recipe, group)]
    if not present:
        raise MissingDatasetError(
            f"{granule.id}: it has none of the beams {', '.join(recipe.groups)}; "
            "check data_source.groups and coordinates"
        )
    paths = {group: [recipe.path(recipe.latitude, group), recipe.path(recipe.longitude, group)] for group in present}
    infos = list(pool.map(lambda group: [_required(file, path) for path in paths[group]], present))
    tables = tables_of(granule, list(chain.from_iterable(infos)))
    every = []
    for group, (latitude, longitude) in zip(present, infos, strict=True):
        if latitude.rows != longitude.rows:
            counts = f"{latitude.rows} latitudes and {longitude.rows} longitudes"
            raise CorruptError(f"{granule.id}: {group}: {counts}")
        every.append(BeamSelection(group, latitude.rows, 0, latitude.rows, None, np.empty(0), tables))
    selection = CellSelection(granule.id, present, rows=0, invalid=0, beams=every)
    ranges = selection.ranges(paths)
    buffers = Buffers(ranges, granule.source.views(ranges))
    found = selection.values(paths, buffers, unindexed_read(granule, pool))
    return [Beam(beam.group, *(beam.columns[path].values for path in paths[beam.group])) for beam in found.beams]


def has_beam(file: AutoFile, recipe: Recipe, group: str) -> bool:
    """Return True if a beam is there: a group without coordinates is that of an absent beam.

    Parameters
    ----------
    file : AutoFile
    recipe : Recipe
    group : str
        Name of the beam.
    """
    return any(file.info(recipe.path(path, group)) is not None for path in (recipe.latitude, recipe.longitude))


def _required(file: AutoFile, path: str) -> DatasetInfo:
    info = file.info(path)
    if info is None:
        raise MissingDatasetError(f"{file.name}: it has no dataset {path}; check the paths under data_source")
    return info


def tables_of(granule: OpenGranule, infos: Sequence[DatasetInfo]) -> dict[str, Dataset]:
    """Read the chunk tables of datasets in one round.

    Parameters
    ----------
    granule : OpenGranule
    infos : sequence of DatasetInfo
        Headers of the datasets.

    Returns
    -------
    dict of path to ChunkTable or Unindexed
        `Unindexed` as in `table_of`.
    """
    wanted = granule.file.nodes_wanted((info.path for info in infos), granule.source.size)
    ranges = merge(wanted)
    buffers = Buffers(ranges, granule.source.views(ranges))
    granule.file.keep_nodes({start: bytes(buffers.cut(start, stop)) for start, stop in wanted})
    return {info.path: table_of(granule, info) for info in infos}


def table_of(granule: OpenGranule, info: DatasetInfo) -> Dataset:
    """Return the chunk table of a dataset.

    Parameters
    ----------
    granule : OpenGranule
    info : DatasetInfo
        Header of the dataset.

    Returns
    -------
    ChunkTable or Unindexed
        `Unindexed` if the dataset has no chunk table, or one that is damaged or not supported.
    """
    try:
        table = granule.file.chunk_table(info.path)
    except (CorruptError, UnsupportedError) as problem:
        return Unindexed(str(problem))
    if len(table.sizes) and int((table.offsets + table.sizes).max()) > granule.source.size:
        return Unindexed(f"a chunk lies beyond the end at {granule.source.size}")
    return table


def datasets_of(granule: OpenGranule, beams: Sequence[Beam], paths: Paths, pool: Executor) -> list[dict[str, Dataset]]:
    """Return where datasets of each beam are stored.

    Parameters
    ----------
    granule : OpenGranule
    beams : sequence of Beam
    paths : mapping
        Paths of the datasets, by beam.
    pool : Executor
        Runs reads concurrently.

    Returns
    -------
    list of dict of path to ChunkTable or Unindexed
        One per beam; datasets that the beam lacks are left out.
    """

    def look(beam: Beam) -> dict[str, DatasetInfo | Unindexed | None]:
        return {path: _look(granule.file, path, len(beam.latitude)) for path in paths[beam.group]}

    found = list(pool.map(look, beams))
    infos = [one for beam in found for one in beam.values() if one is not None and not isinstance(one, Unindexed)]
    tables = tables_of(granule, infos)
    return [
        {path: one if isinstance(one, Unindexed) else tables[path] for path, one in beam.items() if one is not None}
        for beam in found
    ]


def _look(file: AutoFile, path: str, rows: int) -> DatasetInfo | Unindexed | None:
    """Return the header of a dataset: None if it does not exist, `Unindexed` if the header cannot be trusted."""
    try:
        info = file.info(path)
    except (CorruptError, UnsupportedError) as problem:
        return Unindexed(str(problem))
    return info if info is None or info.rows == rows else Unindexed(f"{path}: {info.rows} rows")


def select(granule: OpenGranule, recipe: Recipe, cell: int, paths: Paths, pool: Executor) -> CellSelection:
    """Find the rows of a granule that lie in a cell from the granule's coordinates.

    Parameters
    ----------
    granule : OpenGranule
    recipe : Recipe
    cell : int
        Nested id.
    paths : mapping
        Datasets to locate in the file, by beam.
    pool : Executor
        Runs reads concurrently.

    Raises
    ------
    GranuleError
        If the coordinates of a beam cannot be read.
    """
    beams = read_beams(granule, recipe, pool)
    children = [child_index(beam.latitude, beam.longitude, cell, recipe.grid) for beam in beams]
    inside = [(beam, child) for beam, child in zip(beams, children, strict=True) if (child >= 0).any()]
    datasets = datasets_of(granule, [beam for beam, _ in inside], paths, pool)
    constants = chain.from_iterable(recipe.constant_paths[beam.group] for beam, _ in inside)
    return CellSelection(
        granule.id,
        [beam.group for beam in beams],
        rows=sum(len(beam.latitude) for beam in beams),
        invalid=sum(int(np.count_nonzero(child == INVALID)) for child in children),
        beams=[_select_rows(*one, found) for one, found in zip(inside, datasets, strict=True)],
        constants={path: read_constant(granule.file, path) for path in dict.fromkeys(constants)},
    )


def read_constant(file: AutoFile, path: str) -> Constant:
    """Read a dataset with one value per granule or per beam.

    Parameters
    ----------
    file : AutoFile
    path : str

    Raises
    ------
    GranuleError
        If there is no such dataset, or it has several values that differ; but an orientation that changes is in
        transition.
    """
    info = _required(file, path)
    values = file.rows(path, 0, min(info.rows, MOST_CONSTANTS))
    if info.rows > 1 and path == ORIENTATION.strip("/") and len(np.unique(values)) > 1:
        values = np.array([TURNING], values.dtype)
    elif info.rows != 1 and (info.rows > MOST_CONSTANTS or len(np.unique(values)) != 1):
        raise UnsupportedError(
            f"{file.name}: {path}: {info.rows} values, expected one per granule or beam; write {{group}} in place of "
            "the beam if it has one per segment"
        )
    return Constant(values[:1], info.fill, info.described)


def _select_rows(beam: Beam, child: np.ndarray, datasets: Mapping[str, Dataset]) -> BeamSelection:
    inside = np.flatnonzero(child >= 0)
    start, stop = int(inside[0]), int(inside[-1]) + 1
    chosen = inside - start if len(inside) < stop - start else None
    return BeamSelection(beam.group, len(beam.latitude), start, stop, chosen, child[inside], datasets)


def read_granule(
    granule: Granule, recipe: Recipe, cell: int, archive: Archive, pool: Executor, *, timed: bool
) -> ScreenedGranule:
    """Read and screen the rows of one granule in one cell, without an index.

    Parameters
    ----------
    granule : Granule
    recipe : Recipe
    cell : int
        Nested id.
    archive : Archive
        Where granules are read from.
    pool : Executor
        Runs reads concurrently.
    timed : bool
        True to find the first and last time of the segments kept.

    Raises
    ------
    GranuleError
        If any part could not be read. Nothing of the granule may be used then.
    """
    opened = open_granule(granule, archive, recipe.reader)
    selection = select(opened, recipe, cell, recipe.indexed_paths if timed else recipe.needed_paths, pool)
    times = selection.those_there(recipe.time_paths) if timed else {}
    ranges = selection.ranges(join_paths(recipe.needed_paths, times))
    buffers, unindexed = Buffers(ranges, opened.source.views(ranges)), unindexed_read(opened, pool)
    screened = screen_with_times(recipe, lambda paths: selection.values(paths, buffers, unindexed), times)
    return replace(screened, by_h5py=opened.file.slow)


def unindexed_read(granule: OpenGranule, pool: Executor) -> UnindexedRead:
    """Return a function that reads datasets through h5coro or h5py, for datasets that cannot be read in ranges.

    It reads from the first to the last row of a selection. It raises a GranuleError if a dataset is missing,
    cannot be read, or does not have the beam's number of rows.

    Parameters
    ----------
    granule : OpenGranule
    pool : Executor
        Runs reads concurrently.
    """
    file = granule.file

    def read(beam: BeamSelection, paths: Sequence[str]) -> Columns:
        infos = [_required(file, path) for path in paths]
        for info in infos:
            if info.rows != beam.rows:
                raise CorruptError(f"{file.name}: {info.path}: {info.rows} rows, but the beam has {beam.rows}")
        values = pool.map(lambda info: beam.pick(file.rows(info.path, beam.start, beam.stop)), infos)
        columns = {info.path: Column(v, info.fill) for info, v in zip(infos, values, strict=True)}
        return columns, {info.path: info.described for info in infos}

    return read
