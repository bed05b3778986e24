"""What workers answer: of a cell, of the granules in it, of indexes; and the tally of a run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

GRANULE_STATES = ("used", "no_overlap", "failed")
CELL_STATES = ("complete", "empty", "partial", "failed")
INDEX_USES = ("used", "missing", "stale", "refused", "unread")
"""Of an index in a cell. missing: there is none; stale: its granule has changed; refused: damaged, or of
something else; unread: the granule could not be read by it. All but the first are read without."""
INDEX_STATES = ("made", "there", "failed")
KEPT, FILL, BAD_WEIGHT, NOT_FINITE = "kept", "fill", "bad_weight", "not_finite"
OUTSIDE, INVALID_COORDINATE, UNREAD = "outside", "invalid_coordinate", "unread"


@dataclass(frozen=True)
class GranuleReport:
    """What became of one granule in one cell."""

    id: str
    """The granule."""
    state: str
    """One of `GRANULE_STATES`."""
    beams: Mapping[str, str] = field(default_factory=dict)
    """Each beam: read, or absent."""
    rows: int = 0
    """Segments in the granule."""
    invalid_coordinate: int = 0
    """Segments of the granule whose coordinates cannot be binned."""
    in_cell: int = 0
    """Segments in the cell."""
    kept: int = 0
    """Segments in the cell that statistics were computed of."""
    reason: str | None = None
    """Why it failed: the ``reason`` of an error."""
    message: str | None = None
    """The error's message; not part of the result, as it may differ from run to run."""

    def ledger(self) -> dict[str, Any]:
        """The report without what may differ between two runs of the same data."""
        return vars(self) | {"message": None, "beams": dict(self.beams)}


@dataclass(frozen=True)
class CellReport:
    """What became of one cell: the answer of `maggjob.map_cell`."""

    id: str
    """The task."""
    cell: str
    """Signed decimal id."""
    window: str
    """Label of the time window."""
    state: str
    """One of `CELL_STATES`."""
    segments: Mapping[str, int] = field(default_factory=dict)
    """Segments in the cell by state; ``kept`` are the observations."""
    granules: tuple[GranuleReport, ...] = ()
    """What became of each granule."""
    reason: str | None = None
    """Why the cell failed: the ``reason`` of an error."""
    message: str | None = None
    """What went wrong, for people."""
    part: str | None = None
    """Path or URL of the part that was written."""
    part_bytes: int = 0
    """Its size."""
    seconds: float = 0.0
    """Time that the worker took, by a monotonic clock."""
    time: tuple[float, float] | None = None
    """First and last time of the segments kept, seconds since 2018-01-01."""
    bytes_read: int = 0
    """Bytes read from granules."""
    requests: int = 0
    """Reads that this took."""
    peak_memory: int = 0
    """Largest memory of the worker's process so far, in bytes; 0 where the system does not tell."""
    indexes: Mapping[str, int] = field(default_factory=dict)
    """Visits by what became of the granule's index: each of `INDEX_USES`, of a cell in quarters those of all four;
    empty when none was asked for."""
    index_bytes: int = 0
    """Bytes of indexes that were read; each index is one request more."""
    index_problems: tuple[str, ...] = ()
    """Why indexes were not used, for people: the first few. Their granules were read without."""
    arrays: Mapping[str, np.ndarray] | None = None
    """Statistics of all children, with their ids, when the task has nowhere to write them."""

    @property
    def observations(self) -> int:
        """Segments that the statistics were computed of."""
        return self.segments.get(KEPT, 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the arrays."""
        plain = asdict(replace(self, arrays=None))
        del plain["arrays"]
        return plain | {"observations": self.observations}


@dataclass(frozen=True)
class IndexedGranule:
    """What became of one granule that was to be indexed."""

    id: str
    """The granule."""
    state: str
    """One of `INDEX_STATES`: there, if a good index was there already."""
    rows: int = 0
    """Segments in the granule."""
    invalid: int = 0
    """Segments whose coordinates cannot be binned."""
    beams: Mapping[str, str] = field(default_factory=dict)
    """Each beam: read, or absent."""
    cells: Mapping[int, int] = field(default_factory=dict)
    """Segments in each cell of the parent order that has any, by nested id."""
    index_bytes: int = 0
    """Size of the index."""
    reason: str | None = None
    """Why it failed: the ``reason`` of an error."""
    message: str | None = None
    """What went wrong, for people."""


@dataclass(frozen=True)
class IndexReport:
    """The answer of `maggjob.jobs.granule_index.index_granules`."""

    id: str
    """The task."""
    granules: tuple[IndexedGranule, ...]
    """What became of each granule, in the order of the task; none when the call itself failed."""
    reason: str | None = None
    """Why the call itself failed."""
    message: str | None = None
    """What went wrong, for people."""
    seconds: float = 0.0
    """Time that the worker took, by a monotonic clock."""
    bytes_read: int = 0
    """Bytes read from granules."""
    requests: int = 0
    """Reads that this took."""
    peak_memory: int = 0
    """Largest memory of the worker's process so far, in bytes; 0 where the system does not tell."""


@dataclass(frozen=True)
class Tally:
    """The sum of many cell reports: the answer of `maggjob.reduce_tally`."""

    observations: int
    """Segments that statistics were computed of."""
    cells: Mapping[str, int]
    """Cells by state, and ``planned`` for all."""
    granules: Mapping[str, int]
    """Granules by their worst state: failed in any cell, used in any, else no_overlap."""
    segments: Mapping[str, int]
    """Segments of all granules by state; ``rows`` is the sum of all others. ``outside`` (in no planned
    cell) and ``invalid_coordinate`` count each segment once, whatever the number of cells that
    read it. ``unread`` are those of granules that failed in some cell and were read in another:
    in that cell, or in no planned cell. Granules that were never read have no rows here."""
    errors: Mapping[str, Mapping[str, Any]]
    """By reason: how many granules in cells and cells failed, and up to five examples."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
