"""Segments grouped by child cell, with one sort.

Inputs become float64 first, so order statistics are those of numpy on each group to the last bit, and sums are
numpy's pairwise ones. Sorting within groups is a loop over slices: for a million segments in 4,096 children, one sort
by (child, value) takes 51 ms with packed keys and 207 ms with ``lexsort``, and 4,096 sorts of a slice take 4 ms, as
each fits in the innermost cache and in numpy's vector registers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from maggjob.statistics.expression import evaluate, parse


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
