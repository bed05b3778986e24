"""One ATL06 granule: which of its segments lie in a cell, and what is known of them.

The coordinates of all beams are read in one go; of every other dataset only the rows from the
first to the last segment in the cell. A granule is used whole or fails whole: when one beam cannot
be read, none of the others is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from maggjob.cells import INVALID, child_index, valid_coordinates
from maggjob.errors import CorruptError, MissingDatasetError, TruncatedError
from maggjob.hdf5_messages import end_of_file
from maggjob.model import Granule, Recipe
from maggjob.segments import Column
from maggjob.storage import Access, Source
from maggjob.visits import BeamRows, Visit, make_visit, needed_paths

if TYPE_CHECKING:
    from maggjob.hdf5 import DatasetInfo, Hdf5File


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
class BeamPart:
    """Which rows of a beam are read."""

    group: str
    """Name of the beam."""
    rows: int
    """Rows of the whole beam."""
    inside: np.ndarray
    """Numbers of the rows, shape (n,), ascending, at least one."""

    @property
    def span(self) -> tuple[int, int]:
        """First row, and the one after the last."""
        return int(self.inside[0]), int(self.inside[-1]) + 1


def open_granule(granule: Granule, access: Access) -> Hdf5File:
    """Open a granule, after checking that it is all there.

    Raises
    ------
    GranuleError
        It cannot be reached, is no HDF5 file, or is longer or shorter than its superblock says.
    """
    return open_file(granule, open_source(granule, access))


def open_source(granule: Granule, access: Access) -> Source:
    """The bytes of a granule, after checking that they are all there; for the errors see `open_granule`."""
    source = Source(granule.url, access, granule.size)
    expected = end_of_file(source.head[:64], granule.id)
    if expected != source.size:
        raise TruncatedError(
            f"{granule.id}: {source.size} bytes, its superblock says {expected}; fetch the granule again"
        )
    return source


def open_file(granule: Granule, source: Source) -> Hdf5File:
    """The structure of a granule whose bytes are open."""
    from maggjob.hdf5 import Hdf5File  # 0.05 s for h5coro, which a worker with an index never needs

    return Hdf5File(source.read, granule.id)


def read_beams(file: Hdf5File, recipe: Recipe, pool: Executor) -> list[Beam]:
    """Coordinates of every beam that the granule has.

    Raises
    ------
    GranuleError
        A beam lacks one of its coordinates, or the granule lacks every beam.
    """
    present = [group for group in recipe.groups if _has_beam(file, recipe, group)]
    if not present:
        raise MissingDatasetError(
            f"{file.name}: none of the beams {', '.join(recipe.groups)}; check data_source.groups and coordinates"
        )
    paths = [recipe.path(template, group) for group in present for template in (recipe.latitude, recipe.longitude)]
    infos = list(pool.map(lambda path: _required(file, path), paths))
    values = list(pool.map(lambda info: file.rows(info.path, 0, info.rows), infos))
    beams = []
    for i, group in enumerate(present):
        latitude, longitude = values[2 * i : 2 * i + 2]
        if len(latitude) != len(longitude):
            raise CorruptError(f"{file.name}: {group}: {len(latitude)} latitudes and {len(longitude)} longitudes")
        beams.append(Beam(group, latitude, longitude))
    return beams


def _has_beam(file: Hdf5File, recipe: Recipe, group: str) -> bool:
    path = recipe.path(recipe.latitude, group)
    return file.info(path) is not None or file.has_group(path.rsplit("/", 1)[0])


def _required(file: Hdf5File, path: str) -> DatasetInfo:
    info = file.info(path)
    if info is None:
        raise MissingDatasetError(f"{file.name}: no dataset {path}; check the paths under data_source")
    return info


def visit(
    granule: Granule, recipe: Recipe, cell: int, access: Access, pool: Executor, *, timed: bool = True
) -> Visit:
    """Read what one granule has in one cell.

    Parameters
    ----------
    granule : Granule
    recipe : Recipe
    cell : int
        Nested id.
    access : Access
    pool : Executor
        Reads run in it side by side.
    timed : bool
        Whether the times of what is kept are read, too.

    Raises
    ------
    GranuleError
        Anything was not read; nothing of the granule is used then.
    """
    file = open_granule(granule, access)
    beams = read_beams(file, recipe, pool)
    children = [child_index(beam.latitude, beam.longitude, cell, recipe.grid) for beam in beams]
    return make_visit(
        granule.id,
        recipe,
        present=[beam.group for beam in beams],
        rows=sum(len(beam.latitude) for beam in beams),
        invalid=sum(int(np.count_nonzero(child == INVALID)) for child in children),
        beams=[
            _read_rows(file, recipe, beam, child, pool)
            for beam, child in zip(beams, children, strict=True)
            if (child >= 0).any()
        ],
        timed=timed,
    )


def _read_rows(file: Hdf5File, recipe: Recipe, beam: Beam, child: np.ndarray, pool: Executor) -> BeamRows:
    """The segments of one beam in the cell: of each dataset the rows from the first to the last are read."""
    inside = np.flatnonzero(child >= 0)
    part = BeamPart(beam.group, len(beam.latitude), inside)
    columns, attributes = read_columns(file, part, needed_paths(recipe, beam.group), pool)
    return BeamRows(beam.group, child[inside], columns, attributes, lambda: read_time(file, part, recipe, pool))


def read_columns(
    file: Hdf5File, part: BeamPart, paths: Sequence[str], pool: Executor
) -> tuple[dict[str, Column], dict[str, dict[str, str]]]:
    """Rows of some datasets of one beam, through h5coro.

    Returns
    -------
    columns : dict of path to Column, shape (n,)
    attributes : dict of path to dict
        ``units`` and ``long_name``.

    Raises
    ------
    GranuleError
        A dataset is missing, has another number of rows than the beam, or cannot be read.
    """
    infos = [_required(file, path) for path in paths]
    for info in infos:
        if info.rows != part.rows:
            raise CorruptError(f"{file.name}: {info.path}: {info.rows} rows, the beam has {part.rows}")
    start, stop = part.span
    read = pool.map(lambda info: Column(file.rows(info.path, start, stop)[part.inside - start], info.fill), infos)
    return dict(zip(paths, read, strict=True)), {path: i.described for path, i in zip(paths, infos, strict=True)}


def read_time(file: Hdf5File, part: BeamPart, recipe: Recipe, pool: Executor) -> Column | None:
    """Times of rows of one beam, through h5coro; None when it has none."""
    path = recipe.path(recipe.time, part.group)
    if file.info(path) is None:
        return None
    return read_columns(file, part, [path], pool)[0][path]


def granule_cells(
    granule: Granule, recipe: Recipe, access: Access, pool: Executor, locate: Callable[..., np.ndarray]
) -> np.ndarray:
    """Nested ids of all cells that a granule's segments lie in, sorted: exact, from its coordinates.

    Parameters
    ----------
    locate : callable
        ``locate(latitude, longitude)`` to cell ids, for valid coordinates.

    Raises
    ------
    GranuleError
        The granule cannot be read.
    """
    file = open_granule(granule, access)
    cells = [np.empty(0, np.int64)]
    for beam in read_beams(file, recipe, pool):
        valid = valid_coordinates(beam.latitude, beam.longitude)
        cells.append(np.unique(locate(beam.latitude[valid], beam.longitude[valid])))
    return np.unique(np.concatenate(cells))
