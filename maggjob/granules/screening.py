"""What one granule gives to one cell: the rows inside are screened here, however they were read.

`maggjob.granules.granule` reads them through h5coro, `maggjob.granules.reader` through an index; both end in
`make_visit`, so that a cell's result does not depend on the way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from maggjob.errors import UnsupportedError
from maggjob.icesat2.names import GranuleName
from maggjob.model.ledger import add_counts
from maggjob.model.recipe import BUILT_IN_COLUMNS, Recipe, RowFilter
from maggjob.model.reports import BAD_WEIGHT, FILL, KEPT, NOT_FINITE, GranuleReport
from maggjob.statistics.checks import bad_weights, not_finite

Fill = float | int | None
LARGEST = float(np.finfo(np.float32).max)  # what ICESat-2 products write where there is no value


@dataclass(frozen=True)
class Column:
    """Values as they are in the file."""

    values: np.ndarray
    """Shape (n,), any numeric type."""
    fill: Fill = None
    """The dataset's ``_FillValue``."""

    @property
    def is_fill(self) -> np.ndarray:
        """Where there is no value: the fill value, not finite, or at the limit of float32."""
        bad = np.zeros(len(self.values), bool)
        if self.values.dtype.kind == "f":
            with np.errstate(invalid="ignore", over="ignore"):  # over: LARGEST in half precision
                bad = ~(np.abs(self.values) < LARGEST)
        if self.fill is not None and abs(self.fill) < LARGEST:  # else it is among those already
            bad |= self.values == self.fill
        return bad


def passes(condition: RowFilter, column: Column) -> np.ndarray:
    """Where a filter's dataset has a value that meets its condition, shape (n,), bool."""
    values = column.values
    with np.errstate(invalid="ignore", over="ignore"):
        match condition.op:
            case "<":
                met = values < condition.value
            case "<=":
                met = values <= condition.value
            case "==":
                met = values == condition.value
            case "!=":
                met = values != condition.value
            case "in":
                members = np.atleast_1d(condition.value).tolist()  # each compared in the type of the values
                met = np.logical_or.reduce([values == member for member in members])
            case _:
                raise ValueError(f"filter {condition.state}: operator {condition.op!r}")
    return np.asarray(met & ~column.is_fill, bool)


def screen(
    recipe: Recipe,
    conditions: Mapping[str, Column],
    columns: Mapping[str, Column],
    extra: Mapping[str, np.ndarray],
    rows: int,
) -> tuple[np.ndarray, dict[str, int]]:
    """Decide for each segment of a cell.

    Parameters
    ----------
    recipe : Recipe
    conditions : mapping of filter state to Column, shape (rows,) each
    columns : mapping of name to Column, shape (rows,) each
        All of the configuration's variables.
    extra : mapping of name to ndarray, shape (rows,) each
        Built-in columns that the statistics use; these have no fill.
    rows : int

    Returns
    -------
    kept : ndarray of bool, shape (rows,)
    counts : dict of state to int
        Their sum is ``rows``. The states, in the order in which a segment is tried: each filter,
        ``fill``, ``bad_weight``, ``not_finite``, ``kept``.
    """
    left = np.ones(rows, bool)
    counts: dict[str, int] = {}

    def drop(state: str, bad: np.ndarray) -> None:
        before = int(np.count_nonzero(left))
        np.logical_and(left, ~bad, out=left)
        counts[state] = before - int(np.count_nonzero(left))

    for condition in recipe.filters:
        drop(condition.state, ~passes(condition, conditions[condition.state]))
    drop(FILL, np.logical_or.reduce([np.zeros(rows, bool), *(column.is_fill for column in columns.values())]))
    values = {name: column.values for name, column in columns.items()} | dict(extra)
    drop(BAD_WEIGHT, bad_weights(recipe.statistics, values, rows))
    drop(NOT_FINITE, not_finite(recipe.statistics, values, rows))
    counts[KEPT] = int(np.count_nonzero(left))
    return left, counts


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
