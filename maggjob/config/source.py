"""The part of the configuration about granules: what is read from them, and how they are found."""

import math
import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from maggjob.icesat2.names import EPOCH, PRODUCT, PRODUCT_PATTERN, PROVIDER, VERSION
from maggjob.icesat2.orbit import BEAMS
from maggjob.model.recipe import BUILT_IN_COLUMNS, OF_CHILD, SHADOWED, RowFilter
from maggjob.model.reports import BAD_WEIGHT, FILL, KEPT, NOT_FINITE, TOO_LARGE, TRANSITION
from maggjob.statistics.expression import ROW, parse, row_arguments

Driver = Literal["s3", "https", "file"]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Path_ = Annotated[str, Field(pattern=r"^/?([\w.{}-]+/)*[\w.{}-]+$")]
ColumnPath = Annotated[str, Field(pattern=r"^/?([\w.{}-]+/)*[\w.{}-]+(\[\d{1,4}\])?$")]
"""A path; ``[2]`` at its end stands for column 2 of a dataset of two dimensions."""
Whole = Annotated[int, Field(strict=True)]
"""A whole number: neither text nor true or false is taken for one."""
Real = Annotated[float, Field(strict=True)]
"""A number, likewise."""
Number = Whole | Real
RESERVED_STATES = {KEPT, FILL, BAD_WEIGHT, NOT_FINITE, TRANSITION, TOO_LARGE} | {
    *("outside", "invalid_coordinate", "unread", "rows")
}
SINGLE = ("<", "<=", ">", ">=", "==", "!=")
LISTS = ("in", "not in", "between")


class Strict(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=True, ser_json_inf_nan="constants", use_attribute_docstrings=True
    )
    LATER: ClassVar[frozenset[str]] = frozenset()
    """Keys that came later: they are left out of the dump while they have their default, so that the digests of older
    configurations stay."""

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: SerializerFunctionWrapHandler) -> Any:
        plain = dump(self)
        for name in self.LATER & type(self).model_fields.keys():
            if getattr(self, name) == type(self).model_fields[name].get_default(call_default_factory=True):
                plain.pop(name, None)
        return plain


class Coordinates(Strict):
    """Datasets with the position of each segment; ``{group}`` stands for the beam."""

    latitude: Path_
    """Geodetic latitude, degrees."""
    longitude: Path_
    """Longitude, degrees east."""
    time: ColumnPath | None = None
    """Seconds since 2018-01-01; by default ``delta_time`` beside the latitude."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_path(cls, given: Any) -> Any:
        if isinstance(given, dict):
            raise ValueError("a coordinate is a path; a segment without one is always left out, and counted")  # noqa: TRY004
        return given


class QualityFilter(Strict):
    """Keep segments for which a dataset equals a value."""

    dataset: Path_
    """Path with ``{group}`` for the beam."""
    value: Number
    """Value of the segments to keep."""


class SourceVariable(Strict):
    """A column, and what a missing value of it means."""

    dataset: ColumnPath
    """Path with ``{group}`` for the beam."""
    missing: Literal["drop", "omit"] | Number = "drop"
    """What a missing value does: ``drop`` the segment, ``omit`` it from the statistics that use the column, or a number
    that takes its place."""

    @field_validator("missing", mode="before")
    @classmethod
    def _is_rule(cls, missing: Any) -> Any:
        number = isinstance(missing, int | float) and not isinstance(missing, bool) and math.isfinite(missing)
        if not number and missing not in ("drop", "omit"):
            raise ValueError("must be drop, omit or a finite number")
        return missing


PathOrVariable = Annotated[
    Annotated[ColumnPath, Tag("path")] | Annotated[SourceVariable, Tag("variable")],
    Discriminator(lambda given: "variable" if isinstance(given, dict | SourceVariable) else "path"),
]


class Filter(Strict):
    """Keep segments that meet a condition on a dataset, a column or an expression."""

    LATER = frozenset({"column", "expression"})

    dataset: ColumnPath | None = None
    """Path with ``{group}`` for the beam; without it, a dataset with one value per granule."""
    column: Identifier | None = None
    """Name of a variable or of a built-in column, in place of a dataset."""
    expression: str | None = None
    """Condition such as ``abs(h_li - dem_h) < 100``, or arithmetic that ``op`` compares, in place of a dataset."""
    op: Literal["<", "<=", ">", ">=", "==", "!=", "in", "not in", "between"] | None = None
    """Operator that compares with ``value``."""
    value: Number | tuple[Number, ...] | None = None
    """A number; a list of numbers for ``in`` and ``not in``; the first and the last value for ``between``."""
    name: Identifier | None = None
    """State under which rejected segments are counted; by default the name of the dataset or column."""

    @model_validator(mode="before")
    @classmethod
    def _in_numbers(cls, given: Any) -> Any:
        """Give ``strong`` its default, and turn days and times into seconds."""
        if not isinstance(given, dict):
            return given
        value = given.get("value")
        if given.get("column") == "strong" and (value is None or isinstance(value, bool)):
            return {"op": "=="} | given | {"value": 1 if value is None else int(value)}
        if given.get("column") == "time":
            if isinstance(value, list | tuple):
                return given | {"value": [_seconds(one) for one in value]}
            return given | {"value": _seconds(value)}
        return given

    @property
    def state(self) -> str:
        """State under which rejected segments are counted."""
        return self.name or self.column or (self.dataset or "condition").rsplit("/", 1)[-1].split("[")[0]

    @property
    def text(self) -> str:
        """Expression over columns; empty for a dataset."""
        return self.column or self.expression or ""

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if sum(one is not None for one in (self.dataset, self.column, self.expression)) != 1:
            raise ValueError("give one of 'dataset', 'column' and 'expression'")
        if self.expression is not None and self._is_condition(self.expression):
            return self
        if self.op is None or self.value is None:
            raise ValueError("give 'op' and 'value'")
        if (self.op in LISTS) != isinstance(self.value, tuple):
            raise ValueError(
                f"value is {self.value!r}; op 'in' and 'not in' take a list of numbers, 'between' a list of two, every "
                "other op a single number"
            )
        if self.op == "between" and (len(self.value) != 2 or not self.value[0] <= self.value[1]):  # type: ignore[arg-type, index]
            raise ValueError(f"value is {list(self.value)!r}; 'between' takes the lower and the upper limit")  # type: ignore[arg-type]
        return self

    def _is_condition(self, text: str) -> bool:
        """Return True for a condition, False for arithmetic that is compared with a value."""
        found = parse(text)
        if found.kind != ROW or row_arguments(found):
            raise ValueError(f"{text!r} does not give one value per segment; use columns and arithmetic")
        if not found.condition and (self.op is None or self.value is None):
            raise ValueError(f"{text!r} is no condition; compare it, as in '{text} < 100', or give 'op' and 'value'")
        if found.condition and (self.op is not None or self.value is not None):
            raise ValueError(f"{text!r} is a condition already; leave out 'op' and 'value'")
        return found.condition


def _seconds(value: Any) -> Any:
    """Return a day or time (UTC), or its text, as seconds since 2018-01-01; anything else as it is."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError as problem:
        raise ValueError(f"{value!r} is neither seconds since 2018-01-01 nor a time; write 2024-01-31") from problem
    if isinstance(moment, date) and not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    if isinstance(moment, datetime):
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - EPOCH.timestamp()
    return moment


class DataSource(Strict):
    """What is read from a granule."""

    product: str = Field(PRODUCT, pattern=PRODUCT_PATTERN)
    """Short name of the product, of which granules are searched, or taken from folders with several."""

    reader: Literal["auto", "h5coro", "h5py"] = "auto"
    """Library that reads HDF5: h5coro, or h5py, which is slower and reads every layout; ``auto`` takes h5py for layouts
    that h5coro cannot read."""
    driver: Driver = "s3"
    """How granules are read; ignored if the catalog has URLs for one driver only."""
    groups: tuple[Identifier, ...] = Field(min_length=1)
    """Beams to read."""
    coordinates: Coordinates
    """Datasets with the position of each segment."""
    variables: dict[Identifier, PathOrVariable] = Field(min_length=1)
    """Path of each column by name; ``{group}`` stands for the beam. A dataset without it has one value per granule."""
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
            if name in BUILT_IN_COLUMNS and name not in SHADOWED:
                raise ValueError(
                    f"variables.{name}: the name is built in; built-in names are {', '.join(BUILT_IN_COLUMNS)}"
                )
        states = [f.state for f in self.row_filters]
        for state in states:
            if state in RESERVED_STATES or states.count(state) > 1:
                raise ValueError(f"filters: two states are called {state!r}; give the filter another 'name'")
        return self

    @model_validator(mode="after")
    def _paths_have_beams(self) -> Self:
        coordinates = self.coordinates
        paths = {"coordinates.latitude": coordinates.latitude, "coordinates.longitude": coordinates.longitude}
        paths |= {} if coordinates.time is None else {"coordinates.time": coordinates.time}
        others = {f"variables.{name}": path for name, path in self.paths.items()}
        others |= {} if self.quality_filter is None else {"quality_filter.dataset": self.quality_filter.dataset}
        others |= {f"filters.{i}.dataset": each.dataset for i, each in enumerate(self.filters) if each.dataset}
        for key, path in (paths | others).items():
            without = key in others and "{group}" not in path and path.strip("/").split("/")[0] not in self.groups
            if (path.count("{group}") != 1 and not without) or "{" in path.replace("{group}", ""):
                raise ValueError(f"{key}: path {path!r} must contain '{{group}}' once, in place of the beam")
        return self

    @model_validator(mode="after")
    def _filters_use_columns(self) -> Self:
        known = list(dict.fromkeys([*self.variables, *(name for name in BUILT_IN_COLUMNS if name not in OF_CHILD)]))
        for number, each in enumerate(self.filters):
            unknown = sorted(parse(each.text).columns.difference(known)) if each.text else []
            if unknown:
                key = "column" if each.column else "expression"
                raise ValueError(
                    f"filters.{number}.{key}: unknown column {unknown[0]!r}; known columns are {', '.join(known)}"
                )
        return self

    def check_strong(self) -> None:
        """Check that strong and weak beams can be told apart by the names of the groups.

        Raises
        ------
        ValueError
            If a group is not a beam.
        """
        others = [group for group in self.groups if group not in BEAMS]
        if others:
            raise ValueError(
                f"'strong' is defined for the beams {', '.join(BEAMS)}, not for the group {others[0]!r}; remove it"
            )

    @property
    def paths(self) -> dict[str, str]:
        """Path of each column by name."""
        return {name: v if isinstance(v, str) else v.dataset for name, v in self.variables.items()}

    @property
    def missing(self) -> dict[str, str | float]:
        """What a missing value means, of the variables where it does not drop the segment."""
        own = {name: v.missing for name, v in self.variables.items() if not isinstance(v, str)}
        return {name: rule for name, rule in own.items() if rule != "drop"}

    @property
    def row_filters(self) -> tuple[RowFilter, ...]:
        """All filters, in the order in which they are applied."""
        quality = self.quality_filter
        first = () if quality is None else (RowFilter("quality", quality.dataset, "==", quality.value),)
        return first + tuple(
            RowFilter(f.state, f.dataset or "", f.op or "", f.value or 0, f.text) for f in self.filters
        )


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
