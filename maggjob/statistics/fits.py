"""Least-squares fits to the segments of each child cell, all child cells at once, with errors clustered by pass.

The model is ``v = b0 + sum(b_k * term_k)``. Segments of one pass (one beam of one ground track in one cycle) share
their error, so the standard error is clustered by pass: the sandwich estimator of Liang and Zeger (1986, *Biometrika*
73, 13) with the factor ``passes / (passes - coefficients)``. The formal error assumes independent segments, and is far
too small.

Rows are put into the canonical order of child cell, pass and time first, so that every sum has the same value whatever
the order of the granules. All that follows are elementwise operations over all child cells at once: unlike LAPACK, they
give the same bits on every processor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from maggjob.statistics.fit_model import (
    DETERMINED,
    FEW_CYCLES,
    FEW_PASSES,
    MOST_ROUNDS,
    PASS_DIGITS,
    SECONDS_A_YEAR,
    SINGULAR,
    SMALLEST_PIVOT,
    STATES,
    TRACK_DIGITS,
    FitModel,
)


@dataclass(frozen=True)
class FitRows:
    """Rows in canonical order: by group, then by pass, then by time."""

    group: np.ndarray
    """Group of each row, int64, shape (rows,), ascending."""
    pass_id: np.ndarray
    """Pass of each row, int64, shape (rows,), ascending within a group."""
    time: np.ndarray
    """Time of each row in seconds, float64, shape (rows,), ascending within a pass."""
    values: np.ndarray
    """What is fitted, float64, shape (rows,)."""
    terms: np.ndarray
    """Terms of the model, float64, shape (terms, rows)."""
    weights: np.ndarray | None = None
    """Weights, float64, shape (rows,); None for equal weights."""

    def take(self, rows: np.ndarray) -> "FitRows":
        """Return some of the rows, shape (rows,) of bool or of positions in canonical order."""
        weights = None if self.weights is None else self.weights[rows]
        own = (self.group[rows], self.pass_id[rows], self.time[rows], self.values[rows])
        return FitRows(*own, self.terms[:, rows], weights)

    @property
    def passes(self) -> np.ndarray:
        """Position of the first row of each pass of each group, shape (passes,)."""
        return _starts(self.group, self.pass_id)


def _starts(*keys: np.ndarray) -> np.ndarray:
    """Return the position of the first row of each run of equal keys."""
    new = np.ones(len(keys[0]), bool)
    new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.flatnonzero(new)


@dataclass(frozen=True)
class FitResult:
    """Result of a fit for some groups; all arrays have one value per group unless said otherwise."""

    state: np.ndarray
    """`DETERMINED`, or why the fit is not determined, int64."""
    coefficients: np.ndarray
    """Shape (coefficients, groups), float64: the intercept, then one per term; NaN where not determined."""
    errors: np.ndarray
    """Standard errors clustered by pass, shape (coefficients, groups), float64."""
    formal: np.ndarray
    """Standard errors under the assumption of independent rows, shape (coefficients, groups), float64."""
    rms: np.ndarray
    """Root mean square of the residuals, weighted like the fit, float64."""
    segments: np.ndarray
    """Number of rows used, int64."""
    clipped: np.ndarray
    """Number of rows clipped, int64."""
    passes: np.ndarray
    """Number of passes used, int64."""
    tracks: np.ndarray
    """Number of reference ground tracks used, int64."""
    cycles: np.ndarray
    """Number of cycles used, int64."""
    span: np.ndarray
    """Years of 365.25 days from the first to the last row used, float64."""

    def counts(self, enough: np.ndarray) -> dict[str, int]:
        """Return the number of groups by state, in words.

        Parameters
        ----------
        enough : ndarray of bool, shape (groups,)
            Groups with as many segments as ``min_count`` asks for; the others count as ``few_segments``.
        """
        states = self.state[enough]
        found = {word: int(np.count_nonzero(states == state)) for state, word in enumerate(STATES[:-1])}
        few = int(np.count_nonzero(~enough))
        return found | ({STATES[-1]: few} if few else {})


def in_canonical_order(rows: FitRows) -> FitRows:
    """Return rows in canonical order, from rows that are grouped but otherwise in any order."""
    key = rows.group * (1 << 24) + rows.pass_id
    order = np.argsort(key, kind="stable")
    found = rows.take(order)
    same = (found.group[1:] == found.group[:-1]) & (found.pass_id[1:] == found.pass_id[:-1])
    if (same & (found.time[1:] <= found.time[:-1])).any():
        # Equal times are told apart by everything that enters the sums.
        found = rows.take(np.lexsort((*rows.terms, rows.values, rows.time, key)))
    return found


def fit(model: FitModel, rows: FitRows, groups: int) -> FitResult:
    """Fit a model to each group.

    Parameters
    ----------
    model : FitModel
    rows : FitRows
        Grouped rows; each of the groups has at least one.
    groups : int
        Number of groups; ``rows.group`` counts from 0.

    Returns
    -------
    FitResult
    """
    rows = in_canonical_order(rows)
    whole = np.bincount(rows.group, minlength=groups)
    result = _empty(len(rows.terms) + 1, groups)
    active = np.arange(groups)
    for number in range(MOST_ROUNDS + 1):
        found, residuals, limit = _round(model, rows)
        _put(result, active, found)
        if model.clip == 0 or number == MOST_ROUNDS:
            break
        wild = np.abs(residuals) > limit[rows.group]
        touched = np.zeros(len(active), bool)
        touched[rows.group[wild]] = True
        if not touched.any():
            break
        # Only groups that lost a row are fitted again.
        rows = rows.take(touched[rows.group] & ~wild)
        rows = replace(rows, group=(np.cumsum(touched) - 1)[rows.group])
        active = active[touched]
    return replace(result, clipped=whole - result.segments)


def _empty(coefficients: int, groups: int) -> FitResult:
    shape = (coefficients, groups)
    several = [np.full(shape, np.nan) for _ in range(3)]
    single = [np.full(groups, np.nan) for _ in range(2)]
    whole = [np.zeros(groups, np.int64) for _ in range(6)]
    numbers = (whole[1], whole[2], whole[3], whole[4], whole[5])
    return FitResult(whole[0], several[0], several[1], several[2], single[0], *numbers, single[1])


def _put(result: FitResult, active: np.ndarray, found: FitResult) -> None:
    """Write the result of some groups into that of all groups."""
    for name, values in vars(found).items():
        vars(result)[name][..., active] = values


def _round(model: FitModel, rows: FitRows) -> tuple[FitResult, np.ndarray, np.ndarray]:
    """Fit once; return the result, the weighted residual of each row, and the limit of each group for clipping."""
    first, sizes, passes = _groups_of(rows)
    numbers = _numbers(rows, first, passes)
    weight = np.ones(len(first)) * sizes if rows.weights is None else np.add.reduceat(rows.weights, first)
    with np.errstate(all="ignore"):
        columns, means, scale = _centred(rows, first, sizes, weight)
        basis = _orthogonal(rows, columns, first, sizes)
        residuals, along = _projected(rows, basis, first, sizes)
        state = _states(model, numbers, basis.good, len(basis.columns))
        squares = _sums(rows, residuals**2, first)
        freedom = np.maximum(sizes - len(basis.columns), 1)
        clustered = _product(_product(basis.inverse, _meat(rows, basis, residuals, passes)), _turned(basis.inverse))
        number = numbers["passes"]
        clustered = clustered * (number / np.maximum(number - len(basis.columns), 1))
        formal = _product(basis.inverse, _turned(basis.inverse)) * (squares / freedom)
        solved = _product(basis.inverse, along[:, None])[:, 0]
    determined = state == DETERMINED
    coefficients, errors, forms = _in_units(solved, formal, clustered, means, scale, determined)
    result = FitResult(
        state,
        coefficients,
        errors,
        forms,
        rms=np.where(determined, np.sqrt(squares / weight), np.nan),
        segments=sizes,
        clipped=np.zeros(len(first), np.int64),
        passes=number,
        tracks=numbers["tracks"],
        cycles=numbers["cycles"],
        span=numbers["span"],
    )
    told = residuals if rows.weights is None else residuals * np.sqrt(rows.weights)
    limit = np.where(determined, model.clip * np.sqrt(squares / freedom), np.inf)
    return result, told, limit


def _groups_of(rows: FitRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first row and the number of rows of each group, and the first row of each pass."""
    first = _starts(rows.group)
    return first, np.diff(first, append=len(rows.group)), rows.passes


def _sums(rows: FitRows, values: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Return the weighted sum of each group or pass."""
    return np.add.reduceat(values if rows.weights is None else rows.weights * values, first)


def _numbers(rows: FitRows, first: np.ndarray, passes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the numbers of passes, tracks and cycles of each group, and its time span in years."""
    groups, group, pass_id = len(first), rows.group[passes], rows.pass_id[passes]
    cycles = _starts(group, pass_id // PASS_DIGITS)
    tracks = np.unique(group * TRACK_DIGITS + pass_id % PASS_DIGITS // 10) // TRACK_DIGITS
    span = np.maximum.reduceat(rows.time, first) - np.minimum.reduceat(rows.time, first)
    return {
        "passes": np.bincount(group, minlength=groups),
        "tracks": np.bincount(tracks, minlength=groups),
        "cycles": np.bincount(group[cycles], minlength=groups),
        "span": span / SECONDS_A_YEAR,
    }


def _centred(
    rows: FitRows, first: np.ndarray, sizes: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the intercept and the terms less their means and divided by their scales, and both of these.

    Returns
    -------
    columns : ndarray, shape (terms + 1, rows)
    means, scale : ndarray, shape (terms, groups)
    """
    columns = np.ones((len(rows.terms) + 1, len(rows.group)))
    means, scale = (np.empty((len(rows.terms), len(first))) for _ in range(2))
    for number, term in enumerate(rows.terms):
        means[number] = _sums(rows, term, first) / weight
        own = term - np.repeat(means[number], sizes)
        scale[number] = np.sqrt(_sums(rows, own**2, first) / weight)
        # A term that hardly varies cannot be told from the intercept.
        flat = ~(scale[number] > 1e-12 * np.abs(means[number]))
        scale[number][flat] = np.inf
        columns[number + 1] = own / np.repeat(scale[number], sizes)
    return columns, means, scale


@dataclass(frozen=True)
class _Basis:
    """Orthonormal columns that span the terms of each group."""

    columns: list[np.ndarray]
    """Columns, shape (rows,) each: the intercept's first."""
    inverse: np.ndarray
    """Inverse of the triangular matrix that turns them into the terms, shape (p, p, groups)."""
    good: np.ndarray
    """Which groups have such a basis, bool, shape (groups,)."""


def _orthogonal(rows: FitRows, columns: np.ndarray, first: np.ndarray, sizes: np.ndarray) -> _Basis:
    """Return an orthonormal basis of the columns of each group, by the modified Gram-Schmidt process.

    Normal equations would square the condition: of a cell with few tracks nothing would be left of the error.
    """
    p, groups = len(columns), len(first)
    upper, good = np.zeros((p, p, groups)), np.ones(groups, bool)
    basis: list[np.ndarray] = []
    for j, column in enumerate(columns):
        left, whole = column, _sums(rows, column * column, first)
        for i, one in enumerate(basis):
            upper[i, j] = _sums(rows, one * left, first)
            left = left - one * np.repeat(upper[i, j], sizes)
        own = _sums(rows, left * left, first)
        # Squares, so that it is the share of a term that the terms before it do not explain.
        good &= own > SMALLEST_PIVOT * whole
        upper[j, j] = np.sqrt(own)
        basis.append(left / np.repeat(upper[j, j], sizes))
    inverse = np.zeros_like(upper)
    for j in range(p):
        inverse[j, j] = 1.0 / upper[j, j]
        for i in range(j - 1, -1, -1):
            total = np.zeros(groups)
            for k in range(i + 1, j + 1):
                total = total - upper[i, k] * inverse[k, j]
            inverse[i, j] = total / upper[i, i]
    return _Basis(basis, inverse, good)


def _projected(rows: FitRows, basis: _Basis, first: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the residuals, shape (rows,), and the coordinates of the values in a basis, shape (p, groups)."""
    left, along = rows.values, np.empty((len(basis.columns), len(first)))
    for number, one in enumerate(basis.columns):
        along[number] = _sums(rows, one * left, first)
        left = left - one * np.repeat(along[number], sizes)
    return left, along


def _turned(matrices: np.ndarray) -> np.ndarray:
    return matrices.transpose(1, 0, 2)


def _states(model: FitModel, numbers: dict[str, np.ndarray], good: np.ndarray, p: int) -> np.ndarray:
    """Return the state of each group: the first reason that applies."""
    state = np.where(good, DETERMINED, SINGULAR)
    state[numbers["cycles"] < model.min_cycles] = FEW_CYCLES
    # With no more passes than coefficients, the error by pass is not defined.
    state[numbers["passes"] < max(model.min_passes, p + 1)] = FEW_PASSES
    return state


def _meat(rows: FitRows, basis: _Basis, residuals: np.ndarray, passes: np.ndarray) -> np.ndarray:
    """Return the sums over passes of the products of their scores, shape (p, p, groups)."""
    scores = [_sums(rows, one * residuals, passes) for one in basis.columns]
    of, p = _starts(rows.group[passes]), len(scores)
    meat = np.empty((p, p, len(of)))
    for i in range(p):
        for j in range(i, p):
            meat[i, j] = meat[j, i] = np.add.reduceat(scores[i] * scores[j], of)
    return meat


def _product(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the products of matrices, shape (n, m, groups) and (m, k, groups), with the same bits everywhere."""
    found = np.zeros((one.shape[0], *two.shape[1:]))
    for i, j, k in np.ndindex(*found.shape[:2], len(two)):
        found[i, j] += one[i, k] * two[k, j]
    return found


def _in_units(
    solved: np.ndarray,
    formal: np.ndarray,
    covariance: np.ndarray,
    means: np.ndarray,
    scale: np.ndarray,
    determined: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coefficients, errors and formal errors of the terms as they are, not centred and scaled."""
    coefficients, errors, forms = (np.full(solved.shape, np.nan) for _ in range(3))
    with np.errstate(all="ignore"):
        coefficients[1:] = solved[1:] / scale
        # The intercept is the value where all terms are zero.
        shift = means / scale
        coefficients[0] = solved[0]
        for number, one in enumerate(solved[1:]):
            coefficients[0] = coefficients[0] - one * shift[number]
        for target, of in ((errors, covariance), (forms, formal)):
            for k in range(1, len(solved)):
                target[k] = np.sqrt(np.maximum(of[k, k], 0.0)) / scale[k - 1]
            target[0] = np.sqrt(np.maximum(_variance_of_intercept(of, shift), 0.0))
    for target in (coefficients, errors, forms):
        target[:, ~determined] = np.nan
    return coefficients, errors, forms


def _variance_of_intercept(covariance: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the variance of ``b0 - sum(shift_k * b_k)``, shape (groups,)."""
    factors: Sequence[np.ndarray] = [np.ones(shift.shape[1]), *(-shift)]
    total = np.zeros(shift.shape[1])
    for i, one in enumerate(factors):
        for j, two in enumerate(factors):
            total = total + one * two * covariance[i, j]
    return total
