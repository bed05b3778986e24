"""What a plan expects: the work of each cell, the bill, and what the run that follows makes of it."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob import Plan
from maggjob.backend.bill import Prices
from maggjob.backend.settings import FAIR_SHARE
from maggjob.catalog.catalog import Catalog, Entry
from maggjob.errors import CatalogError, InputError
from maggjob.grid.healpix import format_cell
from maggjob.pipeline.cell_map import execute
from maggjob.pipeline.result import RunResult, read_summary
from maggjob.planning.cost import KEPT_SHARE, ROWS_A_VISIT, Load, estimate
from maggjob.show.text import catalog_text, plan_dict, plan_text, summary
from tests.granule_files import cells_of
from tests.oracle import segments_of

NASA = "s3://nsidc-cumulus-prod-protected/ATLAS"
HTTPS = "https://data.nsidc.earthdatacloud.nasa.gov/nsidc-cumulus-prod-protected/ATLAS"
NAME = "ATL06_20231218031203_0{}2211_007_01"
KNOWN = Entry(NAME.format("850"), {"s3": f"{NASA}/a.h5", "https": f"{HTTPS}/a.h5"}, 10**7, rows=1200, cells=4)
UNKNOWN = Entry(NAME.format("851"), {"s3": f"{NASA}/b.h5", "https": f"{HTTPS}/b.h5"}, cells=3)
BARE = Entry(NAME.format("852"), {"s3": f"{NASA}/c.h5", "https": f"{HTTPS}/c.h5"})
ENTRIES = (KNOWN, UNKNOWN, BARE)


def planned(catalog: Catalog, **options: Any) -> Plan:
    grid = {"parent_order": catalog.order, "child_order": catalog.order + 6}
    content = maggjob.load_config("atl06.yaml").model_dump(mode="json", exclude_unset=True)
    content["output"]["grid"] |= grid
    content["data_source"]["sources"] = ["s3://mine"]
    return maggjob.plan(content, catalog=catalog, **options)


def moved(base: str) -> Catalog:
    """A catalog of three granules in three cells, all in one bucket."""
    entries = tuple(replace(entry, urls={"s3": f"{base}/{entry.id}.h5"}) for entry in ENTRIES)
    return Catalog(entries, {1: (0,), 2: (0, 1), 3: (0, 1, 2)}, 6, "authalic")


# ---- the work of a cell


def test_the_load_of_a_cell_by_hand() -> None:
    plan = planned(Catalog(ENTRIES, {1: (0,), 2: (0, 1), 3: (0, 1, 2)}, 6, "authalic"))
    usual = float(ROWS_A_VISIT)
    assert plan.load(1) == Load(format_cell(1, 6), 1, 1200.0, 300.0)
    assert plan.load(2) == Load(format_cell(2, 6), 2, 1200.0 + 3 * usual, 300.0 + usual)
    assert plan.load(3) == Load(format_cell(3, 6), 3, 1200.0 + 4 * usual, 300.0 + 2 * usual)
    assert plan.cells == (3, 2, 1)
    assert plan.loads == [plan.load(3), plan.load(2), plan.load(1)]
    assert plan.worth_index  # two cells a granule
    assert plan.estimate == plan.expected(indexed=True)
    assert plan.expected(indexed=False) == estimate(plan.loads, "s3")
    made = estimate(plan.loads, "s3", indexed=[1200.0, 20 * usual, 20 * usual])
    assert plan.expected(indexed=True) == made


@pytest.mark.parametrize(("order", "share"), [(5, 2.0), (6, 1.0), (7, 0.5), (9, 0.125)])
def test_what_is_not_known_goes_by_the_width_of_a_cell(order: int, share: float) -> None:
    (load,) = planned(Catalog((BARE,), {1: (0,)}, order, "authalic")).loads
    assert load.rows == load.granule_rows == ROWS_A_VISIT * share


def test_fewer_cells_are_less_work() -> None:
    catalog = Catalog(ENTRIES, {1: (0,), 2: (0, 1), 3: (0, 1, 2)}, 6, "authalic")
    whole, two = planned(catalog), planned(catalog, max_cells=2)
    assert two.loads == whole.loads[:2]
    assert two.expected(False).worker_time_s < whole.expected(False).worker_time_s
    assert len(planned(catalog, morton_cell=format_cell(1, 6)).loads) == 1


def test_a_granule_of_no_segments_is_a_visit() -> None:
    empty = replace(KNOWN, rows=0, cells=0)
    assert planned(Catalog((empty,), {1: (0,)}, 6, "authalic")).loads == [Load(format_cell(1, 6), 1, 0.0, 0.0)]


# ---- the bill


def test_requests_to_nasas_bucket_cost_nothing_and_to_others_they_do() -> None:
    bills = {base: planned(moved(base)).bill(10) for base in (NASA, "s3://mine/ATLAS")}
    free, paid = ({line["what"]: line for line in bill} for bill in bills.values())
    assert free["archive GET"]["quantity"] == paid["archive GET"]["quantity"] > 0
    assert free["archive GET"]["dollars"] == 0.0
    assert paid["archive GET"]["dollars"] == pytest.approx(paid["archive GET"]["quantity"] * Prices().get)
    assert {what: free[what] for what in free if what != "archive GET"} == {
        what: paid[what] for what in paid if what != "archive GET"
    }


def test_one_granule_elsewhere_is_paid_for() -> None:
    catalog = moved(NASA)
    mixed = replace(catalog, granules=(*catalog.granules[:2], replace(BARE, urls={"s3": "s3://mine/c.h5"})))
    assert planned(mixed).bill(10)[-1]["dollars"] > 0
    assert planned(mixed, max_cells=1).bill(10)[-1]["dollars"] > 0
    assert planned(mixed, morton_cell=format_cell(2, 6)).bill(10)[-1]["dollars"] == 0  # its two are NASA's


def test_a_bill_is_of_lambda_whatever_the_driver() -> None:
    """Workers on Lambda read granules from s3, so the time to read them over https here does not count."""
    catalog = Catalog(ENTRIES, {1: (0,), 2: (0, 1), 3: (0, 1, 2)}, 6, "authalic")
    here, there = (planned(catalog, driver=driver) for driver in ("https", "s3"))
    assert here.driver == "https"
    assert here.estimate.worker_time_s > there.estimate.worker_time_s
    assert here.bill(10) == there.bill(10)


def test_prices_may_be_given() -> None:
    plan = planned(moved(NASA))
    nothing = Prices(gb_second=0.0, call=0.0, get=0.0, put=0.0, log_mb=0.0)
    assert [line["dollars"] for line in plan.bill(10, nothing)] == [0.0] * 7
    double = replace(Prices(), gb_second=2 * Prices().gb_second)
    assert plan.bill(10, double)[0]["dollars"] == pytest.approx(2 * plan.bill(10)[0]["dollars"])


# ---- as JSON and as text


def test_a_plan_as_json_adds_up() -> None:
    plan = planned(moved("s3://mine/ATLAS"), store="map.zarr")
    plain = plan_dict(plan, 500)
    assert json.loads(json.dumps(plain)) == json.loads(json.dumps(plan_dict(plan, 500)))
    assert (plain["total_cells"], plain["total_granules"], plain["total_pairs"]) == (3, 3, 6)
    assert (plain["driver"], plain["window"], plain["store_path"]) == ("s3", "cycle22", "map.zarr")
    assert plain["run_digest"] == plan.digest
    assert plain["estimate"] == plan.estimate.to_dict()
    assert plain["here"]["wall_time_s"] == plan.estimate.wall_s(plain["here"]["workers"])
    https = replace(plan, driver="https").estimate
    laptop = plain["laptop"]
    assert laptop["megabytes"] == https.bytes_read / 1e6
    assert laptop["minutes"] * 60 >= https.bytes_read * 8 / (laptop["megabits_a_second"] * 1e6) * (1 - 1e-9)
    assert laptop["minutes"] * 60 >= https.wall_s(plain["here"]["workers"]) * (1 - 1e-9)
    cloud = plain["lambda"]
    assert cloud["workers"] == 500
    assert cloud["bill"] == plan.bill(500)
    assert cloud["dollars"] == pytest.approx(sum(line["quantity"] * line["price"] for line in cloud["bill"]))
    assert cloud["wall_time_s"] > plan.estimate.wall_s(500)
    assert plain["model"]["kept_share"] == KEPT_SHARE
    assert plain["model"]["prices"]["date"] == Prices().date


def test_a_plan_as_text_says_what_its_json_says() -> None:
    plan = planned(moved("s3://mine/ATLAS"), store="map.zarr")
    plain, text = plan_dict(plan, 500), plan_text(plan, 500)
    lines = {line.split("  ")[0].strip() or line.strip().split("  ")[0]: line for line in text.splitlines()}
    assert "cells         3" in text
    assert "granules      3, read by s3" in text
    assert "pairs         6" in text
    assert "per cell      2.0 granules, 3 at most" in text
    assert f"about {plain['estimate']['observations']:,.0f}" in lines["observations"]
    assert f"{plain['estimate']['requests']:,.0f} requests" in lines["reads"]
    assert plain["estimate"]["longest"][0][0] in lines["work"]
    assert f"{plain['laptop']['megabytes']:,.0f} MB over https" in lines["laptop"]
    assert "with 500 workers" in lines["Lambda"]
    assert Prices().date in lines["Lambda"]
    for line in plain["lambda"]["bill"]:
        assert any(line["what"] in said and f"${line['dollars']:.4f}" in said for said in text.splitlines())
    whole, fastest = text.splitlines()[-2:]
    assert whole.split() == ["all", f"${plain['lambda']['dollars']:.4f}"]
    assert fastest.split()[-1] == f"${plain['lambda']['fastest']['dollars']:.4f}"
    chosen = plan_dict(plan)["lambda"]
    assert (chosen["chosen_by_cost"], plain["lambda"]["chosen_by_cost"]) == (True, False)
    assert chosen["workers"] == plan.choice.chosen.workers <= FAIR_SHARE
    assert chosen["dollars"] <= plain["lambda"]["dollars"]
    assert f"with {chosen['workers']:,} workers, chosen by cost" in plan_text(plan)
    assert f"${chosen['dollars']:.4f}" in repr(plan)


# ---- the run that follows


@pytest.fixture(scope="module")
def done(sector: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, RunResult, list[Path]]:
    """A plan for simulated granules, its run, and the granules."""
    store = str(tmp_path_factory.mktemp("planned") / "map.zarr")
    plan = maggjob.plan("atl06.yaml", catalog=maggjob.make_catalog(sector[0].parent), store=store)
    return plan, execute(plan, backend="serial"), sector


def test_the_segments_expected_are_those_of_the_files(done: tuple[Plan, RunResult, list[Path]]) -> None:
    """A catalog of files knows every segment; only the share that is kept is a guess."""
    plan, result, paths = done
    rows = {path.stem: len(segments_of(path, 6, "authalic")["cell"]) for path in paths}
    assert {entry.id: entry.rows for entry in plan.catalog.granules} == rows
    assert {entry.id: entry.cells for entry in plan.catalog.granules} == {
        path.stem: len(cells_of([path], 6, "authalic")) for path in paths
    }
    total = sum(rows.values())
    assert sum(load.rows for load in plan.loads) == pytest.approx(total)
    assert plan.estimate.observations == pytest.approx(KEPT_SHARE * total)
    assert result.tally.segments["rows"] == total
    share = result.tally.observations / total
    assert 0.85 <= share <= 0.97
    assert plan.estimate.observations / result.tally.observations == pytest.approx(KEPT_SHARE / share)


def test_the_visits_expected_are_those_made(done: tuple[Plan, RunResult, list[Path]]) -> None:
    plan, result, _ = done
    assert {load.cell: load.visits for load in plan.loads} == {
        report.cell: len(report.granules) for report in result.reports
    }
    held: Counter[str] = Counter()
    for load in plan.loads:
        held[load.cell] = round(load.granule_rows)
    for report in result.reports:  # every segment of every granule of a cell was looked at
        assert held[report.cell] == sum(granule.rows for granule in report.granules)


def test_what_is_read_is_of_the_size_expected(done: tuple[Plan, RunResult, list[Path]]) -> None:
    """The estimate is neither half nor double; the coefficients were not fitted to such small granules."""
    plan, result, _ = done
    plain = result.to_dict()
    assert 0.2 < plan.estimate.bytes_read / plain["bytes_read"] < 5
    assert plain["estimate"] == plan.estimate.to_dict()


def test_a_summary_shows_what_was_expected_beside_what_was(done: tuple[Plan, RunResult, list[Path]]) -> None:
    plan, result, _ = done
    for plain in (result.to_dict(), read_summary(result.store_path)):
        (line,) = [line for line in summary(plain).splitlines() if line.startswith("expected")]
        expected = plan.estimate
        for before, after in (
            (f"{expected.observations:,.0f} observations", f"{result.tally.observations:,}"),
            (f"{expected.bytes_read / 1e6:,.1f} MB", f"{plain['bytes_read'] / 1e6:,.1f}"),
            (f"{expected.worker_time_s:.1f} s of work", f"{plain['worker_time_s']:.1f}"),
        ):
            assert f"{before} (was {after})" in line


def test_a_summary_of_before_is_shown_without(done: tuple[Plan, RunResult, list[Path]]) -> None:
    plain = done[1].to_dict()
    del plain["estimate"]
    assert "expected" not in summary(plain)
    assert "observations" in summary(plain)


# ---- what a catalog holds, and where one comes from


def test_what_a_catalog_holds_is_told(done: tuple[Plan, RunResult, list[Path]]) -> None:
    plan, _, paths = done
    text = catalog_text(plan.catalog)
    assert f"granules      {len(paths)}, cycle22, by file" in text
    assert f"cells         {len(plan.catalog.cells)} of order 6, authalic" in text
    assert f"pairs         {plan.catalog.pairs}, " in text
    assert f"digest        {plan.catalog.digest}" in text
    assert str(paths[0].parent) in text
    for absent in ("times", "area", "searched", "note"):
        assert f"\n{absent} " not in text


def test_what_is_noteworthy_of_a_catalog_is_told() -> None:
    provenance = {"footprints_by_track": [KNOWN.id], "older_revisions": 1234, "area": "greenland"}
    timed = replace(KNOWN, start="2023-12-18T03:12:03Z", end="2023-12-18T03:17:03Z")
    text = catalog_text(Catalog((timed,), {1: (0,)}, 6, "authalic", provenance))
    assert "times         2023-12-18T03:12:03Z to 2023-12-18T03:17:03Z" in text
    assert "area          greenland" in text
    assert f"note          1 granules have no usable footprint, such as {KNOWN.id}" in text
    assert "note          1,234 older revisions" in text


def test_a_plan_without_anything_to_do_is_refused() -> None:
    with pytest.raises(CatalogError, match="has no cells"):
        planned(Catalog(ENTRIES, {}, 6, "authalic"))


def test_find_catalog_refuses_what_is_no_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAGGJOB_CACHE", str(tmp_path))
    for search, said in (
        ({"cycle": 0}, "cycle is 0"),
        ({"cylce": 22}, "cylce: unknown key"),
        ({"cycle": 22, "aoi": "atlantis"}, "'atlantis' is unknown"),
        ({"aoi": "grounded"}, "no time is given"),
        ({"cycle": 22, "endpoint": "http://cmr.example/search/"}, "give an https:// URL"),
    ):
        with pytest.raises(InputError, match=said):
            maggjob.find_catalog(**search)
