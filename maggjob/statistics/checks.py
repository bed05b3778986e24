"""Checks for segments that statistics cannot use: a bad weight, or a source that is not finite or too large."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maggjob.statistics.expression import ROW, Expression, evaluate, even_powers, parse
from maggjob.statistics.functions import FUNCTIONS, Statistic

COUNTS = {name for name, function in FUNCTIONS.items() if function.counts}
MOST_ROWS = float(1 << 24)
"""Number of segments whose sum must fit: more than any child cell has."""


@dataclass(frozen=True)
class Rows:
    """Columns in their original order, for expressions over rows (`maggjob.statistics.expression.Operands`)."""

    columns: Mapping[str, np.ndarray]
    """Columns by name, shape (rows,) each, any numeric type."""

    def column(self, name: str) -> np.ndarray:
        """Return a column, float64, shape (rows,)."""
        return self.columns[name].astype(np.float64)

    def reduce(self, name: str, values: np.ndarray) -> np.ndarray:
        """Raise a TypeError: single segments have no groups.

        Parameters
        ----------
        name : str
        values : ndarray, shape (rows,)

        Raises
        ------
        TypeError
            If called.
        """
        raise TypeError(f"{name} is not defined for single segments")

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Raise a TypeError: single segments have no groups."""
        raise TypeError("single segments have no groups")


def bad_weights(
    statistics: Sequence[Statistic], columns: Mapping[str, np.ndarray], rows: int, omit: Collection[str] = ()
) -> np.ndarray:
    """Return which segments have a weight that is not finite and positive.

    A column that a weight raises to an even power must itself be positive. A negative uncertainty, for example, is
    invalid, and its square would hide that.

    Parameters
    ----------
    statistics : sequence of Statistic
    columns : mapping of str to ndarray, shape (rows,)
    rows : int
        Number of segments.
    omit : collection of str
        Columns in which NaN stands for a missing value; a weight that is missing is not bad.

    Returns
    -------
    ndarray of bool, shape (rows,)
    """
    bad = np.zeros(rows, bool)
    with np.errstate(invalid="ignore"):
        for text in {s.weights for s in statistics if s.weights}:
            if not parse(text).columns <= columns.keys():
                continue
            weights = evaluate(parse(text), Rows(columns))
            wrong = ~(np.isfinite(weights) & (weights > 0))
            for name in even_powers(parse(text)):
                wrong |= ~(columns[name] > 0)
            bad |= wrong & _there(parse(text), columns, omit)
    return bad


def unusable(
    statistics: Sequence[Statistic], columns: Mapping[str, np.ndarray], rows: int, omit: Collection[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Return which segments have a source, or an argument of a reduction, that statistics cannot use.

    Weights are left to `bad_weights`. A value is too large if it, its square in a variance, or the sum of many such
    arguments of a reduction does not fit in the dtype of the statistic.

    Parameters
    ----------
    statistics : sequence of Statistic
    columns : mapping of str to ndarray, shape (rows,)
    rows : int
        Number of segments.
    omit : collection of str
        Columns in which NaN stands for a missing value.

    Returns
    -------
    not_finite : ndarray of bool, shape (rows,)
    too_large : ndarray of bool, shape (rows,)
    """
    infinite, large = np.zeros(rows, bool), np.zeros(rows, bool)
    weights = {parse(s.weights).plain for s in statistics if s.weights}
    for plain, (expression, limit) in _limits(statistics).items():
        if not expression.columns <= columns.keys():
            # Columns that depend on the child cell are finite wherever coordinates are valid.
            continue
        if plain in columns:
            # Plain columns have been checked for fill values. Narrow integers cannot be too large.
            values = columns[plain]
            if _largest(values.dtype) <= limit:
                continue
        elif expression.kind == ROW and plain not in weights:
            values = evaluate(expression, Rows(columns))
            infinite |= ~np.isfinite(values) & _there(expression, columns, omit)
        else:
            continue
        with np.errstate(invalid="ignore"):
            large |= np.abs(values) > limit
    return infinite, large


def _limits(statistics: Sequence[Statistic]) -> dict[str, tuple[Expression, float]]:
    """Return the expressions over rows by their normal form, each with the largest value that it may have."""
    found: dict[str, tuple[Expression, float]] = {}
    for statistic in statistics:
        largest = _largest(np.dtype(statistic.dtype))
        limit = largest
        if statistic.function in COUNTS:
            # Counts do not depend on the value.
            limit = np.inf
        elif statistic.expression is not None:
            limit = largest / MOST_ROWS
        elif statistic.function in ("var", "std"):
            limit = np.sqrt(largest) / 2
        elif statistic.fit is not None:
            limit = np.sqrt(_largest(np.dtype(np.float32))) / 2
        for expression in statistic.row_expressions:
            known = found.get(expression.plain, (expression, np.inf))[1]
            found[expression.plain] = expression, min(known, float(limit))
    return found


def _largest(dtype: np.dtype) -> float:
    return float(np.iinfo(dtype).max if dtype.kind in "iu" else np.finfo(dtype).max)


def _there(expression: Expression, columns: Mapping[str, np.ndarray], omit: Collection[str]) -> np.ndarray | bool:
    """Return for which segments no column of an expression is missing."""
    names = expression.columns.intersection(omit)
    return np.logical_and.reduce([~np.isnan(columns[name]) for name in sorted(names)]) if names else True
