"""Resuming: what is there and valid is never computed twice, and the result is that of an uninterrupted run."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import maggjob
import maggjob.pipeline.map_stage
from maggjob.catalog.catalog import Catalog
from maggjob.errors import ExistsError, StoppedError
from maggjob.jobs.cells import map_call
from maggjob.pipeline.result import RunResult
from maggjob.simulator.scene import simulate
from maggjob.storage.archive import Archive


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with granules and the result of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    simulate(folder / "granules", area=(-108.0, -76.5, -98.0, -73.6), every=100, most=6)
    do(maggjob.make_catalog(folder / "granules"), str(folder / "map.zarr"))
    return folder


@pytest.fixture
def catalog(made: Path) -> Catalog:
    """Return the catalog of the granules."""
    return maggjob.make_catalog(made / "granules")


def do(catalog: Catalog, store: str = "map.zarr", **options: Any) -> RunResult:
    """Run the job."""
    given = {"backend": "serial", "index": False} | options
    result = maggjob.run("atl06.yaml", catalog=catalog, store=store, **given)
    assert isinstance(result, RunResult)
    return result


def tree(store: str | Path) -> dict[str, bytes]:
    """Return the content of every file of a store."""
    return {str(p.relative_to(store)): p.read_bytes() for p in Path(store).rglob("*") if p.is_file()}


def stop_after(cells: int) -> Callable[[int, Any], None]:
    """Return a watcher that stops the run when some cells have ended."""
    seen: list[int] = []

    def watch(index: int, outcome: Any) -> None:
        seen.append(index)
        if len(seen) == cells:
            raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize("index", [False, True])
def test_a_stopped_run_goes_on_where_it_stopped(
    made: Path, catalog: Catalog, index: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = len(catalog.cells)
    with pytest.raises(StoppedError):
        do(catalog, index=index, watch=stop_after(3))
    mapped: list[Any] = []

    def counting(task: Any) -> Any:
        reports = map_call(task)
        mapped.extend(report.id for report in reports)
        return reports

    monkeypatch.setattr(maggjob.pipeline.map_stage, "map_call", counting)
    told: list[int] = []
    result = do(catalog, index=index, watch=lambda i, outcome: told.append(i))
    assert (result.taken, len(mapped), sorted(told)) == (3, number - 3, list(range(number)))
    assert result.complete
    assert tree("map.zarr") == tree(made / "map.zarr")
    assert maggjob.verify_result("map.zarr", deep=True).good
    assert {report.id for report in result.reports if report.attempts == 0}.isdisjoint(mapped)


def test_a_part_that_is_damaged_is_computed_again(made: Path, catalog: Catalog) -> None:
    with pytest.raises(StoppedError):
        do(catalog, watch=stop_after(3))
    first, second, _ = sorted(Path("map.zarr.run/parts").rglob("*.npz"))
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.write_bytes(b"")
    result = do(catalog)
    assert result.taken == 1
    assert tree("map.zarr") == tree(made / "map.zarr")


@pytest.mark.dear("whole runs")
def test_a_part_of_a_granule_that_has_changed_is_computed_again(made: Path, tmp_path: Path, catalog: Catalog) -> None:
    """Size and time are those of before: the inode and the change time tell."""
    import os

    shutil.copytree(made / "granules", tmp_path / "granules")
    moved = maggjob.make_catalog(tmp_path / "granules")
    with pytest.raises(StoppedError):
        do(moved, watch=stop_after(len(moved.cells) - 1))
    path = next(iter((tmp_path / "granules").iterdir()))
    status, content = path.stat(), path.read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (position,) = (i for i, entry in enumerate(moved.granules) if entry.id == path.stem)
    touched = sum(position in granules for granules in moved.cells.values())
    result = do(moved)
    assert touched <= len(moved.cells) - result.taken <= touched + 1
    assert tree("map.zarr") == tree(made / "map.zarr")


def test_another_configuration_is_refused_until_a_new_start(made: Path, catalog: Catalog) -> None:
    with pytest.raises(StoppedError):
        do(catalog, watch=stop_after(3))
    before = tree("map.zarr.run")
    with pytest.raises(ExistsError, match="--restart") as caught:
        do(catalog, max_cells=4)
    for options in ({}, {"max_cells": 4}):
        plan = maggjob.plan("atl06.yaml", catalog=catalog, store="map.zarr", **options)
        assert plan.digest[:12] in str(caught.value)
    assert tree("map.zarr.run") == before
    result = do(catalog, max_cells=4, restart=True)
    assert (result.taken, result.tally.cells["complete"]) == (0, 4)
    assert len(list(Path("map.zarr.run/parts").rglob("*.npz"))) == 4


@pytest.mark.dear("whole runs")
def test_an_incomplete_result_is_completed_without_overwrite(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "granules", tmp_path / "granules")
    moved = maggjob.make_catalog(tmp_path / "granules")
    gone = tmp_path / "granules" / f"{moved.granules[0].id}.h5"
    gone.rename(tmp_path / "aside")
    first = do(moved)
    assert not first.complete
    assert first.published
    (tmp_path / "aside").rename(gone)
    result = maggjob.retry("map.zarr", backend="serial", index=False)
    assert result is not None
    assert result.complete
    assert 0 < result.taken < len(moved.cells)
    assert tree("map.zarr") == tree(made / "map.zarr")
    assert maggjob.retry("map.zarr") is None
    with pytest.raises(ExistsError):
        do(moved)


def test_a_worse_result_does_not_replace_an_incomplete_one(made: Path, tmp_path: Path) -> None:
    """The retry finds neither the parts of the run nor granules that the run had: what lies in the store stays."""
    shutil.copytree(made / "granules", tmp_path / "granules")
    moved = maggjob.make_catalog(tmp_path / "granules")
    gone = [tmp_path / "granules" / f"{granule.id}.h5" for granule in moved.granules[:2]]
    gone[0].rename(tmp_path / "0")
    first = do(moved)
    assert not first.complete
    before = tree("map.zarr")
    gone[1].rename(tmp_path / "1")
    shutil.rmtree("map.zarr.run/parts")
    worse = maggjob.retry("map.zarr", backend="serial", index=False)
    assert worse is not None
    assert worse.tally.cells["complete"] < first.tally.cells["complete"]
    assert not worse.published
    assert tree("map.zarr") == before
    # A result that is no worse replaces it, and a complete one always does.
    for name, complete in (("1", False), ("0", True)):
        (tmp_path / name).rename(gone[int(name)])
        result = maggjob.retry("map.zarr", backend="serial", index=False)
        assert result is not None
        assert (result.complete, result.published) == (complete, True)
    assert tree("map.zarr") == tree(made / "map.zarr")


def test_where_all_failed_nothing_is_published(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "granules", tmp_path / "granules")
    moved = maggjob.make_catalog(tmp_path / "granules")
    (tmp_path / "granules").rename(tmp_path / "elsewhere")
    result = do(moved)
    assert not result.published
    assert result.tally.cells["failed"] == len(moved.cells)
    assert not Path("map.zarr").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "granules")
    assert do(moved).complete
    assert tree("map.zarr") == tree(made / "map.zarr")


@pytest.mark.dear("a whole run")
def test_a_granule_that_changes_during_the_run_is_named(made: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Between the plan and the map, and of the same size: its cells fail, and no number is of two versions."""
    shutil.copytree(made / "granules", tmp_path / "granules")
    moved = maggjob.make_catalog(tmp_path / "granules")
    path = tmp_path / "granules" / f"{moved.granules[0].id}.h5"
    changed = next(iter(moved.cells))

    def replacing(task: Any) -> Any:
        if path.exists() and not (tmp_path / "done").exists():
            path.write_bytes(path.read_bytes())
            (tmp_path / "done").touch()
        return map_call(task)

    monkeypatch.setattr(maggjob.pipeline.map_stage, "map_call", replacing)
    for index in (False, True):
        (tmp_path / "done").unlink(missing_ok=True)
        result = do(moved, f"{index}.zarr", index=index, indexes="indexes")
        reasons = {g.reason for report in result.reports for g in report.granules if g.state == "failed"}
        assert reasons == {"changed"}
        assert set(result.tally.errors) == {"changed"}
        assert result.tally.granules["failed"] == 1
    assert changed in moved.cells


def test_the_archive_is_asked_for_versions_once(made: Path, catalog: Catalog, monkeypatch: Any) -> None:
    from maggjob.pipeline.resume import ask_versions

    plan = maggjob.plan("atl06.yaml", catalog=catalog, store="map.zarr")
    archive = Archive()
    found = ask_versions(plan.used_granules, archive)
    assert found.keys() == {granule.id for granule in plan.used_granules}
    assert archive.requests == len(found)
    lost = [replace(granule, url=f"{granule.url}.gone") for granule in plan.used_granules]
    assert ask_versions(lost, archive) == {}


@pytest.mark.dear("a run on Lithops")
def test_a_cell_whose_worker_was_lost_is_mapped_again(made: Path, catalog: Catalog, monkeypatch: Any) -> None:
    failed: list[Any] = []

    def fails_once(task: Any) -> Any:
        if not failed:
            failed.append(task)
            raise MemoryError
        return map_call(task)

    monkeypatch.setattr(maggjob.pipeline.map_stage, "map_call", fails_once)
    result = do(catalog)
    assert result.complete
    again = [report.earlier for report in result.reports if report.attempts == 2]
    assert len(again) >= 1
    assert set(again) == {("memory",)}
    assert tree("map.zarr") == tree(made / "map.zarr")


@pytest.mark.dear("an outage of a whole run; test_patience has one, too")
def test_an_outage_that_ends_loses_no_cell(made: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """The granule is unreachable in the map, and there again at its end."""
    shutil.copytree(made / "granules", tmp_path / "granules")
    moved = maggjob.make_catalog(tmp_path / "granules")
    from maggjob.errors import NetworkError
    from maggjob.granules import granule as reading

    opened, down = reading.open_granule, {"calls": 0}

    def unreachable(granule: Any, archive: Any, reader: str) -> Any:
        if granule.id == moved.granules[0].id and down["calls"] < len(moved.cells):
            down["calls"] += 1
            raise NetworkError(f"{granule.url}: no answer; try again")
        return opened(granule, archive, reader)

    monkeypatch.setattr(reading, "open_granule", unreachable)
    number = sum(0 in positions for positions in moved.cells.values())
    down["calls"] = len(moved.cells) - number
    result = do(moved)
    assert result.complete
    assert sum(report.attempts == 2 for report in result.reports) == number
    assert tree("map.zarr") == tree(made / "map.zarr")


@pytest.mark.parametrize("missing", ["before the ledger", "before the manifest"])
@pytest.mark.dear("processes that are killed, and runs after them")
def test_a_client_killed_after_publishing_is_finished_by_the_next(
    made: Path, catalog: Catalog, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "table_of" if missing == "before the ledger" else "write_manifest"
    catalog.write("catalog.json")
    child = f"""
import os, maggjob, maggjob.pipeline.result as result
result.{name} = lambda *given: os._exit(9)
maggjob.run("atl06.yaml", catalog="catalog.json", store="map.zarr", backend="serial", index=False)
"""
    assert subprocess.run([sys.executable, "-c", child], check=False).returncode == 9
    assert tree("map.zarr") == tree(made / "map.zarr")

    # Another run may not touch the store, but the same one finishes what is left: the manifest.
    with pytest.raises(ExistsError):
        do(maggjob.make_catalog(made / "granules"), max_cells=1)
    result = do(catalog)
    assert result.taken == len(catalog.cells)
    assert tree("map.zarr") == tree(made / "map.zarr")
    assert maggjob.verify_result("map.zarr", deep=True).good
    with pytest.raises(ExistsError):
        do(catalog)


def test_what_a_watcher_raises_stops_a_run_that_can_be_resumed(made: Path, catalog: Catalog) -> None:
    seen: list[int] = []

    def watch(index: int, outcome: Any) -> None:
        seen.append(index)
        if len(seen) == 2:
            raise StoppedError("the limit of $1 is reached")

    with pytest.raises(StoppedError, match="limit") as caught:
        do(catalog, watch=watch)
    assert caught.value.unfinished  # type: ignore[attr-defined]
    status = maggjob.read_status("map.zarr")
    assert (status.stage, status.parts) == ("stopped", 2)
    assert status.run is not None
    assert status.run.stopped == "StoppedError: the limit of $1 is reached"
    result = do(catalog)
    assert result.taken == 2
    assert tree("map.zarr") == tree(made / "map.zarr")
