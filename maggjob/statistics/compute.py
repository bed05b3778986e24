"""Computation of all statistics of one cell, in slabs that fit in the CPU cache."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from maggjob.errors import StatisticError
from maggjob.statistics.expression import evaluate, parse
from maggjob.statistics.functions import FUNCTIONS, Statistic
from maggjob.statistics.groups import Derived, Groups, with_bases

SLAB_ROWS = 1 << 16
"""Largest number of segments per slab; a child cell is never split. Arrays of a slab take half a megabyte, so they stay
in the cache, and the next slab reuses their memory. Arrays of a million segments would be allocated anew, and the first
access to a page of memory costs more than the arithmetic on it."""
SPLIT = 16
"""Number of parts into which a larger number of segments is divided, recursively. Selecting each slab directly from all
segments would take time proportional to the number of slabs."""


def compute(
    statistics: Sequence[Statistic],
    columns: Mapping[str, np.ndarray],
    child: np.ndarray,
    children: int,
    omit: Collection[str] = (),
    derived: Derived | None = None,
    fit_counts: dict[str, dict[str, int]] | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Compute all statistics of one cell.

    Parameters
    ----------
    statistics : sequence of Statistic
    columns : mapping of str to ndarray, shape (n,)
        All columns that the statistics use, without fill values.
    child : ndarray of int, shape (n,)
        Child cell of each segment, below ``children``.
    children : int
        Number of child cells of the cell.
    omit : collection of str
        Columns in which NaN stands for a missing value: a statistic that uses one is computed from the other segments.
    derived : mapping of str to DerivedColumn, optional
        Columns that are computed from others.
    fit_counts : dict, optional
        Filled with the number of child cells by state of their fit, by name of the fit.

    Returns
    -------
    present : ndarray of int64, shape (groups,)
        Child cells with segments, ascending.
    values : dict of str to ndarray, shape (groups,)
        Each statistic of these child cells, in its own dtype.

    Raises
    ------
    StatisticError
        If a result is infinite or does not fit in its dtype. NaN is allowed, such as the variance of one segment
        with ddof 1.
    """
    if not len(child):
        # A cell, or a quarter of one, of which nothing is kept: it may not even have columns.
        return np.empty(0, np.int64), {s.name: np.empty(0, s.dtype) for s in statistics}
    more, counts = derived or {}, {} if fit_counts is None else fit_counts
    whole = [s for s in statistics if s.columns.isdisjoint(omit)]
    present, values = _of_all(whole, columns, child, children, more, counts)
    for used in {s.columns & set(omit) for s in statistics} - {frozenset()}:
        own = [s for s in statistics if s.columns & set(omit) == used]
        there = np.logical_and.reduce([~np.isnan(columns[name]) for name in used])
        names = with_bases(frozenset().union(*(s.columns for s in own)), more)
        some_columns = {name: columns[name][there] for name in names}
        found, some = _of_all(own, some_columns, child[there], children, more, counts)
        place = np.searchsorted(present, found)
        for statistic in own:
            values[statistic.name] = np.full(len(present), statistic.fill_value, statistic.dtype)
            values[statistic.name][place] = some[statistic.name]
    return present, {s.name: values[s.name] for s in statistics}


def _of_all(
    statistics: Sequence[Statistic],
    columns: Mapping[str, np.ndarray],
    child: np.ndarray,
    children: int,
    derived: Derived,
    fit_counts: dict[str, dict[str, int]],
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Compute statistics of all segments, as `compute`."""
    counts = np.zeros(children, np.int64)
    for start in range(0, len(child), SLAB_ROWS):
        counts += np.bincount(child[start : start + SLAB_ROWS], minlength=children)
    present = np.flatnonzero(counts)
    if not len(present) or not statistics:
        return present, {s.name: np.empty(0, s.dtype) for s in statistics}
    pieces = []
    for groups in _slabs(child, columns, counts, 0, children, derived):
        pieces.append({s.name: _one(groups, s) for s in statistics})
        for name, states in groups.fit_counts.items():
            total = fit_counts.setdefault(name, {})
            for state, count in states.items():
                total[state] = total.get(state, 0) + count
    return present, {s.name: np.concatenate([piece[s.name] for piece in pieces]) for s in statistics}


def _slabs(
    child: np.ndarray, columns: Mapping[str, np.ndarray], counts: np.ndarray, first: int, last: int, derived: Derived
) -> Iterator[Groups]:
    """Yield the segments of child cells ``first`` to ``last`` (excluded) in slabs, by ascending child cell.

    Child cells are independent of each other, so results do not depend on the slabs.
    """
    own = counts[first:last]
    total = int(own.sum())
    number = (np.cumsum(own) - own) * SPLIT // max(total, 1)
    edges = [first, *(np.flatnonzero(np.diff(number)) + first + 1).tolist(), last]
    if total <= SLAB_ROWS or len(edges) == 2:
        if total:
            yield Groups(child, len(counts), columns, derived)
        return
    for start, stop in pairwise(edges):
        some = np.flatnonzero((child >= start) & (child < stop))
        own_columns = {name: values[some] for name, values in columns.items()}
        yield from _slabs(child[some], own_columns, counts, start, stop, derived)


def _one(groups: Groups, statistic: Statistic) -> np.ndarray:
    if statistic.expression is not None:
        values = evaluate(parse(statistic.expression), groups)
    else:
        values = FUNCTIONS[str(statistic.function)].compute(groups, statistic)
    cast = _cast(values, statistic)
    if statistic.min_count > 1:
        cast = np.where(groups.sizes < statistic.min_count, np.array(statistic.fill_value, cast.dtype), cast)
    return cast


def _cast(values: np.ndarray, statistic: Statistic) -> np.ndarray:
    """Convert results to the dtype of their variable; raise an error if a value does not fit."""
    dtype = np.dtype(statistic.dtype)
    if statistic.whole:
        limits = np.iinfo(dtype)
        bad = (values < limits.min) | (values > limits.max)
        if values.dtype.kind == "f":
            bad |= values != np.floor(values)
            if dtype.itemsize == 8:
                # float64 cannot tell 2**63 - 1 from 2**63, nor 2**64 - 1 from 2**64.
                bad |= values >= float(limits.max)
        why = "is no whole number that fits"
    else:
        bad = np.abs(values) > float(np.finfo(dtype).max)
        why = "does not fit"
    if bad.any():
        raise StatisticError(
            f"{statistic.name}: {values[bad][0]:g} {why} in {statistic.dtype}; "
            "choose another dtype, or an expression that stays finite"
        )
    return values.astype(dtype)


def fill_children(
    present: np.ndarray, values: Mapping[str, np.ndarray], statistics: Sequence[Statistic], children: int
) -> dict[str, np.ndarray]:
    """Expand the result of `compute` to all child cells.

    Parameters
    ----------
    present : ndarray of int64, shape (groups,)
    values : mapping of str to ndarray, shape (groups,)
    statistics : sequence of Statistic
    children : int
        Number of child cells of the cell.

    Returns
    -------
    dict of str to ndarray, shape (children,)
        Each statistic, with its fill value for child cells without segments.
    """
    full = {}
    for statistic in statistics:
        full[statistic.name] = np.full(children, statistic.fill_value, statistic.dtype)
        full[statistic.name][present] = values[statistic.name]
    return full
