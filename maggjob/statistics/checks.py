"""Checks for segments that statistics cannot use: a bad weight, or a source that is not finite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maggjob.statistics.expression import ROW, evaluate, even_powers, parse
from maggjob.statistics.functions import Statistic


@dataclass(frozen=True)
class _Unordered:
    """Columns in their original order, for expressions over rows (`maggjob.statistics.expression.Operands`)."""

    columns: Mapping[str, np.ndarray]

    def column(self, name: str) -> np.ndarray:
        return self.columns[name].astype(np.float64)

    def reduce(self, name: str, values: np.ndarray) -> np.ndarray:
        raise TypeError(f"{name} is not defined for single segments")

    def spread(self, values: np.ndarray) -> np.ndarray:
        raise TypeError("single segments have no groups")


def bad_weights(statistics: Sequence[Statistic], columns: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """Return which segments have a weight that is not finite and positive.

    A column that a weight raises to an even power must itself be positive. A negative uncertainty, for example, is
    invalid, and its square would hide that.

    Parameters
    ----------
    statistics : sequence of Statistic
    columns : mapping of str to ndarray, shape (rows,)
    rows : int
        Number of segments.

    Returns
    -------
    ndarray of bool, shape (rows,)
    """
    bad = np.zeros(rows, bool)
    with np.errstate(invalid="ignore"):
        for text in {s.weights for s in statistics if s.weights}:
            weights = evaluate(parse(text), _Unordered(columns))
            bad |= ~(np.isfinite(weights) & (weights > 0))
            for name in even_powers(parse(text)):
                bad |= ~(columns[name] > 0)
    return bad


def not_finite(statistics: Sequence[Statistic], columns: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """Return which segments have a source, or an argument of a reduction, that is not finite.

    Weights are left to `bad_weights`.

    Parameters
    ----------
    statistics : sequence of Statistic
    columns : mapping of str to ndarray, shape (rows,)
    rows : int
        Number of segments.

    Returns
    -------
    ndarray of bool, shape (rows,)
    """
    bad = np.zeros(rows, bool)
    expressions = {e.plain: e for s in statistics for e in s.row_expressions}
    weights = {parse(s.weights).plain for s in statistics if s.weights}
    # Plain columns have been checked for fill values, and weights by `bad_weights`.
    for plain, expression in expressions.items():
        if expression.kind == ROW and plain not in columns and plain not in weights:
            bad |= ~np.isfinite(evaluate(expression, _Unordered(columns)))
    return bad
