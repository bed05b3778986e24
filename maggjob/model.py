"""What is handed from stage to stage: frozen, picklable, and free of anything but the standard library.

A task goes to a worker by pickle and is kept small: it names its granules, or says where their
list is, and never holds a credential.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np

from maggjob.cells import Grid
from maggjob.statistics import Statistic

NAME = re.compile(
    r"(?P<product>ATL\d\d)_(?P<start>\d{14})_(?P<rgt>\d{4})(?P<cycle>\d\d)(?P<region>\d\d)"
    r"_(?P<version>\d{3})_(?P<revision>\d\d)"
)
EPOCH = datetime(2018, 1, 1, tzinfo=UTC)
"""Zero of delta_time (the ATLAS epoch); GPS and UTC run alike since: no leap second came after."""
GRANULE_STATES = ("used", "no_overlap", "failed")
SEVERITY = {"no_overlap": 0, "used": 1, "failed": 2}  # of the states of a granule: the worst one counts
CELL_STATES = ("complete", "empty", "partial", "failed")
INDEX_USES = ("used", "missing", "stale", "refused", "unread")
"""Of an index in a cell. missing: there is none; stale: its granule has changed; refused: damaged, or of
something else; unread: the granule could not be read by it. All but the first are read without."""
INDEX_STATES = ("made", "there", "failed")
KEPT, FILL, BAD_WEIGHT, NOT_FINITE = "kept", "fill", "bad_weight", "not_finite"
OUTSIDE, INVALID_COORDINATE, UNREAD = "outside", "invalid_coordinate", "unread"
BUILT_IN_COLUMNS = ("latitude", "longitude", "rgt", "cycle", "beam")


@dataclass(frozen=True)
class GranuleName:
    """What the name of a granule says (ATL06_yyyymmddhhmmss_ttttccss_vvv_rr)."""

    product: str
    """Short name, such as ATL06."""
    start: str
    """Time of its first photon, yyyymmddhhmmss UTC."""
    rgt: int
    """Reference ground track, 1 to 1387."""
    cycle: int
    """91-day repeat cycle, from 1."""
    region: int
    """Along-track region, 1 to 14."""
    version: str
    """Product version, three digits."""
    revision: str
    """Revision, two digits."""

    @classmethod
    def parse(cls, name: str) -> "GranuleName | None":
        """From a granule id, a file name or a URL; None when it does not hold such a name."""
        match = NAME.search(name.rsplit("/", 1)[-1])
        if match is None:
            return None
        product, start, version, revision = match.group("product", "start", "version", "revision")
        return cls(product, start, int(match["rgt"]), int(match["cycle"]), int(match["region"]), version, revision)


@dataclass(frozen=True)
class Granule:
    """A granule as a worker sees it."""

    id: str
    """Its name: unique in a run, the same wherever it is read from."""
    url: str
    """A path, or a URL with the scheme file, s3 or https."""
    size: int | None = None
    """Size in bytes, if it is known exactly."""


@dataclass(frozen=True)
class GranuleList:
    """Where a task's granules are written down: lines of JSON in a larger object."""

    url: str
    """The object."""
    start: int
    """First byte."""
    size: int
    """Number of bytes."""


@dataclass(frozen=True)
class RowFilter:
    """A condition that a segment must meet to be kept."""

    state: str
    """Name under which segments that fail are counted."""
    dataset: str
    """Path with ``{group}`` for the beam."""
    op: str
    """One of ``< <= == != in``."""
    value: float | tuple[float, ...]
    """What the dataset is compared with; a tuple for ``in``."""


@dataclass(frozen=True)
class Recipe:
    """A configuration as workers need it: resolved, checked, and of plain values."""

    groups: tuple[str, ...]
    """Beams."""
    latitude: str
    """Path of the latitudes, with ``{group}`` for the beam."""
    longitude: str
    """Path of the longitudes."""
    time: str
    """Path of the times, in seconds since 2018-01-01; may be absent from a granule."""
    columns: tuple[tuple[str, str], ...]
    """Name and path of each variable."""
    filters: tuple[RowFilter, ...]
    """Conditions, in the order in which they are applied."""
    statistics: tuple[Statistic, ...]
    """What is computed for each child."""
    grid: Grid
    """Where it is computed."""

    def path(self, template: str, group: str) -> str:
        """Path of a dataset in one beam."""
        return template.replace("{group}", group).strip("/")

    @cached_property
    def used_columns(self) -> frozenset[str]:
        """Columns that any statistic uses."""
        return frozenset().union(*(s.columns for s in self.statistics))

    @cached_property
    def needed_paths(self) -> dict[str, list[str]]:
        """Paths of the datasets of each beam whose rows in a cell are needed, each once; times are apart."""
        templates = [path for _, path in self.columns] + [condition.dataset for condition in self.filters]
        coordinates = {"latitude": self.latitude, "longitude": self.longitude}
        templates += [path for name, path in coordinates.items() if name in self.used_columns]
        return {group: list(dict.fromkeys(self.path(t, group) for t in templates)) for group in self.groups}

    def to_json(self) -> bytes:
        """As text, the same for the same recipe; NaN is written as NaN."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Recipe":
        """What `to_json` wrote; whatever else it is raises ValueError, TypeError, KeyError or AttributeError."""
        plain = json.loads(content)
        values = [tuple(f["value"]) if isinstance(f["value"], list) else f["value"] for f in plain["filters"]]
        lists = {
            "groups": tuple(plain["groups"]),
            "columns": tuple((name, path) for name, path in plain["columns"]),
            "filters": tuple(RowFilter(**f | {"value": v}) for f, v in zip(plain["filters"], values, strict=True)),
            "statistics": tuple(Statistic(**statistic) for statistic in plain["statistics"]),
            "grid": Grid(**plain["grid"]),
        }
        return cls(**plain | lists)


@dataclass(frozen=True)
class CellTask:
    """Everything that `maggjob.map_cell` needs for one cell."""

    id: str
    """Window and cell, such as ``cycle22/-6134114``: unique in a run."""
    cell: str
    """Signed decimal id."""
    window: str
    """Label of the time window: the cycle."""
    recipe: Recipe
    """What to compute."""
    granules: tuple[Granule, ...] | GranuleList
    """What to read, or where that is written down."""
    run: str = ""
    """Digest of configuration and catalog: parts of another run are not mixed with these."""
    parts: str | None = None
    """Folder or prefix to write the part to; without one the report carries the arrays."""
    credentials: str | None = None
    """Where the credentials of the archive are; without them the worker's own environment."""
    region: str | None = None
    """Region of the buckets that it reads and writes; without one that of the environment."""
    indexes: str | None = None
    """Folder or prefix that holds indexes of granules; one that it does not hold is read without."""

    @property
    def part(self) -> str | None:
        """Path or URL of the part, if the cell can be read whole: else `maggjob.parts.tag_of` is in its name."""
        return None if self.parts is None else f"{self.parts}/{self.id}.npz"


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
class CellBatch:
    """Several cells for one call of `maggjob.job.map_cells`."""

    tasks: tuple[CellTask, ...]
    """They are worked on one after the other."""


@dataclass(frozen=True)
class IndexTask:
    """Everything that `maggjob.job.index_granules` needs for some granules."""

    id: str
    """Unique in a run."""
    recipe: Recipe
    """For what the indexes are to be used."""
    granules: tuple[Granule, ...] | GranuleList
    """What to index, or where that is written down."""
    indexes: str
    """Folder or prefix to write the indexes to."""
    credentials: str | None = None
    """As in `CellTask`."""
    region: str | None = None
    """As in `CellTask`."""


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
    """The answer of `maggjob.job.index_granules`."""

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
