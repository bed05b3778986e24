"""The recipe: the configuration as workers need it, validated and in plain values."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from maggjob.grid.healpix import Grid
from maggjob.statistics.expression import parse
from maggjob.statistics.functions import Statistic

BUILT_IN_COLUMNS = (
    *("latitude", "longitude", "rgt", "cycle", "beam", "time", "strong"),
    *("x", "y", "year", "t", "pass"),
)
BASES = {
    "x": frozenset({"latitude", "longitude"}),
    "y": frozenset({"latitude", "longitude"}),
    "year": frozenset({"time"}),
    "t": frozenset({"time"}),
}
"""Built-in columns that are computed from others, and these."""
OF_CHILD = frozenset({"x", "y"})
"""Built-in columns that depend on the child cell, and so on its order."""
SHADOWED = frozenset(BASES)
"""Built-in names that a configuration may use for variables of its own."""
ORIENTATION = "/orbit_info/sc_orient"
"""Dataset with the spacecraft's orientation, which says which beams are strong: 0 backward, 1 forward, 2 turning."""
OMIT = "omit"
"""Rule for missing values: statistics that use the variable leave the segment out."""


@dataclass(frozen=True)
class RowFilter:
    """A condition that a segment must meet to be kept."""

    state: str
    """Name under which rejected segments are counted."""
    dataset: str
    """Path of the dataset, with ``{group}`` for the beam; empty if an expression is given."""
    op: str
    """One of ``< <= > >= == !=``, ``in``, ``not in`` and ``between``; empty if the expression is a condition."""
    value: float | tuple[float, ...]
    """Value that is compared; a tuple for ``in``, ``not in`` and ``between``."""
    expression: str = ""
    """Column, arithmetic over columns, or condition, in place of a dataset."""

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that the expression uses."""
        return parse(self.expression).columns if self.expression else frozenset()


@dataclass(frozen=True)
class Recipe:
    """A configuration as workers need it, validated and in plain values."""

    groups: tuple[str, ...]
    """Groups of the beams, such as gt1l."""
    latitude: str
    """Path of the latitudes, with ``{group}`` for the beam."""
    longitude: str
    """Path of the longitudes, likewise."""
    time: str
    """Path of the times, in seconds since 2018-01-01; may be absent from a granule."""
    columns: tuple[tuple[str, str], ...]
    """Name and path of each variable."""
    filters: tuple[RowFilter, ...]
    """Conditions, in the order in which they are applied."""
    statistics: tuple[Statistic, ...]
    """Statistics computed for each child."""
    grid: Grid
    """Grid of cells and children."""
    coarser: tuple[tuple[int, tuple[Statistic, ...]], ...] = ()
    """Further orders, below that of the grid's children, and the statistics computed for each child of that order."""
    missing: tuple[tuple[str, str | float], ...] = ()
    """What a missing value means, by variable: `OMIT`, or a number that takes its place. A segment with a missing value
    of any other variable is not kept."""
    reader: str = "auto"
    """Library that reads granules: ``h5coro``, ``h5py``, or ``auto`` for h5py only where h5coro cannot."""

    def path(self, template: str, group: str) -> str:
        """Return the path of a dataset in one beam.

        Parameters
        ----------
        template : str
            Path with ``{group}`` for the beam.
        group : str
            Group of the beam.
        """
        return template.replace("{group}", group).strip("/")

    @cached_property
    def used_columns(self) -> frozenset[str]:
        """Columns that at least one statistic uses."""
        return frozenset().union(*(s.columns for s in self.every_statistic))

    @cached_property
    def every_statistic(self) -> tuple[Statistic, ...]:
        """Statistics of all orders."""
        return (*self.statistics, *(s for _, some in self.coarser for s in some))

    @cached_property
    def kept_columns(self) -> frozenset[str]:
        """Columns that are kept of each segment, from which all that statistics use can be computed."""
        return frozenset().union(*(self.bases.get(name, {name}) for name in self.used_columns))

    @cached_property
    def named_columns(self) -> frozenset[str]:
        """Columns that at least one statistic or filter uses, and those that they are computed from."""
        named = self.used_columns.union(*(condition.columns for condition in self.filters))
        return named.union(*(self.bases.get(name, ()) for name in named))

    @cached_property
    def bases(self) -> dict[str, frozenset[str]]:
        """Columns that a derived column is computed from, by name; a variable of that name takes its place."""
        own = {name for name, _ in self.columns}
        return {name: bases for name, bases in BASES.items() if name not in own}

    @cached_property
    def built_in(self) -> frozenset[str]:
        """Built-in columns that are used, but for those that depend on the child cell."""
        own = {name for name, _ in self.columns}
        return self.named_columns.intersection(BUILT_IN_COLUMNS) - own - OF_CHILD

    @cached_property
    def omit(self) -> frozenset[str]:
        """Variables whose missing values are left out of the statistics that use them."""
        return frozenset(name for name, rule in self.missing if rule == OMIT)

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """Paths of the datasets that must be there, with ``{group}`` for the beam, besides the coordinates."""
        named = [path for _, path in self.columns] + [c.dataset for c in self.filters if c.dataset]
        own = {"time": self.time, "strong": ORIENTATION}
        return tuple(dict.fromkeys([*named, *(path for name, path in own.items() if name in self.named_columns)]))

    def is_constant(self, template: str) -> bool:
        """Return True if a dataset has one value per granule or per beam: it lies elsewhere than the beam's rows.

        Parameters
        ----------
        template : str
            Path with or without ``{group}`` for the beam.
        """
        above = self.latitude.strip("/").partition("{group}")[0]
        return not template.strip("/").startswith(f"{above}{{group}}")

    @cached_property
    def constant_paths(self) -> dict[str, list[str]]:
        """Paths of the datasets that have one value, by beam."""
        constants = [template for template in self.templates if self.is_constant(template)]
        return {group: [self.path(template, group) for template in constants] for group in self.groups}

    @cached_property
    def needed_paths(self) -> dict[str, list[str]]:
        """Paths of the datasets whose rows must be read, by beam; without the times, unless they are used."""
        templates = [template for template in self.templates if not self.is_constant(template)]
        coordinates = {"latitude": self.latitude, "longitude": self.longitude}
        templates += [path for name, path in coordinates.items() if name in self.named_columns]
        return {group: list(dict.fromkeys(self.path(t, group) for t in templates)) for group in self.groups}

    def lacking(self, has: Mapping[str, Callable[[str], bool]]) -> frozenset[str]:
        """Return the datasets that no beam of a granule has, as paths with ``{group}`` for the beam.

        Parameters
        ----------
        has : mapping
            By group of the beams that are there: a function that tells whether there is a dataset at a path.
        """
        templates = {*self.templates, self.time}
        return frozenset(t for t in templates if not any(is_there(self.path(t, g)) for g, is_there in has.items()))

    @cached_property
    def time_paths(self) -> dict[str, list[str]]:
        """Path of the times, by beam; a beam may lack them."""
        return {group: [self.path(self.time, group)] for group in self.groups}

    @cached_property
    def indexed_paths(self) -> dict[str, list[str]]:
        """Paths of the datasets that an index describes, by beam."""
        needed = self.needed_paths.items()
        return {group: list(dict.fromkeys([*paths, *self.time_paths[group]])) for group, paths in needed}

    def at(self, order: int) -> "Recipe":
        """Return the recipe for one of its orders alone.

        Parameters
        ----------
        order : int
            Order of the children.
        """
        levels = {self.grid.child_order: self.statistics} | dict(self.coarser)
        return replace(self, grid=replace(self.grid, child_order=order), statistics=levels[order], coarser=())

    @property
    def orders(self) -> tuple[int, ...]:
        """All orders of children, the finest first."""
        return (self.grid.child_order, *(order for order, _ in self.coarser))

    @property
    def counting(self) -> frozenset[str]:
        """Names of the statistics that count the segments kept, all of them."""
        return frozenset(
            s.name
            for s in self.statistics
            if s.function in ("count", "len") and s.source is None and s.fill_value == 0 and s.min_count <= 1
        )

    @property
    def can_split(self) -> bool:
        """True if every child lies in one quarter of its cell."""
        return min(self.orders) > self.grid.parent_order

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Recipe":
        """Return the recipe from the values of `to_dict`, which may have been written to JSON and read back."""
        values = [tuple(f["value"]) if isinstance(f["value"], list) else f["value"] for f in plain["filters"]]
        lists = {
            "groups": tuple(plain["groups"]),
            "columns": tuple((name, path) for name, path in plain["columns"]),
            "filters": tuple(RowFilter(**f | {"value": v}) for f, v in zip(plain["filters"], values, strict=True)),
            "statistics": tuple(map(Statistic.from_dict, plain["statistics"])),
            "coarser": tuple((order, tuple(map(Statistic.from_dict, some))) for order, some in plain["coarser"]),
            "missing": tuple((name, rule) for name, rule in plain["missing"]),
            "grid": Grid(**plain["grid"]),
        }
        return cls(**dict(plain) | lists)
