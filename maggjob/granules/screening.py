"""Which segments of a cell are kept, and the count of those that are not: each in one state.

However the rows of a granule were read, through an index or without, they are screened here: so a cell's result and
ledger do not depend on the way.

The states of a segment in a cell, in the order in which it is tried: each filter under its own name (``quality``
first); ``fill`` (any of the configuration's variables has its fill value, is not finite, or is at float32's limit);
``bad_weight`` (a weight is not finite and positive, or a column that a weight raises to an even power is not
positive); ``not_finite`` (a source, or what an expression reduces, is not finite); ``kept``. A value that is a
dataset's fill never passes a filter, whatever the comparison says.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

import numpy as np

from maggjob.errors import UnsupportedError
from maggjob.icesat2.names import GranuleName
from maggjob.model.ledger import Span, add_counts, join_spans
from maggjob.model.recipe import BUILT_IN_COLUMNS, Recipe, RowFilter
from maggjob.model.reports import BAD_WEIGHT, FILL, KEPT, NOT_FINITE, GranuleReport
from maggjob.statistics.checks import bad_weights, not_finite

READ, ABSENT = "read", "absent"
COMPARISONS = {"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne}
Paths = Mapping[str, Sequence[str]]
"""Paths of datasets, by beam."""

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


def meets(condition: RowFilter, column: Column) -> np.ndarray:
    """Where a filter's dataset has a value that meets its condition, shape (n,), bool."""
    values = column.values
    with np.errstate(invalid="ignore", over="ignore"):
        if condition.op in COMPARISONS:
            met = COMPARISONS[condition.op](values, condition.value)
        elif condition.op == "in":
            members = np.atleast_1d(condition.value).tolist()  # each compared in the type of the values
            met = np.logical_or.reduce([values == member for member in members])
        else:
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
        drop(condition.state, ~meets(condition, conditions[condition.state]))
    drop(FILL, np.logical_or.reduce([np.zeros(rows, bool), *(column.is_fill for column in columns.values())]))
    values = {name: column.values for name, column in columns.items()} | dict(extra)
    drop(BAD_WEIGHT, bad_weights(recipe.statistics, values, rows))
    drop(NOT_FINITE, not_finite(recipe.statistics, values, rows))
    counts[KEPT] = int(np.count_nonzero(left))
    return left, counts


@dataclass(frozen=True)
class BeamRows:
    """The rows of one beam that lie in a cell, as they are in the file."""

    group: str
    """Name of the beam."""
    child: np.ndarray
    """Child that each row lies in, shape (n,), integers."""
    columns: Mapping[str, Column]
    """Values of each dataset by its path, shape (n,)."""
    attributes: Mapping[str, Mapping[str, str]]
    """``units`` and ``long_name`` of each dataset, by its path."""


@dataclass(frozen=True)
class GranuleRows:
    """The rows of one granule that lie in a cell."""

    granule: str
    """Id of the granule."""
    present: Sequence[str]
    """The beams that the granule has."""
    rows: int
    """All segments of the granule."""
    invalid: int
    """Segments whose coordinates cannot be binned."""
    beams: Sequence[BeamRows]
    """Beams with rows in the cell, in the order of ``present``."""


@dataclass(frozen=True)
class ScreenedGranule:
    """What one granule gives to one cell."""

    report: GranuleReport
    """Its line in the ledger."""
    segments: Mapping[str, int] = field(default_factory=dict)
    """Its segments in the cell by state."""
    child: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Child of each segment kept, shape (kept,), the smallest unsigned integers that hold all children."""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What the statistics use, shape (kept,) each, in the granule's own types."""
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Which rows of each beam are kept, shape (rows in the cell,), bool; only beams of which any is."""
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """``units`` and ``long_name`` of each variable."""
    time: Span | None = None
    """First and last time of the segments kept, where it was asked for."""


def child_type(children: int) -> np.dtype:
    """Return the smallest type that holds the number of any child."""
    return np.min_scalar_type(children - 1)


def screen_granule(recipe: Recipe, found: GranuleRows) -> ScreenedGranule:
    """Screen the rows of a granule in a cell.

    Raises
    ------
    GranuleError
        If the granule's name gives no column that a statistic uses.
    """
    states = dict.fromkeys(recipe.groups, ABSENT) | dict.fromkeys(found.present, READ)
    alike = groupby(found.beams, key=partial(_kind, recipe))
    pieces = [_screen(found.granule, recipe, list(beams)) for _, beams in alike]
    segments = add_counts(piece.segments for piece in pieces)
    report = GranuleReport(
        found.granule,
        "used" if pieces else "no_overlap",
        beams=states,
        rows=found.rows,
        invalid_coordinate=found.invalid,
        in_cell=sum(segments.values()),
        kept=segments.get(KEPT, 0),
    )
    if not pieces:
        return ScreenedGranule(report)
    first = found.beams[0]
    return ScreenedGranule(
        report,
        segments,
        child=np.concatenate([piece.child for piece in pieces]),
        columns={name: np.concatenate([p.columns[name] for p in pieces]) for name in sorted(recipe.used_columns)},
        kept={group: kept for piece in pieces for group, kept in piece.kept.items()},
        attributes={name: first.attributes[recipe.path(path, first.group)] for name, path in recipe.columns},
    )


def screen_with_times(recipe: Recipe, rows: Callable[[Paths], GranuleRows], times: Paths) -> ScreenedGranule:
    """Screen what a cell has of a granule, and find the first and the last time of what is kept.

    Parameters
    ----------
    recipe : Recipe
    rows : callable
        Returns the values of some datasets; it is asked for times only if anything is kept.
    times : mapping
        Path of the times of each beam that has them; empty if they are not wanted.
    """
    screened = screen_granule(recipe, rows(recipe.needed_paths))
    if not any(times.values()) or not screened.report.kept:
        return screened
    return replace(screened, time=time_span(screened.kept, rows(times)))


def time_span(kept: Mapping[str, np.ndarray], times: GranuleRows) -> Span | None:
    """Return the first and the last time of the rows kept.

    Parameters
    ----------
    kept : mapping
        `ScreenedGranule.kept`.
    times : GranuleRows
        With the times of each beam, seconds since 2018-01-01, as its only column; a beam may lack them. Fill does not
        count.

    Returns
    -------
    tuple of float or None
        None if there is no time.
    """
    own = [(kept[beam.group], column) for beam in times.beams if beam.group in kept for column in beam.columns.values()]
    good = [column.values[some & ~column.is_fill] for some, column in own]
    return join_spans((float(some.min()), float(some.max())) for some in good if len(some))


@dataclass(frozen=True)
class _Piece:
    """What is kept of some beams; fields as in `ScreenedGranule`."""

    segments: Mapping[str, int]
    child: np.ndarray
    columns: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]


def _kind(recipe: Recipe, beam: BeamRows) -> tuple[object, ...]:
    """Types and fill values: beams that have them in common, as all of real granules do, are screened as one."""
    templates = [path for _, path in recipe.columns] + [condition.dataset for condition in recipe.filters]
    every = [beam.columns[recipe.path(template, beam.group)] for template in templates]
    return tuple((column.values.dtype, column.fill) for column in every)


def _joined(recipe: Recipe, beams: Sequence[BeamRows], templates: Mapping[str, str]) -> dict[str, Column]:
    """Columns of beams of one kind by the names of their paths, one beam after the other."""
    joined = {}
    for name, template in templates.items():
        each = [beam.columns[recipe.path(template, beam.group)] for beam in beams]
        joined[name] = Column(np.concatenate([column.values for column in each]), each[0].fill)
    return joined


def _screen(granule: str, recipe: Recipe, beams: Sequence[BeamRows]) -> _Piece:
    """Screen the rows of beams of one kind, and cut them to those kept."""
    columns = _joined(recipe, beams, dict(recipe.columns))
    conditions = _joined(recipe, beams, {condition.state: condition.dataset for condition in recipe.filters})
    built_in = [built_in_columns(granule, recipe, beam) for beam in beams]
    extra = {name: np.concatenate([one[name] for one in built_in]) for name in built_in[0]}
    child = np.concatenate([beam.child.astype(child_type(recipe.grid.children), copy=False) for beam in beams])
    kept, counts = screen(recipe, conditions, columns, extra, len(child))
    named = {name: column.values for name, column in columns.items()} | extra
    own = np.split(kept, np.cumsum([len(beam.child) for beam in beams])[:-1])
    return _Piece(
        counts,
        child=child[kept],
        columns={name: named[name][kept] for name in recipe.used_columns},
        kept={beam.group: some for beam, some in zip(beams, own, strict=True) if some.any()},
    )


def built_in_columns(granule: str, recipe: Recipe, beam: BeamRows) -> dict[str, np.ndarray]:
    """Return the columns that come from a granule's name, its beams and its coordinates, as far as they are used.

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
