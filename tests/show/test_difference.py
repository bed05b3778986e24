"""The difference of two times of a dataset."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import xdggs  # noqa: F401
from numpy.testing import assert_allclose, assert_array_equal

import maggjob
from maggjob.errors import InputError

IDS = np.array([168161280, 168161281, 168161290, 168162000], np.uint64)
GRID = {"grid_name": "healpix", "level": 12, "indexing_scheme": "nested", "ellipsoid": "WGS84"}


def made(axis: str = "cycle", labels: Any = (3, 4, 12), *, dates: bool = True) -> xr.Dataset:
    """A result with a time axis, decoded."""
    rng = np.random.default_rng(2)
    dims, shape = (axis, "cells"), (3, len(IDS))
    attributes = {"units": "m", "long_name": "height above the DEM"}
    heights = rng.normal(0, 2, shape).astype(np.float32)
    heights[1, 3] = np.nan
    coords: dict[str, Any] = {axis: list(labels), "cell_ids": ("cells", IDS, GRID)}
    if dates:
        start = np.array(["2019-03-29", "2019-06-28", "2021-06-24"], "M8[ns]")
        coords |= {"time_start": (axis, start), "time_end": (axis, start + np.timedelta64(91, "D"))}
    of: dict[str, Any] = {
        "dh": (dims, heights, attributes),
        "dh_error": (dims, rng.uniform(0.1, 0.5, shape).astype(np.float32), {"units": "m"}),
        "tracks": (dims, np.array([[2, 3, 2, 2], [2, 1, 3, 4], [5, 2, 1, 2]], np.int32)),
    }
    dataset = xr.Dataset(of, coords, {"latitude_convention": "authalic", "title": "changes"}).dggs.decode()
    dataset["cell_ids"].attrs = GRID
    return dataset


def test_it_is_b_minus_a_with_both_errors() -> None:
    ds = made()
    change = maggjob.difference(ds, 3, 12)
    seen = np.array([True, True, False, True])
    for name in ("dh", "dh_error"):
        assert change[name].dims == ("cells",)
        assert change[name].dtype == np.float32
        assert_array_equal(np.isfinite(change[name].values), seen)
    assert_allclose(change.dh.values[seen], (ds.dh.values[2] - ds.dh.values[0])[seen], rtol=1e-6)
    assert_allclose(
        change.dh_error.values[seen], np.hypot(ds.dh_error.values[0], ds.dh_error.values[2])[seen], rtol=1e-6
    )
    assert set(change.data_vars) == {"dh", "dh_error"}
    back = maggjob.difference(ds, 12, 3)
    assert_array_equal(back.dh.values, -change.dh.values)
    assert_array_equal(back.dh_error.values, change.dh_error.values)


@pytest.mark.parametrize(
    ("min_tracks", "seen"), [(0, [1, 1, 1, 0]), (1, [1, 1, 1, 0]), (2, [1, 0, 1, 0]), (3, [0, 0, 0, 0])]
)
def test_cells_need_tracks_in_both(min_tracks: int, seen: list[int]) -> None:
    change = maggjob.difference(made(), 3, 4, min_tracks=min_tracks)
    assert np.isfinite(change.dh.values).astype(int).tolist() == seen
    everywhere = maggjob.difference(made().drop_vars("tracks"), 3, 4, tracks=None)
    assert np.isfinite(everywhere.dh.values).tolist() == [True, True, True, False]


def test_attributes_say_what_it_is() -> None:
    change = maggjob.difference(made(), 4, 12)
    label = "height above the DEM, cycle 12 minus cycle 4"
    periods = {"period_a": "2019-06-28/2019-09-27", "period_b": "2021-06-24/2021-09-23"}
    assert change.dh.attrs == {"long_name": label, "units": "m"} | periods
    assert change.dh_error.attrs == {"long_name": f"standard error of {label}", "units": "m"} | periods
    assert change.attrs == made().attrs
    assert "period_a" not in maggjob.difference(made(dates=False), 4, 12).dh.attrs


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("chunks", [None, {"cycle": 1}])
def test_xdggs_still_opens_it(tmp_path: Path, chunks: Any) -> None:
    ds = made() if chunks is None else made().chunk(chunks)
    change = maggjob.difference(ds, 3, 12)
    assert (change.dh.chunks is None) == (chunks is None)
    assert change.dggs.grid_info.level == 12
    assert set(change.coords) == {"cell_ids"}
    assert change.cell_ids.attrs == GRID
    change.to_zarr(tmp_path / "change.zarr")
    again = xr.open_zarr(tmp_path / "change.zarr").dggs.decode()
    assert again.dggs.grid_info.level == 12
    assert again.equals(change)
    for axis in ("latitude", "longitude"):
        assert_array_equal(again.dggs.cell_centers()[axis], made().dggs.cell_centers()[axis])


def test_a_rate_is_divided_by_the_years_between_the_middles() -> None:
    ds = made()
    plain, rate, back = (
        maggjob.difference(ds, *ab, rate=r) for ab, r in (((3, 12), False), ((3, 12), True), ((12, 3), True))
    )
    years = (pd.Timestamp("2021-06-24") - pd.Timestamp("2019-03-29")).days / 365.25
    assert set(rate.data_vars) == {"dh_dt", "dh_dt_error"}
    assert_allclose(rate.dh_dt.values, plain.dh.values / years, rtol=1e-6)
    assert_allclose(rate.dh_dt_error.values, plain.dh_error.values / years, rtol=1e-6)
    assert (rate.dh_dt.attrs["units"], rate.dh_dt_error.attrs["units"]) == ("m/yr", "m/yr")
    # The same rate, whichever time comes first, and a positive error.
    assert_allclose(back.dh_dt.values, rate.dh_dt.values, rtol=1e-6)
    assert_allclose(back.dh_dt_error.values, rate.dh_dt_error.values, rtol=1e-6)


def test_times_may_differ_between_cells() -> None:
    ds = made()
    start, end = (
        ds[name].broadcast_like(ds.dh) + np.arange(4).astype("m8[D]") * 30 for name in ("time_start", "time_end")
    )
    later = ds.assign_coords(
        time_start=start.where(ds.cycle == 12, ds.time_start), time_end=end.where(ds.cycle == 12, ds.time_end)
    )
    rate = maggjob.difference(later, 3, 12, rate=True)
    days = (pd.Timestamp("2021-06-24") - pd.Timestamp("2019-03-29")).days + 30 * np.arange(4)
    assert_allclose(rate.dh_dt.values, maggjob.difference(ds, 3, 12).dh.values / (days / 365.25), rtol=1e-6)
    assert set(rate.coords) == {"cell_ids"}


@pytest.mark.parametrize(
    ("labels", "a", "b"),
    [
        (pd.to_datetime(["2019-03-01", "2019-04-01", "2020-03-01"]), "2019-03-01", "2020-03-01"),
        (["2019-03", "2019-04", "2020-03"], "2019-03", "2020-03"),
    ],
)
def test_any_time_axis_will_do(labels: Any, a: str, b: str) -> None:
    ds, plain = made("month", labels), made()
    change = maggjob.difference(ds, a, b)
    assert_array_equal(change.dh.values, maggjob.difference(plain, 3, 12).dh.values)
    assert change.dh.attrs["long_name"] == f"height above the DEM, month {b} minus month {a}"
    with pytest.raises(InputError, match="there is no month '2031-05-01'; there are 2019-03"):
        maggjob.difference(ds, a, "2031-05-01")


def test_what_makes_no_sense_is_refused() -> None:
    ds = made()
    with pytest.raises(InputError, match="there is no cycle 5; there are 3, 4, 12"):
        maggjob.difference(ds, 3, 5)
    with pytest.raises(InputError, match="there is no cycle 'x'; there are 3, 4, 12"):
        maggjob.difference(ds, "x", 3)
    with pytest.raises(InputError, match="cycle 3 is given twice"):
        maggjob.difference(ds, 3, 3)
    with pytest.raises(InputError, match="no variable 'h'; there are dh, dh_error, tracks"):
        maggjob.difference(ds, 3, 4, value="h")
    with pytest.raises(InputError, match="no variable 'tracks'; there are dh, dh_error"):
        maggjob.difference(ds.drop_vars("tracks"), 3, 4)
    with pytest.raises(
        InputError, match=r"dh has no time axis, its dimensions are cells; configure output: \{time: cycle\}"
    ):
        maggjob.difference(ds.isel(cycle=0), 3, 4)
    with pytest.raises(InputError, match="tracks has no time axis"):
        maggjob.difference(ds.assign(tracks=ds.tracks.isel(cycle=0, drop=True)), 3, 4)
    with pytest.raises(InputError, match="dh has no time axis"):
        maggjob.difference(ds.drop_vars("cycle"), 0, 1)
    with pytest.raises(InputError, match="no coordinate cell_ids"):
        maggjob.difference(ds.drop_vars("cell_ids"), 3, 4)
    with pytest.raises(InputError, match="'2019' stands for 2 times"):
        maggjob.difference(
            made("month", pd.to_datetime(["2019-03-01", "2019-04-01", "2020-03-01"])), "2019", "2020-03-01"
        )


def test_a_rate_needs_two_dates() -> None:
    with pytest.raises(InputError, match="needs the coordinate time_start with dates"):
        maggjob.difference(made(dates=False), 3, 4, rate=True)
    ds = made()
    same = ds.assign_coords({name: ("cycle", ds[name].values[[0, 0, 0]]) for name in ("time_start", "time_end")})
    with pytest.raises(InputError, match="time_start and time_end say that they do not"):
        maggjob.difference(same, 3, 4, rate=True)
    with pytest.raises(InputError, match="time_start and time_end say that they do not"):
        maggjob.difference(ds.assign_coords(time_start=ds.time_start.where(ds.cycle != 4)), 3, 4, rate=True)
    with pytest.raises(InputError, match="needs the coordinate time_end with dates"):
        maggjob.difference(ds.assign_coords(time_end=("cycle", [1.0, 2.0, 3.0])), 3, 4, rate=True)


def test_the_examples_of_the_page_run(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/change.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (subtract,) = (block for block in blocks if "mj.difference(" in block)
    (sum_up,) = (block for block in blocks if 'mj.basins("' in block)
    monkeypatch.setattr(maggjob, "open_result", lambda store: made(labels=(14, 20, 23)))
    names: dict[str, Any] = {}
    exec(subtract, names)
    assert set(names["rate"].data_vars) == {"dh_dt", "dh_dt_error"}
    monkeypatch.setattr("maggjob.show.basins.open_result", lambda *_: names["rate"])
    exec(sum_up, names)
    (row,) = names["table"].to_dict("records")
    assert (row["name"], row["cells"], row["volume_units"]) == ("Thwaites", 3, "km3/yr")
