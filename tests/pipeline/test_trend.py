"""Rates of change: whole runs against h5py, pyproj and numpy.linalg.lstsq, however the cells are divided."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import healpy
import numpy as np
import pyproj
import pytest

import maggjob
from maggjob.backend.settings import BackendSettings
from maggjob.catalog.catalog import Catalog
from maggjob.errors import CatalogError, StoreError
from maggjob.granules.memory import predicted_memory, split_depth
from maggjob.jobs.cells import map_cell
from maggjob.jobs.shards import ShardReport, ShardTask
from maggjob.output.assembly import write_shards_locally
from maggjob.pipeline.balance import divided, pieces_of
from maggjob.planning.tasks import make_tasks
from maggjob.show.text import plan_dict, plan_text, summary
from tests.granule_files import BEAMS
from tests.runs import files, ledger

CYCLES = (18, 19, 20, 21, 22)
EPOCH_YEARS = 365.25 * 86400


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("cycles") / "granules"
    area = (-104.0, -75.45, -103.2, -75.2)
    return maggjob.simulate(folder, cycles=CYCLES, area=area, every=20, gaps=0.1)


@pytest.fixture(scope="module")
def catalog(paths: list[Path]) -> Catalog:
    return maggjob.make_catalog(str(paths[0].parent))


def configured(name: str = "atl06_trend.yaml", latitude: str = "authalic", orders: Any = 12) -> dict[str, Any]:
    plain = maggjob.load_config(name).model_dump(mode="json", exclude_none=True)
    plain["output"]["grid"] |= {"latitude": latitude, "child_order": orders}
    return plain


def segments(paths: list[Path]) -> dict[str, np.ndarray]:
    """Every good segment, read by h5py."""
    found: dict[str, list[np.ndarray]] = {}
    for path in paths:
        cycle, track = int(path.name[25:27]), int(path.name[21:25])
        with h5py.File(path) as file:
            for number, beam in enumerate(BEAMS, 1):
                if beam not in file:
                    continue
                group = file[beam]["land_ice_segments"]
                good = (group["atl06_quality_summary"][:] == 0) & (group["h_li"][:] < 1e30)
                own = {"latitude": "latitude", "longitude": "longitude", "h": "h_li", "time": "delta_time"}
                for key, name in (own | {"dem": "dem/dem_h"}).items():
                    found.setdefault(key, []).append(np.asarray(group[name][:], float)[good])
                found.setdefault("pass", []).append(np.full(good.sum(), cycle * 10**5 + track * 10 + number))
    return {key: np.concatenate(values) for key, values in found.items()}


def local(own: dict[str, np.ndarray], ids: int) -> tuple[np.ndarray, np.ndarray]:
    """Metres east and north of the centre of a cell of order 12, by pyproj."""
    longitude, latitude = healpy.pix2ang(1 << 12, ids, nest=True, lonlat=True)
    there = pyproj.Transformer.from_pipeline(
        "+proj=pipeline +step +proj=cart +ellps=WGS84 "
        f"+step +proj=topocentric +ellps=WGS84 +lat_0={latitude} +lon_0={longitude} +h_0=0"
    )
    east, north, _ = there.transform(own["longitude"], own["latitude"], np.zeros(len(own["h"])))
    return east, north


def fitted(terms: list[np.ndarray], values: np.ndarray, passes: np.ndarray) -> tuple[float, float, int]:
    """Rate, error by pass and number of segments left, of clipping at three standard deviations."""
    # Centred, as the product of the transposed matrix with itself squares its condition.
    a = np.column_stack([np.ones(len(values)), *(term - term.mean() for term in terms)])
    largest = np.abs(a).max(0)
    a, kept = a / largest, np.ones(len(values), bool)
    for number in range(6):
        found, *_ = np.linalg.lstsq(a[kept], values[kept], rcond=None)
        residuals = values - a @ found
        scale = np.sqrt((residuals[kept] ** 2).sum() / (kept.sum() - a.shape[1]))
        wild = kept & (np.abs(residuals) > 3 * scale)
        if not wild.any() or number == 5:
            break
        kept &= ~wild
    a, residuals, passes = a[kept], residuals[kept], passes[kept]
    # By the pseudo-inverse, as normal equations have the square of its condition.
    moves = np.linalg.pinv(a)[-1] * residuals
    each = [moves[passes == one].sum() for one in np.unique(passes)]
    many = len(each)
    variance = np.square(each).sum() * many / (many - a.shape[1])
    return found[-1] / largest[-1], float(np.sqrt(variance)) / largest[-1], int(kept.sum())


@pytest.mark.dear("one configuration shows the fit, the other its correction by a DEM", keep=("atl06_trend.yaml",))
@pytest.mark.parametrize("name", ["atl06_trend.yaml", "atl06_trend_dem.yaml"])
def test_rates_and_errors_are_those_of_lstsq_on_what_h5py_reads(paths: list[Path], catalog: Catalog, name: str) -> None:
    config = configured(name, "geodetic-spherical")
    catalog = maggjob.make_catalog(str(paths[0].parent), config)
    result = maggjob.run(config, catalog=catalog, store="trend.zarr", backend="serial", index=False)
    assert isinstance(result, maggjob.RunResult)
    with maggjob.open_result("trend.zarr") as ds:
        done = {n: ds[n].values for n in ("dh_dt", "dh_dt_error", "passes", "cycles", "clipped", "count", "span")}
        ids = ds.cell_ids.values
    every = segments(paths)
    of = healpy.ang2pix(1 << 12, every["longitude"], every["latitude"], nest=True, lonlat=True)
    checked = 0
    for place in np.flatnonzero(np.isfinite(done["dh_dt"]))[::2]:
        own = {key: values[of == ids[place]] for key, values in every.items()}
        t = own["time"] / EPOCH_YEARS
        x, y = local(own, int(ids[place]))
        terms = [x, y, x * y, x**2, y**2, t - t.mean()] if name == "atl06_trend.yaml" else [t - t.mean()]
        values = own["h"] - own["h"].mean() if name == "atl06_trend.yaml" else own["h"] - own["dem"]
        rate, error, kept = fitted(terms, values, own["pass"])
        assert done["dh_dt"][place] == pytest.approx(rate, rel=1e-4, abs=1e-5)
        assert done["dh_dt_error"][place] == pytest.approx(error, rel=1e-3, abs=1e-6)
        assert done["count"][place] - done["clipped"][place] == kept
        checked += 1
    assert checked > 25
    states = result.tally.fits["12/trend"]
    assert states["determined"] == np.isfinite(done["dh_dt"]).sum()
    assert sum(states.values()) == (done["count"] > 0).sum()


@pytest.fixture
def trend_runs(catalog: Catalog) -> maggjob.RunResult:
    result = maggjob.run(configured(), catalog=catalog, store="whole.zarr", backend="serial", indexes="indexes")
    assert isinstance(result, maggjob.RunResult)
    return result


@pytest.mark.dear("two runs of several cycles")
def test_pieces_that_fit_in_memory_give_the_same_bytes(
    catalog: Catalog, trend_runs: maggjob.RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = maggjob.load_config(configured()).recipe()
    largest = max(report.observations for report in trend_runs.reports)
    little = predicted_memory(largest // 3, recipe)
    monkeypatch.setattr(BackendSettings, "worker_memory", property(lambda self: little))
    store = {"store": "pieces.zarr", "backend": "serial", "indexes": "indexes"}
    split = maggjob.run(configured(), catalog=catalog, **store)
    assert isinstance(split, maggjob.RunResult)
    assert split.cells_in_quarters
    assert ledger(split) == ledger(trend_runs)
    assert files("pieces.zarr") == files("whole.zarr")


@pytest.mark.dear("whole runs; the order of rows is tested in tests/statistics")
def test_the_order_of_granules_changes_no_bit(catalog: Catalog) -> None:
    plan = maggjob.plan(configured(orders=[12, 10]), catalog=catalog)
    task = make_tasks(plan)[0]
    assert isinstance(task.granules, tuple)
    first = map_cell(task)
    again = map_cell(replace(task, granules=task.granules[::-1]))
    assert first.arrays is not None
    assert again.arrays is not None
    for name, values in first.arrays.items():
        assert values.tobytes() == again.arrays[name].tobytes(), name
    assert set(first.fits) == {"12/trend", "10/trend"}
    assert again.fits == first.fits


def test_a_cell_is_divided_until_it_fits() -> None:
    recipe = maggjob.load_config(configured()).recipe()
    rows = 70_000_000
    assert split_depth(rows, recipe, float("inf")) == 0
    depth = split_depth(rows, recipe, 2 * 2**30)
    assert depth > 0
    assert predicted_memory(int(rows * 0.5**depth), recipe) <= 2 * 2**30
    assert predicted_memory(int(rows * 0.5 ** (depth - 1)), recipe) > 2 * 2**30
    assert split_depth(rows, recipe, 1.0) == 6


def test_pieces_of_pieces_are_in_nested_order(catalog: Catalog) -> None:
    task = make_tasks(maggjob.plan(configured(), catalog=catalog))[0]
    pieces = divided(task, 2)
    assert [piece.cell for piece in pieces] == [f"{task.cell}{a}{b}" for a in "1234" for b in "1234"]
    found = pieces_of([task], [1.0], 1, split=False, depths=[2])
    assert [piece.task for piece in found] == pieces


def test_a_plan_tells_the_memory_and_the_pieces(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = maggjob.plan(configured(), catalog=catalog)
    assert "memory" in plan_text(plan)
    assert "pieces" not in plan_text(plan)
    monkeypatch.setattr("maggjob.granules.memory.BASE_MEMORY", 2 * 2**30)
    told = plan_dict(plan, 10)["memory"]
    assert told["cells_by_pieces"] == {"4096": len(plan.cells)}
    assert f"{len(plan.cells):,} cells in 4096 pieces" in plan_text(plan)


def test_one_cycle_gives_no_rate(paths: list[Path]) -> None:
    one = [str(path) for path in paths if path.name[25:27] == "22"]
    catalog = maggjob.make_catalog(one)
    with pytest.raises(CatalogError) as caught:
        maggjob.run("atl06_trend.yaml", catalog=catalog, store="trend.zarr", backend="serial")
    for part in ("trend", "3 cycles", "22", "--cycles"):
        assert part in str(caught.value)
    assert not Path("trend.zarr").exists()
    assert not Path("trend.zarr.run").exists()


@pytest.mark.dear("two runs of several cycles")
def test_a_run_that_takes_parts_gives_the_same_bytes(catalog: Catalog, trend_runs: maggjob.RunResult) -> None:
    """The counts of fits have one order, whether they come from calls or from parts."""
    before = files("whole.zarr")
    shutil.rmtree("whole.zarr")
    for name in ("summary.json", "manifest.json"):
        (Path("whole.zarr.run") / name).unlink()
    again = maggjob.run(configured(), catalog=catalog, store="whole.zarr", backend="serial", indexes="indexes")
    assert isinstance(again, maggjob.RunResult)
    assert again.taken == len(again.reports)
    assert files("whole.zarr") == before
    assert "fit           12/trend" in summary(again.to_dict())


@pytest.mark.dear("workers; tests of shards send such tasks, too")
def test_several_orders_are_written_by_calls(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    config, here = configured(orders=[11, 9]), {"store": "here.zarr", "backend": "serial", "index": False}
    maggjob.run(config, catalog=catalog, **here)
    monkeypatch.setattr("maggjob.pipeline.assembling.SHARDS_HERE", 0)
    maggjob.run(config, catalog=catalog, store="calls.zarr", backend="localhost", max_workers=2, index=False)
    assert files("calls.zarr") == files("here.zarr")


@pytest.mark.dear("a run of several cycles")
def test_a_shard_that_was_not_written_is_missed(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(shards: list[ShardTask]) -> list[ShardReport]:
        reports = write_shards_locally(shards)
        return [replace(one, objects=dict(list(one.objects.items())[1:])) for one in reports]

    plan = maggjob.plan(configured(), catalog=catalog, store="map.zarr")
    tasks = make_tasks(plan)
    with pytest.raises(StoreError, match="was not written"):
        maggjob.assemble_run(plan, tasks, [map_cell(task) for task in tasks], write=forgetful)
    with pytest.raises(StoreError):
        maggjob.open_result("map.zarr")


@pytest.mark.dear("a whole run; the states of a fit are tested in tests/statistics")
def test_cells_without_a_fit_say_so(catalog: Catalog) -> None:
    plain = configured()
    trend = plain["aggregation"]["variables"]["trend"]
    trend["min_count"] = 60
    trend["outputs"]["state"] = {"of": "state", "dtype": "int16"}
    result = maggjob.run(plain, catalog=catalog, store="map.zarr", backend="serial", index=False)
    assert isinstance(result, maggjob.RunResult)
    with maggjob.open_result("map.zarr") as ds:
        state, count, rate = ds.state.values, ds["count"].values, ds.dh_dt.values
        assert ds.state.attrs["flag_values"] == [-1, 0, 1, 2, 3]
    assert (state[count < 60] == -1).all()
    assert (state[count >= 60] >= 0).all()
    assert ((state == 0) == np.isfinite(rate)).all()
    states = result.tally.fits["12/trend"]
    assert states["determined"] == (state == 0).sum()
    assert states["few_segments"] == ((count > 0) & (count < 60)).sum()


@pytest.mark.dear("a whole run")
def test_a_cell_of_which_nothing_is_kept_is_empty(catalog: Catalog) -> None:
    plain = configured("atl06_trend_dem.yaml")
    source = plain["data_source"]
    source["variables"]["dem_h"] = {"dataset": "/{group}/land_ice_segments/dem/dem_h", "missing": "omit"}
    source["filters"] = [{"column": "latitude", "op": ">", "value": 0, "name": "south"}]
    result = maggjob.run(plain, catalog=catalog, store="map.zarr", backend="serial", index=False)
    assert isinstance(result, maggjob.RunResult)
    assert result.tally.cells["empty"] == result.tally.cells["planned"]
