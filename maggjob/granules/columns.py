"""Columns of segments with missing values, and the conditions that they meet."""

import operator
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from maggjob.model.recipe import OMIT, RowFilter
from maggjob.statistics.checks import Rows
from maggjob.statistics.expression import evaluate, parse

COMPARISONS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
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
    # Python numbers are compared in the type of the values.
    limits = np.atleast_1d(condition.value).tolist()
    with np.errstate(invalid="ignore", over="ignore"):
        if condition.op in COMPARISONS:
            met = COMPARISONS[condition.op](values, condition.value)
        elif condition.op in ("in", "not in"):
            met = np.logical_or.reduce([values == member for member in limits]) == (condition.op == "in")
        elif condition.op == "between":
            met = (values >= limits[0]) & (values <= limits[1])
        else:
            raise ValueError(f"filter {condition.state}: operator {condition.op!r} is unknown")
    return np.asarray(met & ~column.is_fill, bool)


def meets_expression(
    condition: RowFilter, columns: Mapping[str, Column], extra: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Return which segments meet a condition on an expression.

    Parameters
    ----------
    condition : RowFilter
        With an expression.
    columns : mapping of name to Column, shape (n,) each
    extra : mapping of name to ndarray, shape (n,) each
        Built-in columns.

    Returns
    -------
    ndarray of bool, shape (n,)
        False where a column of the expression is missing, or its value is NaN.
    """
    expression = parse(condition.expression)
    own = {name: columns[name] if name in columns else Column(extra[name]) for name in expression.columns}
    if expression.plain in own:
        # In its own type: float64 holds integers to 2**53 only.
        return meets(condition, own[expression.plain])
    values = Column(evaluate(expression, Rows({name: column.values for name, column in own.items()})))
    missing = np.logical_or.reduce([column.is_fill for column in own.values()])
    met = values.values != 0 if expression.condition else meets(condition, values)
    return np.asarray(met & ~missing, bool)


def by_rule(column: Column, rule: str | float) -> Column:
    """Return a column without fill values: NaN, or another value, stands in their place.

    Parameters
    ----------
    column : Column, shape (n,)
    rule : str or float
        `OMIT` for NaN, else the value.
    """
    kind, value = column.values.dtype, np.nan if rule == OMIT else float(rule)
    missing = column.is_fill
    # Integers stay integers if the value is one that fits.
    if kind.kind != "f" and not (value == np.floor(value) and np.iinfo(kind).min <= value <= np.iinfo(kind).max):
        kind = np.dtype(np.float64)
    values = column.values.astype(kind)
    values[missing] = value
    return Column(values)


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
