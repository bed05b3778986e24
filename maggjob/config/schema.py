"""The configuration as frozen, typed models, and its resolution to the recipe that workers need.

The keys are those of magg, the system that maggjob replaces, so configurations of magg load unchanged.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from maggjob.config.source import DataSource, Identifier, Search, Strict, Whole
from maggjob.config.variable import Attribute, Variable, holds
from maggjob.grid.healpix import MAX_DECIMAL_ORDER, MAX_ORDER, Grid, Latitude
from maggjob.icesat2.windows import Windows, month_number
from maggjob.model.recipe import BUILT_IN_COLUMNS, OF_CHILD, OMIT, Recipe
from maggjob.statistics.expression import parse
from maggjob.statistics.functions import Statistic

RESERVED_NAMES = ("cell_ids", "morton", "cells", "cycle", "month", "time_start", "time_end", "granules")
"""Names of coordinates and dimensions."""
OWN_ATTRIBUTES = frozenset(
    [
        "Conventions",
        "zarr_conventions",
        "dggs",
        "coordinates",
        "latitude_convention",
        "tally",
        "config",
        "config_digest",
        "run_digest",
        "comment",
        "group",
        "groups",
        "cycles",
        "number_of_granules",
        "number_of_reference_ground_tracks",
    ]
)
"""Global attributes that readers, or maggjob itself, depend on."""
Order = Annotated[Whole, Field(ge=0, le=MAX_ORDER)]


class Coordinate(Strict):
    """A coordinate of the output."""

    dtype: Literal["uint64", "int64"]
    """Dtype. For morton: int64 for signed decimal ids, uint64 for packed words."""
    fill_value: Whole = 0
    """Fill value of the array."""

    @model_validator(mode="after")
    def _fill_fits(self) -> Self:
        if not holds(self.dtype, self.fill_value):
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
        for name in RESERVED_NAMES:
            if name in variables:
                raise ValueError(f"{name!r} is a coordinate; give the variable another name")
        every = [name for key, variable in variables.items() for name in variable.each(key)]
        for name in every:
            if name in RESERVED_NAMES:
                raise ValueError(f"{name!r} is a coordinate; give the output another name")
        for key, variable in variables.items():
            for name in variable.each(key):
                if every.count(name) > 1:
                    raise ValueError(f"{key}: two variables are called {name!r}; give one of them another name")
        return variables

    @property
    def outputs(self) -> dict[str, Variable]:
        """All variables of the output by name, each with one quantile at most."""
        return {name: one for key, variable in self.variables.items() for name, one in variable.each(key).items()}


class GridConfig(Strict):
    """The HEALPix grid."""

    type: Literal["healpix"] = "healpix"
    """Kind of grid."""
    indexing_scheme: Literal["nested"] = "nested"
    """Numbering scheme of the cells."""
    parent_order: Whole = Field(6, ge=0, le=MAX_ORDER)
    """Order of the cells that tasks work on."""
    child_order: Order | Annotated[tuple[Order, ...], Field(min_length=1)] = 12
    """Order of the child cells that statistics are computed for, or several: each is a group of the Zarr."""
    latitude: Latitude = "authalic"
    """Latitude convention of the ids, which also decides the ellipsoid in the output."""

    @property
    def orders(self) -> tuple[int, ...]:
        """All orders of the child cells, the finest first."""
        one = self.child_order
        return (one,) if isinstance(one, int) else tuple(sorted(one, reverse=True))

    @model_validator(mode="after")
    def _orders_fit(self) -> Self:
        if len(set(self.orders)) < len(self.orders):
            raise ValueError(f"child_order is {list(self.orders)}; list each order once")
        for order in self.orders:
            if not 0 <= order - self.parent_order <= 10:
                raise ValueError(f"child_order is {order}; must be 0 to 10 above parent_order, {self.parent_order}")
        return self


class Output(Strict):
    """Where the result goes."""

    LATER = frozenset({"attrs", "partial", "time", "first"})

    grid: GridConfig = GridConfig()
    """The HEALPix grid."""
    store: str | None = None
    """Path or URL (s3://bucket/prefix) of the Zarr to write."""
    attrs: dict[str, Attribute] = Field(default_factory=dict)
    """Global attributes, such as an institution; maggjob's own are not replaced."""
    partial: bool = False
    """Whether to write the variable ``partial``, which tells the child cells of partial and failed cells."""
    time: Windows = "none"
    """Time axis of the result: one window per ``cycle`` or per ``month``, or ``none``."""
    first: Whole | str | None = None
    """First window, such as 1 or 2018-10; by default the first with granules. Earlier ones cannot be added later."""

    @property
    def first_number(self) -> int | None:
        """Number of the first window (`maggjob.icesat2.windows.window_number`); None if the granules decide."""
        return month_number(self.first) if isinstance(self.first, str) else self.first

    @model_validator(mode="after")
    def _first_fits(self) -> Self:
        if self.first is None:
            return self
        if self.time == "none":
            raise ValueError("first is the first window of a time axis; give 'time' as well, or leave it out")
        if self.time == "month":
            if not isinstance(self.first, str):
                raise ValueError(f"first is {self.first!r}; write a month as 2019-04")
            month_number(self.first)
        elif isinstance(self.first, str) or not 1 <= self.first <= 99:
            raise ValueError(f"first is {self.first!r}; give a cycle from 1 to 99")
        return self

    @field_validator("attrs")
    @classmethod
    def _attrs_are_free(cls, attrs: dict[str, Any]) -> dict[str, Any]:
        for name in sorted(attrs.keys() & OWN_ATTRIBUTES):
            raise ValueError(f"{name}: maggjob writes it; leave it out")
        return attrs


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
        for name, variable in self.aggregation.outputs.items():
            self._check_orders(name, variable)
            unknown = sorted(variable.resolve(name).columns - known)
            if unknown:
                listed = ", ".join(dict.fromkeys([*self.data_source.variables, *BUILT_IN_COLUMNS]))
                raise ValueError(
                    f"aggregation.variables.{name}: unknown column {unknown[0]!r}; known columns are {listed}"
                )
            self._check_child_columns(name, variable)
            model = variable.resolve(name).fit
            if model is not None and model.min_cycles > 1 and self.output.time != "none":
                raise ValueError(
                    f"aggregation.variables.{model.name}: a fit over time needs several cycles, but output.time gives "
                    f"each {self.output.time} a result of its own; remove one of them"
                )
        for order in self.output.grid.orders:
            if not self._statistics(order):
                raise ValueError(f"output.grid.child_order: no variable is computed at order {order}; remove it")
        if "strong" in self.recipe().named_columns:
            self.data_source.check_strong()
        if self.output.partial and "partial" in self.aggregation.outputs:
            raise ValueError("output.partial: a variable is called 'partial'; give it another name")
        morton, order = self.aggregation.coordinates.morton, self.output.grid.orders[0]
        if morton is not None and morton.dtype == "int64" and order > MAX_DECIMAL_ORDER:
            raise ValueError(
                f"aggregation.coordinates.morton.dtype: signed decimal ids of order {order} do not fit in int64; "
                "use uint64"
            )
        return self

    def _check_child_columns(self, name: str, variable: Variable) -> None:
        weights, own = variable.resolve(name).weights, self.data_source.variables
        early = frozenset() if weights is None else (parse(weights).columns & OF_CHILD) - own.keys()
        if early:
            raise ValueError(f"aggregation.variables.{name}: weights cannot use {min(early)!r}")

    def _check_orders(self, name: str, variable: Variable) -> None:
        orders = self.output.grid.orders
        for order in variable.orders or ():
            if order not in orders:
                raise ValueError(
                    f"aggregation.variables.{name}.orders: {order} is not in output.grid.child_order, "
                    f"{', '.join(map(str, orders))}"
                )

    @property
    def grid(self) -> Grid:
        """Grid of the cells and their finest children."""
        grid = self.output.grid
        return Grid(grid.parent_order, grid.orders[0], grid.latitude)

    def _statistics(self, order: int) -> tuple[Statistic, ...]:
        """Return the statistics of one order of children."""
        every, omit = self.aggregation.outputs, [n for n, rule in self.data_source.missing.items() if rule == OMIT]
        return tuple(v.resolve(name, omit) for name, v in every.items() if v.orders is None or order in v.orders)

    def recipe(self) -> Recipe:
        """Return the configuration as workers need it."""
        source, coordinates = self.data_source, self.data_source.coordinates
        return Recipe(
            groups=source.groups,
            latitude=coordinates.latitude,
            longitude=coordinates.longitude,
            time=coordinates.time or coordinates.latitude.rsplit("/", 1)[0] + "/delta_time",
            columns=tuple(source.paths.items()),
            filters=source.row_filters,
            statistics=self._statistics(self.grid.child_order),
            grid=self.grid,
            coarser=tuple((order, self._statistics(order)) for order in self.output.grid.orders[1:]),
            missing=tuple(source.missing.items()),
            reader=source.reader,
        )

    def science(self) -> dict[str, Any]:
        """Return all settings that affect the values: everything but paths, the driver, and ignored keys."""
        exclude: dict[str, Any] = {
            "catalog": True,
            "search": True,
            "output": {"store"},
            "data_source": {"driver", "product", "reader", "sources"},
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
