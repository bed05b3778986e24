"""Screening: decide which segments of a cell are kept, and count every segment in exactly one state.

Rows are screened here whether they were read with or without an index, so the result and the ledger of a cell do not
depend on how they were read.

A segment gets the first of these states that applies:

- ``transition``, if ``strong`` is used and the spacecraft turned during the granule;
- a filter's own name, if the segment does not pass that filter (``quality`` first);
- ``fill``, if any of the configured variables is its fill value, not finite, or at the limit of float32, unless the
  configuration gives the variable another rule for missing values;
- ``bad_weight``, if a weight is not finite and positive, or a column that a weight raises to an even power is not
  positive;
- ``not_finite``, if the source of a statistic, or the argument of a reduction in an expression, is not finite;
- ``too_large``, if one of these is so large that the statistic would not fit in its dtype;
- ``kept``.

``transition`` and ``too_large`` are listed only where they occur.

A fill value never passes a filter, whatever the result of the comparison.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

import numpy as np

from maggjob.granules.built_in import UNKNOWN, built_in_columns
from maggjob.granules.columns import BeamRows, Column, by_rule, meets, meets_expression
from maggjob.model.ledger import Span, add_counts, join_spans
from maggjob.model.recipe import Recipe
from maggjob.model.reports import BAD_WEIGHT, FILL, KEPT, NOT_FINITE, TOO_LARGE, TRANSITION, GranuleReport
from maggjob.statistics.checks import bad_weights, unusable

READ, ABSENT = "read", "absent"
LATEST = 1e10
"""Latest time that is taken for one, in seconds since 2018-01-01."""
Paths = Mapping[str, Sequence[str]]
"""Paths of datasets, by beam."""


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
        The filters of datasets.
    columns : mapping of name to Column, shape (rows,) each
        All variables of the configuration, after their rules for missing values (`by_rule`).
    extra : mapping of name to ndarray, shape (rows,) each
        Built-in columns that the statistics use; these have no fill value.
    rows : int
        Number of segments.

    Returns
    -------
    kept : ndarray of bool, shape (rows,)
    counts : dict of state to int
        Number of segments by state; the sum is ``rows``. States are in the order in which they are checked:
        each filter, ``fill``, ``bad_weight``, ``not_finite``, ``kept``, and the others where they occur.
    """
    left = np.ones(rows, bool)
    counts: dict[str, int] = {}

    def drop(state: str, bad: np.ndarray) -> None:
        before = int(np.count_nonzero(left))
        np.logical_and(left, ~bad, out=left)
        counts[state] = before - int(np.count_nonzero(left))

    if "strong" in extra and (extra["strong"] == UNKNOWN).any():
        drop(TRANSITION, extra["strong"] == UNKNOWN)
    for condition in recipe.filters:
        if condition.expression:
            drop(condition.state, ~meets_expression(condition, columns, extra))
        else:
            drop(condition.state, ~meets(condition, conditions[condition.state]))
    missing = [column.is_fill for name, column in columns.items() if name not in recipe.omit]
    drop(FILL, np.logical_or.reduce([np.zeros(rows, bool), *missing]))
    values = {name: column.values for name, column in columns.items()} | dict(extra)
    drop(BAD_WEIGHT, bad_weights(recipe.every_statistic, values, rows, recipe.omit))
    infinite, large = unusable(recipe.every_statistic, values, rows, recipe.omit)
    drop(NOT_FINITE, infinite)
    if (large & left).any():
        drop(TOO_LARGE, large)
    counts[KEPT] = int(np.count_nonzero(left))
    return left, counts


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
    by_h5py: bool = False
    """Whether h5py read any of it."""


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
        columns={name: np.concatenate([p.columns[name] for p in pieces]) for name in sorted(recipe.kept_columns)},
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
    return replace(screened, time=time_span(screened.kept, rows(times), times))


def time_span(kept: Mapping[str, np.ndarray], times: GranuleRows, paths: Paths) -> Span | None:
    """Return the first and last time of the rows kept.

    Parameters
    ----------
    kept : mapping
        `ScreenedGranule.kept`.
    times : GranuleRows
        Rows with the time in seconds since 2018-01-01, and with datasets of one value if the recipe names some. Beams
        may lack the time; fill values are ignored.
    paths : mapping
        Paths of the times, by beam.

    Returns
    -------
    tuple of float or None
        Seconds since 2018-01-01; None if no row has a time.
    """
    own = [
        (kept[beam.group], column)
        for beam in times.beams
        if beam.group in kept
        for path, column in beam.columns.items()
        if path in paths[beam.group]
    ]
    with np.errstate(invalid="ignore"):
        good = [column.values[some & ~column.is_fill & (np.abs(column.values) < LATEST)] for some, column in own]
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
    every = [beam.columns[recipe.path(template, beam.group)] for template in recipe.templates]
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
    times = {"time": recipe.time} if "time" in recipe.named_columns else {}
    columns = _joined(recipe, beams, dict(recipe.columns) | times)
    columns |= {name: by_rule(columns[name], rule) for name, rule in recipe.missing}
    conditions = _joined(recipe, beams, {one.state: one.dataset for one in recipe.filters if one.dataset})
    built_in = [built_in_columns(granule, recipe, beam) for beam in beams]
    extra = {name: np.concatenate([one[name] for one in built_in]) for name in built_in[0]}
    child = np.concatenate([beam.child.astype(child_type(recipe.grid.children), copy=False) for beam in beams])
    kept, counts = screen(recipe, conditions, columns, extra, len(child))
    named = {name: column.values for name, column in columns.items()} | extra
    own = np.split(kept, np.cumsum([len(beam.child) for beam in beams])[:-1])
    return _Piece(
        counts,
        child=child[kept],
        columns={name: named[name][kept] for name in recipe.kept_columns},
        kept={beam.group: some for beam, some in zip(beams, own, strict=True) if some.any()},
    )
