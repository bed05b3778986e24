"""Shards written by calls: the same bytes if a call fails; an old result stays until all parts have been checked."""

import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob import Plan
from maggjob.backend.executor import run_tasks
from maggjob.catalog.catalog import Catalog
from maggjob.errors import BackendError, ExistsError, LedgerError, StoreError
from maggjob.jobs.cells import map_cell
from maggjob.jobs.shards import ShardReport, ShardTask, shard_call, shard_calls, write_shard
from maggjob.jobs.wire import WireTask
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellTask
from maggjob.output.assembly import write_shards_locally
from maggjob.planning.tasks import make_tasks
from maggjob.storage.folder import Folder
from tests.granule_files import BEAMS, beam, write_granule
from tests.runs import config, do, files, ledger
from tests.servers import s3_server

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def two_granules(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """Two granules in some cells."""
    folder = tmp_path_factory.mktemp("granules")
    for number in range(2):
        tracks = {g: beam(500, seed=9 * number + i, west=-100.0 + number, step=1.6e-3) for i, g in enumerate(BEAMS[:2])}
        write_granule(folder / f"ATL06_2019022203120{number}_0850{number}211_006_01.h5", tracks)
    return maggjob.make_catalog(str(folder))


@pytest.fixture
def catalog(two_granules: Catalog, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    """Their catalog; each of its cells is a shard."""
    # Workers import functions of this module.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr("maggjob.planning.division.SHARD_ROWS", 4096)
    monkeypatch.setattr("maggjob.planning.division.CHUNK_ROWS", 4096)
    return two_granules


Mapped = tuple[Plan, list[CellTask], list[CellReport]]


@pytest.fixture
def mapped(catalog: Catalog) -> Mapped:
    """A run before it is assembled."""
    return mapped_to(catalog, "map.zarr")


def mapped_to(catalog: Catalog, store: str) -> Mapped:
    plan = maggjob.plan(config(), catalog=catalog, store=store)
    tasks = maggjob.tasks(config(), catalog=catalog, store=store)
    return plan, tasks, [maggjob.map_cell(task) for task in tasks]


def dies_once(task: WireTask) -> ShardReport:
    """A worker that dies with the second shard, the first time that it is asked for it; else in the client."""
    mark = Path(os.environ["DIED"])
    if task.own[0] == 1 and not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return shard_call(task)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(shard_call, marks=pytest.mark.dear("workers that live; in make test all of them but one do")),
        dies_once,
    ],
)
@pytest.mark.dear("a whole run; assembly by calls is in tests/aws, too")
def test_by_calls_they_are_the_same_bytes(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Callable[[WireTask], ShardReport]
) -> None:
    plain = do(catalog, "here.zarr", index=False)
    monkeypatch.setattr("maggjob.pipeline.assembling.SHARDS_HERE", 1)
    monkeypatch.setattr("maggjob.pipeline.assembling.shard_call", function)
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    calls = do(catalog, "calls.zarr", index=False, backend="localhost", max_workers=2)
    assert len(calls.reports) >= 2
    assert ledger(calls) == ledger(plain)
    assert files("calls.zarr") == files("here.zarr")
    if function is dies_once:
        assert int((tmp_path / "died").read_text()) != os.getpid()


def test_a_shard_writes_nothing_but_its_own(mapped: Mapped) -> None:
    """Each call writes one object an array; the group's metadata comes when all are there."""
    seen: list[set[str]] = []

    def one_by_one(shards: list[ShardTask]) -> Iterator[ShardReport]:
        for shard in shards:
            before = set(files(shard.group))
            yield write_shard(shard)
            seen.append(set(files(shard.group)) - before)
            assert not (Path(shard.group) / "zarr.json").exists()

    result = maggjob.assemble_run(*mapped, write=lambda shards: list(one_by_one(list(shards))))
    arrays = {path.parent.name for path in Path("map.zarr/12").glob("*/zarr.json")}
    assert len(arrays) == 11
    assert seen == [{f"{name}/c/{n}" for name in arrays} for n in range(len(mapped[1]))]
    assert result.complete


@pytest.mark.dear("a run on Lithops")
def test_calls_for_several_orders_write_to_their_groups(catalog: Catalog) -> None:
    plain = config().model_dump(mode="json", exclude_none=True)
    plain["output"]["grid"]["child_order"] = [12, 10]
    here = maggjob.run(plain, catalog=catalog, store="here.zarr", backend="serial", index=False)
    assert isinstance(here, maggjob.RunResult)
    plan = maggjob.plan(plain, catalog=catalog, store="map.zarr")
    tasks = make_tasks(plan)

    def by_calls(shards: Sequence[ShardTask]) -> list[ShardReport]:
        return [shard_call(pickle.loads(pickle.dumps(task))) for task in shard_calls(shards, "map.zarr.run")]

    maggjob.assemble_run(plan, tasks, [map_cell(task) for task in tasks], write=by_calls)
    assert files("map.zarr") == files("here.zarr")


def test_what_is_sent_is_small_and_comes_to_the_same(mapped: Mapped) -> None:
    sent: list[WireTask] = []

    def by_calls(shards: Sequence[ShardTask]) -> list[ShardReport]:
        sent.extend(shard_calls(shards, "map.zarr.run"))
        return [shard_call(pickle.loads(pickle.dumps(task))) for task in sent]

    maggjob.assemble_run(*mapped)
    before = files("map.zarr")
    maggjob.assemble_run(*mapped, overwrite=True, write=by_calls)
    assert files("map.zarr") == before
    assert len(sent) == len(mapped[1])
    far = [replace(task, folder="s3://some-bucket-in-oregon/antarctica/cycle22/map.zarr.run") for task in sent]
    assert all(len(pickle.dumps(task)) < 300 for task in far)


@pytest.mark.parametrize(
    "alter",
    [
        lambda done: [replace(done[0], ledgers=("0" * 64,)), *done[1:]],
        lambda done: [replace(done[0], counts={"count": done[0].counts["count"] + 1}), *done[1:]],
        lambda done: [done[1], done[0], *done[2:]],
    ],
    ids=["ledger", "count", "order"],
)
def test_shards_that_disagree_with_the_ledger_are_not_opened(
    mapped: Mapped, alter: Callable[[list[ShardReport]], list[ShardReport]]
) -> None:
    with pytest.raises(LedgerError):
        maggjob.assemble_run(*mapped, write=lambda shards: alter(write_shards_locally(shards)))
    assert not Path("map.zarr").exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b"1", None])
def test_what_is_written_down_and_lost_is_named(mapped: Mapped, content: bytes | None) -> None:
    def spoiled(shards: Sequence[ShardTask]) -> list[ShardReport]:
        tasks = shard_calls(shards, "map.zarr.run")
        path = Path(tasks[0].folder) / tasks[0].shared
        path.unlink() if content is None else path.write_bytes(content)
        return [shard_call(task) for task in tasks]

    with pytest.raises(StoreError, match="shared-"):
        maggjob.assemble_run(*mapped, write=spoiled)
    assert not Path("map.zarr").exists()


@pytest.mark.dear("a whole run into a bucket; locally in make test")
def test_an_old_result_in_a_bucket_stays_until_all_parts_were_seen(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server("maps") as endpoint:
        for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        store = "s3://maps/map.zarr"
        place = Folder(store)

        def objects() -> dict[str, bytes]:
            return {key: place.get(key) for key in place.keys()}  # noqa: SIM118

        run = mapped_to(catalog, store)
        maggjob.assemble_run(*run)
        before = objects()
        assert len(before) > 11
        parts = Folder(str(run[1][1].parts))
        key = f"{run[1][1].id}.npz"
        content = parts.get(key)
        parts.put(key, content[:-30])
        with pytest.raises(StoreError, match=run[1][1].id):
            maggjob.assemble_run(*run, overwrite=True)
        assert objects() == before
        parts.put(key, content)
        place.put("12/left_from_another/c/0", b"old")
        maggjob.assemble_run(*run, overwrite=True)
        assert objects() == before


@pytest.mark.dear("a whole run to a bucket")
def test_what_a_client_left_in_a_bucket_half_written_is_replaced(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server("halves") as endpoint:
        for name, value in {"ENDPOINT_URL": endpoint, "ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        run = mapped_to(catalog, "s3://halves/map.zarr")
        with pytest.raises(LedgerError):
            maggjob.assemble_run(*run, write=lambda shards: list(reversed(write_shards_locally(shards))))
        assert Folder("s3://halves/map.zarr").has("12/h_mean/zarr.json")
        assert maggjob.assemble_run(*run).published
        with pytest.raises(ExistsError):
            maggjob.assemble_run(*run)


@pytest.mark.dear("a run in processes")
def test_a_backend_that_takes_no_more_calls_is_no_loss(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = do(catalog, "here.zarr", index=False)

    def refuses(function: Any, *arguments: Any, **options: Any) -> Any:
        if function is shard_call:
            raise BackendError("Lithops could not start: no login")
        return run_tasks(function, *arguments, **options)

    monkeypatch.setattr("maggjob.pipeline.assembling.SHARDS_HERE", 1)
    monkeypatch.setattr("maggjob.pipeline.session.run_tasks", refuses)
    result = do(catalog, "map.zarr", index=False, backend="localhost", max_workers=2)
    assert files("map.zarr") == files("here.zarr")
    assert ledger(result) == ledger(plain)
    (stage,) = result.stages
    assert (stage.name, stage.failed) == ("assembly", stage.calls)
    assert "no login" in stage.problems[0]


# ---- one of the two is there, whatever happens between


def test_an_interrupt_between_the_renames_leaves_the_old(mapped: Mapped, monkeypatch: pytest.MonkeyPatch) -> None:
    maggjob.assemble_run(*mapped)
    before, rename = files("map.zarr"), Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.name.startswith("new-"):
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        maggjob.assemble_run(*mapped, overwrite=True)
    assert files("map.zarr") == before
    assert not list(Path("map.zarr.run").glob("new*"))


@pytest.mark.dear("a client that is killed")
def test_a_client_killed_between_the_renames_leaves_the_old(catalog: Catalog, mapped: Mapped) -> None:
    maggjob.assemble_run(*mapped)
    before = files("map.zarr")
    Path("map.zarr").rename("map.zarr.run/old")
    with pytest.raises(ExistsError):
        do(catalog, "map.zarr", index=False)
    assert files("map.zarr") == before
    assert do(catalog, "map.zarr", index=False, overwrite=True).complete
    assert not Path("map.zarr.run/old").exists()


@pytest.mark.dear("whole runs")
def test_a_link_and_a_url_are_the_folder_that_they_name(catalog: Catalog, mapped: Mapped, tmp_path: Path) -> None:
    maggjob.assemble_run(*mapped)
    before = files("map.zarr")
    (tmp_path / "elsewhere").mkdir()
    Path("map.zarr").rename(tmp_path / "elsewhere" / "real.zarr")
    Path("map.zarr").symlink_to(tmp_path / "elsewhere" / "real.zarr")
    for _ in range(2):
        maggjob.assemble_run(*mapped, overwrite=True)
        assert Path("map.zarr").is_symlink()
        assert files(tmp_path / "elsewhere" / "real.zarr") == before
    maggjob.assemble_run(*mapped_to(catalog, f"file://{tmp_path}/url.zarr"))
    assert files(tmp_path / "url.zarr") == before
    assert not Path("file:").exists()


def test_a_folder_of_others_is_not_replaced(catalog: Catalog) -> None:
    Path("results").mkdir()
    Path("results/thesis.txt").write_text("years of work")
    run = mapped_to(catalog, "map.zarr")
    elsewhere = (replace(run[0], store_path="results"), *run[1:])
    for overwrite in (False, True):
        with pytest.raises(ExistsError):
            maggjob.tasks(config(), catalog=catalog, store="results", overwrite=overwrite)
        with pytest.raises(ExistsError):
            maggjob.assemble_run(*elsewhere, overwrite=overwrite)
        assert Path("results/thesis.txt").read_text() == "years of work"


def test_reports_without_parts_are_no_result(catalog: Catalog) -> None:
    plain = config().model_dump(mode="json", exclude_none=True)
    plain["aggregation"]["variables"] = {"h_mean": plain["aggregation"]["variables"]["h_mean"]}
    plan = maggjob.plan(plain, catalog=catalog, store="map.zarr")
    tasks = maggjob.tasks(plain, catalog=catalog)
    with pytest.raises(LedgerError, match=r"store='map\.zarr'"):
        maggjob.assemble_run(plan, tasks, [maggjob.map_cell(task) for task in tasks])
    assert not Path("map.zarr").exists()
