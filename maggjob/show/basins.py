"""The mean rate and the volume change of drainage basins, or of any polygons, with their errors."""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from maggjob.errors import InputError
from maggjob.grid.areas import Area
from maggjob.grid.healpix import LATITUDES, Latitude
from maggjob.grid.polygons import Centres, PolygonsLike, cell_areas, named_areas, size_km2
from maggjob.show.dataset import open_result
from maggjob.statistics.spatial_error import error_of_sum

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Fill = Literal["none", "mean"]
METRES = re.compile(r"(?:m|met(?:er|re)s?)((?:\s|/|\.).*)?")
"""Units of a height or of its rate; the group is what follows the metres, such as ``/yr``."""
CORRELATION_KM = 50.0
"""Default range of the correlation; the docstring of `basins` says why."""


@dataclass(frozen=True)
class _Cells:
    """The cells of a result that have a rate, with or without an error."""

    ids: np.ndarray
    """Nested ids, shape (n,)."""
    rates: np.ndarray
    """Rates, shape (n,)."""
    errors: np.ndarray
    """Standard errors, NaN where there is none, shape (n,)."""
    areas: np.ndarray
    """Areas, square kilometres, shape (n,)."""
    centres: Centres
    """Centres."""
    units: str
    """Units of the rates and errors."""
    volume_units: str
    """Units of a volume change."""


@dataclass(frozen=True)
class BasinRow:
    """A row of the table; docs/change.md describes it."""

    name: str
    """Name of the polygon."""
    area_km2: float
    """Area of the polygon on the ellipsoid."""
    covered_km2: float
    """Area of the cells that are counted."""
    share: float
    """Covered share of the area."""
    cells: int
    """Number of cells that are counted."""
    without_error: int
    """Number of cells with a rate but no error, which are not counted."""
    rate: float
    """Mean rate, NaN without cells."""
    rate_error: float
    """Standard error of the mean rate."""
    rate_units: str
    """Units of both."""
    filled_km2: float
    """Uncovered area to which the mean rate was applied."""
    volume: float
    """Volume change of the covered and the filled area."""
    volume_error: float
    """Standard error of the volume change."""
    volume_units: str
    """Units of both."""
    correlation_km: float
    """Range of the correlation of errors."""
    systematic: float
    """Error that all cells have in common, in the units of the rate."""


def basins(
    store: "str | Path | xr.Dataset",
    polygons: PolygonsLike | None = None,
    *,
    names: Sequence[str] | None = None,
    rate: str = "dh_dt",
    error: str = "dh_dt_error",
    correlation_km: float = CORRELATION_KM,
    systematic: float = 0.0,
    fill: Fill = "none",
    group: str | None = None,
    region: str | None = None,
) -> "pd.DataFrame":
    """Compute the mean rate and the volume change of drainage basins, with standard errors.

    A cell belongs to the polygon that its centre lies in; cells are not split. Of a cell on the outline, up to a half
    is counted too much or too little, at random: together about a quarter of a cell's area times the square root of the
    number of cells on the outline. The mean is that of the cells weighted by their areas on the ellipsoid WGS84, which
    are equal for authalic latitudes. It is not weighted by the errors: this would prefer well covered parts of a basin.

    The errors of two cells are correlated by the spherical model: fully at the same place, not at all from the distance
    ``correlation_km`` on. The variance of the mean is the double sum of ``w_i * w_j * s_i * s_j * rho(d_ij)`` with the
    weights ``w`` and the standard errors ``s``: Rolstad, Haug and Denby (2009), Spatially integrated geodetic glacier
    mass balance and its uncertainty based on geostatistical analysis, Journal of Glaciology 55(192), 666-680.

    The default range is a choice, not a measurement. Neighbouring cells share passes, with their errors of pointing and
    orbit, and the snowfall of a season. South of 70 degrees, ground tracks of one direction are less than 10 km apart,
    so 50 km spans several of them, and what a few passes see never counts as many independent measurements. State the
    range beside a result, and compare the errors for 20 and 100 km.

    Parameters
    ----------
    store : str, Path or xr.Dataset
        The Zarr, or a dataset in the form of `open_result`, such as one that `difference` returns.
    polygons : str, Path or mapping, optional
        A GeoJSON file, GeoPackage or shapefile of polygons with names, or a mapping from names to areas as
        `area_cells` takes them. By default the 27 drainage basins of Antarctica (Zwally et al. 2012), named 1 to 27.
    names : sequence of str, optional
        Names of the polygons that are wanted; all by default.
    rate, error : str
        Variables of the rate and of its standard error, both in metres per time, or both in metres.
    correlation_km : float
        Range of the correlation of errors, kilometres; 0 if the errors of cells are independent.
    systematic : float
        Standard error that all cells have in common, in the units of the rate; it is added in quadrature.
    fill : {"none", "mean"}
        ``none`` for the volume change of the covered area only, ``mean`` to apply the mean rate to the uncovered area
        as well. The error does not know how different the uncovered area is.
    group : str, optional
        Group of the Zarr; by default that of the finest order.
    region : str, optional
        Region of the bucket.

    Returns
    -------
    pandas.DataFrame
        One row per polygon, with the columns of docs/change.md.

    Raises
    ------
    InputError
        If a variable or a polygon does not exist, no cell with a rate lies in any polygon, the units are not metres or
        metres per time, a parameter has no meaning, or a package of the extra "view" is not installed.
    StoreError
        If the store is not a complete result.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> catalog = maggjob.make_catalog("granules")
    >>> result = maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    >>> table = basins("map.zarr", names=["21", "22"], rate="h_mean", error="h_sigma")
    >>> list(table.name), bool((table.share < 0.1).all())
    (['21', '22'], True)
    """
    import pandas as pd

    for name, value in (("correlation_km", correlation_km), ("systematic", systematic)):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < math.inf:
            raise InputError(f"{name} is {value!r}; give a number that is not negative")
    if fill not in get_args(Fill):
        raise InputError(f"fill is {fill!r}; give one of {', '.join(get_args(Fill))}")
    areas = named_areas(polygons, names)
    if isinstance(store, str | Path):
        cells = _cells(open_result(store, group, region), rate, error, str(store))
    else:
        cells = _cells(store, rate, error, "the dataset")
    rows = [_row(area, cells, float(correlation_km), float(systematic), fill) for area in areas]
    if not any(row.cells for row in rows):
        dropped = sum(row.without_error for row in rows)
        why = f"{dropped:,} cells there have no {error}" if dropped else "give another store or other polygons"
        others = f" and {len(areas) - 1} others" if len(areas) > 1 else ""
        raise InputError(
            f"none of the {len(cells.ids):,} cells with {rate} counts in polygon {areas[0].name!r}{others}: {why}"
        )
    return pd.DataFrame([asdict(row) for row in rows])


def _cells(dataset: "xr.Dataset", rate: str, error: str, store: str) -> _Cells:
    """Read the cells that have a rate."""
    for name in (rate, error):
        if name not in dataset.data_vars:
            raise InputError(f"{store} has no variable {name!r}; it has {', '.join(map(str, dataset.data_vars))}")
        if dataset[name].dims != dataset["cell_ids"].dims:
            raise InputError(
                f"{name} has the dimensions {', '.join(map(str, dataset[name].dims))}; select one time "
                "(dataset.sel), or give the difference of two (maggjob.difference)"
            )
    convention = dataset.attrs.get("latitude_convention")
    level = dataset["cell_ids"].attrs.get("level")
    if convention not in LATITUDES or level is None:
        raise InputError(
            f"{store} does not tell its grid: it needs the attribute latitude_convention ({' or '.join(LATITUDES)}), "
            "and cell_ids the attribute level; keep the attributes that open_result gives"
        )
    units, volume_units = _units(dataset, rate, error)
    rates, errors = (dataset[name].values.astype(np.float64) for name in (rate, error))
    there = np.isfinite(rates)
    if not there.any():
        raise InputError(f"{store}: no cell has a {rate}")
    ids, rates, errors = dataset["cell_ids"].values[there].astype(np.int64), rates[there], errors[there]
    if (errors < 0).any():
        raise InputError(f"{store}: {error} is {errors.min():g} in a cell; give the variable of the standard errors")
    order, latitude = int(level), _convention(str(convention))
    centres = Centres.of(ids, order, latitude)
    areas = cell_areas(centres.latitude, order, latitude)
    return _Cells(ids, rates, errors, areas, centres, units, volume_units)


def _convention(text: str) -> Latitude:
    return "authalic" if text == "authalic" else "geodetic-spherical"


def _units(dataset: "xr.Dataset", rate: str, error: str) -> tuple[str, str]:
    """Return the units of a rate, and those of the volume change."""
    units, others = (str(dataset[name].attrs.get("units", "")) for name in (rate, error))
    if units != others:
        raise InputError(f"{rate} has the units {units!r}, and {error} {others!r}; give an error in the same units")
    found = METRES.fullmatch(units)
    if found is None:
        raise InputError(
            f"{rate} has the units {units!r}; a volume change needs metres, or metres per time such as m/yr: "
            "give another variable, or set its attribute units"
        )
    return units, f"km3{found[1] or ''}"


def _row(area: Area, cells: _Cells, correlation_km: float, systematic: float, fill: Fill) -> BasinRow:
    size = size_km2(area)
    inside = cells.centres.within(area)
    own = np.flatnonzero(inside & np.isfinite(cells.errors))
    without = int(np.count_nonzero(inside)) - len(own)
    mean = deviation = math.nan
    covered = float(cells.areas[own].sum())
    if len(own):
        weights = cells.areas[own] / covered
        # Heights of kilometres and a million cells leave enough digits in float64.
        mean = float(weights @ cells.rates[own])
        positions = cells.centres.taken(own).positions()
        side = math.sqrt(covered / len(own))
        random = error_of_sum(weights * cells.errors[own], positions, cells.ids[own], side, correlation_km)
        deviation = math.hypot(random, systematic)
    filled = max(0.0, size - covered) if fill == "mean" and len(own) else 0.0
    # Square kilometres times metres.
    volume = (covered + filled) * 1e-3
    return BasinRow(
        area.name,
        size,
        covered,
        covered / size,
        len(own),
        without,
        mean,
        deviation,
        cells.units,
        filled,
        mean * volume,
        deviation * volume,
        cells.volume_units,
        correlation_km,
        systematic,
    )
