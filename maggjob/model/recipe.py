"""The recipe: the configuration as workers need it, validated and in plain values."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from maggjob.grid.healpix import Grid
from maggjob.statistics.functions import Statistic

BUILT_IN_COLUMNS = ("latitude", "longitude", "rgt", "cycle", "beam")


@dataclass(frozen=True)
class RowFilter:
    """A condition that a segment must meet to be kept."""

    state: str
    """Name under which rejected segments are counted."""
    dataset: str
    """Path of the dataset, with ``{group}`` for the beam."""
    op: str
    """One of ``< <= == != in``."""
    value: float | tuple[float, ...]
    """Value that the dataset is compared with; a tuple for ``in``."""


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
        return frozenset().union(*(s.columns for s in self.statistics))

    @cached_property
    def needed_paths(self) -> dict[str, list[str]]:
        """Paths of the datasets that must be read, by beam; without the times, which may be absent."""
        templates = [path for _, path in self.columns] + [condition.dataset for condition in self.filters]
        coordinates = {"latitude": self.latitude, "longitude": self.longitude}
        templates += [path for name, path in coordinates.items() if name in self.used_columns]
        return {group: list(dict.fromkeys(self.path(t, group) for t in templates)) for group in self.groups}

    def lacking(self, has: Mapping[str, Callable[[str], bool]]) -> frozenset[str]:
        """Return the datasets that no beam of a granule has, as paths with ``{group}`` for the beam.

        Parameters
        ----------
        has : mapping
            By group of the beams that are there: a function that tells whether there is a dataset at a path.
        """
        templates = [path for _, path in self.columns] + [condition.dataset for condition in self.filters] + [self.time]
        return frozenset(t for t in templates if not any(is_there(self.path(t, g)) for g, is_there in has.items()))

    @cached_property
    def time_paths(self) -> dict[str, list[str]]:
        """Path of the times, by beam; a beam may lack them."""
        return {group: [self.path(self.time, group)] for group in self.groups}

    @cached_property
    def indexed_paths(self) -> dict[str, list[str]]:
        """Paths of the datasets that an index describes, by beam."""
        return {group: [*paths, *self.time_paths[group]] for group, paths in self.needed_paths.items()}

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
            "statistics": tuple(Statistic(**statistic) for statistic in plain["statistics"]),
            "grid": Grid(**plain["grid"]),
        }
        return cls(**dict(plain) | lists)
