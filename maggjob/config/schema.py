"""The configuration as frozen, typed models, and its resolution to the recipe that workers need.

The keys are those of magg, the system that maggjob replaces, so configurations of magg load unchanged.
"""

import hashlib
import json
import math
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, field_serializer, field_validator, model_validator

from maggjob.config.source import DataSource, Identifier, Number, Search, Strict, Whole
from maggjob.grid.healpix import MAX_DECIMAL_ORDER, MAX_ORDER, Grid, Latitude
from maggjob.model.recipe import BUILT_IN_COLUMNS, Recipe
from maggjob.statistics.expression import GROUP, ROW, parse, row_arguments
from maggjob.statistics.functions import FUNCTIONS, Statistic

DECODED = {"_FillValue", "missing_value", "scale_factor", "add_offset", "dtype", "coordinates", "_Unsigned"}
WHOLE_NUMBERS = ("int16", "int32", "int64", "uint16", "uint32", "uint64")


def _holds(dtype: str, value: float) -> bool:
    """Return whether a value is within the range of a dtype; floating-point values may lose digits."""
    if dtype in WHOLE_NUMBERS:
        limits = np.iinfo(dtype)
        return math.isfinite(value) and value == int(value) and limits.min <= value <= limits.max
    return not math.isfinite(value) or abs(value) <= float(np.finfo(dtype).max)


class Coordinate(Strict):
    """A coordinate of the output."""

    dtype: Literal["uint64", "int64"]
    """Dtype. For morton: int64 for signed decimal ids, uint64 for packed words."""
    fill_value: Whole = 0
    """Fill value of the array."""

    @model_validator(mode="after")
    def _fill_fits(self) -> Self:
        if not _holds(self.dtype, self.fill_value):
            raise ValueError(f"fill_value {self.fill_value} does not fit in {self.dtype}")
        return self


class OutputCoordinates(Strict):
    """Coordinates of the output."""

    cell_ids: Coordinate = Coordinate(dtype="uint64")
    """Nested HEALPix ids, as xdggs expects them; always written."""
    morton: Coordinate | None = None
    """Morton ids (of mortie) of the same cells; not written by default."""

    @field_validator("cell_ids")
    @classmethod
    def _unsigned(cls, coordinate: Coordinate) -> Coordinate:
        if coordinate.dtype != "uint64":
            raise ValueError(f"dtype is {coordinate.dtype!r}; must be uint64")
        return coordinate


class Variable(Strict):
    """One statistic: a ``function`` of a ``source``, or an ``expression``."""

    function: str | None = None
    """Name of a statistic, with or without ``np.``."""
    expression: str | None = None
    """Arithmetic that reduces the segments of a child cell to one value."""
    source: str | None = None
    """Column, or arithmetic over columns, to which the function is applied."""
    params: dict[str, Number | str] = Field(default_factory=dict)
    """``weights`` of average, ``q`` and ``method`` of quantile, ``ddof`` of var and std."""
    dtype: Literal["float32", "float64", "int16", "int32", "int64", "uint16", "uint32", "uint64"] = "float32"
    """Dtype of the variable; integers are for counts only."""
    fill_value: Number | None = None
    """Value of child cells without segments; by default NaN, or 0 for integers."""
    attrs: dict[str, str | Number] = Field(default_factory=dict)
    """Attributes of the variable, which override those of the source."""

    @field_validator("attrs")
    @classmethod
    def _attrs_describe(cls, attrs: dict[str, str | int | float]) -> dict[str, str | int | float]:
        for name in sorted(attrs.keys() & DECODED):
            raise ValueError(f"{name}: readers would decode the values with it; leave it out")
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
                raise ValueError(
                    f"{self.expression!r} does not give one value per cell; wrap it in np.sum, np.mean, ..."
                )
        else:
            self._check_function()
        whole = self.dtype in WHOLE_NUMBERS
        if whole and not (self.function_name and FUNCTIONS[self.function_name].counts):
            raise ValueError(f"dtype {self.dtype} is for counts; use float32 or float64")
        if self.fill_value is not None and not _holds(self.dtype, self.fill_value):
            raise ValueError(f"fill_value {self.fill_value} does not fit in {self.dtype}")
        return self

    @property
    def function_name(self) -> str | None:
        """Key of `FUNCTIONS`."""
        return None if self.function is None else self.function.removeprefix("numpy.").removeprefix("np.")

    def _check_function(self) -> None:
        function = FUNCTIONS.get(str(self.function_name))
        if function is None:
            raise ValueError(
                f"unknown statistic {self.function!r}; known statistics are {', '.join(sorted(FUNCTIONS))}"
            )
        unknown = set(self.params) - function.params
        if unknown:
            known = ", ".join(sorted(function.params)) or "none"
            raise ValueError(f"{self.function} has no parameter {min(unknown)!r}; known: {known}")
        if self.source is None and self.function_name not in ("len", "count"):
            raise ValueError(f"{self.function} needs a 'source'")
        for text in (self.source, self.params.get("weights")):
            if text is not None and (parse(str(text)).kind != ROW or row_arguments(parse(str(text)))):
                raise ValueError(f"{text!r} does not give one value per segment; use columns and arithmetic")
        q, ddof, method = (self.params.get(key, default) for key, default in (("q", 0.5), ("ddof", 0), ("method", "")))
        if self.function_name == "quantile" and "q" not in self.params:
            raise ValueError("quantile needs params: {q: ...}")
        if isinstance(q, str) or not 0 <= q <= 1:
            raise ValueError(f"q is {q!r}; must be a number from 0 to 1")
        if not isinstance(ddof, int) or ddof < 0:
            raise ValueError(f"ddof is {ddof!r}; must be an integer of at least 0")
        if method not in ("", "linear"):
            raise ValueError(f"method is {method!r}; only 'linear' is supported")

    def resolve(self, name: str) -> Statistic:
        """Return the statistic as workers need it, under the variable's name."""
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


class Aggregation(Strict):
    """What is computed for each child cell."""

    handoff: Literal["arrow", "pandas"] | None = None
    """Accepted for older files and ignored: maggjob builds no table between reading and statistics."""
    coordinates: OutputCoordinates = OutputCoordinates()
    """Coordinates of the output."""
    variables: dict[Identifier, Variable] = Field(min_length=1)
    """Statistics by name."""

    @field_validator("variables")
    @classmethod
    def _names_are_free(cls, variables: dict[str, Variable]) -> dict[str, Variable]:
        for name in ("cell_ids", "morton", "cells"):
            if name in variables:
                raise ValueError(f"{name!r} is a coordinate; give the variable another name")
        return variables


class GridConfig(Strict):
    """The HEALPix grid."""

    type: Literal["healpix"] = "healpix"
    """Kind of grid."""
    indexing_scheme: Literal["nested"] = "nested"
    """Numbering scheme of the cells."""
    parent_order: Whole = Field(6, ge=0, le=MAX_ORDER)
    """Order of the cells that tasks work on."""
    child_order: Whole = Field(12, ge=0, le=MAX_ORDER)
    """Order of the child cells that statistics are computed for."""
    latitude: Latitude = "authalic"
    """Latitude convention of the ids, which also decides the ellipsoid in the output."""

    @model_validator(mode="after")
    def _orders_fit(self) -> Self:
        if not 0 <= self.child_order - self.parent_order <= 10:
            raise ValueError(
                f"child_order is {self.child_order}; must be 0 to 10 above parent_order, {self.parent_order}"
            )
        return self


class Output(Strict):
    """Where the result goes."""

    grid: GridConfig = GridConfig()
    """The HEALPix grid."""
    store: str | None = None
    """Path or URL (s3://bucket/prefix) of the Zarr to write."""


class Config(Strict):
    """A whole configuration."""

    data_source: DataSource
    """What is read from a granule."""
    aggregation: Aggregation
    """What is computed for each child cell."""
    output: Output = Output()
    """Where the result goes."""
    catalog: str | None = None
    """Path of the catalog of granules."""
    search: Search | None = None
    """What to ask CMR for, instead of a catalog."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.catalog is not None and self.search is not None:
            raise ValueError("catalog and search both select granules; remove one of them")
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        known = {*self.data_source.variables, *BUILT_IN_COLUMNS}
        for name, variable in self.aggregation.variables.items():
            unknown = sorted(variable.resolve(name).columns - known)
            if unknown:
                listed = ", ".join([*self.data_source.variables, *BUILT_IN_COLUMNS])
                raise ValueError(
                    f"aggregation.variables.{name}: unknown column {unknown[0]!r}; known columns are {listed}"
                )
        morton, order = self.aggregation.coordinates.morton, self.output.grid.child_order
        if morton is not None and morton.dtype == "int64" and order > MAX_DECIMAL_ORDER:
            raise ValueError(
                f"aggregation.coordinates.morton.dtype: signed decimal ids of order {order} do not fit in int64; "
                "use uint64"
            )
        return self

    @property
    def grid(self) -> Grid:
        """Grid of the cells and their children."""
        grid = self.output.grid
        return Grid(grid.parent_order, grid.child_order, grid.latitude)

    def recipe(self) -> Recipe:
        """Return the configuration as workers need it."""
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
        """Return all settings that affect the values: everything but paths, the driver, and ignored keys."""
        exclude: dict[str, Any] = {
            "catalog": True,
            "search": True,
            "output": {"store"},
            "data_source": {"driver", "reader", "sources"},
            "aggregation": {"handoff"},
        }
        return self.model_dump(mode="json", exclude=exclude)

    @property
    def digest(self) -> str:
        """SHA-256 of `science`, as 64 hexadecimal digits."""
        return digest_of(self.science())


def digest_of(plain: object) -> str:
    """Return the SHA-256 of plain values in canonical JSON, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
