"""Screening: decide which segments of a cell are kept, and count every segment in exactly one state.

Rows are screened here whether they were read with or without an index, so the result and the ledger of a cell do not
depend on how they were read.

A segment gets the first of these states that applies:

- a filter's own name, if the segment does not pass that filter (``quality`` first);
- ``fill``, if any of the configured variables is its fill value, not finite, or at the limit of float32;
- ``bad_weight``, if a weight is not finite and positive, or a column that a weight raises to an even power is not
  positive;
- ``not_finite``, if the source of a statistic, or the argument of a reduction in an expression, is not finite;
- ``kept``.

A fill value never passes a filter, whatever the result of the comparison.
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
LARGEST = float(np.finfo(np.float32).max)
"""Value that ICESat-2 products write where there is none."""


@dataclass(frozen=True)
class Column:
    """Values of a dataset as they are stored in the file."""

    values: np.ndarray
    """Values, shape (n,), any numeric type."""
    fill: Fill = None
    """The dataset's ``_FillValue``; None without one."""

    @property
    def is_fill(self) -> np.ndarray:
        """Mask of missing values (fill value, not finite, or at the limit of float32), shape (n,)."""
        bad = np.zeros(len(self.values), bool)
        if self.values.dtype.kind == "f":
            # LARGEST overflows in half precision.
            with np.errstate(invalid="ignore", over="ignore"):
                bad = ~(np.abs(self.values) < LARGEST)
        # A fill value beyond the limit is in the mask already.
        if self.fill is not None and abs(self.fill) < LARGEST:
            bad |= self.values == self.fill
        return bad


def meets(condition: RowFilter, column: Column) -> np.ndarray:
    """Return which values meet the condition of a filter.

    Parameters
    ----------
    condition : RowFilter
    column : Column, shape (n,)
        Values of the filter's dataset.

    Returns
    -------
    ndarray of bool, shape (n,)
        False for fill values.
    """
    values = column.values
    with np.errstate(invalid="ignore", over="ignore"):
        if condition.op in COMPARISONS:
            met = COMPARISONS[condition.op](values, condition.value)
        elif condition.op == "in":
            # Python numbers are compared in the type of the values.
            members = np.atleast_1d(condition.value).tolist()
            met = np.logical_or.reduce([values == member for member in members])
        else:
            raise ValueError(f"filter {condition.state}: operator {condition.op!r} is unknown")
    return np.asarray(met & ~column.is_fill, bool)


def screen(
    recipe: Recipe,
    conditions: Mapping[str, Column],
    columns: Mapping[str, Column],
    extra: Mapping[str, np.ndarray],
    rows: int,
) -> tuple[np.ndarray, dict[str, int]]:
    """Decide which segments of a cell are kept, and count the states of all of them.

    Parameters
    ----------
    recipe : Recipe
    conditions : mapping of filter state to Column, shape (rows,) each
    columns : mapping of name to Column, shape (rows,) each
        All variables of the configuration.
    extra : mapping of name to ndarray, shape (rows,) each
        Built-in columns that the statistics use; these have no fill value.
    rows : int
        Number of segments.

    Returns
    -------
    kept : ndarray of bool, shape (rows,)
    counts : dict of state to int
        Number of segments by state; the sum is ``rows``. States are in the order in which they are checked:
        each filter, ``fill``, ``bad_weight``, ``not_finite``, ``kept``.
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
    """The rows of one beam that lie in a cell, as stored in the file."""

    group: str
    """Name of the beam."""
    child: np.ndarray
    """Child cell of each row, shape (n,), integers."""
    columns: Mapping[str, Column]
    """Values of each dataset, by path, shape (n,)."""
    attributes: Mapping[str, Mapping[str, str]]
    """``units`` and ``long_name`` of each dataset, by path."""


@dataclass(frozen=True)
class GranuleRows:
    """The rows of one granule that lie in a cell."""

    granule: str
    """Id of the granule."""
    present: Sequence[str]
    """Names of the beams in the granule."""
    rows: int
    """Number of segments of the granule."""
    invalid: int
    """Number of segments whose coordinates cannot be binned."""
    beams: Sequence[BeamRows]
    """Beams with rows in the cell, in the order of ``present``."""


@dataclass(frozen=True)
class ScreenedGranule:
    """The segments that one granule contributes to one cell."""

    report: GranuleReport
    """Entry of the granule in the ledger."""
    segments: Mapping[str, int] = field(default_factory=dict)
    """Number of its segments in the cell, by state."""
    child: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    """Child cell of each segment kept, shape (kept,), of type `child_type`."""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Columns that the statistics use, shape (kept,) each, in the types of the granule."""
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Mask of the rows kept, by beam, shape (rows in the cell,); only beams with rows kept."""
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """``units`` and ``long_name`` of each variable."""
    time: Span | None = None
    """First and last time of the segments kept, in seconds since 2018-01-01, if requested."""


def child_type(children: int) -> np.dtype:
    """Return the smallest unsigned type that holds the numbers of all children."""
    return np.min_scalar_type(children - 1)


def screen_granule(recipe: Recipe, found: GranuleRows) -> ScreenedGranule:
    """Screen the rows of a granule in a cell.

    Parameters
    ----------
    recipe : Recipe
    found : GranuleRows

    Raises
    ------
    GranuleError
        If a statistic uses a column that comes from the granule's name and the name cannot be parsed.
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
        segments=segments,
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
    """Screen the rows of a granule in a cell, and find the first and last time of the segments kept.

    Parameters
    ----------
    recipe : Recipe
    rows : callable
        Function from paths of datasets to their rows; called for times only if segments are kept.
    times : mapping
        Paths of the times, by beam; empty if times are not needed.
    """
    screened = screen_granule(recipe, rows(recipe.needed_paths))
    if not any(times.values()) or not screened.report.kept:
        return screened
    return replace(screened, time=time_span(screened.kept, rows(times)))


def time_span(kept: Mapping[str, np.ndarray], times: GranuleRows) -> Span | None:
    """Return the first and last time of the rows kept.

    Parameters
    ----------
    kept : mapping
        `ScreenedGranule.kept`.
    times : GranuleRows
        Rows whose only column is the time in seconds since 2018-01-01. Beams may lack it; fill values are ignored.

    Returns
    -------
    tuple of float or None
        Seconds since 2018-01-01; None if no row has a time.
    """
    own = [(kept[beam.group], column) for beam in times.beams if beam.group in kept for column in beam.columns.values()]
    good = [column.values[some & ~column.is_fill] for some, column in own]
    return join_spans((float(some.min()), float(some.max())) for some in good if len(some))


@dataclass(frozen=True)
class _Piece:
    """The segments kept of some beams; fields as in `ScreenedGranule`."""

    segments: Mapping[str, int]
    child: np.ndarray
    columns: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]


def _kind(recipe: Recipe, beam: BeamRows) -> tuple[object, ...]:
    """Return the types and fill values of a beam.

    Beams that share them are screened together; in real granules all beams do.
    """
    templates = [path for _, path in recipe.columns] + [condition.dataset for condition in recipe.filters]
    every = [beam.columns[recipe.path(template, beam.group)] for template in templates]
    return tuple((column.values.dtype, column.fill) for column in every)


def _joined(recipe: Recipe, beams: Sequence[BeamRows], templates: Mapping[str, str]) -> dict[str, Column]:
    """Concatenate the columns of beams of one kind, one beam after the other, by name."""
    joined = {}
    for name, template in templates.items():
        each = [beam.columns[recipe.path(template, beam.group)] for beam in beams]
        joined[name] = Column(np.concatenate([column.values for column in each]), each[0].fill)
    return joined


def _screen(granule: str, recipe: Recipe, beams: Sequence[BeamRows]) -> _Piece:
    """Screen the rows of beams of one kind, and return the rows kept."""
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
    """Return the used columns that come from a granule's name, its beams and its coordinates.

    Parameters
    ----------
    granule : str
        Id of the granule.
    recipe : Recipe
    beam : BeamRows
        Rows of one beam, shape (n,).

    Returns
    -------
    dict of name to ndarray, shape (n,)
        ``beam`` counts from 1, in the order of the configuration's groups.

    Raises
    ------
    UnsupportedError
        If a column of the name is used and the name is not an ICESat-2 granule name.
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
                raise UnsupportedError(f"{granule}: its name does not give {column}, which a statistic uses")
            columns[column] = np.full(len(beam.child), getattr(parsed, column), np.int64)
    return columns
