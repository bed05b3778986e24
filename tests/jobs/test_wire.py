"""What a call of a run is sent: it says where its recipe and granules are, and comes to the same."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

import maggjob
from maggjob.config.load import builtin_configs
from maggjob.errors import InputError
from maggjob.jobs.cells import map_cells
from maggjob.jobs.granule_index import index_granules
from maggjob.jobs.wire import index_call, map_call, write_recipe, written_batches, written_index_tasks
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellBatch, CellTask
from maggjob.pipeline.index_stage import index_tasks
from maggjob.planning.plan import Plan
from maggjob.planning.tasks import make_tasks
from tests.granule_files import beam, write_granule

RUN = "map.zarr.run"


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    for i, (south, west) in enumerate(((-74.6, -100.0), (-75.2, -101.0))):
        path = tmp_path / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5"
        write_granule(path, {"gt1l": beam(60, seed=i, south=south, west=west, step=1.6e-2)})
    return maggjob.plan("atl06.yaml", catalog=maggjob.make_catalog(tmp_path), store="map.zarr")


def science(report: CellReport) -> CellReport:
    return replace(report, seconds=0, peak_memory=0)


@pytest.mark.parametrize("name", sorted(builtin_configs()))
def test_a_recipe_comes_back(name: str, tmp_path: Path) -> None:
    recipe = maggjob.load_config(name).recipe()
    key = write_recipe(recipe, str(tmp_path))
    again = Recipe.from_json((tmp_path / key).read_bytes())
    assert repr(again) == repr(recipe)  # repr: NaN equals nothing
    assert hash(again) is not None
    assert write_recipe(again, str(tmp_path)) == key


def test_what_is_sent_comes_to_the_same(plan: Plan) -> None:
    tasks = make_tasks(plan)
    assert len(tasks) > 2
    whole = [CellBatch(tuple(tasks[:2])), CellBatch(tuple(tasks[2:]))]
    sent = pickle.loads(pickle.dumps(written_batches(whole, tasks[0].recipe, RUN)))
    for batch, small in zip(whole, sent, strict=True):
        expected = [science(report) for report in map_cells(batch)]
        parts = {path: path.read_bytes() for path in Path(f"{RUN}/parts").rglob("*.npz")}
        assert [science(report) for report in map_call(small)] == expected
        assert all(path.read_bytes() == content for path, content in parts.items())
        assert {report.state for report in expected} == {"complete"}


def test_indexes_of_what_is_sent_are_the_same(plan: Plan) -> None:
    tasks = index_tasks(plan, "a", 1)
    sent = pickle.loads(pickle.dumps(written_index_tasks(tasks, RUN)))
    for task, small in zip(tasks, sent, strict=True):
        assert index_call(small).granules == index_granules(replace(task, indexes="b")).granules
    first, second = ({p.name: p.read_bytes() for p in Path(place).rglob("*.idx")} for place in "ab")
    assert len(first) == 2
    assert first == second


@pytest.mark.parametrize(
    "content", [None, b"{", b"[]", b"{}", b'{"groups": 1}'], ids=["gone", "cut", "list", "empty", "odd"]
)
def test_without_its_recipe_a_call_tells_of_each_of_its_cells(plan: Plan, content: bytes | None) -> None:
    tasks = make_tasks(plan)
    (sent,) = written_batches([CellBatch(tuple(tasks))], tasks[0].recipe, RUN)
    (first, *_) = written_index_tasks(index_tasks(plan, "indexes", 1), RUN)
    recipe = Path(RUN) / sent.recipe
    if content is None:
        recipe.unlink()
    else:
        recipe.write_bytes(content)
    reports = map_call(sent)
    assert [(r.id, r.state, r.reason) for r in reports] == [(task.id, "failed", "store") for task in tasks]
    assert all(sent.recipe in str(report.message) for report in reports)
    assert maggjob.reduce_tally(reports).cells["failed"] == len(tasks)
    indexed = index_call(first)
    assert (indexed.granules, indexed.reason) == ((), "store")


def test_granules_that_are_not_written_down_are_refused(plan: Plan) -> None:
    (task, *_) = make_tasks(replace(plan, store_path=None))
    assert isinstance(task, CellTask)
    with pytest.raises(InputError, match=f"{task.id}: its granules are not written down"):
        written_batches([CellBatch((task,))], task.recipe, RUN)


def test_nothing_to_send(plan: Plan) -> None:
    assert written_batches([], plan.config.recipe(), RUN) == []
    assert written_index_tasks([], RUN) == []
    assert not Path(RUN).exists()


def test_a_call_of_sixteen_cells_is_small(plan: Plan) -> None:
    store = "s3://some-bucket-in-oregon/antarctica/cycle22/map.zarr"
    (task, *_) = make_tasks(plan, "s3://lithops-bucket-in-oregon/maggjob.private/0123456789abcdef.json", "us-west-2")
    sixteen = tuple(replace(task, cell=f"-61341{i}") for i in range(16))
    made = CellBatch(sixteen)
    (sent,) = written_batches([made], task.recipe, RUN)
    frozen = pickle.dumps({"batch": replace(sent, folder=f"{store}.run")})
    assert len(json.dumps(str(frozen))) < 1000  # as Lithops writes it
