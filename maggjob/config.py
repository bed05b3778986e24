"""The configuration as frozen models, typed once, and resolved to what workers need.

The keys are those of the system that maggjob replaces, so its files load unchanged.
"""

import hashlib
import json
import math
from datetime import date
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from maggjob.cells import MAX_DECIMAL_ORDER, MAX_ORDER, Grid, Latitude
from maggjob.expression import GROUP, ROW, parse, row_arguments
from maggjob.model import BAD_WEIGHT, BUILT_IN_COLUMNS, FILL, KEPT, NOT_FINITE, Recipe, RowFilter
from maggjob.statistics import FUNCTIONS, Statistic

Driver = Literal["s3", "https", "file"]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Path_ = Annotated[str, Field(pattern=r"^/?([\w.{}-]+/)*[\w.{}-]+$")]
Number = int | float
RESERVED_STATES = {KEPT, FILL, BAD_WEIGHT, NOT_FINITE, "outside", "invalid_coordinate", "unread", "rows"}
DECODED = {"_FillValue", "missing_value", "scale_factor", "add_offset", "dtype", "coordinates", "_Unsigned"}
WHOLE_NUMBERS = ("int16", "int32", "int64", "uint16", "uint32", "uint64")


def _holds(dtype: str, value: float) -> bool:
    """Whether a type has a value, if not to the last digit."""
    if dtype in WHOLE_NUMBERS:
        limits = np.iinfo(dtype)
        return math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max
    return not math.isfinite(value) or abs(value) <= float(np.finfo(dtype).max)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=True, use_attribute_docstrings=True)


class Coordinates(_Model):
    """Where a segment is: datasets with ``{group}`` for the beam."""

    latitude: Path_
    """Geodetic latitude, degrees."""
    longitude: Path_
    """Longitude, degrees east."""
    time: Path_ | None = None
    """Seconds since 2018-01-01; by default ``delta_time`` beside the latitude."""


class QualityFilter(_Model):
    """Keep segments whose dataset equals a value."""

    dataset: Path_
    """Path with ``{group}`` for the beam."""
    value: Number
    """What it must equal."""


class Filter(_Model):
    """Keep segments whose dataset meets a condition."""

    dataset: Path_
    """Path with ``{group}`` for the beam."""
    op: Literal["<", "<=", "==", "!=", "in"]
    """Comparison with ``value``."""
    value: Number | tuple[Number, ...]
    """A number, or a list of numbers for ``in``."""
    name: Identifier | None = None
    """State under which segments that fail are counted; by default the dataset's name."""

    @property
    def state(self) -> str:
        """State under which segments that fail are counted."""
        return self.name or self.dataset.rsplit("/", 1)[-1]

    @model_validator(mode="after")
    def _value_fits(self) -> Self:
        if (self.op == "in") != isinstance(self.value, tuple):
            raise ValueError(f"value is {self.value!r}; op 'in' takes a list of numbers, every other op one number")
        return self


class DataSource(_Model):
    """What is read from a granule."""

    reader: Literal["h5coro"] = "h5coro"
    """The library that reads HDF5."""
    driver: Driver = "s3"
    """How granules are reached; a catalog that has them one way only is read that way."""
    groups: tuple[Identifier, ...] = Field(min_length=1)
    """Beams."""
    coordinates: Coordinates
    """Where a segment is."""
    variables: dict[Identifier, Path_] = Field(min_length=1)
    """Columns: a name, and a path with ``{group}`` for the beam."""
    quality_filter: QualityFilter | None = None
    """Segments that fail it are counted as ``quality``."""
    filters: tuple[Filter, ...] = ()
    """Further conditions, each counted under its own name."""

    @field_validator("groups")
    @classmethod
    def _once(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(groups)) < len(groups):
            raise ValueError("each group once only")
        return groups

    @model_validator(mode="after")
    def _names_are_free(self) -> Self:
        for name in self.variables:
            if name in BUILT_IN_COLUMNS:
                raise ValueError(f"variables.{name}: the name is built in; built in are {', '.join(BUILT_IN_COLUMNS)}")
        states = [f.state for f in self.row_filters]
        for state in states:
            if state in RESERVED_STATES or states.count(state) > 1:
                raise ValueError(f"filters: two states are called {state!r}; give the filter a 'name' of its own")
        paths = {"coordinates.latitude": self.coordinates.latitude, "coordinates.longitude": self.coordinates.longitude}
        paths |= {f"variables.{name}": path for name, path in self.variables.items()}
        paths |= {} if self.quality_filter is None else {"quality_filter.dataset": self.quality_filter.dataset}
        paths |= {f"filters.{i}.dataset": each.dataset for i, each in enumerate(self.filters)}
        for key, path in paths.items():
            if path.count("{group}") != 1 or "{" in path.replace("{group}", ""):
                raise ValueError(f"{key}: path {path!r} must have '{{group}}' once, where the beam goes")
        return self

    @property
    def row_filters(self) -> tuple[RowFilter, ...]:
        """All conditions, in the order in which they are applied."""
        quality = self.quality_filter
        first = () if quality is None else (RowFilter("quality", quality.dataset, "==", quality.value),)
        return first + tuple(RowFilter(f.state, f.dataset, f.op, f.value) for f in self.filters)


class Coordinate(_Model):
    """A coordinate of the output."""

    dtype: Literal["uint64", "int64"]
    """Type; of morton: int64 for signed decimal ids, uint64 for packed words."""
    fill_value: int = 0
    """Fill value of the array."""

    @model_validator(mode="after")
    def _fill_fits(self) -> Self:
        if not _holds(self.dtype, self.fill_value):
            raise ValueError(f"fill_value {self.fill_value} is no {self.dtype}")
        return self


class OutputCoordinates(_Model):
    """Coordinates of the output."""

    cell_ids: Coordinate = Coordinate(dtype="uint64")
    """Nested HEALPix ids, as xdggs reads them; always written."""
    morton: Coordinate | None = None
    """Mortie's ids of the same cells."""

    @field_validator("cell_ids")
    @classmethod
    def _unsigned(cls, coordinate: Coordinate) -> Coordinate:
        if coordinate.dtype != "uint64":
            raise ValueError(f"dtype is {coordinate.dtype!r}; must be uint64")
        return coordinate


class Variable(_Model):
    """One statistic: a ``function`` of a ``source``, or an ``expression``."""

    function: str | None = None
    """Name of a statistic, with or without ``np.``."""
    expression: str | None = None
    """Arithmetic that reduces to one value a child cell."""
    source: str | None = None
    """Column, or arithmetic over columns, that the function is taken of."""
    params: dict[str, Number | str] = Field(default_factory=dict)
    """``weights`` of average, ``q`` and ``method`` of quantile, ``ddof`` of var and std."""
    dtype: Literal["float32", "float64", "int16", "int32", "int64", "uint16", "uint32", "uint64"] = "float32"
    """Type of the variable; whole numbers for counts only."""
    fill_value: Number | None = None
    """Value of cells without segments; by default NaN, and 0 for whole numbers."""
    attrs: dict[str, str | int | float] = Field(default_factory=dict)
    """Attributes of the variable, in place of those of the source."""

    @field_validator("attrs")
    @classmethod
    def _attrs_describe(cls, attrs: dict[str, str | int | float]) -> dict[str, str | int | float]:
        for name in sorted(attrs.keys() & DECODED):
            raise ValueError(f"{name}: readers would change the values by it; leave it out")
        return attrs

    @field_validator("fill_value", mode="before")
    @classmethod
    def _nan(cls, value: object) -> object:
        spelled = {"nan": math.nan, "infinity": math.inf, "-infinity": -math.inf}
        return spelled.get(value.lower(), value) if isinstance(value, str) else value

    @field_serializer("fill_value")
    def _spell_nan(self, value: float | None) -> Any:
        if value is None or math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.function is None) == (self.expression is None):
            raise ValueError("give either 'function' or 'expression'")
        if self.expression is not None:
            if self.params or self.source:
                raise ValueError("an 'expression' takes neither 'source' nor 'params'")
            if parse(self.expression).kind != GROUP:
                raise ValueError(f"{self.expression!r} gives no single value a cell; wrap it in np.sum, np.mean, ...")
        else:
            self._check_function()
        whole = self.dtype in WHOLE_NUMBERS
        if whole and not (self.function_name and FUNCTIONS[self.function_name].counts):
            raise ValueError(f"dtype {self.dtype} is for counts; use float32 or float64")
        if self.fill_value is not None and not _holds(self.dtype, self.fill_value):
            raise ValueError(f"fill_value {self.fill_value} is no {self.dtype}")
        return self

    @property
    def function_name(self) -> str | None:
        """Key of `FUNCTIONS`."""
        return None if self.function is None else self.function.removeprefix("numpy.").removeprefix("np.")

    def _check_function(self) -> None:
        function = FUNCTIONS.get(str(self.function_name))
        if function is None:
            raise ValueError(f"unknown statistic {self.function!r}; known are {', '.join(sorted(FUNCTIONS))}")
        unknown = set(self.params) - function.params
        if unknown:
            known = ", ".join(sorted(function.params)) or "none"
            raise ValueError(f"{self.function} has no parameter {min(unknown)!r}; known: {known}")
        if self.source is None and self.function_name not in ("len", "count"):
            raise ValueError(f"{self.function} needs a 'source'")
        for text in (self.source, self.params.get("weights")):
            if text is not None and (parse(str(text)).kind != ROW or row_arguments(parse(str(text)))):
                raise ValueError(f"{text!r} is not worked out for each segment alone; use columns and arithmetic")
        q, ddof, method = (self.params.get(key, default) for key, default in (("q", 0.5), ("ddof", 0), ("method", "")))
        if self.function_name == "quantile" and "q" not in self.params:
            raise ValueError("quantile needs params: {q: ...}")
        if isinstance(q, str) or not 0 <= q <= 1:
            raise ValueError(f"q is {q!r}; a number from 0 to 1")
        if not isinstance(ddof, int) or ddof < 0:
            raise ValueError(f"ddof is {ddof!r}; a whole number from 0")
        if method not in ("", "linear"):
            raise ValueError(f"method is {method!r}; only linear is known")

    def resolve(self, name: str) -> Statistic:
        """As the worker needs it."""
        whole = self.dtype in WHOLE_NUMBERS
        weights, q, ddof = (self.params.get(key) for key in ("weights", "q", "ddof"))
        return Statistic(
            name,
            function=self.function_name,
            source=None if self.function_name in ("len", "count") else self.source,
            weights=None if weights is None else str(weights),
            q=float(q) if q is not None else 0.5,
            ddof=int(ddof) if ddof is not None else 0,
            expression=self.expression,
            dtype=self.dtype,
            fill_value=float(self.fill_value) if self.fill_value is not None else 0.0 if whole else math.nan,
        )


class Aggregation(_Model):
    """What is computed for each child cell."""

    handoff: Literal["arrow", "pandas"] | None = None
    """Accepted for older files, and without effect: there is no table between reading and statistics."""
    coordinates: OutputCoordinates = OutputCoordinates()
    """Coordinates of the output."""
    variables: dict[Identifier, Variable] = Field(min_length=1)
    """Statistics by name."""

    @field_validator("variables")
    @classmethod
    def _names_are_free(cls, variables: dict[str, Variable]) -> dict[str, Variable]:
        for name in ("cell_ids", "morton", "cells"):
            if name in variables:
                raise ValueError(f"{name!r} is a coordinate; call the variable something else")
        return variables


class GridConfig(_Model):
    """The HEALPix grid."""

    type: Literal["healpix"] = "healpix"
    """Kind of grid."""
    indexing_scheme: Literal["nested"] = "nested"
    """Numbering of the cells."""
    parent_order: int = Field(6, ge=0, le=MAX_ORDER)
    """Order of the cells that are worked on."""
    child_order: int = Field(12, ge=0, le=MAX_ORDER)
    """Order of the cells that statistics are computed for."""
    latitude: Latitude = "authalic"
    """Latitude convention: of the ids, and so of the ellipsoid that is written."""

    @model_validator(mode="after")
    def _orders_fit(self) -> Self:
        if not 0 <= self.child_order - self.parent_order <= 10:
            raise ValueError(
                f"child_order is {self.child_order}; must lie 0 to 10 above parent_order, {self.parent_order}"
            )
        return self


class Output(_Model):
    """Where the result goes."""

    grid: GridConfig = GridConfig()
    """The HEALPix grid."""
    store: str | None = None
    """Zarr to write: a path, or s3://bucket/prefix."""


class Search(_Model):
    """What to ask CMR for, instead of a catalog."""

    cycle: int | None = Field(None, ge=1, le=99)
    """91-day repeat cycle, as the names of granules say it."""
    cycles: tuple[int, int] | None = None
    """First and last cycle."""
    start: date | None = None
    """First day, UTC, instead of cycles."""
    end: date | None = None
    """Last day, UTC."""
    aoi: str | tuple[float, float, float, float] | dict[str, Any] = "antarctica"
    """Area: a name, a file, west, south, east and north, or GeoJSON (`maggjob.area.parse_area`)."""
    short_name: str = Field("ATL06", pattern=r"^ATL\d\d$")
    """Product."""
    version: str = Field("007", pattern=r"^\d{3}$")
    """Its version, three digits."""
    provider: Identifier = "NSIDC_CPRD"
    """CMR's name of who provides it."""
    swath_buffer_km: float = Field(0.0, ge=0, le=100, allow_inf_nan=False)
    """Outlines of granules are widened by so much before they are held against the cells."""
    endpoint: str | None = None
    """Where CMR is, if not at NASA."""

    @field_validator("version", mode="before")
    @classmethod
    def _digits(cls, version: object) -> object:
        text = str(version)
        return text.zfill(3) if isinstance(version, int | str) and text.isdecimal() else version

    @field_validator("cycles", mode="before")
    @classmethod
    def _range(cls, cycles: object) -> object:
        if not isinstance(cycles, str):
            return cycles
        parts = cycles.split("-")
        if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
            raise ValueError(f"{cycles!r} is no range of cycles; write 21-22")
        return tuple(parts)

    @model_validator(mode="after")
    def _when(self) -> Self:
        ways = (self.cycle is not None, self.cycles is not None, self.start is not None or self.end is not None)
        if sum(ways) > 1:
            raise ValueError("give one of cycle, cycles, or start and end")
        if self.cycles is not None and not 1 <= self.cycles[0] <= self.cycles[1] <= 99:
            raise ValueError(f"cycles {self.cycles[0]}-{self.cycles[1]} must go up, from 1 at least to 99 at most")
        if ways[2] and (self.start is None or self.end is None):
            raise ValueError("give both start and end")
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError(f"start {self.start} is after end {self.end}; swap them")
        return self

    @property
    def cycle_range(self) -> tuple[int, int] | None:
        """First and last cycle; None when days are asked for."""
        return self.cycles if self.cycle is None else (self.cycle, self.cycle)


class Config(_Model):
    """A whole configuration."""

    data_source: DataSource
    """What is read from a granule."""
    aggregation: Aggregation
    """What is computed for each child cell."""
    output: Output = Output()
    """Where the result goes."""
    catalog: str | None = None
    """Catalog of granules."""
    search: Search | None = None
    """What to ask CMR for, instead of a catalog."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.catalog is not None and self.search is not None:
            raise ValueError("catalog and search both say which granules; leave one out")
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        known = {*self.data_source.variables, *BUILT_IN_COLUMNS}
        for name, variable in self.aggregation.variables.items():
            unknown = sorted(variable.resolve(name).columns - known)
            if unknown:
                listed = ", ".join([*self.data_source.variables, *BUILT_IN_COLUMNS])
                raise ValueError(f"aggregation.variables.{name}: unknown column {unknown[0]!r}; known are {listed}")
        morton, order = self.aggregation.coordinates.morton, self.output.grid.child_order
        if morton is not None and morton.dtype == "int64" and order > MAX_DECIMAL_ORDER:
            raise ValueError(
                f"aggregation.coordinates.morton.dtype: signed decimal ids of order {order} do not fit in int64; "
                "use uint64"
            )
        return self

    @property
    def grid(self) -> Grid:
        """The grid as the pure core knows it."""
        grid = self.output.grid
        return Grid(grid.parent_order, grid.child_order, grid.latitude)

    def recipe(self) -> Recipe:
        """The configuration as workers need it."""
        source, coordinates = self.data_source, self.data_source.coordinates
        return Recipe(
            groups=source.groups,
            latitude=coordinates.latitude,
            longitude=coordinates.longitude,
            time=coordinates.time or coordinates.latitude.rsplit("/", 1)[0] + "/delta_time",
            columns=tuple(source.variables.items()),
            filters=source.row_filters,
            statistics=tuple(v.resolve(name) for name, v in self.aggregation.variables.items()),
            grid=self.grid,
        )

    def science(self) -> dict[str, Any]:
        """What decides the numbers: everything but places, the driver, and keys without effect."""
        exclude: dict[str, Any] = {
            "catalog": True,
            "search": True,
            "output": {"store"},
            "data_source": {"driver", "reader"},
            "aggregation": {"handoff"},
        }
        return self.model_dump(mode="json", exclude=exclude)

    @property
    def digest(self) -> str:
        """SHA-256 of `science`, 64 hexadecimal digits."""
        return digest_of(self.science())


def digest_of(plain: object) -> str:
    """SHA-256 of plain values in one spelling of JSON, 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
