"""Rows 12 to 18, 22 to 24 and 27 to 32: what may happen to workers, clients, disks, parts, lists and stores."""

import json
import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import maggjob
from maggjob.errors import ExistsError, InputError, LedgerError, MaggjobError, StoreError
from maggjob.granules.lists import load_granules
from maggjob.model.tasks import GranuleList
from maggjob.pipeline.result import RunResult
from maggjob.planning.tasks import make_tasks
from tests.faults.world import World, judge
from tests.runs import files

DEAR = pytest.mark.dear("whole runs in processes of their own, as in the next test but for one value")
LIMIT = 300.0
"""Seconds after which a test fails whatever the machine does; none takes a tenth of that."""


@pytest.fixture
def catalog(world: World) -> str:
    """Return the path of a catalog."""
    world.catalog.write("catalog.json")
    return "catalog.json"


def run(world: World, store: str = "map.zarr", **options: Any) -> RunResult:
    """Map the granules from their folder."""
    result = maggjob.run(
        "atl06.yaml", catalog=world.catalog, store=store, **{"backend": "serial", "index": False} | options
    )
    assert isinstance(result, RunResult)
    return result


def command(*more: str, store: str = "map.zarr") -> list[str]:
    """Return the command line of a run."""
    run = ["run", "--config", "atl06.yaml", "--catalog", "catalog.json", "--store", store, "--max-workers", "2"]
    return [sys.executable, "-m", "maggjob", *run, *more]


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def workers(folder: Path) -> list[psutil.Process]:
    """Return the processes whose temporary files go below a folder, but for this one."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("TMPDIR", "").startswith(str(folder))
            if mine and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def own_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for temporary files, so that the processes of a test are known by it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.mark.parametrize("index", [pytest.param(False, marks=DEAR), pytest.param(True, marks=DEAR)])
def test_workers_that_are_killed_cost_no_cell(world: World, own_temporary: Path, index: bool) -> None:
    """Two processes of a run are killed, one after the other, as soon as there are any: a call is tried three times."""
    stop, killed = threading.Event(), []

    def kill() -> None:
        while not stop.wait(0.05) and len(killed) < 2:
            for process in reversed(workers(own_temporary)):
                try:
                    if "run_job" in process.cmdline():
                        process.kill()
                        killed.append(process.pid)
                        break
                except psutil.Error:
                    continue

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        result = run(world, backend="localhost", max_workers=2, index=index, indexes="indexes")
    finally:
        stop.set()
        thread.join()
    assert killed
    judge(world, result).check()
    assert result.complete


@pytest.mark.dear("eight calls at once")
def test_the_same_cell_twice_at_once_is_one_part(world: World) -> None:
    plan = maggjob.plan("atl06.yaml", catalog=world.catalog, store="map.zarr", max_cells=1)
    (task,) = make_tasks(plan)
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(maggjob.map_cell, [task] * 8))
    assert len({report.part_digest for report in reports}) == 1
    (part,) = Path("map.zarr.run/parts").rglob("*.npz")
    assert part.stat().st_size == reports[0].part_bytes


@pytest.mark.dear("3 CPU-seconds; its neighbours cover the same lines")
@pytest.mark.parametrize("when", [1, pytest.param(5, marks=DEAR)])
@pytest.mark.usefixtures("catalog", "own_temporary")
def test_a_killed_client_is_resumed_to_the_same_bytes(world: World, when: int) -> None:
    process = subprocess.Popen(command("--no-index"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = Path("map.zarr.run/parts")
    until(lambda: len(list(parts.rglob("*.npz"))) >= when or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait(LIMIT)
    there = {path.name: path.stat().st_ino for path in parts.rglob("*.npz")}
    done = subprocess.run(command("--no-index"), capture_output=True, text=True, check=False, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert files("map.zarr") == world.calm
    again = {path.name: path.stat().st_ino for path in parts.rglob("*.npz")}
    assert there.items() <= again.items()


def mapped(world: World) -> Any:
    """Return a plan, its tasks and their reports, mapped by hand."""
    plan = maggjob.plan("atl06.yaml", catalog=world.catalog, store="map.zarr")
    tasks = make_tasks(plan)
    return plan, tasks, [maggjob.map_cell(task) for task in tasks]


@pytest.mark.dear("flips each kind of bit; other damage is cheaper", keep=("swap", "delete", "cut"))
@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "swap"])
def test_a_damaged_part_is_not_assembled(world: World, damage: str) -> None:
    plan, tasks, reports = mapped(world)
    one, two = (Path(str(report.part)) for report in reports[:2])
    content = bytearray(one.read_bytes())
    content[len(content) // 2] ^= 1
    changes: dict[str, Callable[[], object]] = {
        "flip": lambda: one.write_bytes(content),
        "cut": lambda: one.write_bytes(content[:-10]),
        "delete": one.unlink,
        "swap": lambda: one.write_bytes(two.read_bytes()),
    }
    changes[damage]()
    with pytest.raises((StoreError, LedgerError), match=one.stem):
        maggjob.assemble_run(plan, tasks, reports)
    assert not Path("map.zarr").exists()


@pytest.mark.dear("thousands of flipped bits")
def test_every_kind_of_flipped_bit_in_a_shard_is_named(world: World) -> None:
    run(world)
    shards = sorted(path for path in Path("map.zarr").rglob("*") if path.is_file())
    for number, path in enumerate(shards):
        content = path.read_bytes()
        changed = bytearray(content)
        changed[(7 * number) % len(content)] ^= 1 << number % 8
        path.write_bytes(changed)
        assert not maggjob.verify_result("map.zarr", deep=True).good, path
        path.write_bytes(content)
    assert maggjob.verify_result("map.zarr", deep=True).good


@pytest.mark.parametrize("name", ["h_mean", "cell_ids"])
def test_a_store_without_a_shard_is_refused(world: World, name: str) -> None:
    run(world)
    shard = next(Path(f"map.zarr/12/{name}/c").rglob("*"))
    shard.unlink()
    with pytest.raises(MaggjobError, match=name):
        maggjob.open_result("map.zarr")
    assert not maggjob.verify_result("map.zarr").good


@DEAR
@pytest.mark.parametrize(("size", "code"), [(2_000, 1), (20_000, 3), (200_000, 0)], ids=["at once", "late", "never"])
@pytest.mark.usefixtures("catalog", "own_temporary")
def test_a_disk_that_is_full_stops_a_run_that_can_be_resumed(world: World, size: int, code: int) -> None:
    """No file may become larger than a limit, which a write meets as it meets a full disk."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run(
        command("--no-index", "--backend", "serial"),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
        preexec_fn=limit,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert files("map.zarr") == world.calm
        return
    assert not Path("map.zarr").exists() or not maggjob.verify_result("map.zarr").good
    again = subprocess.run(command("--no-index"), capture_output=True, text=True, check=False, timeout=LIMIT)
    assert again.returncode == 0, again.stderr
    assert files("map.zarr") == world.calm


def listed_twice(content: Any) -> None:
    for column in (*content["granules"].values(),):
        if isinstance(column, list):
            column.append(column[-1])
    content["granules"]["urls"]["file"]["rest"].append(content["granules"]["urls"]["file"]["rest"][-1])


def elsewhere(content: Any) -> None:
    content["granules"]["urls"] = {"s3": {"base": "s3://evil/", "rest": [f"{i}.h5" for i in content["granules"]["id"]]}}


def upwards(content: Any) -> None:
    urls = content["granules"]["urls"]["file"]
    urls["rest"] = ["../" + Path(urls["base"] + rest).name for rest in urls["rest"]]
    urls["base"] = str(Path(urls["base"]).parent) + "/"


def scheme(content: Any) -> None:
    rest = content["granules"]["urls"].pop("file")["rest"]
    content["granules"]["urls"]["https"] = {"base": "gopher://127.0.0.1/", "rest": rest}


def huge(content: Any) -> None:
    content["granules"]["size"][0] = 10**400


def id_upwards(content: Any) -> None:
    content["granules"]["id"][0] = "../../" + content["granules"]["id"][0]


@pytest.mark.parametrize("edit", [listed_twice, elsewhere, upwards, scheme, huge, id_upwards])
def test_a_catalog_that_was_tampered_with_is_refused_before_any_work(world: World, edit: Any) -> None:
    content = json.loads(json.dumps(world.catalog.to_dict()))
    content["metadata"].pop("digest")
    edit(content)
    before = sorted(Path().rglob("*"))
    with pytest.raises(InputError):
        maggjob.run("atl06.yaml", catalog=content, store="map.zarr", backend="serial")
    assert sorted(Path().rglob("*")) == before


def test_another_configuration_or_catalog_does_not_resume(world: World) -> None:
    tasks = make_tasks(maggjob.plan("atl06.yaml", catalog=world.catalog, store="map.zarr"))
    run(world, deadline=0.0)
    other = maggjob.load_config("atl06.yaml").model_dump(mode="json", exclude_unset=True)
    other["aggregation"]["variables"].pop("h_q25")
    few = maggjob.make_catalog([str(path) for path in world.paths[:3]])
    Path("map.zarr.run/summary.json").unlink(missing_ok=True)
    for config, catalog in ((other, world.catalog), ("atl06.yaml", few)):
        with pytest.raises(ExistsError, match=r"digest [0-9a-f]{12}, this run has [0-9a-f]{12}"):
            maggjob.run(config, catalog=catalog, store="map.zarr", backend="serial", index=False)
    result = run(world)
    judge(world, result).check()
    assert len(tasks) == len(result.reports)


@DEAR
@pytest.mark.usefixtures("catalog", "own_temporary")
def test_of_two_runs_into_one_store_one_is_whole_and_the_other_refused(world: World) -> None:
    for number in range(2):
        both = [
            subprocess.Popen(command("--no-index", "--overwrite", "--restart"), stderr=subprocess.PIPE) for _ in "ab"
        ]
        codes = [(process.communicate(timeout=LIMIT), process.returncode)[1] for process in both]
        assert 0 in codes, number
        assert set(codes) <= {0, 1}
        assert files("map.zarr") == world.calm


@DEAR
def test_two_runs_at_once_on_one_machine_are_both_whole(world: World, own_temporary: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = pool.map(lambda name: run(world, name, backend="localhost", max_workers=1), ["one.zarr", "two.zarr"])
        for result in both:
            judge(world, result).check()
            assert result.complete
    assert workers(own_temporary) == []


def test_a_list_that_lost_a_granule_publishes_nothing(world: World) -> None:
    plan = maggjob.plan("atl06.yaml", catalog=world.catalog, store="map.zarr")
    tasks = make_tasks(plan)
    (listed,) = Path("map.zarr.run").glob("granules-*.zlib")
    content = bytearray(listed.read_bytes())
    most = max(tasks, key=lambda task: task.granules.size if isinstance(task.granules, GranuleList) else 0)
    where = most.granules
    assert isinstance(where, GranuleList)
    assert len(load_granules(most)) > 1
    # By a worker's own list, whose digest travels with the task: the cell fails.
    content[where.start + where.size // 2] ^= 1
    listed.write_bytes(content)
    report = maggjob.map_cell(most)
    assert (report.state, report.reason) == ("failed", "store")
    # By a task that names fewer: the reduce sees it.
    fewer = [replace(task, granules=tuple(plan.granules(cell))) for task, cell in zip(tasks, plan.cells, strict=True)]
    short = [replace(task, granules=task.granules[1:]) if task.id == most.id else task for task in fewer]
    reports = [maggjob.map_cell(task) for task in short]
    with pytest.raises(LedgerError, match=most.cell):
        maggjob.assemble_run(plan, short, reports)
    assert not Path("map.zarr").exists()


def test_one_digit_in_what_calls_share_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe that all calls of a stage read is changed after it was written."""
    from maggjob.pipeline import map_stage

    before = map_stage.cell_calls

    def tampered(*given: Any) -> Any:
        calls = before(*given)
        for path in Path("map.zarr.run").glob("shared-*.json"):
            path.write_bytes(re.sub(rb'"value": ?0', b'"value":1', path.read_bytes()))
        return calls

    monkeypatch.setattr(map_stage, "cell_calls", tampered)
    result = run(world)
    assert not result.published
    assert result.tally.cells["failed"] == len(result.reports)
    assert not Path("map.zarr").exists()


@pytest.mark.parametrize("when", ["between index and map", "between two attempts"])
@pytest.mark.dear("several runs per case")
def test_a_granule_that_is_replaced_is_never_mixed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The granule is rewritten in place, with the same size and times: its segments are read again, or not at all."""
    import shutil

    (tmp_path / "own").mkdir()
    paths = tuple(Path(shutil.copy(path, tmp_path / "own")) for path in world.paths)
    other = World(paths)
    made = maggjob.plan("atl06.yaml", catalog=other.catalog, store="map.zarr")
    bad = paths[0]
    status = bad.stat()

    def rewrite() -> None:
        bad.write_bytes(bad.read_bytes())
        os.utime(bad, ns=(status.st_atime_ns, status.st_mtime_ns))

    if when == "between index and map":
        from maggjob.pipeline import cell_map

        before = cell_map.run_map_stage
        monkeypatch.setattr(cell_map, "run_map_stage", lambda *a, **k: (rewrite(), before(*a, **k))[1])
        result = maggjob.execute(made, backend="serial", index=True, indexes="indexes")
        states = {(g.state, g.reason) for r in result.reports for g in r.granules if g.id == bad.stem}
        assert states == {("failed", "changed")}
        return
    first = maggjob.execute(made, backend="serial", index=False)
    taken = {report.cell for report in first.reports if bad.stem not in {g.id for g in report.granules}}
    Path("map.zarr.run/summary.json").unlink()
    rewrite()
    again = maggjob.execute(made, backend="serial", index=False, overwrite=True)
    judge(other, again).check()
    # Parts of cells with the granule are not those of before.
    assert {report.cell for report in again.reports if report.attempts == 0} == taken


CANARY = f"canary-{secrets.token_hex(12)}"


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("itself", marks=DEAR),
        pytest.param(signal.SIGTERM, marks=DEAR),
        pytest.param(signal.SIGKILL, marks=DEAR),
    ],
)
@pytest.mark.usefixtures("catalog")
def test_a_secret_is_nowhere(world: World, own_temporary: Path, end: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token and keys are in the environment; nothing that is written or printed holds them."""
    monkeypatch.setenv("EARTHDATA_TOKEN", CANARY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CANARY)
    out = Path("out.txt")
    with out.open("w") as printed:
        process = subprocess.Popen(command("--debug"), stdout=printed, stderr=subprocess.STDOUT)
        if end == "itself":
            process.wait(LIMIT)
            assert process.returncode == 0
        else:
            until(lambda: list(Path("map.zarr.run/parts").rglob("*.npz")) or process.poll() is not None)
            process.send_signal(end)
            process.wait(LIMIT)
            until(lambda: not workers(own_temporary))
    subprocess.run([sys.executable, "-m", "maggjob", "--version"], check=False, capture_output=True)
    written = [path for path in Path().rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
