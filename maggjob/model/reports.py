"""Reports that workers return, on cells, granules and indexes, and the tally of a run."""

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np

from maggjob.model.display import Displayed

GRANULE_STATES = ("used", "no_overlap", "failed")
CELL_STATES = ("complete", "empty", "partial", "failed")
INDEX_USES = ("used", "missing", "stale", "refused", "unread")
"""Uses of a granule's index in a cell. missing: no index exists; stale: the granule has changed since; refused: the
index is damaged or belongs to something else; unread: reading the granule with it failed. Except for ``used``, the
granule is read without an index."""
INDEX_STATES = ("made", "there", "failed")
KEPT, FILL, BAD_WEIGHT, NOT_FINITE = "kept", "fill", "bad_weight", "not_finite"
TRANSITION, TOO_LARGE = "transition", "too_large"
RARE = (TRANSITION, TOO_LARGE)
"""States that are listed only where they occur."""
OUTSIDE, INVALID_COORDINATE, UNREAD = "outside", "invalid_coordinate", "unread"


@dataclass(frozen=True, slots=True)
class GranuleReport:
    """Outcome of one granule in one cell. A client keeps millions of them, which share what they have in common."""

    id: str
    """Id of the granule."""
    state: str
    """One of `GRANULE_STATES`."""
    beams: Mapping[str, str] = field(default_factory=dict)
    """``read`` or ``absent``, by beam."""
    rows: int = 0
    """Number of segments in the granule."""
    invalid_coordinate: int = 0
    """Number of segments in the granule with invalid coordinates."""
    in_cell: int = 0
    """Number of the granule's segments in the cell."""
    kept: int = 0
    """Number of the granule's segments in the cell that entered the statistics."""
    segments: Mapping[str, int] = field(default_factory=dict)
    """Number of the granule's segments in the cell by state; they add up to ``in_cell``."""
    reason: str | None = None
    """The error's ``reason``, if the granule failed."""
    message: str | None = None
    """The error's message; not part of the result, as it may differ between runs."""

    def ledger(self) -> dict[str, Any]:
        """Return the report without what may differ between two runs on the same data."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return plain | {"message": None, "beams": dict(self.beams), "segments": dict(self.segments)}

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what pickle needs to make the report again, see `_received`."""
        counts = (self.rows, self.invalid_coordinate, self.in_cell, self.kept)
        return _received, (
            self.id,
            self.state,
            tuple(self.beams.items()),
            counts,
            dict(self.segments),
            self.reason,
            self.message,
        )


def _received(
    name: str,
    state: str,
    beams: tuple[tuple[str, str], ...],
    counts: tuple[int, int, int, int],
    segments: Mapping[str, int],
    *others: str | None,
) -> GranuleReport:
    """Return an unpickled report, which shares what it has in common with those of other cells."""
    rows, invalid, in_cell, kept = counts
    # A number that is there twice is one object.
    if segments.get(KEPT) == kept:
        kept = segments[KEPT]
    if in_cell == kept:
        in_cell = kept
    return GranuleReport(
        sys.intern(name), state, _beams(beams), _number(rows), invalid, in_cell, kept, segments, *others
    )


@lru_cache(maxsize=1 << 17)
def _number(number: int) -> int:
    return number


@lru_cache(maxsize=1024)
def _beams(items: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    return dict(items)


@dataclass(frozen=True)
class CellReport:
    """Outcome of one cell: the answer of `maggjob.map_cell`."""

    id: str
    """Id of the task."""
    cell: str
    """Signed decimal id of the cell."""
    window: str
    """Label of the time window."""
    state: str
    """One of `CELL_STATES`."""
    segments: Mapping[str, int] = field(default_factory=dict)
    """Number of segments in the cell by state; ``kept`` counts the observations."""
    granules: tuple[GranuleReport, ...] = ()
    """Outcome of each granule."""
    reason: str | None = None
    """The error's ``reason``, if the cell failed."""
    message: str | None = None
    """The error's message."""
    part: str | None = None
    """Path or URL of the part that was written."""
    part_bytes: int = 0
    """Size of the part in bytes."""
    part_digest: str | None = None
    """SHA-256 of the part."""
    seconds: float = 0.0
    """Seconds that the worker took, by a monotonic clock."""
    time: tuple[float, float] | None = None
    """First and last time of the segments kept, seconds since 2018-01-01."""
    bytes_read: int = 0
    """Bytes read from granules."""
    requests: int = 0
    """Number of requests for them."""
    peak_memory: int = 0
    """Peak memory of the worker's process so far, in bytes; 0 if unknown."""
    by_h5py: int = 0
    """Number of granules that h5py read, at least in part, as h5coro cannot read their layout: this takes longer."""
    indexes: Mapping[str, int] = field(default_factory=dict)
    """Number of granules by use of their index (`INDEX_USES`), summed over the quarters of a cell; empty if the task
    asks for no indexes."""
    index_bytes: int = 0
    """Bytes of indexes read; packs are read whole."""
    index_requests: int = 0
    """Number of requests for them: one per pack."""
    index_problems: tuple[str, ...] = ()
    """The first few messages on why an index was not used; the granules were read without it."""
    fits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Number of child cells with segments by state of their fit, by order and name of the fit, as in ``12/trend``."""
    attempts: int = 1
    """Number of times that the cell was worked on in this run; 0 if its part is that of an earlier attempt."""
    earlier: tuple[str, ...] = ()
    """Reasons of the failures of earlier attempts."""
    arrays: Mapping[str, np.ndarray] | None = None
    """Statistics and ids of all children, if the task has no place to write a part."""

    @property
    def observations(self) -> int:
        """Number of segments that entered the statistics."""
        return self.segments.get(KEPT, 0)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the arrays."""
        plain = asdict(replace(self, arrays=None))
        del plain["arrays"]
        return plain | {"observations": self.observations}


class CellCounts(Mapping[int, int]):
    """Number of segments by cell, in a tenth of the memory of a dict: a granule lies in some twenty cells.

    Parameters
    ----------
    counts : mapping of int to int
        Number of segments by nested id of the cell.
    """

    __slots__ = ("_cells", "_counts")

    def __init__(self, counts: Mapping[int, int]) -> None:
        self._cells = array("q", sorted(counts))
        self._counts = array("q", (counts[cell] for cell in self._cells))

    def __getitem__(self, cell: int) -> int:
        place = bisect_left(self._cells, cell)
        if place == len(self._cells) or self._cells[place] != cell:
            raise KeyError(cell)
        return self._counts[place]

    def __iter__(self) -> Iterator[int]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __repr__(self) -> str:
        return f"CellCounts({dict(self)!r})"


@dataclass(frozen=True)
class IndexedGranule:
    """Outcome of indexing one granule."""

    id: str
    """Id of the granule."""
    state: str
    """One of `INDEX_STATES`; ``there`` if a valid index existed already."""
    rows: int = 0
    """Number of segments in the granule."""
    invalid: int = 0
    """Number of segments with invalid coordinates."""
    beams: Mapping[str, str] = field(default_factory=dict)
    """``read`` or ``absent``, by beam."""
    cells: Mapping[int, int] = field(default_factory=dict)
    """Number of segments by nested id of each cell (of the parent order) that has any."""
    index_bytes: int = 0
    """Size of the index in bytes."""
    index: str | None = None
    """Key, in the folder of indexes, of the object that holds the index."""
    size: int | None = None
    """Size of the granule in bytes."""
    etag: str | None = None
    """Version of the granule that the index was made from (its ETag, or what stands for it)."""
    slow: bool = False
    """Whether cells will read it by h5py, as h5coro cannot read its layout."""
    lacking: frozenset[str] = frozenset()
    """Datasets of the recipe that none of its beams has (`maggjob.model.recipe.Recipe.lacking`)."""
    reason: str | None = None
    """The error's ``reason``, if the granule failed."""
    message: str | None = None
    """The error's message."""


@dataclass(frozen=True)
class IndexReport:
    """The answer of `maggjob.jobs.granule_index.index_granules`."""

    id: str
    """Id of the task."""
    granules: tuple[IndexedGranule, ...]
    """Outcome of each granule, in the order of the task; empty if the call itself failed."""
    reason: str | None = None
    """The error's ``reason``, if the call itself failed."""
    message: str | None = None
    """The error's message."""
    seconds: float = 0.0
    """Seconds that the worker took, by a monotonic clock."""
    bytes_read: int = 0
    """Bytes read from granules."""
    requests: int = 0
    """Number of requests for them."""
    peak_memory: int = 0
    """Peak memory of the worker's process so far, in bytes; 0 if unknown."""


@dataclass(frozen=True, repr=False)
class Tally(Displayed):
    """The sum of many cell reports: the answer of `maggjob.reduce_tally`."""

    observations: int
    """Number of segments that entered the statistics."""
    cells: Mapping[str, int]
    """Number of cells by state, and ``planned`` for all."""
    granules: Mapping[str, int]
    """Number of granules by their worst state: failed in any cell, else used in any, else no_overlap."""
    segments: Mapping[str, int]
    """Number of segments of all granules by state; ``rows`` is the sum of all others. ``outside`` (in no planned cell)
    and ``invalid_coordinate`` count each segment once, whatever the number of cells that read it. ``unread`` counts
    segments of granules that failed in one cell and were read in another: they lie in the cell that failed, or in no
    planned cell. Granules that were never read add no rows."""
    errors: Mapping[str, Mapping[str, Any]]
    """Number of failures (of granules in cells, and of cells) and up to five examples, by reason."""
    fits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Number of child cells with segments by state of their fit, by order and name of the fit."""

    def facts(self) -> dict[str, object]:
        """Return what is shown of a tally."""
        told: dict[str, object] = {"observations": self.observations}
        for what in ("cells", "granules", "segments"):
            states = {state: count for state, count in getattr(self, what).items() if count}
            told[what] = ", ".join(f"{count:,} {state}" for state, count in states.items()) or "none"
        told["errors"] = ", ".join(f"{e['count']:,} {reason}" for reason, e in self.errors.items()) or "none"
        for name, children in self.fits.items():
            told[f"fit {name}"] = ", ".join(f"{count:,} {state}" for state, count in children.items() if count)
        return told

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)
