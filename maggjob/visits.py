"""What one granule gives to one cell: the rows inside are screened here, however they were read.

`maggjob.granule` reads them through h5coro, `maggjob.reading` through an index; both end in
`make_visit`, so that a cell's result does not depend on the way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from maggjob.errors import UnsupportedError
from maggjob.model import BUILT_IN_COLUMNS, KEPT, GranuleName, GranuleReport, Recipe
from maggjob.segments import Column, add_counts, screen

READ, ABSENT = "read", "absent"


@dataclass(frozen=True)
class BeamRows:
    """The rows of one beam that lie in a cell, as they are in the file."""

    group: str
    """Name of the beam."""
    child: np.ndarray
    """Child that each row lies in, shape (n,), integers."""
    columns: Mapping[str, Column]
    """Values of each dataset by its path, shape (n,): those that ``Recipe.needed_paths`` names."""
    attributes: Mapping[str, Mapping[str, str]]
    """``units`` and ``long_name`` of each dataset, by its path."""
    time: Callable[[], Column | None]
    """Reads the times, shape (n,), seconds since 2018-01-01; None when the beam has none, or none is wanted."""


@dataclass(frozen=True)
class Visit:
    """What one granule gives to one cell."""

    report: GranuleReport
    """Its line in the ledger."""
    segments: Mapping[str, int] = field(default_factory=dict)
    """Its segments in the cell by state."""
    child: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Child of each segment kept, shape (kept,), the smallest unsigned integers that hold all children."""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the statistics use, shape (kept,) each, in the granule's own types."""
    time: tuple[float, float] | None = None
    """First and last time of the segments kept, seconds since 2018-01-01."""
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """``units`` and ``long_name`` of each variable."""
    timed: bool = True
    """Whether times were asked for."""


def child_type(children: int) -> np.dtype:
    """The smallest type that holds the number of any child."""
    return np.min_scalar_type(children - 1)


def make_visit(
    granule: str,
    recipe: Recipe,
    present: Sequence[str],
    rows: int,
    invalid: int,
    beams: Sequence[BeamRows],
    *,
    timed: bool = True,
) -> Visit:
    """Screen the rows of a granule in a cell.

    Parameters
    ----------
    granule : str
        Its id.
    recipe : Recipe
    present : sequence of str
        The beams that the granule has.
    rows, invalid : int
        All segments of the granule, and those whose coordinates cannot be binned.
    beams : sequence of BeamRows
        Of beams with rows in the cell, in the order of ``present``.
    timed : bool
        Whether the times of what is kept are wanted; they are read only if anything is.

    Raises
    ------
    GranuleError
        Times cannot be read, or the name gives no column that a statistic uses.
    """
    states = dict.fromkeys(recipe.groups, ABSENT) | dict.fromkeys(present, READ)
    named = [_named(granule, recipe, beam) for beam in beams]
    pieces = [_screen(recipe, list(some), timed) for _, some in groupby(named, key=_kind)]
    segments = add_counts(piece.segments for piece in pieces)
    times = [piece.time for piece in pieces if piece.time is not None]
    report = GranuleReport(
        granule,
        "used" if pieces else "no_overlap",
        beams=states,
        rows=rows,
        invalid_coordinate=invalid,
        in_cell=sum(segments.values()),
        kept=segments.get(KEPT, 0),
    )
    if not pieces:
        return Visit(report, timed=timed)
    return Visit(
        report,
        segments,
        child=np.concatenate([piece.child for piece in pieces]),
        columns={name: np.concatenate([p.columns[name] for p in pieces]) for name in sorted(recipe.used_columns)},
        time=(min(t for t, _ in times), max(t for _, t in times)) if times else None,
        attributes=named[0].attributes,
        timed=timed,
    )


@dataclass(frozen=True)
class _Named:
    """The rows of a beam, its columns by the names of the recipe instead of paths."""

    child: np.ndarray
    columns: Mapping[str, Column]
    conditions: Mapping[str, Column]
    extra: Mapping[str, np.ndarray]
    time: Callable[[], Column | None]
    attributes: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class _Piece:
    """What is kept of some beams; fields as in `Visit`."""

    segments: Mapping[str, int]
    child: np.ndarray
    columns: Mapping[str, np.ndarray]
    time: tuple[float, float] | None


def _named(granule: str, recipe: Recipe, beam: BeamRows) -> _Named:
    path = {name: recipe.path(template, beam.group) for name, template in recipe.columns}
    return _Named(
        beam.child.astype(child_type(recipe.grid.children), copy=False),
        {name: beam.columns[p] for name, p in path.items()},
        {f.state: beam.columns[recipe.path(f.dataset, beam.group)] for f in recipe.filters},
        built_in_columns(granule, recipe, beam),
        beam.time,
        {name: beam.attributes[p] for name, p in path.items()},
    )


def _kind(beam: _Named) -> tuple[object, ...]:
    """Types and fill values: beams that have them in common, as all of real granules do, are screened as one."""
    every = (*beam.columns.values(), *beam.conditions.values())
    return tuple((column.values.dtype, column.fill) for column in every)


def _screen(recipe: Recipe, beams: Sequence[_Named], timed: bool) -> _Piece:
    """Screen the rows of beams of one kind, and cut them to those kept."""

    def joined(columns: Sequence[Mapping[str, Column]]) -> dict[str, Column]:
        return {
            name: Column(np.concatenate([one[name].values for one in columns]), first.fill)
            for name, first in columns[0].items()
        }

    columns = joined([beam.columns for beam in beams])
    conditions = joined([beam.conditions for beam in beams])
    extra = {name: np.concatenate([beam.extra[name] for beam in beams]) for name in beams[0].extra}
    child = np.concatenate([beam.child for beam in beams])
    kept, counts = screen(recipe, conditions, columns, extra, len(child))
    named = {name: column.values for name, column in columns.items()} | extra
    return _Piece(
        counts,
        child=child[kept],
        columns={name: named[name][kept] for name in recipe.used_columns},
        time=_span(beams, kept) if timed else None,
    )


def _span(beams: Sequence[_Named], kept: np.ndarray) -> tuple[float, float] | None:
    """First and last time of what is kept; the times of a beam of which nothing is kept are not read."""
    good, start = [], 0
    for beam in beams:
        own = kept[start : start + len(beam.child)]
        start += len(beam.child)
        time = beam.time() if own.any() else None
        if time is not None:
            good.append(time.values[own & ~time.is_fill])
    times = np.concatenate(good) if good else np.empty(0)
    return (float(times.min()), float(times.max())) if len(times) else None


def built_in_columns(granule: str, recipe: Recipe, beam: BeamRows) -> dict[str, np.ndarray]:
    """Columns that come from a granule's name, its beams and its coordinates, as far as they are used.

    ``beam`` is 1 for the first of the configuration's groups.

    Raises
    ------
    UnsupportedError
        A column of the name is used and the name is none of ICESat-2's.
    """
    columns: dict[str, np.ndarray] = {}
    for column in recipe.used_columns.intersection(BUILT_IN_COLUMNS):
        if column in ("latitude", "longitude"):
            template = recipe.latitude if column == "latitude" else recipe.longitude
            columns[column] = beam.columns[recipe.path(template, beam.group)].values
        elif column == "beam":
            columns[column] = np.full(len(beam.child), recipe.groups.index(beam.group) + 1, np.int64)
        else:
            parsed = GranuleName.parse(granule)
            if parsed is None:
                raise UnsupportedError(f"{granule}: its name gives no {column}, which a statistic uses")
            columns[column] = np.full(len(beam.child), getattr(parsed, column), np.int64)
    return columns
