"""Tasks mapped by hand with Lithops, as in a notebook: nothing of ours runs but `map_cell`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lithops
import numpy as np
import pytest

import maggjob
from maggjob.catalog.catalog import Catalog
from maggjob.catalog.local import from_files
from maggjob.pipeline.result import RunResult
from tests.granule_files import beam, write_granule
from tests.oracle import differences, reference

LITHOPS = {
    "lithops": {"backend": "localhost", "storage": "localhost", "data_cleaner": False},
    "localhost": {"version": 1, "runtime": sys.executable, "worker_processes": 2},
}


@pytest.fixture(scope="module")
def granules(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("granules")
    return [
        write_granule(
            folder / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5",
            {
                "gt1l": beam(80, seed=i, south=south, step=1.2e-2),
                "gt3r": beam(80, seed=i + 5, south=south, step=1.2e-2),
            },
        )
        for i, south in enumerate((-74.6, -75.4))
    ]


@pytest.fixture(scope="module")
def catalog(granules: list[Path]) -> Catalog:
    return from_files([str(path) for path in granules], maggjob.load_config("atl06.yaml").recipe())


@pytest.fixture
def executor() -> Iterator[Any]:
    with lithops.FunctionExecutor(config=LITHOPS, log_level=None) as executor:
        yield executor
        executor.clean(clean_cloudobjects=False)


def tree(folder: str | Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


@pytest.mark.dear("two runs, one of them in processes")
def test_with_a_store_reports_are_assembled_to_the_same_bytes(executor: Any, catalog: Catalog, tmp_path: Path) -> None:
    store = str(tmp_path / "hand.zarr")
    tasks = maggjob.tasks("atl06.yaml", catalog=catalog, store=store)
    reports = executor.get_result(executor.map(maggjob.map_cell, tasks))
    assert len(reports) == len(tasks) > 2
    assert [report.id for report in reports] == [task.id for task in tasks]
    assert {report.arrays for report in reports} == {None}
    by_hand = maggjob.assemble_run(maggjob.plan("atl06.yaml", catalog=catalog, store=store), tasks, reports)

    ours = maggjob.run("atl06.yaml", catalog=catalog, store=str(tmp_path / "ours.zarr"), backend="serial")
    assert isinstance(ours, RunResult)
    assert tree(by_hand.store_path) == tree(ours.store_path)
    assert tree(f"{store}.run/parts") == tree(f"{ours.plan.run_path}/parts")
    assert by_hand.tally == ours.tally == maggjob.reduce_tally(reports)
    assert by_hand.complete


@pytest.mark.dear("processes of Lithops")
def test_without_a_store_reports_carry_the_arrays(executor: Any, catalog: Catalog, granules: list[Path]) -> None:
    tasks = maggjob.tasks("atl06.yaml", catalog=catalog)
    reports = executor.get_result(executor.map(maggjob.map_cell, tasks))
    columns = {name: np.concatenate([report.arrays[name] for report in reports]) for name in reports[0].arrays}
    assert differences(columns, columns["cell_ids"], reference(granules, 12, "authalic")) == []
    tally = maggjob.reduce_tally(reports)
    assert tally.cells == {"planned": len(tasks), "complete": len(tasks), "empty": 0, "partial": 0, "failed": 0}
    assert tally.observations == columns["count"].sum() > 0


def test_one_task_made_by_hand_is_mapped(executor: Any, granules: list[Path], catalog: Catalog) -> None:
    cell = next(iter(catalog.cells))
    task = maggjob.task((6, cell), granules=granules)
    report = executor.get_result(executor.call_async(maggjob.map_cell, {"cell": task}))
    here = maggjob.map_cell(task)
    differ = ("seconds", "peak_memory")
    assert {k: v for k, v in report.to_dict().items() if k not in differ} == {
        k: v for k, v in here.to_dict().items() if k not in differ
    }
    assert report.observations > 0


@pytest.mark.dear("processes of Lithops")
def test_what_fails_is_in_the_report_and_not_raised(executor: Any, catalog: Catalog) -> None:
    cells = list(catalog.cells)[:2]
    own = [catalog.granules[catalog.cells[cell][0]].urls["file"] for cell in cells]
    bad = [maggjob.task((6, cell), granules=["nowhere.h5", path]) for cell, path in zip(cells, own, strict=True)]
    reports = executor.get_result(executor.map(maggjob.map_cell, bad))
    assert [report.state for report in reports] == ["partial"] * 2
    tally = maggjob.reduce_tally(reports)
    assert tally.granules == {"used": len(set(own)), "no_overlap": 0, "failed": 1}
    assert tally.errors["missing"]["count"] == 2
