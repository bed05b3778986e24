"""The named statistics (`FUNCTIONS`), each computed for all groups at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maggjob.errors import StatisticError
from maggjob.statistics.expression import Expression, parse, row_arguments
from maggjob.statistics.fit_model import FitModel
from maggjob.statistics.fits import FitResult, FitRows, fit
from maggjob.statistics.groups import Groups

NORMAL = 1.4826
"""Standard deviation of a normal distribution, in units of its median absolute deviation."""
LARGEST_WHOLE = 2.0**63
OF_FITS = frozenset({"pass", "time"})
"""Columns that every fit uses."""


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
    """Expression over rows for the weights of ``average`` and ``weighted_median``."""
    q: float = 0.5
    """Probability of ``quantile``."""
    ddof: int = 0
    """Delta degrees of freedom of ``var`` and ``std``."""
    bin_width: float = 1.0
    """Width of the bins of ``mode``, in units of the source."""
    bias: bool = True
    """Whether ``skewness`` keeps its bias for small numbers of segments."""
    expression: str | None = None
    """Expression with one value per child cell, in place of a function."""
    dtype: str = "float32"
    """Type of the variable."""
    fill_value: float = float("nan")
    """Value of child cells without segments, or with too few."""
    min_count: int = 0
    """Number of segments below which a child cell has the fill value."""
    fit: FitModel | None = None
    """Model of ``fit``."""
    of: str = ""
    """What is taken of a fit (`maggjob.statistics.fit_model.QUANTITIES`)."""
    term: str = ""
    """Term whose coefficient or error is taken."""

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Statistic":
        """Return the statistic from the values of ``asdict``, which may have been written to JSON and read back."""
        model = plain.get("fit")
        if model is None:
            return cls(**plain)
        return cls(**dict(plain) | {"fit": FitModel(**dict(model) | {"terms": tuple(model["terms"])})})

    @property
    def whole(self) -> bool:
        """True if the variable holds integers."""
        return np.dtype(self.dtype).kind in "iu"

    @property
    def row_expressions(self) -> tuple[Expression, ...]:
        """All expressions that are evaluated for each segment, except the weights."""
        inner = row_arguments(parse(self.expression)) if self.expression else ()
        terms = tuple(parse(term) for term in self.fit.terms) if self.fit else ()
        return (*inner, *terms, parse(self.source)) if self.source else inner

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that the statistic uses."""
        texts = (self.source, self.weights, self.expression, *(self.fit.terms if self.fit else ()))
        own = OF_FITS if self.fit else frozenset()
        return own.union(*(parse(text).columns for text in texts if text))


def _count(groups: Groups, _: Statistic) -> np.ndarray:
    return groups.sizes


def _min(groups: Groups, statistic: Statistic) -> np.ndarray:
    whole = _whole_source(groups, statistic)
    return groups.sorted(_source(statistic))[groups.first] if whole is None else groups.reduce("min", whole)


def _max(groups: Groups, statistic: Statistic) -> np.ndarray:
    whole, last = _whole_source(groups, statistic), groups.first + groups.sizes - 1
    return groups.sorted(_source(statistic))[last] if whole is None else groups.reduce("max", whole)


def _sum(groups: Groups, statistic: Statistic) -> np.ndarray:
    values = groups.rows(_source(statistic))
    whole, sums = _whole_source(groups, statistic), groups.sum(values)
    # Sums of integers wrap around; those near the limit are left to the check of the dtype.
    if whole is None or (np.abs(sums) >= LARGEST_WHOLE * (2 if whole.dtype == np.uint64 else 1)).any():
        return sums
    return groups.sum(whole)


def _whole_source(groups: Groups, statistic: Statistic) -> np.ndarray | None:
    """Return the source in group order as integers of 64 bits, if it is a column of integers and so is the result.

    float64 holds integers to 2**53 only. For anything else, None is returned.
    """
    values = groups.columns.get(_source(statistic))
    if not statistic.whole or values is None or values.dtype.kind not in "iu":
        return None
    return groups.in_order(values).astype(np.uint64 if values.dtype == np.uint64 else np.int64)


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
    return groups.middle(groups.sorted(_source(statistic)))


def _mad(groups: Groups, statistic: Statistic) -> np.ndarray:
    """Return the median absolute deviation from the median."""
    center = groups.spread(groups.middle(groups.sorted(_source(statistic))))
    return groups.middle(groups.sort(np.abs(groups.rows(_source(statistic)) - center)))


def _nmad(groups: Groups, statistic: Statistic) -> np.ndarray:
    """Return the normalized median absolute deviation, as in Höhle and Höhle (2009)."""
    return NORMAL * _mad(groups, statistic)


def _weighted_median(groups: Groups, statistic: Statistic) -> np.ndarray:
    """Return the lower weighted median.

    That is the smallest value for which the weights of all values up to it are at least half of all weights (Cormen et
    al., *Introduction to Algorithms*, problem 9-2).
    """
    values, weights = groups.rows(_source(statistic)), groups.rows(str(statistic.weights))
    found = np.empty(len(groups.sizes))
    ends = groups.first + groups.sizes
    for number, (start, stop) in enumerate(zip(groups.first.tolist(), ends.tolist(), strict=True)):
        order = np.argsort(values[start:stop], kind="stable")
        below = np.cumsum(weights[start:stop][order])
        found[number] = values[start:stop][order[np.searchsorted(below, below[-1] / 2)]]
    return found


def _mode(groups: Groups, statistic: Statistic) -> np.ndarray:
    """Return the center of the fullest bin; of the lowest, if several are. Bin k holds k to k + 1 widths, excluded."""
    bins = np.floor(groups.sorted(_source(statistic)) / statistic.bin_width)
    new = np.ones(len(bins), bool)
    new[1:] = bins[1:] != bins[:-1]
    new[groups.first] = True
    starts = np.flatnonzero(new)
    lengths = np.diff(starts, append=len(bins))
    # Runs of equal bins, by group.
    first = np.searchsorted(starts, groups.first)
    counts = np.diff(first, append=len(starts))
    fullest = np.repeat(np.maximum.reduceat(lengths, first), counts)
    candidates = np.where(lengths == fullest, np.arange(len(starts)), len(starts))
    chosen = np.minimum.reduceat(candidates, first)
    return (bins[starts[chosen]] + 0.5) * statistic.bin_width


def _skewness(groups: Groups, statistic: Statistic) -> np.ndarray:
    """Return the Fisher-Pearson coefficient of skewness, with scipy's rule for values that are all equal: NaN.

    Without bias it is G1 of Joanes and Gill (1998), which is not defined for fewer than three segments.
    """
    values, n = groups.rows(_source(statistic)), groups.sizes.astype(np.float64)
    mean = groups.mean(values)
    deviations = values - groups.spread(mean)
    second, third = groups.mean(deviations**2), groups.mean(deviations**3)
    alike = second <= (np.finfo(np.float64).eps * mean) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.where(alike, np.nan, third / second**1.5)
        if not statistic.bias:
            skewness *= np.where(n > 2, np.sqrt(n * (n - 1)) / (n - 2), np.nan)
    return skewness


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


def _fit(groups: Groups, statistic: Statistic) -> np.ndarray:
    """Return one quantity of a fit, which is made once for all of its quantities."""
    source, model = _source(statistic), statistic.fit
    if model is None:
        raise ValueError(f"{statistic.name}: fit needs a model")
    key = (model, source, statistic.weights)
    result = groups.shared.get(key)
    if result is None:
        result = groups.shared[key] = _fitted(groups, model, source, statistic.weights)
        groups.fit_counts[model.name] = result.counts(groups.sizes >= statistic.min_count)
    return _quantity(result, model, statistic.of, statistic.term)


def _fitted(groups: Groups, model: FitModel, source: str, weights: str | None) -> FitResult:
    number = len(groups.sizes)
    terms = [groups.rows(term) for term in model.terms]
    rows = FitRows(
        groups.spread(np.arange(number)),
        groups.in_order(groups.columns["pass"]).astype(np.int64),
        groups.column("time"),
        groups.rows(source),
        np.stack(terms) if terms else np.empty((0, len(groups.child))),
        None if weights is None else groups.rows(weights),
    )
    return fit(model, rows, number)


def _quantity(result: FitResult, model: FitModel, of: str, term: str) -> np.ndarray:
    """Return one quantity of a fit, shape (groups,).

    Parameters
    ----------
    result : FitResult
    model : FitModel
    of : str
        One of `maggjob.statistics.fit_model.QUANTITIES`.
    term : str
        Term of a coefficient or an error, ``1`` for the intercept; else empty.

    Raises
    ------
    StatisticError
        If the model has no such term.
    """
    several = {"coefficient": result.coefficients, "error": result.errors, "formal_error": result.formal}
    if of not in several:
        values: np.ndarray = getattr(result, of)
        return values
    known = ("1", *model.terms)
    if term not in known:
        raise StatisticError(f"the fit has no term {term!r}; its terms are {', '.join(known)}")
    chosen: np.ndarray = several[of][known.index(term)]
    return chosen


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
    required: frozenset[str] = frozenset()
    """Names of the parameters that must be given."""
    label: str | None = None
    """Words for a title, if they are other than the cell method's or the name's."""
    unitless: bool = False
    """True if results have no units."""
    outputs: bool = False
    """True if one entry of the configuration gives several variables, listed as ``outputs``."""


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
    "quantile": Function(_quantile, frozenset({"q", "method"}), required=frozenset({"q"})),
    "mad": Function(_mad, label="median absolute deviation"),
    "nmad": Function(_nmad, label="normalized median absolute deviation"),
    "mode": Function(_mode, frozenset({"bin_width"}), cell_method="mode", required=frozenset({"bin_width"})),
    "skewness": Function(_skewness, frozenset({"bias"}), unitless=True),
    "weighted_median": Function(_weighted_median, frozenset({"weights"}), required=frozenset({"weights"})),
    "fit": Function(
        _fit,
        frozenset({"terms", "weights", "clip", "min_passes", "min_cycles"}),
        required=frozenset({"terms"}),
        outputs=True,
    ),
}
