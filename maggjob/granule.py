"""One ATL06 granule: which of its segments lie in a cell, and what is known of them.

The coordinates of all beams are read in one go; of every other dataset only the rows from the
first to the last segment in the cell. A granule is used whole or fails whole: when one beam cannot
be read, none of the others is used.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from maggjob.cells import INVALID, child_index, valid_coordinates
from maggjob.errors import CorruptError, MissingDatasetError, TruncatedError, UnsupportedError
from maggjob.hdf5 import DatasetInfo, Hdf5File
from maggjob.hdf5_messages import end_of_file
from maggjob.model import BUILT_IN_COLUMNS, KEPT, Granule, GranuleName, GranuleReport, Recipe
from maggjob.segments import Column, add_counts, screen
from maggjob.storage import Access, Source

T = TypeVar("T")
R = TypeVar("R")
Map = Callable[[Callable[[T], R], Iterable[T]], Iterable[R]]
READ, ABSENT = "read", "absent"


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
class Visit:
    """What one granule gives to one cell."""

    report: GranuleReport
    """Its line in the ledger."""
    segments: Mapping[str, int] = field(default_factory=dict)
    """Its segments in the cell by state."""
    child: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Child of each segment kept, shape (kept,)."""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the statistics use, shape (kept,) each, in the granule's own types."""
    time: tuple[float, float] | None = None
    """First and last time of the segments kept, seconds since 2018-01-01."""
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """``units`` and ``long_name`` of each variable."""


def open_granule(granule: Granule, access: Access) -> Hdf5File:
    """Open a granule, after checking that it is all there.

    Raises
    ------
    GranuleError
        It cannot be reached, is no HDF5 file, or is longer or shorter than its superblock says.
    """
    source = Source(granule.url, access, granule.size)
    expected = end_of_file(source.head[:64], granule.id)
    if expected != source.size:
        raise TruncatedError(
            f"{granule.id}: {source.size} bytes, its superblock says {expected}; fetch the granule again"
        )
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


def visit(granule: Granule, recipe: Recipe, cell: int, access: Access, pool: Executor) -> Visit:
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

    Raises
    ------
    GranuleError
        Anything was not read; nothing of the granule is used then.
    """
    file = open_granule(granule, access)
    beams = read_beams(file, recipe, pool)
    children = [child_index(beam.latitude, beam.longitude, cell, recipe.grid) for beam in beams]
    states = dict.fromkeys(recipe.groups, ABSENT) | {beam.group: READ for beam in beams}
    pieces = [
        _read_rows(file, recipe, beam, child, pool)
        for beam, child in zip(beams, children, strict=True)
        if (child >= 0).any()
    ]
    segments = add_counts(piece.segments for piece in pieces)
    names = recipe.used_columns
    times = [piece.time for piece in pieces if piece.time is not None]
    report = GranuleReport(
        granule.id,
        "used" if pieces else "no_overlap",
        beams=states,
        rows=sum(len(beam.latitude) for beam in beams),
        invalid_coordinate=sum(int(np.count_nonzero(child == INVALID)) for child in children),
        in_cell=sum(segments.values()),
        kept=segments.get(KEPT, 0),
    )
    if not pieces:
        return Visit(report)
    return Visit(
        report,
        segments,
        child=np.concatenate([piece.child for piece in pieces]),
        columns={name: np.concatenate([piece.columns[name] for piece in pieces]) for name in sorted(names)},
        time=(min(t for t, _ in times), max(t for _, t in times)) if times else None,
        attributes=pieces[0].attributes,
    )


def _read_rows(file: Hdf5File, recipe: Recipe, beam: Beam, child: np.ndarray, pool: Executor) -> Visit:
    """The segments of one beam in the cell: read from the first to the last, screened, cut to those kept."""
    inside = np.flatnonzero(child >= 0)
    start, stop = int(inside[0]), int(inside[-1]) + 1
    inside -= start
    path = {name: recipe.path(template, beam.group) for name, template in recipe.columns}
    condition = {f.state: recipe.path(f.dataset, beam.group) for f in recipe.filters}
    time_path = recipe.path(recipe.time, beam.group)
    infos = {p: _required(file, p) for p in (*path.values(), *condition.values())}  # each dataset once
    time_info = file.info(time_path)
    if time_info is not None:
        infos[time_path] = time_info
    for info in infos.values():
        if info.rows != len(beam.latitude):
            raise CorruptError(f"{file.name}: {info.path}: {info.rows} rows, the beam has {len(beam.latitude)}")

    read = pool.map(lambda info: Column(file.rows(info.path, start, stop)[inside], info.fill), infos.values())
    values = dict(zip(infos, read, strict=True))
    columns = {name: values[p] for name, p in path.items()}
    extra = built_in_columns(file.name, recipe, beam, inside + start)
    kept, counts = screen(recipe, {s: values[p] for s, p in condition.items()}, columns, extra, len(inside))
    named = {name: column.values for name, column in columns.items()} | extra
    attributes = {name: _described(infos[p]) for name, p in path.items()}
    return Visit(
        GranuleReport(file.name, "used"),
        counts,
        child=child[inside + start][kept],
        columns={name: named[name][kept] for name in recipe.used_columns},
        time=_span(values[time_path], kept) if time_path in values else None,
        attributes=attributes,
    )


def _described(info: DatasetInfo) -> dict[str, str]:
    """What a dataset says of itself, for the attributes of the result."""
    return {key: value for key in ("units", "long_name") if isinstance(value := info.attributes.get(key), str)}


def _span(time: Column, kept: np.ndarray) -> tuple[float, float] | None:
    good = time.values[kept & ~time.is_fill]
    return (float(good.min()), float(good.max())) if len(good) else None


def built_in_columns(name: str, recipe: Recipe, beam: Beam, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Columns that come from a granule's name, its beams and its coordinates, as far as they are used.

    ``beam`` is 1 for the first of the configuration's groups.

    Raises
    ------
    UnsupportedError
        A column of the name is used and the name is none of ICESat-2's.
    """
    needed = recipe.used_columns.intersection(BUILT_IN_COLUMNS)
    columns: dict[str, np.ndarray] = {}
    for column in needed:
        if column == "latitude":
            columns[column] = beam.latitude[rows]
        elif column == "longitude":
            columns[column] = beam.longitude[rows]
        elif column == "beam":
            columns[column] = np.full(len(rows), recipe.groups.index(beam.group) + 1, np.int64)
        else:
            parsed = GranuleName.parse(name)
            if parsed is None:
                raise UnsupportedError(f"{name}: its name gives no {column}, which a statistic uses")
            columns[column] = np.full(len(rows), getattr(parsed, column), np.int64)
    return columns


def granule_cells(
    granule: Granule, recipe: Recipe, access: Access, pool: Executor, locate: Callable[..., np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """All cells that a granule's segments lie in: exact, from its coordinates.

    Parameters
    ----------
    locate : callable
        ``locate(latitude, longitude)`` to cell ids, for valid coordinates.

    Returns
    -------
    cells : ndarray of int64, ascending
        Nested ids.
    rows : ndarray of int64
        Segments in each.

    Raises
    ------
    GranuleError
        The granule cannot be read.
    """
    file = open_granule(granule, access)
    cells = [np.empty(0, np.int64)]
    for beam in read_beams(file, recipe, pool):
        valid = valid_coordinates(beam.latitude, beam.longitude)
        cells.append(locate(beam.latitude[valid], beam.longitude[valid]))
    found, rows = np.unique(np.concatenate(cells), return_counts=True)
    return found, rows
