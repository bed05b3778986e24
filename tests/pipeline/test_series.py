"""The series job: against xarray on the same files, day by day, resumed, extended, and with whatever can go wrong."""

import json
import shutil
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, strategies as st

import maggjob
from maggjob.config.series import load_series_config
from maggjob.errors import CatalogError, ConfigError, ExistsError, InputError
from maggjob.jobs.granule_mean import map_granule
from maggjob.model.means import MeanTask
from maggjob.pipeline.series import SeriesResult
from maggjob.planning.series import SeriesPlan
from maggjob.simulator.sst import EPOCH, mean_of, simulate_sst
from tests.strategies import few

START, END = "2019-01-01", "2019-01-06"


def run(**options: Any) -> SeriesResult:
    given_options: dict[str, Any] = {"config": "mur25_sst.yaml", "files": "sst", "start": START, "end": END}
    given_options |= {"backend": "serial", "store": "sst.zarr"} | options
    done = maggjob.series(given_options.pop("config"), **given_options)
    assert isinstance(done, SeriesResult)
    return done


def tree(store: str | Path) -> dict[str, bytes]:
    found = {str(p.relative_to(store)): p.read_bytes() for p in Path(store).rglob("*") if p.is_file()}
    base = str(store).removesuffix(".zarr")
    return found | {suffix: Path(f"{base}{suffix}").read_bytes() for suffix in (".nc", ".png")}


def states(store: str = "sst.zarr") -> dict[str, int]:
    return maggjob.ledger(store).state.value_counts().to_dict()


@pytest.fixture(autouse=True)
def sst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return six days of granules, in the folder sst of the working directory."""
    monkeypatch.chdir(tmp_path)
    return simulate_sst("sst", start=START, end=END, every=8)


# --- The numbers


def by_xarray(path: Path, south: float = -60, north: float = 60) -> dict[str, float]:
    """Return the statistics of a granule by xarray, degrees Celsius."""
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        field = opened.analysed_sst.where((opened.lat >= south) & (opened.lat <= north))
        inside = xr.ones_like(field).where((opened.lat >= south) & (opened.lat <= north))
        if "mask" in opened:
            field = field.where(opened.mask == 1)
        weights = np.cos(np.deg2rad(opened.lat.astype("f8")))
        mean = float(field.weighted(weights).mean())
        share = float((field.notnull() * weights).sum() / (inside.notnull() * weights).sum())
        return {"mean": mean, "min": float(field.min()), "max": float(field.max()), "share": share}


def test_every_day_is_that_of_xarray(sst: list[Path]) -> None:
    done = run()
    assert done.complete
    with xr.open_zarr("sst.zarr") as opened, xr.open_dataset("sst.nc", engine="h5netcdf") as netcdf:
        xr.testing.assert_identical(opened.load(), netcdf.load())
        assert [str(t)[:13] for t in opened.time.values] == [f"2019-01-{n:02}T09" for n in range(1, 7)]
        assert opened.sst_mean.attrs["units"] == "degree_Celsius"
        assert opened.sst_mean.attrs["cell_methods"] == "area: mean"
        assert opened.attrs["Conventions"] == "CF-1.11"
        assert opened.attrs["title"].startswith("simulated")
        for number, path in enumerate(sst):
            expected = by_xarray(path)
            own = opened.isel(time=number)
            assert abs(float(own.sst_mean) + 273.15 - expected["mean"]) < 1e-9
            assert float(own.sst_min) == expected["min"] - 273.15
            assert float(own.sst_max) == expected["max"] - 273.15
            assert abs(float(own.sst_share) - expected["share"]) < 1e-12
            day = date.fromisoformat(str(own.time.values)[:10])
            # Packing rounds to a thousandth.
            assert abs(float(own.sst_mean) + 273.15 - mean_of(day)) < 1e-3
    assert Path("sst.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.dear("a whole run per kind of chunks", keep=("chunks1",))
@pytest.mark.parametrize("chunks", [None, (1, 7, 11), (1, 90, 13), (1, 1, 180)])
def test_chunks_change_nothing(chunks: tuple[int, ...] | None) -> None:
    run(store="one.zarr")
    shutil.rmtree("sst")
    simulate_sst("sst", start=START, end=END, every=8, chunks=chunks)
    run(store="two.zarr")
    assert tree("one.zarr") == tree("two.zarr")


def grid(
    path: Path,
    lat: np.ndarray,
    lon: np.ndarray,
    field: np.ndarray,
    *,
    units: str = "days since 2019-01-01",
    times: Any = (0.5,),
    mask: np.ndarray | None = None,
    **options: Any,
) -> Path:
    """Write a granule of any layout."""
    libver = options.pop("libver", None)
    attributes = options.pop("attributes", {})
    with h5py.File(path, "w", libver=libver) as file:
        file["lat"], file["lon"] = lat, lon
        if times is not None:
            file["time"] = np.array(times, "f8")
            file["time"].attrs["units"] = np.bytes_(units)
        made = file.create_dataset("analysed_sst", data=field, **options)
        for name, value in attributes.items():
            made.attrs[name] = value
        if mask is not None:
            file["mask"] = mask
    return path


def measured(path: Path, mask: bool = False, **region: Any) -> dict[str, Any]:
    content = load_series_config("mur25_sst.yaml").model_dump()
    content["region"] = region
    content["mask"] = {"dataset": "mask", "values": [1]} if mask else None
    content["variables"]["sst"]["add"] = 0.0
    report = map_granule(MeanTask(path.stem, str(path), None, "2019-01-01", load_series_config(content).recipe))
    assert report.state != "failed", report.message
    steps = [step["values"]["sst"] | {"time": step["time"]} for step in report.steps]
    for step in steps:
        assert sum(step["cells"].values()) == field_size(path)
    return steps[0] | {"steps": steps}


def field_size(path: Path) -> int:
    with h5py.File(path) as file:
        return len(file["lat"]) * len(file["lon"])


LAT, LON = np.arange(-89.0, 90, 2), np.arange(-179.0, 180, 2)
FIELD = (280 + 20 * np.cos(np.radians(LAT))[:, None] + np.sin(np.radians(LON))).astype("f4")
LAYOUTS: dict[str, dict[str, Any]] = {
    "two dimensions": {"field": FIELD},
    "three dimensions": {"field": FIELD[None], "chunks": (1, 30, 50), "compression": "gzip"},
    "four dimensions": {"field": FIELD[None, None]},
    "descending": {"field": FIELD[::-1], "lat": LAT[::-1]},
    "from 0 to 360": {"field": np.roll(FIELD, -90, axis=1), "lon": LON % 360 - 0.0},
    "turned": {"field": FIELD.T, "chunks": (7, 9)},
    "big-endian": {"field": FIELD.astype(">f4")},
    "doubles": {"field": FIELD.astype("f8"), "fletcher32": True},
    "latest": {"field": FIELD, "libver": ("latest", "latest"), "chunks": (20, 20), "compression": "gzip"},
    "without times": {"field": FIELD, "times": None},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_other_layouts_give_the_same(tmp_path: Path, name: str) -> None:
    options = {"lat": LAT, "lon": LON} | LAYOUTS[name]
    if name == "from 0 to 360":
        options["lon"] = np.sort(options["lon"])
    path = grid(tmp_path / "20190101.nc", **options)
    for band, sector in (((-90, 90), None), ((-60, 60), None), ((-10, 50), (170, -150)), ((0, 2), (0, 20))):
        region = {"latitude": band} | ({} if sector is None else {"longitude": sector})
        got = measured(path, **region)
        rows = (band[0] <= LAT) & (band[1] >= LAT)
        columns = (
            np.ones(len(LON), bool) if sector is None else (LON - sector[0]) % 360 <= (sector[1] - sector[0]) % 360
        )
        inside = FIELD[rows][:, columns].astype("f8")
        weights = np.broadcast_to(np.cos(np.radians(LAT[rows]))[:, None], inside.shape)
        assert abs(got["mean"] - np.average(inside, weights=weights)) < 1e-9
        assert (got["min"], got["max"], got["share"]) == (inside.min(), inside.max(), 1.0)
        assert got["cells"] == {"valid": inside.size, "missing": 0, "masked": 0, "outside": FIELD.size - inside.size}
    assert measured(path)["time"] == (1546300800 if name == "without times" else 1546344000)


@few
@given(st.randoms(use_true_random=False), st.sampled_from(("i2", "u1", "f4", "f8")))
def test_missing_and_masked_cells_are_left_out(tmp_path_factory: Any, random: Any, dtype: str) -> None:
    path = tmp_path_factory.mktemp("grid") / "20190101.nc"
    draw = np.random.default_rng(random.randrange(2**32))
    lat = np.sort(draw.uniform(-90, 90, draw.integers(1, 9)))
    lon = np.sort(draw.uniform(0, 359, draw.integers(1, 9)))
    shape = (len(lat), len(lon))
    stored = draw.integers(0, 100, shape).astype(dtype)
    fill = np.dtype(dtype).type(77)
    stored[draw.random(shape) < 0.3] = fill
    flags = draw.integers(0, 3, shape).astype("i1")
    attributes = {"_FillValue": fill, "scale_factor": -0.5, "add_offset": 3.0}
    grid(path, lat, lon, stored, mask=flags, attributes=attributes)
    got = measured(path, mask=True)
    valid = (stored != fill) & (flags == 1)
    values = stored.astype("f8") * -0.5 + 3.0

    def widths(at: np.ndarray) -> np.ndarray:
        gaps = np.abs(np.diff(at))
        if len(at) < 3 or np.ptp(gaps) <= 1e-3 * gaps.mean():
            return np.ones(len(at))
        return np.concatenate([gaps[:1], (gaps[:-1] + gaps[1:]) / 2, gaps[-1:]])

    weights = np.outer(np.cos(np.radians(lat)) * widths(lat), widths(lon))
    if not valid.any():
        assert (got["mean"], got["min"], got["share"]) == (None, None, 0.0)
        return
    np.testing.assert_allclose(got["mean"], (values * weights)[valid].sum() / weights[valid].sum(), rtol=1e-9)
    assert (got["min"], got["max"]) == (values[valid].min(), values[valid].max())
    np.testing.assert_allclose(got["share"], weights[valid].sum() / weights.sum(), rtol=1e-9)
    assert got["cells"]["masked"] == (flags != 1).sum()


def test_several_times_in_a_granule(tmp_path: Path) -> None:
    field = np.stack([FIELD, FIELD + 1, np.full_like(FIELD, np.nan)])
    path = grid(tmp_path / "20190101.nc", LAT, LON, field, times=(0, 6, 12), units="hours since 2019-01-01 00:00:00")
    steps = measured(path)["steps"]
    assert [step["time"] - 1546300800 for step in steps] == [0, 21600, 43200]
    assert abs(steps[1]["mean"] - steps[0]["mean"] - 1) < 1e-6
    assert steps[2]["mean"] is None


def test_a_mask_of_bits(tmp_path: Path) -> None:
    flags = np.tile(np.array([1, 2, 5, 9, 13], "i1"), (len(LAT), 36))
    path = grid(tmp_path / "20190101.nc", LAT, LON, FIELD, mask=flags)
    content = load_series_config("mur25_sst.yaml").model_dump()
    content["mask"] = {"dataset": "mask", "set": 1, "clear": 8}
    task = MeanTask("a", str(path), None, "2019-01-01", load_series_config(content).recipe)
    (step,) = map_granule(task).steps
    rows = np.abs(LAT) <= 60
    assert step["values"]["sst"]["cells"]["valid"] == np.isin(flags[rows], [1, 5]).sum()


# --- Over time


@pytest.mark.dear("whole runs")
def test_a_later_end_adds_what_is_new() -> None:
    run(store="whole.zarr")
    first = run(end="2019-01-04")
    assert (len(first.rows), first.taken) == (4, 0)
    second = run()
    assert (len(second.rows), second.taken) == (6, 4)
    assert second.summary["series"]["requests"] < 20
    assert tree("sst.zarr") == tree("whole.zarr")
    assert run().taken == 6


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (("2019-01-01", "2019-01-03"), ("2019-01-04", "2019-01-06"), 3),
        (("2019-01-04", "2019-01-06"), ("2019-01-01", "2019-01-03"), 3),
        (("2019-01-01", "2019-01-04"), ("2019-01-03", "2019-01-06"), 4),
        (("2019-01-01", "2019-01-06"), ("2019-01-02", "2019-01-02"), 6),
    ],
)
@pytest.mark.dear("several series per case")
def test_days_that_are_not_asked_for_stay(first: tuple[str, str], second: tuple[str, str], taken: int) -> None:
    run(store="whole.zarr")
    run(start=first[0], end=first[1])
    plan = run_dry(start=second[0], end=second[1])
    assert (str(plan.start), str(plan.end)) == (START, END)
    done = run(start=second[0], end=second[1])
    assert (len(done.rows), done.taken) == (6, taken)
    assert tree("sst.zarr") == tree("whole.zarr")
    # Those of a series that is replaced do not.
    assert len(run(start=second[0], end=second[1], overwrite=True).rows) < 6


def run_dry(**options: Any) -> SeriesPlan:
    given_options = {"files": "sst", "store": "sst.zarr", "dry_run": True} | options
    plan = maggjob.series("mur25_sst.yaml", **given_options)
    assert isinstance(plan, SeriesPlan)
    return plan


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.dear("several series per case")
def test_days_that_would_be_lost_or_left_out_are_refused(sst: list[Path], dry: bool) -> None:
    made = run_dry if dry else run
    run(start="2019-01-03", end="2019-01-04")
    before = tree("sst.zarr")
    for start, end, said in (("2019-01-06", "2019-01-06", "--start 2019-01-05"), (START, START, "--end 2019-01-02")):
        with pytest.raises(ExistsError, match=f"holds 2019-01-03 to 2019-01-04, .* leaves a gap; give {said}"):
            made(start=start, end=end)
    with pytest.raises(ExistsError, match=r"no granule of 2019-01-03 is listed now \(2 such days\)"):
        made(start="2019-01-05", end="2019-01-06", files=[str(path) for path in sst[4:]])
    assert tree("sst.zarr") == before
    # Who asks for these days gets what is there.
    sst[2].unlink()
    assert [row.state for row in run(start="2019-01-03", end="2019-01-04").rows] == [2, 0]


@pytest.mark.dear("two runs, one of them in processes")
def test_localhost_gives_the_same_bytes() -> None:
    run(store="serial.zarr")
    run(store="local.zarr", backend="localhost", max_workers=2)
    assert tree("serial.zarr") == tree("local.zarr")


def test_a_granule_that_changed_is_read_again(sst: list[Path]) -> None:
    run()
    with h5py.File(sst[2], "a") as file:
        file["analysed_sst"][:, 40:50] = -5000
        file.attrs["history"] = "x" * 5000
    done = run()
    assert done.taken == 5
    expected = by_xarray(sst[2])["mean"] - 273.15
    with xr.open_zarr("sst.zarr") as opened:
        assert abs(float(opened.sst_mean[2]) - expected) < 1e-9


def test_a_granule_that_changed_at_the_same_size_is_read_again(sst: list[Path]) -> None:
    first, size = run(), sst[2].stat().st_size
    with h5py.File(sst[2], "a") as file:
        file["analysed_sst"].attrs.modify("add_offset", 299.15)
    assert sst[2].stat().st_size == size
    done = run()
    assert done.taken == 5
    assert abs(done.rows[2].values["sst"]["mean"] - first.rows[2].values["sst"]["mean"] - 1) < 1e-9


def test_overwrite_reads_all_granules_again() -> None:
    run()
    before = tree("sst.zarr")
    assert run(overwrite=True).taken == 0
    assert tree("sst.zarr") == before


def test_a_damaged_part_is_made_again() -> None:
    run()
    before = tree("sst.zarr")
    parts = sorted(Path("sst.zarr.run/parts/series").glob("*.json"))
    content = bytearray(parts[0].read_bytes())
    content[len(content) // 2] ^= 4
    parts[0].write_bytes(content)
    parts[1].write_bytes(b"")
    assert run().taken == 4
    assert tree("sst.zarr") == before


def test_missing_doubled_and_failed_days_are_told(sst: list[Path]) -> None:
    sst[1].unlink()
    shutil.copy(sst[2], str(sst[2]).replace("fv00.0", "fv00.1"))
    sst[3].write_bytes(sst[3].read_bytes()[:-10])
    Path("sst/notes.nc").write_bytes(b"no day")
    done = run()
    assert not done.complete
    assert states() == {"used": 4, "failed": 1, "missing": 1, "doubled": 1, "passed_over": 1}
    assert done.summary["simulated"]
    assert '<span class="mark bad">simulated</span>' in maggjob.write_report("sst.zarr", "report.html").read_text()
    told = done.summary["series"]
    assert (told["used"], told["failed"], told["missing"], told["doubled"]) == (4, 1, 1, 1)
    assert told["errors"]["truncated"]["count"] == 1
    with xr.open_zarr("sst.zarr") as opened:
        assert opened.state.values.tolist() == [0, 2, 1, 3, 0, 0]
        assert opened.state.attrs["flag_meanings"] == "used doubled missing failed"
        assert np.isnan(opened.sst_mean.values).tolist() == [False, True, False, True, False, False]
        assert opened.attrs["number_of_granules"] == 4
    # The next run reads what failed.
    simulate_sst("sst", start="2019-01-04", end="2019-01-04", every=8)
    assert run().complete
    assert states()["used"] == 5


def set_time(path: Path, day: int, hour: int = 9) -> None:
    """Write another time into a granule: that of a day of January 2019."""
    with h5py.File(path, "a") as file:
        file["time"][:] = int((datetime(2019, 1, day, hour) - EPOCH).total_seconds())


@pytest.mark.dear("a whole run")
def test_a_granule_with_the_time_of_another_is_named_and_the_others_are_used(sst: list[Path]) -> None:
    # Before and after the one whose time it has.
    set_time(sst[1], 4)
    set_time(sst[5], 4)
    done = run()
    assert not done.complete
    assert [row.state for row in done.rows] == [0, 3, 0, 0, 0, 3]
    assert states() == {"used": 4, "failed": 2}
    for number in (1, 5):
        report = done.reports[number]
        assert (report.state, report.reason) == ("failed", "corrupt")
        assert f"{sst[number].stem}: its time 2019-01-04T09:00:00 is that of {sst[3].stem}, too" in str(report.message)
    assert abs(done.rows[3].values["sst"]["mean"] + 273.15 - by_xarray(sst[3])["mean"]) < 1e-9
    # From its part it is judged alike, and it is read again when it was corrected.
    assert (run().taken, states()) == (6, {"used": 4, "failed": 2})
    set_time(sst[1], 2)
    set_time(sst[5], 6)
    assert run().complete


def test_a_time_of_a_day_without_a_granule_is_named(sst: list[Path]) -> None:
    sst[3].unlink()
    sst[4].write_bytes(sst[4].read_bytes()[:-10])
    set_time(sst[1], 4)
    set_time(sst[2], 5)
    done = run()
    assert [row.state for row in done.rows] == [0, 3, 3, 2, 3, 0]
    assert "2019-01-04T09:00:00 is of another day" in str(done.reports[1].message)
    assert "2019-01-05T09:00:00 is of another day" in str(done.reports[2].message)


def test_a_time_that_is_there_twice_in_a_granule_is_refused(sst: list[Path]) -> None:
    grid(sst[0], LAT, LON, np.stack([FIELD, FIELD]), times=(0.5, 0.5), mask=np.ones(FIELD.shape, "i1"))
    assert "2019-01-01T12:00:00 is there twice" in str(run().reports[0].message)


def test_a_granule_of_several_days_fills_those_without_one(sst: list[Path]) -> None:
    sst[1].unlink()
    times, field = (9 / 24, 33 / 24), np.stack([FIELD, FIELD + 1])
    grid(sst[0], LAT, LON, field, times=times, mask=np.ones(FIELD.shape, "i1"))
    done = run()
    assert done.complete
    assert [row.state for row in done.rows] == [0] * 6


def test_a_day_without_a_value_is_empty(sst: list[Path]) -> None:
    with h5py.File(sst[0], "a") as file:
        file["analysed_sst"][:] = -32768
    done = run()
    assert done.complete
    assert states() == {"used": 5, "empty": 1}
    with xr.open_zarr("sst.zarr") as opened:
        assert np.isnan(float(opened.sst_mean[0]))
        assert float(opened.sst_share[0]) == 0


def test_if_all_fail_nothing_is_written(sst: list[Path]) -> None:
    for path in sst:
        path.write_bytes(path.read_bytes()[:-1])
    done = run()
    assert (done.complete, done.summary["published"]) == (False, False)
    assert states() == {"failed": 6}
    assert not any(Path(name).exists() for name in ("sst.zarr", "sst.nc", "sst.png"))


@pytest.mark.dear(
    "a whole run per kind of file", keep=("<lambda>-shape", "<lambda>-not degrees", "<lambda>-not an HDF5 file")
)
@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(b"CDF\x01" + bytes(100)), "netCDF classic"),
        (lambda path: path.write_bytes(b"<html>"), "not an HDF5 file"),
        (lambda path: grid(path, LAT, LON, FIELD[:10]), "shape"),
        (lambda path: grid(path, np.stack([LAT, LAT]), LON, FIELD), "no grid of latitudes"),
        (lambda path: grid(path, np.sin(LAT), LON, FIELD), "neither ascends nor descends"),
        (lambda path: grid(path, LAT * 10, LON, FIELD), "not degrees"),
        (lambda path: grid(path, LAT, LON, FIELD, units="fortnights"), "fortnights"),
        (lambda path: grid(path, LAT, LON, FIELD, times=(0, 1)), "2 times"),
        (lambda path: grid(path, LAT, LON, FIELD), "no dataset mask"),
        (lambda path: grid(path, LAT[:10], LON, FIELD[:10], mask=FIELD[:10] > 0), "no cell of the grid"),
    ],
)
def test_what_is_no_grid_fails_by_name(sst: list[Path], write: Callable[[Path], Any], said: str) -> None:
    write(sst[0])
    done = run()
    report = done.reports[0]
    assert report.state == "failed"
    assert said in str(report.message)
    assert states() == {"used": 5, "failed": 1}


# --- What is asked for


@pytest.mark.parametrize(("start", "said"), [("2019-02-01", "after end"), ("2019-1-1", "2019-1-1")])
def test_wrong_days_are_not_simulated(start: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        simulate_sst("other", start=start, end="2019-01-06")
    assert not Path("other").exists()


def test_a_plan_reads_nothing_and_costs_less() -> None:
    plan = maggjob.series(
        "mur25_sst.yaml", files="sst", start="2019-01-01", end="2019-12-31", store="sst.zarr", dry_run=True
    )
    assert isinstance(plan, SeriesPlan)
    assert (len(plan.listing.granules), len(plan.missing)) == (6, 359)
    assert 0 < plan.dollars < 0.01
    assert not Path("sst.zarr.run").exists()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"start": "2019-02-01", "end": "2019-01-01"}, InputError, "after end"),
        ({"start": "2019-01-32"}, InputError, "2019-01-32"),
        ({"start": "2020-01-01", "end": "2020-01-02"}, CatalogError, "no granule from 2020-01-01 to 2020-01-02"),
        ({"files": "nowhere"}, CatalogError, "nowhere"),
        ({"config": "atl06.yaml"}, ConfigError, "'maggjob run' takes it; those of this job are mur25_sst"),
        ({"config": "none.yaml"}, ConfigError, "none.yaml"),
        ({"backend": "aws_lambda"}, InputError, "cannot reach this machine"),
    ],
)
def test_bad_input_leaves_nothing(options: dict[str, Any], error: type[Exception], said: str) -> None:
    before = sorted(Path().rglob("*"))
    with pytest.raises(error, match=said):
        run(**options)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("job", "series2", "job is 'series2'"),
        ("region.latitude", [60, -60], r"region: latitude is \[60, -60\]"),
        ("region.longitude", [0, 500], "longitude"),
        ("mask", {"dataset": "mask"}, "'values', 'set' or 'clear'"),
        ("variables", {}, "variables"),
        ("variables.sst.statistics", ["median"], "statistics"),
        ("variables.sst.attrs", {"scale_factor": 2}, "scale_factor"),
        ("interval", "week", "interval"),
        ("variables.sst.datset", "x", "did you mean 'dataset'"),
    ],
)
def test_a_wrong_configuration_is_refused_by_key(path: str, value: Any, said: str) -> None:
    content = load_series_config("mur25_sst.yaml").model_dump(mode="json")
    *above, last = path.split(".")
    place = content
    for key in above:
        place = place[key]
    place[last] = value
    with pytest.raises(ConfigError, match=said):
        run(config=content)
    assert not Path("sst.zarr.run").exists()


def test_only_a_series_of_the_same_configuration_is_replaced(tmp_path: Path) -> None:
    run()
    content = load_series_config("mur25_sst.yaml").model_dump()
    content["region"] = {"latitude": [-10, 10]}
    before = tree("sst.zarr")
    with pytest.raises(ExistsError, match="another configuration"):
        run(config=content)
    assert tree("sst.zarr") == before
    run(config=content, overwrite=True)
    assert tree("sst.zarr") != before
    Path("mine.zarr").mkdir()
    Path("mine.zarr/notes.txt").write_text("mine")
    Path("other.nc").write_text("mine")
    for store in ("mine.zarr", "other.zarr"):
        with pytest.raises(ExistsError):
            run(store=store, overwrite=True)
    assert Path("mine.zarr/notes.txt").read_text() == Path("other.nc").read_text() == "mine"
    assert not Path("mine.zarr.run").exists()


@pytest.mark.dear("a whole run per case", keep=("version-4.1",))
@pytest.mark.parametrize(("key", "value"), [("short_name", "MUR-JPL-L4-GLOB-v4.1"), ("version", "4.1")])
def test_a_series_of_another_product_is_not_replaced(key: str, value: str) -> None:
    run()
    before = tree("sst.zarr")
    content = load_series_config("mur25_sst.yaml").model_dump()
    content["search"]["endpoint"] = "https://cmr.uat.earthdata.nasa.gov"
    # Where it is searched makes no other series.
    assert run(config=content).taken == 6
    content["search"][key] = value
    with pytest.raises(ExistsError, match="another configuration or product"):
        run(config=content)
    assert tree("sst.zarr") == before


def test_a_search_of_cmr_finds_the_granules() -> None:
    from tests.cmr_server import Cmr, serve

    bucket, host = "podaac-ops-cumulus-protected", "https://archive.podaac.earthdata.nasa.gov"

    def item(day: str) -> dict[str, Any]:
        name = f"{day.replace('-', '')}090000-JPL-L4_GHRSST-SSTfnd-MUR25-GLOB-v02.0-fv04.2.nc"
        below = f"{bucket}/MUR25-JPL-L4-GLOB-v04.2/{name}"
        return {
            "meta": {"concept-id": f"G{day}-POCLOUD"},
            "umm": {
                "GranuleUR": name.removesuffix(".nc"),
                "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": f"{day}T21:00:00.000Z"}},
                "DataGranule": {"ArchiveAndDistributionInformation": [{"Name": name, "SizeInBytes": 600_000}]},
                "RelatedUrls": [
                    {"Type": "GET DATA", "URL": f"{host}/{below}"},
                    {"Type": "GET DATA VIA DIRECT ACCESS", "URL": f"s3://{below}"},
                    {"Type": "EXTENDED METADATA", "URL": f"{host}/{below}.md5"},
                ],
            },
        }

    days = ["2018-12-31", "2019-01-01", "2019-01-02", "2019-01-04"]
    with serve(Cmr([item(day) for day in days])) as cmr:
        content = load_series_config("mur25_sst.yaml").model_dump()
        content["search"]["endpoint"] = cmr.endpoint
        plan = maggjob.series(content, start="2019-01-01", end="2019-01-05", store="sst.zarr", dry_run=True)
        assert isinstance(plan, SeriesPlan)
        asked = cmr.asked[0]
    assert asked["short_name"] == "MUR25-JPL-L4-GLOB-v04.2"
    assert asked["provider"] == "POCLOUD"
    assert [str(one.day) for one in plan.listing.granules] == days[1:]
    assert [str(day) for day in plan.missing] == ["2019-01-03", "2019-01-05"]
    assert plan.url(plan.listing.granules[0]).startswith(f"s3://{bucket}/")
    assert plan.listing.granules[0].size == 600_000


def test_a_month_is_expected_once(tmp_path: Path) -> None:
    content = load_series_config("mur25_sst.yaml").model_dump() | {"interval": "month", "mask": None}
    folder = tmp_path / "monthly"
    folder.mkdir()
    for month in (1, 2, 4):
        grid(folder / f"2019{month:02}15.nc", LAT, LON, FIELD + month, times=((month - 1) * 30.0 + 14,))
    done = run(config=content, files=str(folder), start="2019-01-01", end="2019-04-30")
    assert [(row.state, row.values != {}) for row in done.rows] == [(0, True), (0, True), (2, False), (0, True)]


@pytest.mark.dear("3 CPU-seconds; its neighbours cover the same lines")
def test_the_year_is_that_of_the_simulator(tmp_path: Path) -> None:
    """The annual cycle and the trend that were written are found again."""
    simulate_sst("years", start="2010-01-01", end="2010-12-31", every=40)
    simulate_sst("years", start="2015-01-01", end="2015-12-31", every=40)
    content = load_series_config("mur25_sst.yaml").model_dump() | {"interval": "none"}
    done = run(config=content, files="years", start="2010-01-01", end="2015-12-31")
    values = np.array([row.values["sst"]["mean"] for row in done.rows])
    years = np.array([(row.time / 86400 - 11839.375) / 365.25 for row in done.rows])
    terms = np.stack([np.ones_like(years), years, np.sin(2 * np.pi * years), np.cos(2 * np.pi * years)], axis=1)
    level, trend, season, _ = np.linalg.lstsq(terms, values, rcond=None)[0]
    assert abs(trend - 0.02) < 1e-4
    assert abs(season - 0.8) < 1e-3
    assert len(json.loads(Path("sst.zarr.run/summary.json").read_text())["series"]) > 10
    assert level > 0
