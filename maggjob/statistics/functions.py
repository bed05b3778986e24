"""The named statistics (`FUNCTIONS`), each computed for all groups at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maggjob.statistics.expression import Expression, parse, row_arguments
from maggjob.statistics.groups import Groups


@dataclass(frozen=True)
class Statistic:
    """Definition of one variable of the output."""

    name: str
    """Name of the variable."""
    function: str | None = None
    """Key of `FUNCTIONS`; None if an expression is given."""
    source: str | None = None
    """Expression over rows, the argument of the function; None for counts."""
    weights: str | None = None
    """Expression over rows for the weights of ``average``."""
    q: float = 0.5
    """Probability of ``quantile``."""
    ddof: int = 0
    """Delta degrees of freedom of ``var`` and ``std``."""
    expression: str | None = None
    """Expression with one value per child cell, in place of a function."""
    dtype: str = "float32"
    """Type of the variable."""
    fill_value: float = float("nan")
    """Value of child cells without segments."""

    @property
    def row_expressions(self) -> tuple[Expression, ...]:
        """All expressions that are evaluated for each segment, except the weights."""
        inner = row_arguments(parse(self.expression)) if self.expression else ()
        return (*inner, parse(self.source)) if self.source else inner

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that the statistic uses."""
        texts = (self.source, self.weights, self.expression)
        return frozenset().union(*(parse(text).columns for text in texts if text))


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
    """Interpolate linearly, with the same operations and rounding as ``numpy.quantile``."""
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
    """Function that returns one value per group, shape (groups,)."""
    params: frozenset[str] = frozenset()
    """Names of the parameters that the function accepts."""
    counts: bool = False
    """True if results are integers."""
    cell_method: str | None = None
    """Name of the CF cell method, if CF defines one."""


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
