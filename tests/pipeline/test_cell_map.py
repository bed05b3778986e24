"""The whole job from Python: what it returns, what it writes, and what it refuses before it starts."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
import yaml

import maggjob
from maggjob import Config, Plan
from maggjob.backend.outcome import Outcome
from maggjob.catalog.catalog import Catalog
from maggjob.catalog.local import from_files
from maggjob.config.load import builtin_configs
from maggjob.errors import (
    AccessError,
    BackendError,
    CatalogError,
    ConfigError,
    ExistsError,
    InputError,
    MaggjobError,
    StoreError,
)
from maggjob.grid.healpix import format_cell
from maggjob.pipeline.balance import report_of
from maggjob.pipeline.result import RunResult
from maggjob.pipeline.target import default_store
from maggjob.show.text import plan_text, summary
from tests.granule_files import beam, cells_of, write_granule

UPSTREAM = ("total_cells", "cells_with_data", "cells_error", "total_obs", "wall_time_s", "store_path", "results")


def config(**changes: Any) -> Config:
    return maggjob.load_config(yaml.safe_load(builtin_configs()["atl06.yaml"].read_text()) | changes)


@pytest.fixture
def granules(tmp_path: Path) -> list[Path]:
    """Three granules in five cells; the third shares one of them and has two alone."""
    (tmp_path / "granules").mkdir()
    return [
        write_granule(
            tmp_path / "granules" / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5",
            {
                "gt1l": beam(60, seed=i, south=s, west=w, step=1.6e-2),
                "gt2r": beam(60, seed=i + 5, south=s, west=w, step=1.6e-2),
            },
        )
        for i, (s, w) in enumerate(((-74.6, -100.0), (-75.2, -101.0), (-75.0, -99.0)))
    ]


@pytest.fixture
def catalog(granules: list[Path]) -> Catalog:
    return from_files(["granules"], config().recipe())


def do(catalog: Catalog, store: str = "map.zarr", settings: Config | None = None, **options: Any) -> RunResult:
    result = maggjob.run(settings or config(), catalog=catalog, store=store, **({"backend": "serial"} | options))
    assert isinstance(result, RunResult)
    return result


def files(folder: str | Path = ".") -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def observations(store: str = "map.zarr") -> int:
    return int(xr.open_zarr(store, group="12")["count"].sum())


def balanced(result: RunResult) -> bool:
    """Return True if every cell, granule and segment of the plan is in the tally exactly once."""
    tally = result.tally
    return (
        tally.cells["planned"] == len(result.plan.cells) == sum(tally.cells.values()) - tally.cells["planned"]
        and sum(tally.granules.values()) == len(result.plan.used_granules)
        and tally.segments["rows"] == sum(n for state, n in tally.segments.items() if state != "rows")
        and tally.observations == tally.segments.get("kept", 0) == observations(result.store_path)
    )


# ---- what it returns


def test_a_result_has_the_names_of_the_system_before_us(catalog: Catalog) -> None:
    result = do(catalog)
    plain = result.to_dict()
    assert set(UPSTREAM) <= set(plain)
    assert plain["total_cells"] == plain["cells_with_data"] == len(plain["results"]) == 5
    assert plain["cells_error"] == 0
    assert plain["total_obs"] == result.tally.observations == observations() > 0
    assert plain["store_path"] == "map.zarr"
    assert plain["group"] == "12"
    assert plain["wall_time_s"] == result.wall_time_s > 0
    assert plain["worker_time_s"] <= plain["wall_time_s"]
    assert (plain["backend"], plain["workers"], plain["driver"], plain["window"]) == ("serial", 1, "file", "cycle02")
    assert (plain["total_granules"], plain["total_pairs"]) == (3, catalog.pairs)
    assert plain["complete"] is result.complete is True
    assert balanced(result)


def test_the_summary_beside_the_parts_is_the_result(catalog: Catalog) -> None:
    plain = do(catalog).to_dict()
    assert json.loads(Path("map.zarr.run/summary.json").read_text()) == json.loads(json.dumps(plain))
    assert plain["parts_path"] == "map.zarr.run/parts"
    parts = [result["part"] for result in plain["results"]]
    assert len(set(parts)) == 5
    assert all(Path(part).is_file() for part in parts)
    assert sorted(files("map.zarr.run/parts")) == sorted(
        str(Path(part).relative_to("map.zarr.run/parts")) for part in parts
    )


def test_the_summary_as_text_has_the_counts(catalog: Catalog, granules: list[Path]) -> None:
    assert "5: 5 complete (5 with data)" in summary(do(catalog).to_dict())
    granules[2].unlink()
    text = summary(do(catalog, overwrite=True).to_dict())
    assert "5: 2 complete, 1 partial, 2 failed (3 with data)" in text
    assert "3: 2 used, 1 failed" in text
    assert "3 x missing" in text
    assert granules[2].stem in text


def test_watch_is_called_for_each_cell(catalog: Catalog) -> None:
    seen: list[tuple[int, str]] = []
    result = do(catalog, watch=lambda index, outcome: seen.append((index, outcome.value.id)))
    assert seen == list(enumerate(report.id for report in result.reports))


def test_localhost_runs(catalog: Catalog) -> None:
    """The backend may be given by its other name; the result has its own."""
    result = do(catalog, backend="local", max_workers=2)
    assert (result.backend, result.workers) == ("localhost", 2)
    assert result.complete
    assert balanced(result)
    again = do(catalog, "again.zarr")
    assert files("map.zarr") == files("again.zarr")
    assert again.tally == result.tally


# ---- what it does not do


def test_a_dry_run_writes_nothing(catalog: Catalog) -> None:
    before = files()
    plan = maggjob.run(config(), catalog=catalog, store="map.zarr", dry_run=True)
    assert isinstance(plan, Plan)
    plain = plan.to_dict()
    assert (plain["total_cells"], plain["total_granules"], plain["total_pairs"]) == (5, 3, catalog.pairs)
    assert plain["store_path"] == "map.zarr"
    assert plain["granules_per_cell_max"] == 2
    assert "cells         5\n" in plan_text(plan)
    assert files() == before


def test_cells_may_be_chosen(catalog: Catalog) -> None:
    most = do(catalog, max_cells=2)
    assert [len(catalog.cells[cell]) for cell in most.plan.cells] == [2, 2]
    assert balanced(most)
    assert most.tally.segments["outside"] > 0
    name = format_cell(min(catalog.cells), 6)
    one = do(catalog, "one.zarr", morton_cell=name)
    assert [report.cell for report in one.reports] == [name]
    assert balanced(one)
    assert one.to_dict()["total_granules"] == 1


def test_digests_are_of_what_decides_the_result(catalog: Catalog) -> None:
    def digest(**options: Any) -> str:
        return maggjob.plan(**({"config": config(), "catalog": catalog, "store": "map.zarr"} | options)).digest

    assert digest() == digest(store="other.zarr") == digest(driver="file")
    fewer = from_files(["granules/*_085[01]*.h5"], config().recipe())
    other = config()
    other = other.model_copy(update={"data_source": other.data_source.model_copy(update={"quality_filter": None})})
    assert len({digest(), digest(max_cells=2), digest(catalog=fewer), digest(config=other)}) == 4


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"config": "nowhere.yaml"}, ConfigError, "no configuration 'nowhere.yaml'"),
        ({"catalog": "nowhere.json"}, CatalogError, "no catalog nowhere.json"),
        ({"catalog": None}, CatalogError, "maggjob catalog"),
        ({"catalog": {"metadata": {}}}, CatalogError, "not a catalog|format"),
        ({"backend": "cloud"}, InputError, "'cloud' is unknown"),
        ({"driver": "s3"}, CatalogError, "driver s3"),
        ({"driver": "gopher"}, InputError, "'gopher' is unknown"),
        ({"max_cells": 0}, InputError, "max_cells is 0"),
        ({"max_workers": 0}, InputError, "max_workers is 0"),
        ({"morton_cell": "1111111"}, CatalogError, "not among the catalog's 5"),
        ({"morton_cell": "north"}, InputError, "'north'"),
        ({"store": "granules"}, ExistsError, "granules is not a result of maggjob"),
        ({"store": "gs://bucket/map.zarr"}, InputError, "gs://"),
        ({"store": "file/map.zarr"}, StoreError, "file/map.zarr"),
        ({"backend": "lambda"}, InputError, r"store map\.zarr: workers on Lambda cannot reach"),
        ({"backend": "local", "lithops_config": "nowhere.yaml"}, InputError, r"nowhere\.yaml"),
        ({"store": None, "config": config()}, InputError, "no store"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    catalog: Catalog, options: dict[str, Any], error: type[MaggjobError], said: str
) -> None:
    Path("file").write_text("no folder")
    before = files()
    folders = sorted(p for p in Path().rglob("*") if p.is_dir())
    with pytest.raises(error, match=said):
        maggjob.run(
            **({"config": "atl06.yaml", "catalog": catalog, "store": "map.zarr", "backend": "serial"} | options)
        )
    assert files() == before
    assert sorted(p for p in Path().rglob("*") if p.is_dir()) == folders


def test_a_store_that_is_there_is_kept(catalog: Catalog) -> None:
    do(catalog, max_cells=1)
    before = files()
    with pytest.raises(ExistsError, match="--overwrite"):
        do(catalog)
    assert files() == before
    assert do(catalog, overwrite=True).tally.cells["planned"] == 5
    assert observations() > 0


def test_overwriting_what_is_no_store_of_ours_is_refused(catalog: Catalog) -> None:
    before = files()
    for store in ("granules", "."):
        with pytest.raises(InputError):
            do(catalog, store, overwrite=True)
        assert files() == before


def test_the_store_is_named_after_the_configuration(catalog: Catalog) -> None:
    assert default_store("folder/mine.yaml") == default_store(Path("mine.yaml")) == "mine.zarr"
    catalog.write("catalog.json")
    shutil.copy(builtin_configs()["atl06.yaml"], "mine.yaml")
    result = maggjob.run("mine.yaml", backend="serial")
    assert isinstance(result, RunResult)
    assert result.store_path == "mine.zarr"
    assert balanced(result)


def test_the_configuration_may_name_catalog_and_store(catalog: Catalog) -> None:
    catalog.write("listed.json")
    named = config(catalog="listed.json")
    named = named.model_copy(update={"output": named.output.model_copy(update={"store": "named.zarr"})})
    result = maggjob.run(named, backend="serial")
    assert isinstance(result, RunResult)
    assert result.store_path == "named.zarr"
    assert observations("named.zarr") == result.tally.observations


# ---- what goes wrong on the way


def test_a_granule_that_is_cut_after_cataloguing_is_in_the_ledger(catalog: Catalog, granules: list[Path]) -> None:
    granules[2].write_bytes(granules[2].read_bytes()[: granules[2].stat().st_size // 2])
    result = do(catalog)
    assert result.tally.cells == {"planned": 5, "complete": 2, "empty": 0, "partial": 1, "failed": 2}
    assert result.tally.granules == {"used": 2, "no_overlap": 0, "failed": 1}
    assert {reason: error["count"] for reason, error in result.tally.errors.items()} == {"truncated": 3}
    assert not result.complete
    assert result.to_dict()["cells_error"] == 3
    assert balanced(result)


def test_where_every_granule_is_gone_nothing_is_published(catalog: Catalog, granules: list[Path]) -> None:
    for path in granules:
        path.unlink()
    result = do(catalog)
    assert result.tally.cells["failed"] == 5
    assert result.tally.granules == {"used": 0, "no_overlap": 0, "failed": 3}
    assert result.tally.errors["missing"]["count"] == catalog.pairs
    assert not result.published
    assert not Path("map.zarr").exists()
    assert sum(result.tally.segments.values()) == 0


def test_a_part_that_cannot_be_written_fails_its_cell_alone(catalog: Catalog, granules: list[Path]) -> None:
    """All of its granules are used in other cells: the segments here are unread, not outside."""
    whole = {report.cell: report for report in do(catalog, "whole.zarr").reports}
    (cell,) = (c for c, granules_ in catalog.cells.items() if granules_ == (0, 2))
    name = format_cell(cell, 6)
    Path(f"map.zarr.run/parts/cycle02/{name}.npz/in the way").mkdir(parents=True)
    result = do(catalog)
    failed = {report.cell: report for report in result.reports if report.state == "failed"}
    assert list(failed) == [name]
    assert failed[name].reason == "store"
    assert [(g.id, g.state, g.reason) for g in failed[name].granules] == [
        (granules[0].stem, "failed", "store"),
        (granules[2].stem, "failed", "store"),
    ]
    assert result.tally.cells == {"planned": 5, "complete": 4, "empty": 0, "partial": 0, "failed": 1}
    assert result.tally.granules == {"used": 1, "no_overlap": 0, "failed": 2}
    assert result.tally.segments["unread"] == sum(whole[name].segments.values()) > 0
    assert result.tally.segments["outside"] == 0
    assert result.tally.errors["store"]["count"] == 1
    assert balanced(result)


def test_cells_that_did_not_end_are_failed_with_all_their_granules(catalog: Catalog) -> None:
    result = do(catalog, deadline=0)
    assert result.tally.cells["failed"] == 5
    assert result.tally.granules == {"used": 0, "no_overlap": 0, "failed": 3}
    assert result.tally.errors["deadline"]["count"] == 5
    assert not result.published
    assert not Path("map.zarr").exists()
    assert sum(result.tally.segments.values()) == 0


@pytest.mark.parametrize("reason", ["worker", "deadline"])
def test_a_call_without_an_answer_is_a_failed_cell(catalog: Catalog, reason: str) -> None:
    plan = maggjob.plan(config(), catalog=catalog, store="map.zarr")
    task = maggjob.tasks(config(), catalog=catalog, store="map.zarr")[0]
    report = report_of(task, Outcome(reason=reason, message="gone"))
    assert (report.state, report.reason, report.message) == ("failed", reason, "gone")
    others = [
        report_of(t, Outcome(value=maggjob.map_cell(t)))
        for t in maggjob.tasks(config(), catalog=catalog, store="map.zarr")[1:]
    ]
    done = maggjob.assemble_run(plan, maggjob.tasks(config(), catalog=catalog, store="map.zarr"), [report, *others])
    assert done.tally.cells["failed"] == 1
    assert done.tally.errors[reason]["count"] == 1
    assert done.tally.granules["failed"] == len(plan.granules(plan.cells[0]))
    assert balanced(done)


@pytest.mark.dear("whole runs")
def test_a_run_again_after_a_failure_is_as_if_it_had_not_failed(catalog: Catalog, granules: list[Path]) -> None:
    do(catalog, "whole.zarr")
    content = granules[2].read_bytes()
    granules[2].write_bytes(content[:-1])
    assert not do(catalog).complete
    granules[2].write_bytes(content)
    assert do(catalog, overwrite=True).complete
    assert files("map.zarr") == files("whole.zarr")


@pytest.mark.dear("whole runs")
def test_parts_of_another_run_are_not_mixed_in(catalog: Catalog, granules: list[Path]) -> None:
    do(catalog)
    fewer = from_files(["granules/*_085[12]*.h5"], config().recipe())
    result = do(fewer, overwrite=True)
    assert balanced(result)
    assert files("map.zarr") == files(do(fewer, "fresh.zarr").store_path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda tasks, reports: ([replace(tasks[0], run="other"), *tasks[1:]], reports),
        lambda tasks, reports: (tasks[1:], reports[1:]),
    ],
    ids=["another run", "fewer cells"],
)
def test_tasks_of_another_plan_are_refused(catalog: Catalog, edit: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    plan = maggjob.plan(config(), catalog=catalog, store="map.zarr")
    tasks = maggjob.tasks(config(), catalog=catalog, store="map.zarr")
    reports = [maggjob.map_cell(task) for task in tasks]
    with pytest.raises(MaggjobError):
        maggjob.assemble_run(plan, *edit(tasks, reports))
    assert not list(Path().glob("map.zarr/**/zarr.json"))


def test_each_cell_names_all_granules_that_lie_in_it(catalog: Catalog, granules: list[Path]) -> None:
    cells = {path: {format_cell(c, 6) for c in cells_of([path], 6, "authalic")} for path in granules}
    for report in do(catalog).reports:
        assert [g.id for g in report.granules] == [path.stem for path in granules if report.cell in cells[path]]


def test_another_plan_for_the_store_leaves_the_tasks_of_the_first_alone(catalog: Catalog) -> None:
    cells = [catalog_cell(catalog, i) for i in (0, 1)]
    first = maggjob.plan(config(), catalog=catalog, store="map.zarr", morton_cell=cells[0])
    tasks = maggjob.tasks(config(), catalog=catalog, store="map.zarr", morton_cell=cells[0])
    maggjob.tasks(config(), catalog=catalog, store="map.zarr", morton_cell=cells[1])
    result = maggjob.assemble_run(first, tasks, [maggjob.map_cell(task) for task in tasks])
    alone = maggjob.map_cell(maggjob.tasks(config(), catalog=catalog, morton_cell=cells[0])[0])
    assert result.tally.observations == alone.observations > 0


def catalog_cell(catalog: Catalog, position: int) -> str:
    cell = sorted(catalog.cells)[position]
    return f"{catalog.order}/{cell}"


def test_a_start_that_is_refused_leaves_nothing(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd()))  # no .netrc
    content = catalog.to_dict()
    names = [f"{name}.h5" for name in content["granules"]["id"]]
    content["granules"]["urls"] = {"s3": {"base": "s3://nsidc-cumulus-prod-protected/", "rest": names}}
    with pytest.raises(AccessError):
        maggjob.run(config(), catalog=content, store="map.zarr", backend="serial")
    assert not Path("map.zarr").exists()
    assert not Path("map.zarr.run").exists()


@pytest.mark.parametrize("there", [(), ("parts/cycle02/-5121114.npz",)], ids=["nothing", "a part"])
def test_of_a_run_that_cannot_start_nothing_is_left(catalog: Catalog, tmp_path: Path, there: tuple[str, ...]) -> None:
    for name in there:
        (tmp_path / "map.zarr.run" / name).parent.mkdir(parents=True)
        (tmp_path / "map.zarr.run" / name).write_bytes(b"of an earlier run")
    before = sorted(tmp_path.rglob("*"))
    nowhere = {"localhost": {"runtime": str(tmp_path / "no-python")}}
    with pytest.raises(BackendError, match="no-python"):
        do(catalog, backend="localhost", lithops_config=nowhere, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before
