"""Several orders in one run, the variable ``partial`` and global attributes: read back by xarray and xdggs."""

import json
from pathlib import Path
from typing import Any

import healpix_geo
import numpy as np
import pytest
import xarray as xr
import xdggs  # noqa: F401

import maggjob
from maggjob.errors import ConfigError
from maggjob.pipeline.result import RunResult
from maggjob.simulator.scene import simulate
from tests.oracle import segments_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("orders")
    simulate(made, area=(-105.0, -76.0, -100.0, -75.0), every=40, most=4)
    return made


def config(**grid: Any) -> dict[str, Any]:
    content = maggjob.load_config("atl06.yaml").model_dump()
    content["output"]["grid"] |= {"child_order": [12, 6, 9]} | grid
    content["aggregation"]["variables"] = {
        "count": {"function": "len", "dtype": "int32", "fill_value": 0},
        "h": {"function": "quantile", "source": "h_li", "params": {"q": [0.25, 0.5, 0.975]}, "dtype": "float64"},
        "h_nmad": {"function": "nmad", "source": "h_li", "dtype": "float64", "orders": [9, 6], "min_count": 3},
        "first_cycle": {"function": "min", "source": "cycle", "dtype": "int16", "fill_value": -1},
    }
    content["output"] |= {"partial": True, "attrs": {"institution": "mine", "people": ["a", "b"], "title": "Heights"}}
    return content


def run(folder: Path, content: dict[str, Any], **options: Any) -> RunResult:
    given = {"backend": "serial", "store": "map.zarr", "indexes": "indexes"} | options
    done = maggjob.run(content, catalog=maggjob.make_catalog(folder, content), **given)
    assert isinstance(done, RunResult)
    return done


@pytest.mark.parametrize("order", [12, 9, 6])
@pytest.mark.parametrize("index", [False, True])
@pytest.mark.dear("several runs of several orders")
def test_each_order_is_that_of_all_its_segments(folder: Path, order: int, index: bool) -> None:
    done = run(folder, config(), index=index)
    assert done.complete
    parts = [segments_of(path, 12, "authalic") for path in sorted(folder.glob("*.h5"))]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in ("h", "s", "quality", "cell")}
    good = (columns["quality"] == 0) & (columns["h"] < 1e38) & (columns["s"] < 1e38)
    h, child = columns["h"][good].astype("f8"), columns["cell"][good] >> 2 * (12 - order)
    opened = xr.open_zarr("map.zarr", group=str(order)).dggs.decode().load()
    assert opened.dggs.grid_info.level == order
    assert len(opened.cell_ids) == 4 ** (order - 6) * len(done.reports)
    assert int(opened["count"].sum()) == done.tally.observations == len(h)
    there = opened["count"].values > 0
    assert sorted(opened.cell_ids.values[there].tolist()) == sorted(set(child.tolist()))
    for place in np.flatnonzero(there)[:: max(1, there.sum() // 40)]:
        own = h[child == opened.cell_ids.values[place]]
        assert opened["count"].values[place] == len(own)
        for name, q in (("h25", 0.25), ("h50", 0.5), ("h97_5", 0.975)):
            assert opened[name].values[place] == np.quantile(own, q)
        if order < 12:
            expected = 1.4826 * np.median(np.abs(own - np.median(own))) if len(own) >= 3 else np.nan
            np.testing.assert_allclose(opened["h_nmad"].values[place], expected, rtol=1e-14)
    assert ("h_nmad" in opened) == (order < 12)
    assert opened.first_cycle.dtype == np.int16
    assert set(opened.first_cycle.values[there].tolist()) <= set(range(1, 30))
    centers = healpix_geo.nested.healpix_to_lonlat(opened.cell_ids.values[there], order, ellipsoid="WGS84")
    assert np.max(centers[1]) < -60


@pytest.mark.dear("two whole runs")
def test_the_finest_order_is_that_of_a_run_alone(folder: Path) -> None:
    run(folder, config(), index=False)
    alone = config(child_order=12)
    alone["aggregation"]["variables"].pop("h_nmad")
    run(folder, alone, index=False, store="alone.zarr")
    several, single = (xr.open_zarr(store, group="12").load() for store in ("map.zarr", "alone.zarr"))
    xr.testing.assert_equal(several, single)


@pytest.mark.dear("a whole run")
def test_attributes_and_groups_are_told(folder: Path) -> None:
    run(folder, config(), index=False)
    root = json.loads(Path("map.zarr/zarr.json").read_text())["attributes"]
    assert (root["group"], root["groups"], root["title"]) == ("12", ["12", "9", "6"], "Heights")
    opened = maggjob.open_result("map.zarr")
    assert opened.attrs["people"] == ["a", "b"]
    assert opened.attrs["institution"] == "mine"
    assert opened.sizes["cells"] > maggjob.open_result("map.zarr", group="9").sizes["cells"]
    assert maggjob.verify_result("map.zarr", deep=True, recompute=2).good


def test_partial_and_failed_cells_are_flagged(folder: Path, tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    paths = sorted(folder.glob("*.h5"))
    for path in paths:
        (copies / path.name).write_bytes(path.read_bytes())
    content = config()
    catalog = maggjob.make_catalog(copies, content)
    (copies / paths[0].name).write_bytes(paths[0].read_bytes()[:-1])
    done = maggjob.run(content, catalog=catalog, store="map.zarr", backend="serial", index=False)
    assert isinstance(done, RunResult)
    state = {maggjob.grid.healpix.parse_cell(r.cell, 6): r.state for r in done.reports}
    assert {"partial"} <= set(state.values())
    for order in (12, 9, 6):
        opened = xr.open_zarr("map.zarr", group=str(order)).load()
        flags = opened.partial
        assert flags.attrs["flag_meanings"] == "complete partial failed"
        for cell, flag in zip((opened.cell_ids.values >> 2 * (order - 6)).tolist(), flags.values.tolist(), strict=True):
            assert flag == {"complete": 0, "empty": 0, "partial": 1, "failed": 2}[state[cell]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"child_order": [12, 12]}, "once"),
        ({"child_order": [12, 5]}, "child_order is 5"),
        ({"child_order": []}, "child_order"),
        ({"child_order": [12, 17]}, "child_order is 17"),
        ({"child_order": [12, "9"]}, "child_order"),
        ({"child_order": [12, 9]}, r"h_nmad.orders: 6 is not in output.grid.child_order, 12, 9"),
    ],
)
def test_orders_that_do_not_fit_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        maggjob.load_config(config(**change))


@pytest.mark.dear("two whole runs")
def test_hot_cells_in_quarters_give_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = config(child_order=[12, 9])
    content["aggregation"]["variables"]["h_nmad"]["orders"] = [9]
    run(folder, content, index=True)
    monkeypatch.setattr("maggjob.planning.division.is_hot", lambda *given: True)
    again = run(folder, content, index=True, store="quarters.zarr")
    assert again.cells_in_quarters == len(again.reports)
    for order in ("12", "9"):
        whole, quarters = (xr.open_zarr(store, group=order).load() for store in ("map.zarr", "quarters.zarr"))
        xr.testing.assert_equal(whole, quarters)
