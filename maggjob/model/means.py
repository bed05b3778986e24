"""Recipe, task and report of the series job: means of gridded granules."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class MeanVariable:
    """A variable that is averaged."""

    name: str
    """Name in the result."""
    dataset: str
    """Path in the granule."""
    add: float = 0.0
    """Number added to values in physical units, such as -273.15 for degrees Celsius."""


@dataclass(frozen=True)
class MeanMask:
    """Which grid cells count, by a dataset of flags."""

    dataset: str
    """Path in the granule."""
    values: tuple[int, ...] | None = None
    """Values of the cells that count; None for any."""
    set: int = 0
    """Bits that must all be set."""
    clear: int = 0
    """Bits that must all be clear."""

    def keeps(self, flags: np.ndarray) -> np.ndarray:
        """Return which cells count.

        Parameters
        ----------
        flags : ndarray of integers
        """
        bits = flags.astype(np.int64)
        kept = ((bits & self.set) == self.set) & ((bits & self.clear) == 0)
        return kept if self.values is None else kept & np.isin(flags, self.values)


@dataclass(frozen=True)
class MeanRecipe:
    """What is computed of each granule."""

    latitude: str
    """Path of the latitudes."""
    longitude: str
    """Path of the longitudes."""
    time: str
    """Path of the times."""
    south_north: tuple[float, float]
    """Band of latitude, both included, degrees."""
    west_east: tuple[float, float] | None
    """Longitudes, both included, degrees; west may be east of east. None for all."""
    variables: tuple[MeanVariable, ...]
    """Variables."""
    mask: MeanMask | None = None
    """Which cells count; None for all."""
    reader: str = "auto"
    """As in `maggjob.model.recipe.Recipe`."""

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides about the numbers."""
        plain = asdict(replace(self, reader="auto"))
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "MeanRecipe":
        """Return the recipe from the values of ``dataclasses.asdict``, which may have been JSON."""
        mask = plain["mask"]
        if mask is not None:
            mask = MeanMask(**dict(mask) | {"values": None if mask["values"] is None else tuple(mask["values"])})
        own = {
            "south_north": tuple(plain["south_north"]),
            "west_east": None if plain["west_east"] is None else tuple(plain["west_east"]),
            "variables": tuple(MeanVariable(**one) for one in plain["variables"]),
            "mask": mask,
        }
        return cls(**dict(plain) | own)


@dataclass(frozen=True)
class MeanTask:
    """One granule."""

    id: str
    """Name of the granule."""
    url: str
    """Path or URL."""
    size: int | None
    """Size in bytes, if it is known exactly."""
    start: str
    """Its day, ISO 8601: the time of a granule that has none itself."""
    recipe: MeanRecipe
    """What to compute."""
    parts: str | None = None
    """Folder or prefix to write the part to."""
    credentials: str | None = None
    """As in `maggjob.model.tasks.CellTask`."""
    region: str | None = None
    """As in `maggjob.model.tasks.CellTask`."""


@dataclass(frozen=True)
class MeanReport:
    """Outcome of one granule: the answer of `maggjob.jobs.granule_mean.map_granule`."""

    id: str
    """Name of the granule."""
    state: str
    """``used``, ``empty`` (no valid value) or ``failed``."""
    steps: tuple[dict[str, Any], ...] = ()
    """For each time: ``time`` (seconds since 1970-01-01), and ``values``: the statistics of each variable by name."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Units of each variable in the granule."""
    reason: str | None = None
    """The error's ``reason``, if the granule failed."""
    message: str | None = None
    """The error's message."""
    seconds: float = 0.0
    """Seconds that the worker took."""
    bytes_read: int = 0
    """Bytes read of the granule."""
    requests: int = 0
    """Number of requests for them."""
    peak_memory: int = 0
    """Peak memory of the worker's process so far, in bytes."""
    version: str | None = None
    """Version of the granule that was read, as `maggjob.storage.archive.Source` tells it."""
    by_h5py: bool = False
    """Whether h5py read any of it."""

    @property
    def cells(self) -> dict[str, dict[str, int]]:
        """Number of grid cells by variable and state, over all times."""
        found: dict[str, dict[str, int]] = {}
        for step in self.steps:
            for name, values in step["values"].items():
                own = found.setdefault(name, {})
                for state, count in values["cells"].items():
                    own[state] = own.get(state, 0) + count
        return found
