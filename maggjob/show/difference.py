"""The difference of two times of a result."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from maggjob.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

YEAR = 365.25  # days
MOST_LISTED = 40
"""Labels of times that a message lists."""


def difference(
    ds: "xr.Dataset",
    a: Any,
    b: Any,
    *,
    value: str = "dh",
    error: str = "dh_error",
    tracks: str | None = "tracks",
    min_tracks: int = 2,
    rate: bool = False,
) -> "xr.Dataset":
    """Subtract one cycle from another: b minus a, with its standard error, in the cells that both cover well.

    The standard error is ``sqrt(error_a**2 + error_b**2)``, as no pass is in two cycles. It knows nothing of what all
    passes of a cycle have in common, such as a bias of its pointing, and nothing of a cell's slope: two cycles may see
    different parts of a cell, which is why both must have several tracks in it.

    Parameters
    ----------
    ds : xr.Dataset
        Result with a time axis, from `open_result`: its variables have the dimension of ``cell_ids``, and one with the
        times, such as ``cycle`` or ``month``.
    a, b : int, str or datetime
        Labels on the time axis.
    value, error : str
        Variables of the heights or height anomalies, and of their standard errors.
    tracks : str, optional
        Variable of the number of ground tracks; None to take all cells.
    min_tracks : int
        Number of tracks that a cell must have in both; others are NaN.
    rate : bool
        If True, divide by the years of 365.25 days between the middles of ``time_start`` and ``time_end``, which are
        coordinates of ``ds``. The variables are then called ``dh_dt`` and ``dh_dt_error`` (after ``value``), as those
        that `basins` reads.

    Returns
    -------
    xr.Dataset
        Two variables along the cells, with the coordinates and attributes of ``ds``, so that xdggs decodes it; lazy if
        ``ds`` is. Their attributes ``period_a`` and ``period_b`` are the days from ``time_start`` to ``time_end``.

    Raises
    ------
    InputError
        If a variable, a time or the time axis does not exist, or both times are the same.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> ds = xr.Dataset(
    ...     {
    ...         "dh": (("cycle", "cells"), np.array([[1.0, 2.0, 3.0], [1.5, 2.5, 5.0]]), {"units": "m"}),
    ...         "dh_error": (("cycle", "cells"), np.array([[0.3, 0.3, 0.3], [0.4, 0.4, 0.4]]), {"units": "m"}),
    ...         "tracks": (("cycle", "cells"), np.array([[2, 3, 4], [2, 1, 5]])),
    ...     },
    ...     coords={"cycle": [3, 12], "cell_ids": ("cells", np.array([7, 8, 9], np.uint64))},
    ... )
    >>> change = difference(ds, 3, 12)
    >>> change.dh.values, change.dh_error.values
    (array([0.5, nan, 2. ]), array([0.5, nan, 0.5]))
    >>> change.dh.attrs["long_name"]
    'dh, cycle 12 minus cycle 3'
    """
    wanted = [name for name in (value, error, tracks) if name is not None]
    missing = [name for name in wanted if name not in ds.data_vars]
    if missing:
        raise InputError(f"there is no variable {missing[0]!r}; there are {', '.join(map(str, ds.data_vars))}")
    axis = _time_axis(ds, wanted)
    first, second = (_at(ds, axis, label) for label in (a, b))
    if first[axis].values == second[axis].values:
        raise InputError(f"{axis} {a} is given twice; give two")
    change = second[value] - first[value]
    deviation = (first[error] ** 2 + second[error] ** 2) ** 0.5
    if tracks is not None:
        seen = (first[tracks] >= min_tracks) & (second[tracks] >= min_tracks)
        change, deviation = change.where(seen), deviation.where(seen)
    names, per = (value, error), ""
    if rate:
        years = _years(first, second)
        # The error has no sign, whichever time comes first.
        change, deviation = change / years, deviation / abs(years)
        names, per = (f"{value}_dt", f"{value}_dt_error"), "/yr"
    label = f"{ds[value].attrs.get('long_name', value)}, {axis} {b} minus {axis} {a}"
    own = {"long_name": label} | _periods(first, second)
    change.attrs = own | _units(ds[value], per)
    deviation.attrs = own | {"long_name": f"standard error of {label}"} | _units(ds[error], per)
    # Of the coordinates, those of a single time are left out.
    left_out = [name for name in ds.variables if name in ds.data_vars or axis in ds[name].dims]
    return ds.drop_vars(left_out).assign({names[0]: change.variable, names[1]: deviation.variable})


def _time_axis(ds: "xr.Dataset", names: list[str]) -> str:
    """Return the dimension of the times."""
    if "cell_ids" not in ds.coords:
        raise InputError("the dataset has no coordinate cell_ids; give one that open_result returns")
    for name in names:
        axes = [axis for axis in ds[name].dims if axis not in ds["cell_ids"].dims]
        if len(axes) != 1 or axes[0] not in ds.xindexes:
            raise InputError(
                f"{name} has no time axis, its dimensions are {', '.join(map(str, ds[name].dims))}; "
                "configure output: {time: cycle}, and run again"
            )
    return str(axes[0])


def _at(ds: "xr.Dataset", axis: str, label: Any) -> "xr.Dataset":
    """Return one time of a dataset."""
    # numpy takes a month for a span of days, and its first day for what the coordinate holds.
    of_days = ds[axis].dtype.kind == "M" and isinstance(label, str) and re.fullmatch(r"\d{4}-\d\d", label)
    try:
        found = ds.sel({axis: f"{label}-01" if of_days else label})
    except (KeyError, TypeError, ValueError) as problem:
        labels = ", ".join(map(str, ds[axis].values[:MOST_LISTED]))
        raise InputError(f"there is no {axis} {label!r}; there are {labels}") from problem
    if axis in found.dims:
        raise InputError(f"{axis} {label!r} stands for {found.sizes[axis]} times; give one label")
    return found


def _years(first: "xr.Dataset", second: "xr.Dataset") -> "xr.DataArray":
    """Return the years between the middles of two times."""
    middles = []
    for one in (first, second):
        for name in ("time_start", "time_end"):
            if name not in one.coords or one[name].dtype.kind != "M":
                raise InputError(f"a rate needs the coordinate {name} with dates; there is none: leave rate=True out")
        middles.append(one["time_start"] + (one["time_end"] - one["time_start"]) / 2)
    years = (middles[1] - middles[0]) / np.timedelta64(1, "D") / YEAR
    if not bool((years != 0).all()) or bool(years.isnull().any()):
        raise InputError("a rate needs two times that differ; time_start and time_end say that they do not")
    return years


def _units(of: "xr.DataArray", per: str) -> dict[str, str]:
    return {"units": f"{of.attrs['units']}{per}"} if "units" in of.attrs else {}


def _periods(first: "xr.Dataset", second: "xr.Dataset") -> dict[str, str]:
    """Return the first and last day of both times, as far as the dataset has them."""
    periods = {}
    for name, one in (("period_a", first), ("period_b", second)):
        ends = [one.coords[end] for end in ("time_start", "time_end") if end in one.coords]
        if len(ends) == 2 and all(end.ndim == 0 and end.dtype.kind == "M" for end in ends):
            periods[name] = "/".join(str(end.values.astype("M8[D]")) for end in ends)
    return periods
