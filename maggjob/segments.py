"""Which segments of a cell are kept, and the count of those that are not: each in one state."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from maggjob.model import BAD_WEIGHT, FILL, KEPT, NOT_FINITE, Recipe, RowFilter
from maggjob.statistics import bad_weights, not_finite

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


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sum of counts by state; states in the order in which they first come."""
    total: dict[str, int] = {}
    for some in counts:
        for state, count in some.items():
            total[state] = total.get(state, 0) + count
    return total


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
