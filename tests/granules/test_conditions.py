"""Conditions on datasets, columns and expressions, and rules for missing values: runs against numpy by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import maggjob
from maggjob.errors import ConfigError
from maggjob.pipeline.result import RunResult
from tests.granule_files import BEAMS, FILL, SEGMENTS, beam, write_granule

NAMES = ("ATL06_20190222031203_08500211_006_01.h5", "ATL06_20190523031203_08500311_006_01.h5")
COLUMNS = ("latitude", "longitude", "delta_time", "h_li", "h_li_sigma", "atl06_quality_summary", "segment_id", "tide")
MISSING = -9999


def orientation(*values: int) -> Callable[[h5py.File], None]:
    """Write the spacecraft's orientation, and other datasets outside the beams."""

    def edit(file: h5py.File) -> None:
        file.create_dataset("orbit_info/sc_orient", data=np.array(values, "i1"), chunks=(16,), maxshape=(None,))
        file.create_dataset("ancillary_data/release", data=np.array([6], "i4"))
        file.create_dataset("ancillary_data/scalar", data=np.float64(2.5))
        for number, group in enumerate(BEAMS):
            file.create_dataset(f"ancillary_data/calibration/{group}/dead_time", data=np.array([number * 0.5]))

    return edit


def granule(path: Path, seed: int, edit: Callable[[h5py.File], None]) -> Path:
    """Write six beams with a tide that is mostly missing, and the segment id in two dimensions."""
    beams = {name: beam(400, seed=10 * seed + i, west=-100.0 + 0.01 * i) for i, name in enumerate(BEAMS)}
    for number, datasets in enumerate(beams.values()):
        draw = np.random.default_rng(number)
        tide = draw.normal(0, 1, 400).astype("f4")
        tide[draw.random(400) < 0.7] = FILL
        datasets["tide"] = tide
    path = write_granule(path, beams, chunk=100)
    with h5py.File(path, "r+") as file:
        edit(file)
        for group, datasets in beams.items():
            ids = datasets["segment_id"]
            five = np.stack([ids * 10 + k for k in range(5)], axis=1)
            file[f"{group}/{SEGMENTS}"].create_dataset("five", data=five, chunks=(100, 5), compression="gzip")
    return path


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Return a granule that flies forward, and one that flies backward."""
    (tmp_path / "granules").mkdir()
    return [granule(tmp_path / "granules" / name, i, orientation(1 - i)) for i, name in enumerate(NAMES)]


def rows_of(paths: list[Path]) -> dict[str, np.ndarray]:
    """Return all segments as flat columns, by h5py alone."""
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in (*COLUMNS, "cycle", "strong", "dead_time", "beam")}
    for path in paths:
        with h5py.File(path) as file:
            forward = int(file["orbit_info/sc_orient"][0])
            for number, group in enumerate(BEAMS):
                own = file[group][SEGMENTS]
                count = len(own["h_li"])
                for name in COLUMNS:
                    pieces[name].append(own[name][:])
                pieces["cycle"].append(np.full(count, int(path.name[25:27])))
                pieces["strong"].append(np.full(count, group[-1] == ("r" if forward == 1 else "l")))
                pieces["dead_time"].append(np.full(count, file[f"ancillary_data/calibration/{group}/dead_time"][0]))
                pieces["beam"].append(np.full(count, number + 1))
    return {name: np.concatenate(values) for name, values in pieces.items()}


def config(filters: list[dict[str, Any]], variables: dict[str, Any] | None = None, **outputs: Any) -> dict[str, Any]:
    content = maggjob.load_config("atl06.yaml").model_dump()
    content["data_source"]["filters"] = filters
    content["data_source"]["quality_filter"] = None
    content["data_source"]["variables"] |= variables or {}
    content["aggregation"]["variables"] = {
        "count": {"function": "len", "dtype": "int32", "fill_value": 0},
        "h_sum": {"function": "sum", "source": "h_li", "dtype": "float64"},
    } | outputs
    return content


def run(paths: list[Path], content: dict[str, Any], index: bool, store: str = "map.zarr") -> RunResult:
    catalog = maggjob.make_catalog([str(path) for path in paths], content)
    done = maggjob.run(content, catalog=catalog, store=store, backend="serial", index=index, indexes="indexes")
    assert isinstance(done, RunResult)
    assert done.tally.segments["rows"] == sum(n for state, n in done.tally.segments.items() if state != "rows")
    return done


Keep = Callable[[dict[str, np.ndarray]], np.ndarray]
CONDITIONS: dict[str, tuple[dict[str, Any], Keep]] = {
    "above": ({"dataset": "/{group}/land_ice_segments/h_li", "op": ">", "value": 1000}, lambda r: r["h_li"] > 1000),
    "at least": (
        {"dataset": "/{group}/land_ice_segments/segment_id", "op": ">=", "value": 1_000_300},
        lambda r: r["segment_id"] >= 1_000_300,
    ),
    "not in": (
        {"dataset": "/{group}/land_ice_segments/segment_id", "op": "not in", "value": [1_000_001, 1_000_007]},
        lambda r: ~np.isin(r["segment_id"], [1_000_001, 1_000_007]),
    ),
    "between": ({"column": "h_li", "op": "between", "value": [980, 1020]}, lambda r: np.abs(r["h_li"] - 1000.0) <= 20),
    "tide above": (
        {"dataset": "/{group}/land_ice_segments/tide", "op": ">", "value": 0},
        lambda r: (r["tide"] > 0) & (r["tide"] < 1e38),
    ),
    "expression": (
        {"expression": "abs(h_li - 1000) < 10 + 100 * s_li"},
        lambda r: np.abs(r["h_li"].astype("f8") - 1000) < 10 + 100 * r["h_li_sigma"].astype("f8"),
    ),
    "compared": (
        {"expression": "h_li % 2", "op": "<", "value": 1, "name": "even"},
        lambda r: r["h_li"].astype("f8") % 2 < 1,
    ),
    "either": (
        {"expression": "(h_li < 990) | (beam == 3)"},
        lambda r: (r["h_li"] < 990) | (r["beam"] == 3),
    ),
    "strong": ({"column": "strong"}, lambda r: r["strong"]),
    "weak": ({"column": "strong", "op": "==", "value": False}, lambda r: ~r["strong"]),
    "cycle": ({"column": "cycle", "op": "!=", "value": 2}, lambda r: r["cycle"] != 2),
    "beam": ({"column": "beam", "op": "in", "value": [1, 4]}, lambda r: np.isin(r["beam"], [1, 4])),
    "time": ({"column": "time", "op": "<", "value": 36_000_000.5}, lambda r: r["delta_time"] < 36_000_000.5),
    "day": ({"column": "time", "op": ">", "value": "2019-02-21"}, lambda r: r["delta_time"] > 416 * 86400.0),
    "latitude": ({"column": "latitude", "op": ">", "value": -75.03}, lambda r: r["latitude"] > -75.03),
    "per granule": (
        {"dataset": "/orbit_info/sc_orient", "op": "==", "value": 1, "name": "forward"},
        lambda r: r["cycle"] == 2,
    ),
    "per beam": (
        {"dataset": "/ancillary_data/calibration/{group}/dead_time", "op": "<", "value": 1.2},
        lambda r: r["dead_time"] < 1.2,
    ),
    "scalar": ({"dataset": "/ancillary_data/scalar", "op": ">", "value": 2}, lambda r: np.ones(len(r["beam"]), bool)),
    "column of two dimensions": (
        {"dataset": "/{group}/land_ice_segments/five[3]", "op": "<", "value": 10_001_003},
        lambda r: r["segment_id"] * 10 + 3 < 10_001_003,
    ),
}


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("index", [False, pytest.param(True, marks=pytest.mark.dear("each again, with an index"))])
def test_a_condition_keeps_what_numpy_keeps(paths: list[Path], name: str, index: bool) -> None:
    asked, keep = CONDITIONS[name]
    done = run(paths, config([asked]), index)
    rows = rows_of(paths)
    good = (rows["h_li"] < 1e38) & (rows["h_li_sigma"] < 1e38)
    kept = keep(rows)
    state = asked.get("name") or asked.get("column") or asked.get("dataset", "condition").split("/")[-1].split("[")[0]
    assert done.complete
    assert done.tally.observations == np.count_nonzero(kept & good)
    assert done.tally.segments[state] == np.count_nonzero(~kept)
    with xr.open_zarr("map.zarr", group="12") as opened:
        np.testing.assert_allclose(np.nansum(opened.h_sum), rows["h_li"][kept & good].astype("f8").sum(), rtol=1e-12)


@pytest.mark.parametrize("index", [False, True])
def test_a_granule_that_turns_is_counted_and_named(tmp_path: Path, index: bool) -> None:
    paths = [granule(tmp_path / NAMES[0], 0, orientation(2)), granule(tmp_path / NAMES[1], 1, orientation(0, 1))]
    done = run([*paths], config([{"column": "strong"}]), index)
    assert done.tally.observations == 0
    assert done.tally.segments["transition"] == 2 * 6 * 400
    assert done.in_transition == [name.removesuffix(".h5") for name in sorted(NAMES)]
    table = maggjob.ledger("map.zarr")
    assert table.segments_transition.sum() == 2 * 6 * 400


@pytest.mark.parametrize("index", [False, True])
def test_strong_needs_the_orientation(tmp_path: Path, index: bool) -> None:
    paths = [granule(tmp_path / name, i, lambda file: None) for i, name in enumerate(NAMES)]
    with pytest.raises(ConfigError, match=r"'strong' follows /orbit_info/sc_orient"):
        run(paths, config([{"column": "strong"}]), index)
    assert not Path("map.zarr").exists()
    # One granule that lacks it fails, by name.
    with h5py.File(paths[0], "r+") as file:
        file["orbit_info/sc_orient"] = np.array([1], "i1")
    done = run(paths, config([{"column": "strong"}]), index)
    assert done.tally.granules == {"used": 1, "no_overlap": 0, "failed": 1}
    assert "orbit_info/sc_orient" in str(done.tally.errors["missing_dataset"]["examples"])


def test_several_values_are_not_one(paths: list[Path]) -> None:
    with h5py.File(paths[0], "r+") as file:
        file["ancillary_data/several"] = np.array([1.0, 2.0])
    with h5py.File(paths[1], "r+") as file:
        file["ancillary_data/several"] = np.array([3.0, 3.0])
    done = run(paths, config([{"dataset": "/ancillary_data/several", "op": ">", "value": 0}]), True)
    assert done.tally.granules == {"used": 1, "no_overlap": 0, "failed": 1}
    assert "2 values" in str(done.tally.errors["unsupported"]["examples"])


# --- Missing values

TIDE = "/{group}/land_ice_segments/tide"
OUTPUTS = {
    "tides": {"function": "count", "source": "tide", "dtype": "int32", "fill_value": 0},
    "low": {"function": "sum", "source": "h_li - tide", "dtype": "float64"},
}


@pytest.mark.parametrize("index", [pytest.param(False, marks=pytest.mark.dear("each again, without an index")), True])
@pytest.mark.parametrize("rule", ["drop", "omit", 0, -1.5])
def test_a_missing_tide_does_what_its_rule_says(paths: list[Path], rule: Any, index: bool) -> None:
    content = config([], {"tide": {"dataset": TIDE, "missing": rule}}, **OUTPUTS)
    done = run(paths, content, index)
    rows = rows_of(paths)
    there = rows["tide"] < 1e38
    assert 0 < there.sum() < len(there) / 2
    assert done.tally.observations == (there.sum() if rule == "drop" else len(there))
    assert done.tally.segments["fill"] == (np.count_nonzero(~there) if rule == "drop" else 0)
    tide = np.where(there, rows["tide"], 0.0 if isinstance(rule, str) else rule).astype("f4").astype("f8")
    used = there if isinstance(rule, str) else np.ones(len(there), bool)
    with xr.open_zarr("map.zarr", group="12") as opened:
        assert int(opened.tides.sum()) == used.sum()
        expected = (rows["h_li"][used].astype("f8") - tide[used]).sum()
        np.testing.assert_allclose(np.nansum(opened.low), expected, rtol=1e-12)
        assert opened.tides.attrs["long_name"] == (
            "number of segments with tide" if rule == "omit" else "number of segments"
        )
        if rule == "omit":
            empty = ((opened["count"] > 0) & (opened.tides == 0)).compute()
            assert np.isnan(opened.low.where(empty, drop=True)).all()
    assert maggjob.verify_result("map.zarr", deep=True, recompute=2).good


def test_a_missing_value_meets_no_condition(paths: list[Path]) -> None:
    for rule, kept in (("omit", False), (5, True)):
        content = config([{"expression": "tide != 100"}], {"tide": {"dataset": TIDE, "missing": rule}})
        done = run(paths, content, False, f"{rule}.zarr")
        rows = rows_of(paths)
        assert done.tally.observations == (len(rows["tide"]) if kept else np.count_nonzero(rows["tide"] < 1e38))


def test_integers_with_missing_values(paths: list[Path]) -> None:
    for path in paths:
        with h5py.File(path, "r+") as file:
            for group in BEAMS:
                ids = file[group][SEGMENTS]["segment_id"]
                values = ids[:]
                values[::3] = MISSING
                ids[:] = values
                ids.attrs["_FillValue"] = np.int32(MISSING)
    column = "/{group}/land_ice_segments/segment_id"
    first = {"first": {"function": "min", "source": "id", "dtype": "int32", "fill_value": -1}}
    for rule in ("omit", 7):
        content = config([], {"id": {"dataset": column, "missing": rule}}, **first)
        done = run(paths, content, True, f"{rule}.zarr")
        assert done.complete
        with xr.open_zarr(f"{rule}.zarr", group="12") as opened:
            least = int(opened.first.where(opened.first != -1).min())
            assert least == (7 if rule == 7 else 1_000_001)


# --- A wild value


@pytest.mark.dear("a whole run per height", keep=("1e+30",))
@pytest.mark.parametrize("value", [1e30, -1e25, 3e38])
def test_one_wild_height_does_not_fail_its_cell(paths: list[Path], value: float) -> None:
    with h5py.File(paths[0], "r+") as file:
        heights = file["gt1l"][SEGMENTS]["h_li"]
        quality = file["gt1l"][SEGMENTS]["atl06_quality_summary"]
        heights[5] = value
        quality[5] = 0
    content = maggjob.load_config("atl06.yaml").model_dump()
    done = run(paths, content, True)
    assert done.complete
    assert done.tally.segments["too_large"] == 1
    assert done.tally.segments["kept"] > 3000
    assert maggjob.verify_result("map.zarr", deep=True, recompute=3).good


def test_a_wild_time_does_not_fail_a_result(paths: list[Path]) -> None:
    with h5py.File(paths[0], "r+") as file:
        file["gt1l"][SEGMENTS]["delta_time"][5] = 1e30
    assert run(paths, maggjob.load_config("atl06.yaml").model_dump(), False).complete
    with xr.open_zarr("map.zarr", group="12") as opened:
        assert opened.attrs["time_coverage_end"] < "2020"


@pytest.mark.parametrize("index", [False, True])
def test_constants_are_no_times(paths: list[Path], index: bool) -> None:
    """The orientation of the spacecraft and other datasets of one value are read with the times."""
    scalar = {"dataset": "/ancillary_data/scalar", "op": ">", "value": 2}
    run(paths, config([{"column": "strong"}, scalar]), index)
    first, last = [], []
    for path in paths:
        with h5py.File(path) as file:
            forward = int(file["orbit_info/sc_orient"][0])
            for group in BEAMS:
                if group[-1] == ("r" if forward == 1 else "l"):
                    first.append(file[group][SEGMENTS]["delta_time"][:].min())
                    last.append(file[group][SEGMENTS]["delta_time"][:].max())
    with xr.open_zarr("map.zarr", group="12") as found:
        for name, seconds in (("start", min(first)), ("end", max(last))):
            told = np.datetime64(found.attrs[f"time_coverage_{name}"].rstrip("Z"))
            assert abs(
                told - (np.datetime64("2018-01-01") + np.timedelta64(int(seconds * 1e6), "us"))
            ) < np.timedelta64(1, "s")
