"""Numbers of index objects that a run makes and reads."""

from dataclasses import dataclass


@dataclass(frozen=True)
class IndexCounts:
    """Numbers of index objects of a run."""

    calls: int = 0
    """Calls that make them."""
    lookups: int = 0
    """Objects that these calls read, because they are there."""
    written: int = 0
    """Objects that they write."""
    reads: float = 0.0
    """Objects that all cells read if none is divided, each counted once for each cell."""


def no_indexes(workers: int) -> IndexCounts:
    """Return the numbers of a run without indexes."""
    return IndexCounts()
