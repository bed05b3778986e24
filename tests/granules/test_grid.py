"""Axes of a grid and what lies in a region; variables whose shape does not tell their axes; values never written."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import maggjob
from maggjob.errors import GranuleError, UnsupportedError
from maggjob.granules.granule import open_granule
from maggjob.granules.grid import GridReader
from maggjob.jobs.granule_mean import map_granule
from maggjob.model.means import MeanRecipe, MeanTask, MeanVariable
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive


def reader(path: Path, by: str = "auto") -> GridReader:
    return GridReader(open_granule(Granule(path.name, str(path)), Archive(), by))


def axes(path: Path, latitude: Any, longitude: Any) -> GridReader:
    """Return a granule with these axes only."""
    with h5py.File(path, "w") as file:
        file["lat"], file["lon"] = latitude, longitude
    return reader(path)


# --- The region


@pytest.mark.parametrize(
    ("longitude", "sector", "columns"),
    [
        (np.arange(-179.5, 180), (-180, 180), 360),
        (np.arange(0.5, 360), (0, 360), 360),
        (np.arange(-179.5, 180), (-360, 360), 360),
        (np.arange(0.0, 361), (0, 360), 360),
        (np.arange(0.0, 361), (-20, 30), 51),
        (np.arange(-180.0, 181), (170, -170), 21),
        (np.arange(0.0, 360), (10, 10), 1),
        (np.arange(0.0, 361), None, 361),
    ],
)
def test_every_meridian_of_a_sector_counts_once(tmp_path: Path, longitude: Any, sector: Any, columns: int) -> None:
    found = axes(tmp_path / "a.nc", np.arange(-9.5, 10), longitude).region("lat", "lon", (-90, 90), sector)
    assert found.columns.sum() == columns


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("turn", [0.0, 360.0])
def test_limits_are_included_in_the_type_of_the_axis(tmp_path: Path, dtype: str, turn: float) -> None:
    latitude = np.round(np.arange(-59.9, 60, 0.1), 1).astype(dtype)
    longitude = np.sort(np.round(np.arange(-4.9, 5, 0.1) % 360 if turn else np.arange(-4.9, 5, 0.1), 1)).astype(dtype)
    found = axes(tmp_path / "a.nc", latitude, longitude).region("lat", "lon", (-59.9, 59.9), (-4.9, 4.9))
    assert (found.rows.all(), found.columns.all()) == (True, True)


# --- The axes of a variable


def square(path: Path, scales: str, order: str = "yx", lead: int = 1) -> Path:
    """Write a field on a square grid that tells its axes by dimension scales, by netCDF's numbers, or not at all."""
    at = np.arange(-9.5, 10)
    field = np.broadcast_to(at[:, None], (lead, 20, 20)).copy()
    with h5py.File(path, "w") as file:
        file["lat"], file["lon"] = at, at + 40
        made = file.create_dataset("v", data=field if order == "yx" else field.swapaxes(1, 2))
        for number, name in enumerate("xy"):
            one = file[{"y": "lat", "x": "lon"}[name]]
            if scales == "attached":
                one.make_scale()
                made.dims[1 + order.index(name)].attach_scale(one)
            elif scales == "numbered":
                one.attrs["_Netcdf4Dimid"] = number
            elif scales == "others":
                file[name] = np.arange(20)
                file[name].make_scale()
                made.dims[1 + order.index(name)].attach_scale(file[name])
            elif scales == "named":
                file[name] = np.arange(20)
                file[name].make_scale()
                for of, axis in ((made, 1 + order.index(name)), (one, 0)):
                    of.dims[axis].attach_scale(file[name])
        if scales == "numbered":
            made.attrs["_Netcdf4Coordinates"] = [9, *("xy".index(name) for name in order)]
    return path


@pytest.mark.parametrize("scales", ["attached", "numbered", "named"])
@pytest.mark.parametrize("order", ["yx", "xy"])
@pytest.mark.parametrize("lead", [1, 20])
def test_scales_tell_the_axes_of_a_square_grid(tmp_path: Path, scales: str, order: str, lead: int) -> None:
    grid = reader(square(tmp_path / "a.nc", scales, order, lead))
    region = grid.region("lat", "lon", (-90, 90), None)
    leads, turned = grid.times_of("v", region)
    assert (len(leads), turned) == (lead, order == "xy")
    block = grid.block("v", leads[-1], slice(0, 20), region, turned=turned)
    assert np.array_equal(block, np.broadcast_to(region.latitude[:, None], (20, 20)))


def test_without_scales_latitude_comes_first_on_a_square_grid(tmp_path: Path) -> None:
    grid = reader(square(tmp_path / "a.nc", "none"))
    assert grid.times_of("v", grid.region("lat", "lon", (-90, 90), None)) == ([(0,)], False)


def test_other_scales_and_h5coro_are_refused_on_a_square_grid(tmp_path: Path) -> None:
    path = square(tmp_path / "a.nc", "others")
    for by, said in (("auto", "lat is the dimension scale of 0 of its axes"), ("h5coro", "take reader: h5py")):
        grid = reader(path, by)
        with pytest.raises(UnsupportedError, match=said):
            grid.times_of("v", grid.region("lat", "lon", (-90, 90), None))


# --- Attributes


def written_as_by_h5netcdf(path: Path) -> Path:
    """Write a granule whose attributes are strings of variable length."""
    with h5py.File(path, "w") as file:
        file["lat"], file["lon"], file["time"] = np.arange(-9.5, 10), np.arange(30.0), np.array([1.5])
        file["v"] = np.ones((20, 30), "f4")
        file["time"].attrs["units"] = "days since 2019-01-01"
        file["v"].attrs["units"], file["v"].attrs["long_name"] = "kelvin", "temperature"
    return path


@pytest.mark.parametrize("by", ["auto", "h5py"])
def test_units_of_variable_length_are_read(tmp_path: Path, by: str) -> None:
    path = written_as_by_h5netcdf(tmp_path / "a.nc")
    grid = reader(path, by)
    assert grid.times("time", "2019-01-09") == [1546300800 + 129600]
    assert (grid.text("v", "units"), grid.text("v", "long_name"), grid.text("lat", "units")) == (
        "kelvin",
        "temperature",
        None,
    )
    with maggjob.open_granule(path, reader=by) as opened:
        assert opened.attributes("v") == {"units": "kelvin", "long_name": "temperature"}


def test_units_of_variable_length_need_h5py_by_name(tmp_path: Path) -> None:
    grid = reader(written_as_by_h5netcdf(tmp_path / "a.nc"), "h5coro")
    for ask in (lambda: grid.times("time", "2019-01-09"), lambda: grid.text("v", "units")):
        with pytest.raises(
            UnsupportedError, match="units cannot be decoded: a string of variable length; take reader: h5py"
        ):
            ask()


def test_units_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = written_as_by_h5netcdf(tmp_path / "a.nc")
    with h5py.File(path, "a") as file:
        file["v"].attrs["units"] = ["kelvin", "celsius"]
    with pytest.raises(UnsupportedError, match="v: its attribute units"):
        reader(path).text("v", "units")


# --- Values never written


def holes(path: Path, fill: Any, attribute: Any, dtype: str = "i2", chunks: Any = (5, 5), rows: int = 5) -> np.ndarray:
    """Write a field of which the last rows were never written, with a fill value, an attribute, both or none."""
    with h5py.File(path, "w") as file:
        file["lat"], file["lon"] = np.arange(-4.5, 5), np.arange(10.0)
        options = {} if fill is None else {"fillvalue": fill}
        made = file.create_dataset("v", (10, 10), dtype, chunks=chunks, **options)
        if rows:
            made[:rows] = np.arange(rows * 10).reshape(rows, 10) + 1
        if attribute is not None:
            made.attrs["_FillValue"] = np.array([attribute], dtype)
        return np.asarray(made[:])


@pytest.mark.parametrize("by", ["auto", "h5py"])
@pytest.mark.parametrize(
    ("fill", "attribute", "dtype"),
    [(-9, -9, "i2"), (-9, None, "i2"), (np.nan, None, "f4"), (np.nan, np.nan, "f4"), (-9, -9, "f4"), (None, 0, "i2")],
)
@pytest.mark.parametrize("rows", [5, 0])
def test_what_was_never_written_is_missing(
    tmp_path: Path, by: str, fill: Any, attribute: Any, dtype: str, rows: int
) -> None:
    path = tmp_path / "20190101.nc"
    stored = holes(path, fill, attribute, dtype, rows=rows)
    recipe = MeanRecipe("lat", "lon", "time", (-90.0, 90.0), None, (MeanVariable("v", "v"),), reader=by)
    report = map_granule(MeanTask("20190101", str(path), None, "2019-01-01", recipe))
    assert report.state == ("used" if rows else "empty"), report.message
    (step,) = report.steps
    found = step["values"]["v"]
    assert (found["cells"]["valid"], found["cells"]["missing"]) == (10 * rows, 100 - 10 * rows)
    assert (found["min"], found["max"]) == ((1, 50) if rows else (None, None))
    with maggjob.open_granule(path, reader=by) as opened:
        values = opened.read("v")
    expected = np.where(stored == fill, np.nan, stored) if dtype == "f4" else stored
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(("fill", "attribute"), [(None, None), (None, -9), (7, -9)])
@pytest.mark.parametrize("chunks", [(5, 5), None])
def test_what_was_never_written_and_is_not_marked_is_refused(
    tmp_path: Path, fill: Any, attribute: Any, chunks: Any
) -> None:
    path = tmp_path / "20190101.nc"
    holes(path, fill, attribute, chunks=chunks, rows=5 if chunks else 0)
    for by, said in (("auto", "no fill value marks"), ("h5py", "no fill value marks"), ("h5coro", "written")):
        with pytest.raises(GranuleError, match=f"v: .*{said}"):
            reader(path, by).whole("v")
