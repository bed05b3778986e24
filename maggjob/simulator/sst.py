"""Simulated daily fields of sea surface temperature in the layout of MUR25, with a mean that is known.

Every day the temperature is the same everywhere in open sea but for a pattern whose area-weighted mean is zero from
60 S to 60 N, so that the mean is ``LEVEL + SEASON * sin(...) + TREND * years``. Names end with ``fv00.0``, which no
granule of the archive has.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.errors import InputError

LEVEL = 293.0
"""Mean on average, kelvin."""
SEASON = 0.8
"""Amplitude of the annual cycle, kelvin."""
TREND = 0.02
"""Kelvin per year."""
SCALE, OFFSET, FILL = 0.001, 298.15, -32768
"""How temperatures are packed, and what marks a missing one."""
EPOCH = datetime(1981, 1, 1)
"""Zero of the times."""
SEA, LAND, LAKE, ICE = 1, 2, 5, 9
"""Values of the mask that are written: open sea, land, lake, sea with ice."""


def mean_of(day: date) -> float:
    """Return the mean temperature of a day in open sea, kelvin, but for rounding by packing."""
    years = (day - date(2002, 6, 1)).days / 365.25
    return LEVEL + SEASON * float(np.sin(2 * np.pi * years)) + TREND * years


def simulate_sst(
    folder: str | Path,
    *,
    start: str | date,
    end: str | date,
    every: int = 1,
    chunks: Sequence[int] | None = None,
    skip: Sequence[str] = (),
) -> list[Path]:
    """Write one granule for each day.

    Parameters
    ----------
    folder : str or Path
        Where to write; it is created.
    start, end : str or date
        First and last day.
    every : int
        Grid steps are this many times 0.25 degrees.
    chunks : sequence of int, optional
        Chunks of the variables (time, lat, lon); by default one for the whole field, as in MUR25.
    skip : sequence of str
        Days to leave out.

    Returns
    -------
    list of Path
        The granules.

    Raises
    ------
    InputError
        If the days are no days, or not in order.

    Examples
    --------
    >>> [path.name[:8] for path in simulate_sst("sst", start="2019-01-01", end="2019-01-02", every=12)]
    ['20190101', '20190102']
    """
    import h5py

    first, last = _day(start, "start"), _day(end, "end")
    if first > last:
        raise InputError(f"start {first} is after end {last}; swap them")
    Path(folder).mkdir(parents=True, exist_ok=True)
    latitude = np.arange(-89.875 + (every - 1) / 8, 90.0, 0.25 * every).astype("f4")
    longitude = np.arange(-179.875 + (every - 1) / 8, 180.0, 0.25 * every).astype("f4")
    pattern = _pattern(latitude, longitude)
    mask = _mask(latitude, longitude)
    paths = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        if str(day) in skip:
            continue
        path = Path(folder, f"{day:%Y%m%d}090000-JPL-L4_GHRSST-SSTfnd-MUR25-GLOB-v02.0-fv00.0.nc")
        kelvin = mean_of(day) + pattern
        packed = np.round((kelvin - OFFSET) / SCALE).astype("i2")
        packed[(mask == LAND) | (mask == LAKE)] = FILL
        with h5py.File(path, "w", libver=("v108", "v108")) as file:
            _write(file, day, latitude, longitude, packed, mask, chunks)
        paths.append(path)
    return paths


def _day(given: str | date, name: str) -> date:
    try:
        return given if isinstance(given, date) else date.fromisoformat(given)
    except ValueError as problem:
        raise InputError(f"{name} is {given!r}; write a day as 2019-01-31") from problem


def _write(
    file: Any,
    day: date,
    latitude: np.ndarray,
    longitude: np.ndarray,
    packed: np.ndarray,
    mask: np.ndarray,
    chunks: Sequence[int] | None,
) -> None:
    seconds = (datetime(day.year, day.month, day.day, 9) - EPOCH).total_seconds()
    axes = {"time": np.array([seconds], "i4"), "lat": latitude, "lon": longitude}
    units = {"time": "seconds since 1981-01-01 00:00:00 UTC", "lat": "degrees_north", "lon": "degrees_east"}
    for name, values in axes.items():
        file[name] = values
        file[name].make_scale(name)
        file[name].attrs["units"] = np.bytes_(units[name])
    shape = (1, *packed.shape)
    for name, field, fill in (("analysed_sst", packed, np.int16(FILL)), ("mask", mask.astype("i1"), np.int8(-128))):
        made = file.create_dataset(
            name,
            data=field.reshape(shape),
            chunks=tuple(min(a, b) for a, b in zip(chunks, shape, strict=True)) if chunks else shape,
            compression="gzip",
            shuffle=True,
            fillvalue=fill,
        )
        made.attrs["_FillValue"] = np.array([fill])
        for axis, scale in enumerate(axes):
            made.dims[axis].attach_scale(file[scale])
    sst = file["analysed_sst"]
    sst.attrs["scale_factor"], sst.attrs["add_offset"] = SCALE, OFFSET
    sst.attrs["units"], sst.attrs["long_name"] = np.bytes_("kelvin"), np.bytes_("analysed sea surface temperature")
    file["mask"].attrs["long_name"] = np.bytes_("sea/land field composite mask")


def _mask(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Return two continents, a lake, and ice near the poles."""
    y, x = np.meshgrid(latitude, longitude, indexing="ij")
    mask = np.full(y.shape, SEA, np.int64)
    mask[np.abs(y) > 70] = ICE
    mask[(np.abs(y) < 45) & (x > -80) & (x < -50)] = LAND
    mask[(np.abs(y - 20) < 30) & (x > 60) & (x < 100)] = LAND
    mask[(np.abs(y) < 4) & (np.abs(x + 65) < 5)] = LAKE
    return mask


def _pattern(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Return the deviations from the mean of a day, kelvin: warm at the equator, and zero on average."""
    y, x = np.meshgrid(latitude.astype("f8"), longitude.astype("f8"), indexing="ij")
    field = 14.0 * np.cos(np.radians(2 * y)) + 1.5 * np.sin(np.radians(3 * x)) * np.cos(np.radians(y))
    sea = (_mask(latitude, longitude) == SEA) & (np.abs(y) <= 60)
    weights = np.cos(np.radians(y)) * sea
    field = np.clip(field - np.average(field, weights=weights), -24.0, 32.0)
    # Once more, as clipping has changed the mean.
    return np.asarray(field - np.average(field, weights=weights))
