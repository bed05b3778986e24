"""Which segments no statistic can use: a bad weight, or a source that is not finite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maggjob.statistics.expression import ROW, evaluate, even_powers, parse
from maggjob.statistics.functions import Statistic


@dataclass(frozen=True)
class _Unordered:
    """Columns as they come, for expressions over rows (`maggjob.statistics.expression.Operands`)."""

    columns: Mapping[str, np.ndarray]

    def column(self, name: str) -> np.ndarray:
        return self.columns[name].astype(np.float64)

    def reduce(self, name: str, values: np.ndarray) -> np.ndarray:
        raise TypeError(f"{name} has no meaning for single segments")

    def spread(self, values: np.ndarray) -> np.ndarray:
        raise TypeError("single segments have no groups")


def bad_weights(statistics: Sequence[Statistic], columns: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """Where a weight is not finite and positive, shape (rows,).

    A column that a weight squares must be positive itself: a negative uncertainty is no
    uncertainty, and its square would hide it.
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
    """Where a source, or what an expression reduces, is not finite, shape (rows,); `bad_weights` looks at weights."""
    bad = np.zeros(rows, bool)
    expressions = {e.plain: e for s in statistics for e in s.row_expressions}
    weights = {parse(s.weights).plain for s in statistics if s.weights}
    for plain, expression in expressions.items():  # bare columns were checked for fill, and weights for more
        if expression.kind == ROW and plain not in columns and plain not in weights:
            bad |= ~np.isfinite(evaluate(expression, _Unordered(columns)))
    return bad
