"""The part of the configuration about granules: what is read from them, and how they are found."""

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from maggjob.icesat2.names import PRODUCT, PRODUCT_PATTERN, PROVIDER, VERSION
from maggjob.icesat2.orbit import BEAMS
from maggjob.model.recipe import BUILT_IN_COLUMNS, RowFilter
from maggjob.model.reports import BAD_WEIGHT, FILL, KEPT, NOT_FINITE

Driver = Literal["s3", "https", "file"]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Path_ = Annotated[str, Field(pattern=r"^/?([\w.{}-]+/)*[\w.{}-]+$")]
Whole = Annotated[int, Field(strict=True)]
"""A whole number: neither text nor true or false is taken for one."""
Real = Annotated[float, Field(strict=True)]
"""A number, likewise."""
Number = Whole | Real
RESERVED_STATES = {KEPT, FILL, BAD_WEIGHT, NOT_FINITE, "outside", "invalid_coordinate", "unread", "rows"}


class Strict(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, use_attribute_docstrings=True)


class Coordinates(Strict):
    """Datasets with the position of each segment; ``{group}`` stands for the beam."""

    latitude: Path_
    """Geodetic latitude, degrees."""
    longitude: Path_
    """Longitude, degrees east."""
    time: Path_ | None = None
    """Seconds since 2018-01-01; by default ``delta_time`` beside the latitude."""


class QualityFilter(Strict):
    """Keep segments for which a dataset equals a value."""

    dataset: Path_
    """Path with ``{group}`` for the beam."""
    value: Number
    """Value of the segments to keep."""


class Filter(Strict):
    """Keep segments for which a dataset meets a condition."""

    dataset: Path_
    """Path with ``{group}`` for the beam."""
    op: Literal["<", "<=", "==", "!=", "in"]
    """Operator that compares the dataset with ``value``."""
    value: Number | tuple[Number, ...]
    """A number, or a list of numbers for ``in``."""
    name: Identifier | None = None
    """State under which rejected segments are counted; by default the dataset's name."""

    @property
    def state(self) -> str:
        """State under which rejected segments are counted."""
        return self.name or self.dataset.rsplit("/", 1)[-1]

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if (self.op == "in") != isinstance(self.value, tuple):
            raise ValueError(
                f"value is {self.value!r}; op 'in' takes a list of numbers, every other op a single number"
            )
        return self


class DataSource(Strict):
    """What is read from a granule."""

    reader: Literal["h5coro"] = "h5coro"
    """Library that reads HDF5."""
    driver: Driver = "s3"
    """How granules are read; ignored if the catalog has URLs for one driver only."""
    groups: tuple[Identifier, ...] = Field(min_length=1)
    """Beams to read."""
    coordinates: Coordinates
    """Datasets with the position of each segment."""
    variables: dict[Identifier, Path_] = Field(min_length=1)
    """Path of each column by name; ``{group}`` stands for the beam."""
    sources: tuple[str, ...] = ()
    """Buckets besides NASA's that granules may be read from, such as ``s3://my-bucket``."""
    quality_filter: QualityFilter | None = None
    """Filter whose rejected segments are counted as ``quality``."""
    filters: tuple[Filter, ...] = ()
    """Further filters, each counted under its own name."""

    @field_validator("groups")
    @classmethod
    def _once(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(groups)) < len(groups):
            raise ValueError("a group is listed twice; list each group once")
        for group in groups:
            if re.fullmatch(r"gt.?[lr]?", group, re.IGNORECASE) and group not in BEAMS:
                raise ValueError(f"{group!r} is not a beam; beams are {', '.join(BEAMS)}")
        return groups

    @field_validator("sources")
    @classmethod
    def _roots(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            if not re.fullmatch(r"s3://[A-Za-z0-9][A-Za-z0-9.-]*/?", source):
                raise ValueError(f"{source!r} is not a bucket; write s3://BUCKET")
        return sources

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        for name in self.variables:
            if name in BUILT_IN_COLUMNS:
                raise ValueError(
                    f"variables.{name}: the name is built in; built-in names are {', '.join(BUILT_IN_COLUMNS)}"
                )
        states = [f.state for f in self.row_filters]
        for state in states:
            if state in RESERVED_STATES or states.count(state) > 1:
                raise ValueError(f"filters: two states are called {state!r}; give the filter another 'name'")
        paths = {"coordinates.latitude": self.coordinates.latitude, "coordinates.longitude": self.coordinates.longitude}
        paths |= {f"variables.{name}": path for name, path in self.variables.items()}
        paths |= {} if self.quality_filter is None else {"quality_filter.dataset": self.quality_filter.dataset}
        paths |= {f"filters.{i}.dataset": each.dataset for i, each in enumerate(self.filters)}
        for key, path in paths.items():
            if path.count("{group}") != 1 or "{" in path.replace("{group}", ""):
                raise ValueError(f"{key}: path {path!r} must contain '{{group}}' once, in place of the beam")
        return self

    @property
    def row_filters(self) -> tuple[RowFilter, ...]:
        """All filters, in the order in which they are applied."""
        quality = self.quality_filter
        first = () if quality is None else (RowFilter("quality", quality.dataset, "==", quality.value),)
        return first + tuple(RowFilter(f.state, f.dataset, f.op, f.value) for f in self.filters)


class Search(Strict):
    """What to ask CMR for, instead of a catalog."""

    cycle: Whole | None = Field(None, ge=1, le=99)
    """Number of the 91-day repeat cycle, as in the granule names."""
    cycles: tuple[Whole, Whole] | None = None
    """First and last cycle."""
    start: date | None = None
    """First day (UTC), instead of cycles."""
    end: date | None = None
    """Last day (UTC)."""
    aoi: str | tuple[Real, Real, Real, Real] | dict[str, Any] = "antarctica"
    """Area: a name, a file, (west, south, east, north) in degrees, or GeoJSON (see `maggjob.grid.areas.parse_area`)."""
    short_name: str = Field(PRODUCT, pattern=PRODUCT_PATTERN)
    """Short name of the product."""
    version: str = Field(VERSION, pattern=r"^\d{3}$")
    """Version of the product, three digits."""
    provider: Identifier = PROVIDER
    """Provider of the product, as CMR calls it."""
    swath_buffer_km: Real = Field(0.0, ge=0, le=100, allow_inf_nan=False)
    """Distance (km) by which footprints of granules are widened before they are compared with the cells."""
    endpoint: str | None = None
    """URL of another CMR than NASA's."""

    @field_validator("version", mode="before")
    @classmethod
    def _digits(cls, version: object) -> object:
        text = str(version)
        return text.zfill(3) if type(version) in (int, str) and text.isdecimal() else version

    @field_validator("cycles", mode="before")
    @classmethod
    def _range(cls, cycles: object) -> object:
        if not isinstance(cycles, str):
            return cycles
        parts = cycles.split("-")
        if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
            raise ValueError(f"{cycles!r} is not a range of cycles; write it as 21-22")
        return tuple(int(part) for part in parts)

    @field_validator("start", "end", mode="before")
    @classmethod
    def _day(cls, day: object) -> object:
        if isinstance(day, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", day.strip()):
            return day.strip()
        if day is None or (isinstance(day, date) and not isinstance(day, datetime)):
            return day
        raise ValueError("write a day as 2024-01-31")

    @model_validator(mode="after")
    def _when(self) -> Self:
        ways = (self.cycle is not None, self.cycles is not None, self.start is not None or self.end is not None)
        if sum(ways) > 1:
            raise ValueError("give one of cycle, cycles, or start and end")
        if self.cycles is not None and not 1 <= self.cycles[0] <= self.cycles[1] <= 99:
            raise ValueError(f"cycles {self.cycles[0]}-{self.cycles[1]} must ascend and lie from 1 to 99")
        if ways[2] and (self.start is None or self.end is None):
            raise ValueError("give both start and end")
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError(f"start {self.start} is after end {self.end}; swap them")
        return self

    @property
    def cycle_range(self) -> tuple[int, int] | None:
        """First and last cycle; None if the search is by days."""
        return self.cycles if self.cycle is None else (self.cycle, self.cycle)
