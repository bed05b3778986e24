"""Statistics of segments by child cell: named functions and expressions, all children at once.

Segments are grouped by one sort. Inputs become float64 first, so order statistics are those of
numpy on each group to the last bit, and sums are numpy's pairwise ones.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from maggjob.errors import StatisticError
from maggjob.expression import ROW, Expression, evaluate, even_powers, parse, row_arguments

SLAB_ROWS = 1 << 16
"""Segments that are worked on at once, at most, but that a child is never split. Their arrays of half a megabyte stay
in the cache, and the next slab gets the same memory: with a million segments they are new, and the first touch of a
page costs more than the arithmetic on it."""
SPLIT = 16
"""Into so many parts are more of them taken apart, and these again: to pick each slab out of all would take time in
proportion to their number."""


@dataclass(frozen=True)
class Statistic:
    """One variable of the output, as the worker needs it."""

    name: str
    """Name of the variable."""
    function: str | None = None
    """A key of `FUNCTIONS`; None when there is an expression."""
    source: str | None = None
    """Expression over rows that the function is taken of; None for counts."""
    weights: str | None = None
    """Expression over rows: the weights of ``average``."""
    q: float = 0.5
    """Probability of ``quantile``."""
    ddof: int = 0
    """Delta degrees of freedom of ``var`` and ``std``."""
    expression: str | None = None
    """Expression that reduces to a value a child, in place of a function."""
    dtype: str = "float32"
    """Type of the variable."""
    fill_value: float = float("nan")
    """Value of children without segments."""

    @property
    def row_expressions(self) -> tuple[Expression, ...]:
        """Everything that it works out for each segment, weights apart."""
        inner = row_arguments(parse(self.expression)) if self.expression else ()
        return (*inner, parse(self.source)) if self.source else inner

    @property
    def columns(self) -> frozenset[str]:
        """Columns that it needs."""
        texts = (self.source, self.weights, self.expression)
        return frozenset().union(*(parse(text).columns for text in texts if text))


@dataclass
class Groups:
    """Segments grouped by child; the values of all groups lie one after the other.

    Only children that have segments are groups, in ascending order.
    """

    child: np.ndarray
    """Child of each segment, shape (n,), integers below ``children``."""
    children: int
    """Children of the cell."""
    columns: Mapping[str, np.ndarray]
    """Columns, shape (n,) each, any numeric type."""
    _rows: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @cached_property
    def counts(self) -> np.ndarray:
        """Segments of each child, shape (children,)."""
        return np.bincount(self.child, minlength=self.children)

    @cached_property
    def present(self) -> np.ndarray:
        """Children that have segments, shape (groups,)."""
        return np.flatnonzero(self.counts)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Segments of each group, shape (groups,)."""
        return self.counts[self.present]

    @cached_property
    def first(self) -> np.ndarray:
        """Where each group starts, shape (groups,)."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def _order(self) -> np.ndarray:
        small = np.uint16 if self.children <= 1 << 16 else np.uint32  # 16 bits: numpy sorts by radix
        return np.argsort(self.child.astype(small, copy=False), kind="stable")

    def column(self, name: str) -> np.ndarray:
        """A column in group order, float64, shape (n,)."""
        if name not in self._rows:
            self._rows[name] = self.columns[name][self._order].astype(np.float64)
        return self._rows[name]

    def rows(self, text: str) -> np.ndarray:
        """An expression over rows in group order, float64, shape (n,)."""
        if text not in self._rows:
            self._rows[text] = evaluate(parse(text), self)
        return self._rows[text]

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum of each group of values in group order, shape (groups,)."""
        return np.add.reduceat(values, self.first)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Mean of each group, shape (groups,)."""
        return self.sum(values) / self.sizes

    def spread(self, values: np.ndarray) -> np.ndarray:
        """A value a group, repeated for each of its rows, shape (n,)."""
        return np.repeat(values, self.sizes)

    def reduce(self, name: str, values: np.ndarray) -> np.ndarray:
        """One of ``expression.REDUCTIONS``, shape (groups,)."""
        if name == "len":
            return self.sizes.astype(np.float64)
        if name == "mean":
            return self.mean(values)
        ufunc = {"sum": np.add, "min": np.minimum, "max": np.maximum}[name]
        reduced: np.ndarray = ufunc.reduceat(values, self.first)
        return reduced

    def sorted(self, text: str) -> np.ndarray:
        """An expression over rows, ascending within each group, float64, shape (n,)."""
        key = f"sorted {text}"
        if key not in self._rows:
            values = self.rows(text).copy()
            # A loop, and yet ten times as fast as one sort by (child, value): each slice is
            # small enough for numpy's vector registers and the innermost cache.
            for start, stop in zip(self.first.tolist(), (self.first + self.sizes).tolist(), strict=True):
                values[start:stop].sort()
            self._rows[key] = values
        return self._rows[key]


def _count(groups: Groups, _: Statistic) -> np.ndarray:
    return groups.sizes


def _min(groups: Groups, statistic: Statistic) -> np.ndarray:
    return groups.sorted(_source(statistic))[groups.first]


def _max(groups: Groups, statistic: Statistic) -> np.ndarray:
    return groups.sorted(_source(statistic))[groups.first + groups.sizes - 1]


def _sum(groups: Groups, statistic: Statistic) -> np.ndarray:
    return groups.sum(groups.rows(_source(statistic)))


def _average(groups: Groups, statistic: Statistic) -> np.ndarray:
    values = groups.rows(_source(statistic))
    if statistic.weights is None:
        return groups.mean(values)
    weights = groups.rows(statistic.weights)
    return groups.sum(weights * values) / groups.sum(weights)


def _var(groups: Groups, statistic: Statistic) -> np.ndarray:
    values = groups.rows(_source(statistic))
    squares = groups.sum((values - groups.spread(groups.mean(values))) ** 2)
    freedom = groups.sizes - statistic.ddof
    return np.divide(squares, freedom, out=np.full(len(squares), np.nan), where=freedom > 0)


def _std(groups: Groups, statistic: Statistic) -> np.ndarray:
    return np.sqrt(_var(groups, statistic))


def _median(groups: Groups, statistic: Statistic) -> np.ndarray:
    values, half = groups.sorted(_source(statistic)), groups.first + groups.sizes // 2
    return np.where(groups.sizes % 2, values[half], (values[half - 1] + values[half]) / 2)


def _quantile(groups: Groups, statistic: Statistic) -> np.ndarray:
    """Linear interpolation, with the steps and roundings of ``numpy.quantile``."""
    values, position = groups.sorted(_source(statistic)), statistic.q * (groups.sizes - 1)
    below = np.floor(position).astype(np.int64)
    part = position - below
    low = values[groups.first + below]
    high = values[groups.first + np.minimum(below + 1, groups.sizes - 1)]
    rise = high - low
    return np.where(part >= 0.5, high - rise * (1 - part), low + rise * part)


def _nunique(groups: Groups, statistic: Statistic) -> np.ndarray:
    values = groups.sorted(_source(statistic))
    new = np.ones(len(values), np.int64)
    new[1:] = values[1:] != values[:-1]
    new[groups.first] = 1
    return np.add.reduceat(new, groups.first)


def _source(statistic: Statistic) -> str:
    if statistic.source is None:
        raise ValueError(f"{statistic.name}: {statistic.function} needs a source")
    return statistic.source


@dataclass(frozen=True)
class Function:
    """A named statistic."""

    compute: Callable[[Groups, Statistic], np.ndarray]
    """From groups to a value a group, shape (groups,)."""
    params: frozenset[str] = frozenset()
    """Parameters that it knows."""
    counts: bool = False
    """Whether it gives whole numbers."""
    cell_method: str | None = None
    """Its name among CF's cell methods, where CF has one."""


FUNCTIONS: dict[str, Function] = {
    "count": Function(_count, counts=True),
    "len": Function(_count, counts=True),
    "nunique": Function(_nunique, counts=True),
    "min": Function(_min, cell_method="minimum"),
    "max": Function(_max, cell_method="maximum"),
    "sum": Function(_sum, cell_method="sum"),
    "mean": Function(_average, cell_method="mean"),
    "average": Function(_average, frozenset({"weights"}), cell_method="mean"),
    "median": Function(_median, cell_method="median"),
    "std": Function(_std, frozenset({"ddof"}), cell_method="standard_deviation"),
    "var": Function(_var, frozenset({"ddof"}), cell_method="variance"),
    "quantile": Function(_quantile, frozenset({"q", "method"})),
}


def compute(
    statistics: Sequence[Statistic], columns: Mapping[str, np.ndarray], child: np.ndarray, children: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All statistics of one cell.

    Parameters
    ----------
    statistics : sequence of Statistic
    columns : mapping of str to ndarray, shape (n,)
        Every column that the statistics use, without fill values.
    child : ndarray of int, shape (n,)
        Child of each segment, below ``children``.
    children : int
        Children of the cell.

    Returns
    -------
    present : ndarray of int64, shape (groups,)
        Children that have segments, ascending.
    values : dict of str to ndarray, shape (groups,)
        Each statistic of these children, in its own dtype.

    Raises
    ------
    StatisticError
        A result does not fit in its dtype, or is infinite. (NaN is a result: a variance of one segment with ddof 1.)
    """
    counts = np.zeros(children, np.int64)
    for start in range(0, len(child), SLAB_ROWS):
        counts += np.bincount(child[start : start + SLAB_ROWS], minlength=children)
    present = np.flatnonzero(counts)
    if not len(present):
        return present, {s.name: np.empty(0, s.dtype) for s in statistics}
    pieces = [
        {s.name: _cast(_one(groups, s), s) for s in statistics}
        for groups in _slabs(child, columns, counts, 0, children)
    ]
    return present, {s.name: np.concatenate([piece[s.name] for piece in pieces]) for s in statistics}


def _slabs(
    child: np.ndarray, columns: Mapping[str, np.ndarray], counts: np.ndarray, first: int, last: int
) -> Iterator[Groups]:
    """Segments of the children from ``first`` to before ``last``, in slabs, children ascending.

    Children are independent of each other, so a result does not depend on it.
    """
    own = counts[first:last]
    total = int(own.sum())
    number = (np.cumsum(own) - own) * SPLIT // max(total, 1)
    edges = [first, *(np.flatnonzero(np.diff(number)) + first + 1).tolist(), last]
    if total <= SLAB_ROWS or len(edges) == 2:
        if total:
            yield Groups(child, len(counts), columns)
        return
    for start, stop in pairwise(edges):
        some = np.flatnonzero((child >= start) & (child < stop))
        yield from _slabs(child[some], {name: values[some] for name, values in columns.items()}, counts, start, stop)


def _one(groups: Groups, statistic: Statistic) -> np.ndarray:
    if statistic.expression is not None:
        return evaluate(parse(statistic.expression), groups)
    return FUNCTIONS[str(statistic.function)].compute(groups, statistic)


def _cast(values: np.ndarray, statistic: Statistic) -> np.ndarray:
    """Results in the dtype of their variable; what it cannot hold is an error, not a wrong number."""
    dtype = np.dtype(statistic.dtype)
    largest = float(np.iinfo(dtype).max if dtype.kind in "iu" else np.finfo(dtype).max)
    if (np.abs(values) > largest).any():
        raise StatisticError(
            f"{statistic.name}: {np.abs(values).max():g} does not fit in {statistic.dtype}; "
            "choose a larger dtype, or an expression that stays finite"
        )
    return values.astype(dtype)


def fill_children(
    present: np.ndarray, values: Mapping[str, np.ndarray], statistics: Sequence[Statistic], children: int
) -> dict[str, np.ndarray]:
    """The result of `compute` laid out over all children, shape (children,) each."""
    full = {}
    for statistic in statistics:
        full[statistic.name] = np.full(children, statistic.fill_value, statistic.dtype)
        full[statistic.name][present] = values[statistic.name]
    return full


@dataclass(frozen=True)
class _Unordered:
    """Columns as they come, for expressions over rows (``expression.Rows``)."""

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
