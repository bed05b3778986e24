"""What a picture needs of a result: its cells, its variables one by one, and the states of its parent cells.

Maps read the Zarr itself, so that they need neither xarray nor xdggs; a Dataset is accepted as well.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maggjob.errors import InputError, StoreError
from maggjob.grid.healpix import Grid, Latitude, parse_cell
from maggjob.output.table import cell_states
from maggjob.show.zarr_group import damaged_attribute, open_group, structured
from maggjob.storage.stores import plain_message

if TYPE_CHECKING:
    import xarray as xr

TIME_AXES = ("cycle", "month")
NOT_SHOWN = ("cell_ids", "morton", "time_start", "time_end", "granules", *TIME_AXES)
"""Arrays that are coordinates."""
STATES = ("complete", "partial", "failed")
"""States of parent cells, in the order of the flags of the variable ``partial``."""


@dataclass(frozen=True)
class Variable:
    """A variable of a result."""

    name: str
    """Its name."""
    attributes: Mapping[str, Any]
    """Its attributes."""
    timed: bool
    """True if it has the dimension of time."""
    whole: bool
    """True if its values are integers."""

    @property
    def units(self) -> str:
        """Units as they are written behind a number; empty for none."""
        units = str(self.attributes.get("units", ""))
        return {"1": "", "meters": "m", "meters2": "m²", "meters year-1": "m/yr", "meters/yr": "m/yr"}.get(units, units)

    @property
    def label(self) -> str:
        """What it is, in words."""
        return str(self.attributes.get("long_name", self.name))


@dataclass(frozen=True)
class Times:
    """The time axis of a result."""

    kind: str
    """``cycle`` or ``month``."""
    labels: tuple[str, ...]
    """Label of each time, such as ``21`` or ``2019-04``."""
    spans: tuple[tuple[str, str] | None, ...]
    """First and last day of the data of each time; None without data."""

    def position(self, asked: str | int) -> int:
        """Return the position of a label.

        Raises
        ------
        InputError
            If there is no such time.
        """
        text = str(asked).removeprefix(self.kind)
        wanted = str(int(text)) if self.kind == "cycle" and text.isdecimal() and len(text) < 9 else text
        if wanted not in self.labels:
            raise InputError(f"there is no {self.kind} {asked}; there are {', '.join(self.labels)}")
        return self.labels.index(wanted)

    @property
    def latest(self) -> int:
        """Position of the last time with data; of the last one if there are none."""
        return max((i for i, span in enumerate(self.spans) if span is not None), default=len(self.labels) - 1)


@dataclass(frozen=True)
class CellResult:
    """A result as maps read it."""

    name: str
    """Path or URL of the Zarr, for messages."""
    grid: Grid
    """Its orders and latitude convention."""
    ids: np.ndarray
    """Nested id of each cell, ascending, int64, shape (n,)."""
    variables: Mapping[str, Variable]
    """Its variables by name."""
    times: Times | None
    """Its time axis."""
    attributes: Mapping[str, Any]
    """Its attributes, those with structure as plain values."""
    read: Callable[[str, int | None], np.ndarray]
    """``read(variable, time)`` returns the values of a variable at the position of a time, shape (n,)."""
    ledger: Callable[[], dict[str, dict[str, str]]]
    """Returns the state of each parent cell, by window and by id; raises InputError without a ledger."""

    @cached_property
    def parents(self) -> np.ndarray:
        """Nested ids of the parent cells, ascending."""
        return np.unique(self.ids >> self.grid.shift)

    def variable(self, name: str) -> Variable:
        """Return a variable.

        Raises
        ------
        InputError
            If the result does not have it.
        """
        if name not in self.variables:
            raise InputError(f"{self.name} has no variable {name!r}; it has {', '.join(self.variables)}")
        return self.variables[name]

    def values(self, name: str, time: int | None = None) -> np.ndarray:
        """Return the values of a variable as float64, NaN where there are no data.

        Parameters
        ----------
        name : str
            Variable.
        time : int, optional
            Position on the time axis; for a variable without it, ignored.
        """
        variable = self.variable(name)
        found = self.read(name, time if variable.timed else None)
        # Integers have no NaN: where no segment is, they hold their fill value.
        if variable.whole and name != "partial" and "count" in self.variables:
            timed = self.variables["count"].timed
            counts = found if name == "count" else self.read("count", time if timed else None)
            # With a value for all times, there is one where any of them has segments.
            counts = counts.max(axis=0) if counts.ndim > 1 else counts
            return np.where(counts > 0, found, np.nan)
        return found.astype(np.float64)

    def unread(self, time: int | None = None) -> dict[str, np.ndarray]:
        """Return the parent cells that were read in part or not at all, by state: ``partial`` and ``failed``.

        Parameters
        ----------
        time : int, optional
            Position on the time axis; without it, those of any time.

        Returns
        -------
        dict
            Nested ids of the parent cells. Empty if all were read, or if nothing tells which were not.
        """
        cells = self.attributes.get("tally", {}).get("cells", {})
        if not cells.get("partial") and not cells.get("failed"):
            return {}
        try:
            return self._of_ledger(time)
        except InputError:
            return self._of_flags(time) if "partial" in self.variables else {}

    def _of_ledger(self, time: int | None) -> dict[str, np.ndarray]:
        numbers = None if self.times is None or time is None else self.times.labels[time]
        found: dict[str, set[int]] = {state: set() for state in STATES[1:]}
        for window, cells in self.ledger().items():
            if numbers is not None and window.removeprefix(str(self.times and self.times.kind)) != _padded(numbers):
                continue
            for cell, state in cells.items():
                if state in found:
                    found[state].add(parse_cell(cell, self.grid.parent_order))
        return {state: np.array(sorted(cells), np.int64) for state, cells in found.items() if cells}

    def _of_flags(self, time: int | None) -> dict[str, np.ndarray]:
        times: list[int | None] = [time]
        if self.variables["partial"].timed and time is None and self.times is not None:
            times = list(range(len(self.times.labels)))
        flags = [self.read("partial", one if self.variables["partial"].timed else None) for one in times]
        worst = np.max(flags, axis=0)
        of = {state: np.unique(self.ids[worst == i] >> self.grid.shift) for i, state in enumerate(STATES) if i}
        return {state: cells for state, cells in of.items() if len(cells)}


def _padded(label: str) -> str:
    return f"{int(label):02d}" if label.isdecimal() else label


def read_result(store: "str | Path | xr.Dataset", group: str | None = None, region: str | None = None) -> CellResult:
    """Return a result as maps read it.

    Parameters
    ----------
    store : str, Path or xr.Dataset
        The Zarr, or a Dataset from `maggjob.open_result` or computed from one, such as by `maggjob.difference`.
    group : str, optional
        Group of the Zarr; by default that of the finest order.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    StoreError
        If the store is not a complete result.
    InputError
        If the Dataset has no cells, or lacks what `maggjob.open_result` gives it.
    """
    if not isinstance(store, str | Path):
        if not hasattr(store, "data_vars"):
            raise InputError(f"store is {store!r}; give the path or URL of a Zarr, or an xarray.Dataset")
        return _of_dataset(store)
    opened = open_group(store, group, region)
    arrays = dict(opened.group.arrays())
    plain = dict(opened.group.attrs)
    names = _in_order([name for name in arrays if name not in NOT_SHOWN], plain["config"])

    def read_array(name: str, time: int | None) -> np.ndarray:
        try:
            return np.asarray(arrays[name][:] if time is None else arrays[name][time])
        # Codecs raise what they like.
        except Exception as problem:
            raise StoreError(
                f"{opened.store}: {name} cannot be read ({plain_message(problem)}); 'maggjob verify {opened.store}' "
                "shows what is damaged"
            ) from problem

    axis = next((name for name in TIME_AXES if name in arrays), None)
    times = None
    if axis is not None:
        spans = [arrays[name][:] for name in ("time_start", "time_end")]
        times = _times(axis, arrays[axis][:], np.array(spans))
    ids = read_array("cell_ids", None).astype(np.int64)
    variables = {n: Variable(n, dict(arrays[n].attrs), arrays[n].ndim > 1, arrays[n].dtype.kind in "iu") for n in names}

    return _result(
        opened.store, ids, variables, times, plain, read_array, cache(lambda: cell_states(opened.store, region))
    )


def _in_order(names: list[str], config: Any) -> list[str]:
    """Return names of variables in the order of the configuration; a store lists its arrays in any order."""
    config = json.loads(config) if isinstance(config, str) else config
    keys = list(config.get("aggregation", {}).get("variables", {}))
    exact = {key: (i, 0) for i, key in enumerate(keys)}

    def place(name: str) -> tuple[int, int, str]:
        # Quantiles and outputs of fits are named after their entry, or in it.
        near = next((i for i, key in enumerate(keys) if name.startswith(key)), len(keys))
        return (*exact.get(name, (near, 1)), name)

    return sorted(names, key=place)


def _of_dataset(dataset: "xr.Dataset") -> CellResult:
    missing = [key for key in ("config", "latitude_convention") if key not in dataset.attrs]
    if "cell_ids" not in dataset.coords or missing or damaged_attribute(dataset.attrs):
        raise InputError("the dataset has no cells of a result: give one that open_result returns, or computed from it")
    plain = {key: structured(value) for key, value in dataset.attrs.items()}
    axis = next((name for name in TIME_AXES if name in dataset.dims), None)
    times = None
    if axis is not None:
        spans = [dataset[name].values.astype("M8[s]").astype(np.float64) for name in ("time_start", "time_end")]
        epoch = np.datetime64("2018-01-01", "s").astype(np.float64)
        none = np.isnat(dataset["time_start"].values)
        times = _times(axis, dataset[axis].values, np.where(none, np.nan, np.array(spans) - epoch))
    # Texts, and what has further dimensions, are not shown.
    chosen = {
        n: dataset[n]
        for n in map(str, dataset.data_vars)
        if n not in NOT_SHOWN
        and dataset[n].dtype.kind in "iufb"
        and "cells" in dataset[n].dims
        and set(dataset[n].dims) <= {"cells", axis}
    }
    variables = {n: Variable(n, dict(of.attrs), axis in of.dims, of.dtype.kind in "iu") for n, of in chosen.items()}

    def read(name: str, time: int | None) -> np.ndarray:
        return np.asarray((dataset[name] if time is None else dataset[name].isel({axis: time})).values)

    def ledger() -> dict[str, dict[str, str]]:
        raise InputError("a dataset has no ledger")

    ids = np.asarray(dataset["cell_ids"].values).astype(np.int64)
    return _result("the dataset", ids, variables, times, plain, read, ledger)


def _result(
    name: str,
    ids: np.ndarray,
    variables: Mapping[str, Variable],
    times: Times | None,
    attributes: Mapping[str, Any],
    read: Callable[[str, int | None], np.ndarray],
    ledger: Callable[[], dict[str, dict[str, str]]],
) -> CellResult:
    if not len(ids):
        raise InputError(f"{name} has no cells; there is nothing to show")
    config = attributes["config"]
    config = json.loads(config) if isinstance(config, str) else config
    latitude: Latitude = attributes["latitude_convention"]
    dggs = attributes.get("dggs")
    order = int(dggs["refinement_level"]) if dggs else int(config["output"]["grid"]["child_order"])
    grid = Grid(int(config["output"]["grid"]["parent_order"]), order, latitude)
    ascending = bool((ids[1:] > ids[:-1]).all())
    sorting = None if ascending else np.argsort(ids)
    return CellResult(
        name,
        grid,
        ids if sorting is None else ids[sorting],
        variables,
        times,
        dict(attributes) | {"config": config},
        read if sorting is None else lambda variable, time: read(variable, time)[sorting],
        ledger,
    )


def _times(kind: str, values: np.ndarray, spans: np.ndarray) -> Times:
    """Return a time axis from the values of its coordinate, and from the seconds since 2018 of its data."""
    if values.dtype.kind == "M":
        labels = [str(value)[:7] for value in values.astype("M8[D]")]
    elif kind == "month":
        labels = [str(np.datetime64("2018-01-01") + np.timedelta64(int(value), "D"))[:7] for value in values]
    else:
        labels = [str(int(value)) for value in values]
    days = [
        None if not np.isfinite(span).all() else (_day(span[0]), _day(span[1])) for span in spans.T.astype(np.float64)
    ]
    return Times(kind, tuple(labels), tuple(days))


def _day(seconds: float) -> str:
    return str(np.datetime64("2018-01-01", "s") + np.timedelta64(int(seconds), "s"))[:10]
