"""What is exported of a result: which cells, which variables, at which times."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from maggjob.errors import InputError
from maggjob.grid.areas import AreaLike, parse_area
from maggjob.grid.polygons import Centres
from maggjob.show.cell_result import CellResult, Variable


@dataclass(frozen=True)
class Field:
    """A variable at one time."""

    variable: Variable
    """The variable."""
    time: int | None
    """Position on the time axis; None for a variable without it."""
    label: str | None
    """Label of the time."""

    @property
    def name(self) -> str:
        """Name with the time, such as ``dh 2019-04``."""
        return self.variable.name if self.label is None else f"{self.variable.name} {self.label}"


@dataclass(frozen=True)
class Selection:
    """The part of a result that is exported."""

    result: CellResult
    """The result."""
    variables: tuple[Variable, ...]
    """Variables, in the order asked for."""
    times: tuple[int, ...]
    """Positions on the time axis; empty without one."""
    rows: np.ndarray | None
    """Positions of the cells in the area, ascending; None for all."""

    @property
    def chosen(self) -> np.ndarray:
        """Positions of all chosen cells, ascending."""
        return np.arange(len(self.result.ids)) if self.rows is None else self.rows

    @property
    def fields(self) -> Iterator[Field]:
        """Each variable at each of its times."""
        for variable in self.variables:
            for time in self.times if variable.timed else (None,):
                label = None if time is None or self.result.times is None else self.result.times.labels[time]
                yield Field(variable, time, label)

    def values(self, variable: Variable, time: int | None) -> np.ndarray:
        """Return the values of a variable in all cells of the result, NaN without data or outside the area.

        Parameters
        ----------
        variable : Variable
        time : int or None
            Position on the time axis.

        Returns
        -------
        ndarray of float32, or of float64 if float32 would round them
        """
        found = self.result.values(variable.name, time)
        if self.rows is not None:
            outside = np.ones(len(found), bool)
            outside[self.rows] = False
            found[outside] = np.nan
        with np.errstate(over="ignore"):
            short = found.astype(np.float32)
        return short if np.array_equal(short, found, equal_nan=True) else found


def select(
    result: CellResult, variables: Sequence[str] | str | None, aoi: AreaLike | None, time: str | int | None
) -> Selection:
    """Choose what is exported.

    Parameters
    ----------
    result : CellResult
    variables : str or sequence of str, optional
        Names of variables; all by default.
    aoi : str, path or tuple, optional
        Area; cells whose centres lie in it are exported. All by default.
    time : str or int, optional
        Label on the time axis; all by default.

    Raises
    ------
    InputError
        If a variable or a time does not exist, or no cell lies in the area.
    """
    asked = [variables] if isinstance(variables, str) else variables
    names = list(result.variables) if asked is None else list(dict.fromkeys(asked))
    if not names:
        raise InputError(f"no variable was asked for; {result.name} has {', '.join(result.variables)}")
    chosen = tuple(result.variable(name) for name in names)
    times: tuple[int, ...] = ()
    if result.times is not None:
        times = tuple(range(len(result.times.labels))) if time is None else (result.times.position(time),)
    elif time is not None:
        raise InputError(f"{result.name} has no time axis: leave out the time {time!r}")
    if aoi is None:
        return Selection(result, chosen, times, None)
    area = parse_area(aoi)
    centres = Centres.of(result.ids, result.grid.child_order, result.grid.latitude)
    rows = np.flatnonzero(centres.within(area))
    if not len(rows):
        raise InputError(f"no cell of {result.name} has its centre in the area {area.name}; give another area")
    return Selection(result, chosen, times, rows)
