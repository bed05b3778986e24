"""Calls of a run: each says where its recipe and granules are, and gives the same result as the whole task."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings, strategies as st

import maggjob
from maggjob.config.load import builtin_configs
from maggjob.errors import InputError, StoreError
from maggjob.jobs.cells import cell_calls, map_call, map_cells
from maggjob.jobs.granule_index import index_call, index_calls, index_granules
from maggjob.jobs.wire import read_shared, wire_tasks
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellBatch, CellTask
from maggjob.pipeline.index_stage import index_tasks
from maggjob.planning.plan import Plan
from maggjob.planning.tasks import make_tasks
from tests.granule_files import beam, write_granule
from tests.packs import packs, stored_indexes
from tests.strategies import few

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
def test_a_recipe_comes_back(name: str) -> None:
    recipe = maggjob.load_config(name).recipe()
    (task,) = wire_tasks({"recipe": recipe.to_dict()}, [[1]], RUN)
    again = Recipe.from_dict(read_shared(task)["recipe"])
    # By repr: NaN equals nothing.
    assert repr(again) == repr(recipe)
    assert hash(again) is not None
    assert wire_tasks({"recipe": again.to_dict()}, [[1]], RUN) == [task]


def test_what_is_sent_comes_to_the_same(plan: Plan) -> None:
    tasks = make_tasks(plan)
    assert len(tasks) > 2
    whole = [CellBatch(tuple(tasks[:2])), CellBatch(tuple(tasks[2:]))]
    sent = pickle.loads(pickle.dumps(cell_calls(whole, RUN)))
    for batch, small in zip(whole, sent, strict=True):
        expected = [science(report) for report in map_cells(batch)]
        parts = {path: path.read_bytes() for path in Path(f"{RUN}/parts").rglob("*.npz")}
        assert [science(report) for report in map_call(small)] == expected
        assert all(path.read_bytes() == content for path, content in parts.items())
        assert {report.state for report in expected} == {"complete"}


def test_indexes_of_what_is_sent_are_the_same(plan: Plan) -> None:
    tasks = index_tasks(plan, "a", 1)
    sent = pickle.loads(pickle.dumps(index_calls(tasks, RUN)))
    for task, small in zip(tasks, sent, strict=True):
        assert index_call(small).granules == index_granules(replace(task, indexes="b")).granules
    first, second = ({p.name: p.read_bytes() for p in packs(place)} for place in "ab")
    assert len(first) == len(tasks)
    assert len(stored_indexes("a")) == 2
    assert first == second


@pytest.mark.parametrize(
    "content", [None, b"{", b"[]", b"{}", b'{"recipe": 1}'], ids=["gone", "cut", "list", "empty", "odd"]
)
def test_without_what_is_shared_a_call_tells_of_each_of_its_cells(plan: Plan, content: bytes | None) -> None:
    tasks = make_tasks(plan)
    (sent,) = cell_calls([CellBatch(tuple(tasks))], RUN)
    (first, *_) = index_calls(index_tasks(plan, "indexes", 1), RUN)
    for key in (sent.shared, first.shared):
        if content is None:
            (Path(RUN) / key).unlink()
        else:
            (Path(RUN) / key).write_bytes(content)
    reports = map_call(sent)
    assert [(r.id, r.state, r.reason) for r in reports] == [(task.id, "failed", "store") for task in tasks]
    assert all(sent.shared in str(report.message) for report in reports)
    assert maggjob.reduce_tally(reports).cells["failed"] == len(tasks)
    indexed = index_call(first)
    assert (indexed.granules, indexed.reason) == ((), "store")


@settings(few, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_no_changed_byte_of_what_is_shared_is_believed(tmp_path: Path, place: int, value: int) -> None:
    recipe = maggjob.load_config("atl06.yaml").recipe()
    (task,) = wire_tasks({"recipe": recipe.to_dict()}, [[]], str(tmp_path))
    path = tmp_path / task.shared
    content = bytearray(path.read_bytes())
    place %= len(content)
    assume(content[place] != value)
    content[place] = value
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="damaged"):
        read_shared(task)


def test_granules_that_are_not_written_down_are_refused(plan: Plan) -> None:
    (task, *_) = make_tasks(replace(plan, store_path=None))
    assert isinstance(task, CellTask)
    with pytest.raises(InputError, match=f"{task.id}: its list of granules is not written to a store"):
        cell_calls([CellBatch((task,))], RUN)


def test_nothing_to_send() -> None:
    assert cell_calls([], RUN) == []
    assert index_calls([], RUN) == []
    assert not Path(RUN).exists()


def test_a_call_of_sixteen_cells_is_small(plan: Plan) -> None:
    store = "s3://some-bucket-in-oregon/antarctica/cycle22/map.zarr"
    (task, *_) = make_tasks(plan, "s3://lithops-bucket-in-oregon/maggjob.private/0123456789abcdef.json", "us-west-2")
    sixteen = tuple(replace(task, cell=f"-61341{i}") for i in range(16))
    (sent,) = cell_calls([CellBatch(sixteen)], RUN)
    frozen = pickle.dumps({"batch": replace(sent, folder=f"{store}.run")})
    # As Lithops writes it.
    assert len(json.dumps(str(frozen))) < 900
