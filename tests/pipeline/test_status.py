"""The status of a run, read from outside: while it runs, when it has ended, when it died, and where there is none."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import maggjob
from maggjob.catalog.catalog import Catalog
from maggjob.cli import commands as cli
from maggjob.cli.results import INCOMPLETE
from maggjob.errors import InputError, MaggjobError, StoppedError, StoreError
from maggjob.output import zarr_store
from maggjob.pipeline.result import RunResult, clean, read_summary
from maggjob.pipeline.status import QUIET, RunNote, Status, read_status, status_of
from maggjob.show.text import status_text
from maggjob.storage.folder import Folder
from maggjob.storage.run_folder import KEPT, RUN
from tests.granule_files import beam, write_granule
from tests.servers import s3_server

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
Told = Callable[..., tuple[int, str, str]]


@pytest.fixture
def granules(tmp_path: Path) -> list[Path]:
    """Three granules in five cells; the third shares one of them and has two alone."""
    (tmp_path / "granules").mkdir()
    return [
        write_granule(
            tmp_path / "granules" / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5",
            {"gt1l": beam(60, seed=i, south=south, west=west, step=1.6e-2)},
        )
        for i, (south, west) in enumerate(((-74.6, -100.0), (-75.2, -101.0), (-75.0, -99.0)))
    ]


@pytest.fixture
def catalog(granules: list[Path]) -> Catalog:
    return maggjob.make_catalog("granules")


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """Exit code, standard output and standard error of ``maggjob status``."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["maggjob", "status", *arguments])
        capsys.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            return int(str(end.code or 0)), *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


def do(catalog: Catalog, store: str = "map.zarr", **options: Any) -> RunResult:
    result = maggjob.run("atl06.yaml", catalog=catalog, store=store, **({"backend": "serial"} | options))
    assert isinstance(result, RunResult)
    return result


def aged(seconds: float, folder: str = "map.zarr.run") -> None:
    """Make all files of a run older."""
    for path in Path(folder).rglob("*"):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


# ---- while it goes on


def test_each_cell_that_ends_is_a_part_more(catalog: Catalog) -> None:
    seen: list[Status] = []
    result = do(catalog, watch=lambda index, outcome: seen.append(read_status("map.zarr")))
    assert [status.parts for status in seen] == [1, 2, 3, 4, 5]
    assert {(status.stage, status.quiet, status.result) for status in seen} == {("map", False, None)}
    assert [status.left_s is None for status in seen] == [True, False, False, False, False]
    assert seen[-1].left_s == 0
    assert all(status.parts_per_minute is not None and status.parts_per_minute > 0 for status in seen)
    assert all(status.silent_s is not None and 0 <= status.silent_s < 60 for status in seen)
    run = seen[0].run
    assert run is not None
    assert all(status.run == run for status in seen)
    assert (run.backend, run.workers, run.window, run.started) == ("serial", 1, "cycle02", result.started)
    assert run.totals == {"cells": 5, "granules": 3, "pairs": catalog.pairs}
    assert dict(run.digests) == {"run": result.plan.digest, "configuration": result.plan.config.digest}


@pytest.mark.dear("a run on Lithops")
def test_a_run_on_lithops_is_told_while_its_calls_run(catalog: Catalog) -> None:
    seen: list[tuple[int, Status]] = []

    def watch(index: int, outcome: Any) -> None:
        seen.append((len(seen) + 1, read_status("map.zarr")))

    do(catalog, backend="localhost", max_workers=2, watch=watch)
    assert len(seen) == 5
    for ended, status in seen:
        assert status.stage == "map"
        assert ended <= status.parts <= 5
        assert status.run is not None
        assert (status.run.backend, status.run.workers) == ("localhost", 2)


def test_each_stage_is_told_and_written_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, written = [], []
    put = Folder.put

    def looked(function: Callable[..., Any]) -> Callable[..., Any]:
        def looks(*arguments: Any, **options: Any) -> Any:
            seen.append(read_status("map.zarr"))
            return function(*arguments, **options)

        return looks

    def noted(place: Folder, key: str, content: bytes) -> None:
        written.append(key)
        put(place, key, content)

    monkeypatch.setattr("maggjob.pipeline.index_stage.index_call", looked(maggjob.pipeline.index_stage.index_call))
    monkeypatch.setattr("maggjob.pipeline.map_stage.map_call", looked(maggjob.pipeline.map_stage.map_call))
    monkeypatch.setattr(zarr_store, "write_store", looked(zarr_store.write_store))
    monkeypatch.setattr(Folder, "put", noted)
    do(catalog, index=True)
    assert [status.stage for status in seen] == ["index", *["map"] * 5, "assembly"]
    assert [status.parts for status in seen] == [0, 0, 1, 2, 3, 4, 5]
    assert "this stage" not in "".join(status_text(status) for status in seen)
    assert written.count(RUN) == 3
    assert len(written) > 10


def test_parts_of_an_earlier_run_are_not_counted(catalog: Catalog) -> None:
    first = do(catalog)
    seen: list[Status] = []
    do(catalog, overwrite=True, watch=lambda index, outcome: seen.append(read_status("map.zarr")))
    assert [status.parts for status in seen] == [1, 2, 3, 4, 5]
    assert {(status.stage, status.result) for status in seen} == {("map", None)}
    assert all(status.run is not None and status.run.started > first.started for status in seen)


# ---- when it has ended


def test_a_complete_run_is_done_with_the_result_of_its_summary(catalog: Catalog, told: Told) -> None:
    result = do(catalog)
    status = maggjob.read_status("map.zarr")
    assert (status.stage, status.parts, status.quiet, status.left_s, status.dollars) == ("done", 5, False, None, None)
    assert status.result == {key: value for key, value in read_summary("map.zarr").items() if key != "results"}
    code, out, problem = told("map.zarr")
    assert (code, problem) == (0, "")
    for said in (
        "stage         done",
        "parts         5 of 5 cells\n",
        "5: 5 complete",
        f"{result.tally.observations:,}",
    ):
        assert said in out
    code, out, _ = told("map.zarr", "--json")
    assert code == 0
    plain = json.loads(out)
    assert (plain["stage"], plain["run"]["digests"]["run"]) == ("done", result.plan.digest)
    assert status.run is not None
    assert datetime.fromisoformat(plain["run"]["mapped"]) == status.run.mapped
    assert plain["result"]["segments"] == dict(result.tally.segments)


def test_a_run_that_failed_partly_ends_as_run_does(catalog: Catalog, granules: list[Path], told: Told) -> None:
    granules[2].write_bytes(granules[2].read_bytes()[:-1])
    do(catalog)
    status = read_status("map.zarr")
    assert (status.stage, status.parts) == ("done", 3)  # cells that failed leave no part
    assert status.result is not None
    assert status.result["cells"] == {"planned": 5, "complete": 2, "empty": 0, "partial": 1, "failed": 2}
    assert status.result["errors"]["truncated"]["count"] == 3
    code, out, problem = told("map.zarr")
    assert code == INCOMPLETE
    assert "3 x truncated" in out
    assert "not complete" in problem
    code, out, _ = told("map.zarr", "--json")
    assert code == INCOMPLETE
    assert json.loads(out)["result"]["complete"] is False


def test_a_run_that_is_cleaned_has_its_summary_left(catalog: Catalog, told: Told) -> None:
    result = do(catalog)
    clean("map.zarr")
    assert sorted(path.name for path in Path("map.zarr.run").rglob("*") if path.is_file()) == sorted(KEPT)
    status = read_status("map.zarr")
    assert (status.stage, status.parts) == ("done", 0)
    assert status.run is not None
    assert (status.run.totals["cells"], status.run.totals["granules"]) == (5, 3)
    assert status.run.digests["run"] == result.plan.digest
    assert told("map.zarr")[0] == 0


def test_a_run_of_an_earlier_maggjob_is_told_as_far_as_can_be(catalog: Catalog, told: Told) -> None:
    maggjob.tasks("atl06.yaml", catalog=catalog, store="map.zarr")
    before = read_status("map.zarr")
    assert (before.stage, before.run, before.parts, before.silent_s) == ("not started", None, 0, None)
    do(catalog)
    Path("map.zarr.run", RUN).unlink()
    ended = read_status("map.zarr")
    assert (ended.stage, ended.parts) == ("done", 5)
    Path("map.zarr.run/summary.json").unlink()
    aged(2 * QUIET)
    status = read_status("map.zarr")
    assert (status.stage, status.run, status.parts, status.quiet) == ("unknown", None, 5, False)
    code, out, _ = told("map.zarr")
    assert code == 0
    assert "parts         5; the newest came 20 min ago" in out
    assert "no run.json" in out


# ---- when it died, or was stopped


def killed_in_the_map(store: str = "map.zarr") -> Status:
    """Kill a client, which is another process, when two parts are there: how far it is then."""
    code = (
        "import maggjob, maggjob.pipeline.map_stage\n"
        "from tests import calls\n"
        "maggjob.pipeline.map_stage.map_call = calls.maps_two_and_waits\n"
        f"maggjob.run('atl06.yaml', catalog='catalog.json', store={store!r}, backend='serial')\n"
    )
    client = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)})
    end = time.monotonic() + 600
    try:
        while time.monotonic() < end and client.poll() is None:
            try:
                if read_status(store).parts >= 2:
                    break
            except InputError:  # it has not begun
                pass
            time.sleep(0.05)
    finally:
        client.kill()
    assert client.wait(600) == -signal.SIGKILL
    return read_status(store)


@pytest.mark.dear("starts a client and kills it")
def test_a_client_that_was_killed_is_not_said_to_run(catalog: Catalog, told: Told) -> None:
    catalog.write("catalog.json")
    status = killed_in_the_map()
    assert (status.stage, status.quiet, status.result) == ("map", False, None)
    assert 2 <= status.parts < 5
    aged(14 * 60)
    code, out, _ = told("map.zarr")
    assert code == 0
    assert "no part for 14 min: the client may have stopped" in out
    assert "run the same command again" in out
    assert " left" not in out
    quiet = read_status("map.zarr")
    assert (quiet.stage, quiet.parts, quiet.quiet, quiet.left_s) == ("map", status.parts, True, None)
    seen: list[int] = []
    result = do(catalog, watch=lambda index, outcome: seen.append(read_status("map.zarr").parts))
    assert result.taken == status.parts
    assert seen == [*[status.parts] * status.parts, *range(status.parts + 1, 6)]
    assert read_status("map.zarr").stage == "done"


def interrupt(index: int, outcome: Any) -> None:
    if index == 1:
        raise KeyboardInterrupt


def test_a_run_that_was_interrupted_is_stopped(catalog: Catalog, told: Told) -> None:
    with pytest.raises(StoppedError):
        do(catalog, watch=interrupt)
    status = read_status("map.zarr")
    assert (status.stage, status.parts, status.quiet) == ("stopped", 2, False)
    assert status.run is not None
    assert status.run.stage == "map"
    code, out, _ = told("map.zarr")
    assert code == cli.STOPPED
    assert "in the stage map, by StoppedError: stopped from the keyboard" in out
    do(catalog)
    assert read_status("map.zarr").stage == "done"
    assert told("map.zarr")[0] == 0


def test_an_error_of_the_assembly_is_told(catalog: Catalog, told: Told) -> None:
    do(catalog)

    def spoil(index: int, outcome: Any) -> None:
        path = Path(outcome.value.part)
        path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(StoreError, match="damaged"):
        do(catalog, overwrite=True, watch=spoil)
    status = read_status("map.zarr")
    assert (status.stage, status.parts, status.result) == ("stopped", 5, None)  # the summary is that of the first
    assert status.run is not None
    assert status.run.stage == "assembly"
    assert "StoreError: part" in str(status.run.stopped)
    assert told("map.zarr")[0] == cli.STOPPED


def test_what_is_refused_leaves_the_status_as_it_was(catalog: Catalog) -> None:
    do(catalog)
    before = {path: path.read_bytes() for path in Path("map.zarr.run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="already exists"):
        do(catalog)
    assert {path: path.read_bytes() for path in Path("map.zarr.run").rglob("*") if path.is_file()} == before


def in_the_way(path: Path) -> None:
    """Let nothing be written at a path."""
    path.unlink()
    (path / "in the way").mkdir(parents=True)


def test_a_run_that_fails_before_its_first_stage_leaves_the_status_as_it_was(catalog: Catalog) -> None:
    do(catalog, index=False)
    (lists,) = Path("map.zarr.run").glob("granules-*.zlib")
    in_the_way(lists)
    with pytest.raises(StoreError, match=lists.name):
        do(catalog, index=False, overwrite=True)
    assert read_status("map.zarr").stage == "done"


def test_what_stopped_a_run_is_raised_even_if_it_cannot_be_written_down(catalog: Catalog) -> None:
    def watch(index: int, outcome: Any) -> None:
        in_the_way(Path("map.zarr.run", RUN))
        raise KeyboardInterrupt

    with pytest.raises(StoppedError):
        do(catalog, watch=watch)
    assert read_status("map.zarr").stage == "unknown"


# ---- what is no run


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("nothing.zarr", "no run of maggjob at nothing.zarr.run"),
        ("empty.zarr", "no run of maggjob at empty.zarr.run"),
        ("other.zarr", "no run of maggjob at other.zarr.run"),
        ("afile.zarr", "afile.zarr.run"),
        ("https://example.org/map.zarr", "results go to a path or to s3://"),
        ("", "store is empty"),
    ],
)
def test_where_there_is_no_run_that_is_an_error(tmp_path: Path, told: Told, store: str, said: str) -> None:
    (tmp_path / "empty.zarr.run").mkdir()
    (tmp_path / "other.zarr.run").mkdir()
    (tmp_path / "other.zarr.run" / "notes.txt").write_text("mine")
    (tmp_path / "afile.zarr.run").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for arguments in ([store], [store, "--json"]):
        code, out, problem = told(*arguments)
        assert (code, out) == (cli.BAD_INPUT, "")
        assert problem.startswith("error: ")
        assert said in problem
        assert len(problem.splitlines()) == 1
        assert "fault of maggjob" not in problem
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (RUN, b""),
        (RUN, b"{"),
        (RUN, b"[]"),
        (RUN, b"{}"),
        (RUN, b"\xff\xfe"),
        (RUN, {"totals": "many"}),
        (RUN, {"window": None}),
        (RUN, {"mapped": "yesterday"}),
        (RUN, {"mapped": "2026-05-01T12:00:00"}),
        ("summary.json", b"{"),
        ("summary.json", b"[]"),
        ("summary.json", b"{}"),
    ],
    ids=str,
)
def test_a_damaged_file_is_named(catalog: Catalog, told: Told, name: str, content: bytes | dict[str, Any]) -> None:
    do(catalog)
    path = Path("map.zarr.run", name)
    if isinstance(content, dict):
        content = json.dumps(json.loads(path.read_text()) | content).encode()
    path.write_bytes(content)
    code, out, problem = told("map.zarr")
    assert (code, out) == (cli.BAD_INPUT, "")
    assert problem.startswith(f"error: map.zarr.run/{name} is ")
    assert len(problem.splitlines()) == 1
    path.unlink()
    assert told("map.zarr")[0] == 0


# ---- on S3


@pytest.mark.dear("a run into a bucket, and one that is killed")
def test_a_run_on_s3_is_told_as_one_here(catalog: Catalog, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server("results") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        store = "s3://results/some/map.zarr"
        code, _, problem = told(store)
        assert code == cli.BAD_INPUT
        assert f"no run of maggjob at {store}.run" in problem
        with pytest.raises(MaggjobError, match="s3://nobody"):
            read_status("s3://nobody/map.zarr")
        seen: list[Status] = []
        result = do(catalog, store, watch=lambda index, outcome: seen.append(read_status(store)))
        assert [status.parts for status in seen] == [1, 2, 3, 4, 5]
        assert {status.stage for status in seen} == {"map"}
        status = read_status(store, region="us-west-2")
        assert (status.stage, status.parts, status.store) == ("done", 5, store)
        assert status.result is not None
        assert status.result["total_obs"] == result.tally.observations > 0
        code, out, _ = told(store, "--json", "--region", "us-west-2")
        assert code == 0
        assert json.loads(out)["run"]["backend"] == "serial"
        with pytest.raises(StoppedError):
            do(catalog, "s3://results/other.zarr", watch=interrupt)
        assert read_status("s3://results/other.zarr").stage == "stopped"
        catalog.write("catalog.json")
        killed = killed_in_the_map("s3://results/killed.zarr")
        assert (killed.stage, killed.result) == ("map", None)
        assert 2 <= killed.parts < 5
        clean(store)
        assert Folder(f"{store}.run").keys() == sorted(KEPT)
        assert told(store)[0] == 0


# ---- numbers in, numbers out

QUARTERS = [f"-6134114{i}" for i in (1, 2, 3, 4)]
NOTE = RunNote(
    "2026-05-01T11:00:00.000+00:00",
    "map",
    "localhost",
    2,
    "cycle22",
    {"cells": 100, "granules": 60, "pairs": 300},
    {"run": "digest"},
    {
        "cycle22/-6134114": [f"cycle22/{name}" for name in QUARTERS],
        "cycle22/6134114": ["cycle22/" + name.removeprefix("-") for name in QUARTERS],
    },
)


def at(note: RunNote | None, *parts: float, begun: float = -600, **others: datetime) -> Status:
    """Status of a run whose stage began and whose parts came so many seconds from now."""
    times = {f"parts/cycle22/-{1000000 + i}.npz": NOW + timedelta(seconds=second) for i, second in enumerate(parts)}
    stage = {} if note is None else {RUN: NOW + timedelta(seconds=begun)}
    return status_of("map.zarr", note, times | stage | others, None, NOW)


def test_pace_and_time_left_are_those_of_the_parts() -> None:
    status = at(NOTE, *range(-590, -90, 10))
    assert status.parts == 50
    assert status.parts_per_minute == pytest.approx(60 * 50 / 500)
    assert status.left_s == pytest.approx(50 / (50 / 500))
    assert status.silent_s == 100
    assert "50 of 100 cells; the newest came 100 s ago" in status_text(status)
    assert "6.0 cells per minute; 8 min left" in status_text(status)


@pytest.mark.parametrize(
    ("parts", "begun", "pace", "left"),
    [
        ((), -5, None, None),
        ((-300,), -600, 0.2, None),
        ((-300, -300), -600, 0.4, None),  # the first of each worker
        ((-300, -300, -300), -600, 0.6, 97 / 0.01),
        ((-600, -600, -600), -600, None, None),  # all in the second in which it began
    ],
)
def test_no_time_left_is_told_of_too_few_parts(
    parts: tuple[float, ...], begun: float, pace: float | None, left: float | None
) -> None:
    status = at(NOTE, *parts, begun=begun)
    assert status.parts_per_minute == (None if pace is None else pytest.approx(pace))
    assert status.left_s == (None if left is None else pytest.approx(left))


@pytest.mark.parametrize(("newest", "quiet"), [(-QUIET - 1, True), (-QUIET, False), (-1, False), (30, False)])
def test_a_map_without_a_new_part_is_quiet(newest: float, quiet: bool) -> None:
    status = at(NOTE, -9000, -8000, newest, begun=-9999)
    assert status.quiet is quiet
    assert (status.left_s is None) is quiet
    assert status.silent_s == max(0, -newest)
    assert ("may have stopped" in status_text(status)) is quiet
    assert at(NOTE, begun=newest).quiet is quiet  # nothing came at all


@pytest.mark.parametrize("stage", ["index", "assembly"])
def test_other_stages_leave_no_parts_to_judge_by(stage: str) -> None:
    note = replace(NOTE, stage=stage, mapped=NOW - timedelta(seconds=9000) if stage == "assembly" else None)
    status = at(note, -8000, -7000, -6000, begun=-QUIET - 1)
    assert status.parts == (3 if stage == "assembly" else 0)
    assert status.quiet
    assert status.left_s is None
    assert "this stage writes nothing here before its end" in status_text(status)
    assert not at(note, -8000, begun=-QUIET).quiet
    late = at(note, -1, begun=-60)  # from a call of an earlier run that Lambda went on with
    assert late.parts == (1 if stage == "assembly" else 0)


def test_only_parts_of_the_window_since_the_map_began_count() -> None:
    others = {
        "parts/cycle21/-1111111.npz": NOW,
        "parts/cycle22/-1111112.npz#1": NOW,
        "new/12/count/c/0": NOW,
        "granules-ab.zlib": NOW,
        "parts/cycle22/-1111113.npz": NOW - timedelta(seconds=601),
    }
    status = at(NOTE, -600, -5, **others)
    assert (status.parts, status.silent_s) == (2, 5)
    assert at(None, -600, -5, **others).parts == 4  # without a note nothing says which are of another run


def test_a_cell_in_quarters_counts_when_all_four_are_there() -> None:
    def there(*names: str, note: RunNote | None = NOTE) -> int:
        return at(note, **{f"parts/cycle22/{name}.npz": NOW for name in names}).parts

    quarters = QUARTERS
    assert there(*quarters[:3]) == 0
    assert there(*quarters) == 1
    assert there(*quarters, "-6134114") == 1  # joined, and not yet deleted
    assert there(*quarters[2:], "-6134114", "-6134113") == 2
    assert there(*quarters[:2], *(name.removeprefix("-") for name in quarters[2:])) == 0
    assert there(*quarters[:3], note=None) == 3  # nothing says of what
    tagged = [f"{name}.9f86d081884c7d65" for name in quarters]  # not read whole
    assert there(*quarters[:2], *tagged[2:]) == 1
    assert there(*quarters[:3], tagged[0]) == 0
    assert there("-6134114", "-6134114.9f86d081884c7d65", "-6134114.0123456789abcdef") == 1


def test_a_run_in_quarters_is_told_in_cells(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.planning.division.is_hot", lambda *_: True)
    seen: list[Status] = []
    result = do(catalog, index=True, watch=lambda index, outcome: seen.append(read_status("map.zarr")))
    assert result.cells_in_quarters == 5
    assert [status.parts for status in seen] == [1, 2, 3, 4, 5]
    assert {status.stage for status in seen} == {"map"}
    done = read_status("map.zarr")
    assert (done.stage, done.parts) == ("done", 5)


def test_a_quarter_that_is_lost_before_it_is_joined_is_told(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.planning.division.is_hot", lambda *_: True)

    def lose(index: int, outcome: Any) -> None:
        if index == 4:
            min(Path("map.zarr.run/parts").rglob("*.npz")).unlink()

    with pytest.raises(StoreError, match="cannot read"):
        do(catalog, index=True, watch=lose)
    status = read_status("map.zarr")
    assert (status.stage, status.result) == ("stopped", None)
    assert status.run is not None
    assert status.run.stage == "assembly"


def test_a_summary_of_another_start_is_of_another_run() -> None:
    times, note = {RUN: NOW}, replace(NOTE, stage="assembly", mapped=NOW)
    totals = {"totals": {"cells": 100, "granules": 60, "pairs": 301}, "digests": {"run": "another"}}
    calls = {"stages": [{"dollars": 0.25}, {"dollars": 0.5}]}
    of_run = {"started": NOTE.started, "backend": "aws_lambda", "workers": 1, "window": "cycle22"}
    summary = {**of_run, **totals, **calls, "complete": True}
    done = status_of("map.zarr", note, times, summary, NOW)
    assert (done.stage, done.result, done.dollars) == ("done", summary, 0.75)
    assert done.run is not None
    assert (done.run.totals["pairs"], done.run.digests, done.run.pieces) == (301, {"run": "another"}, NOTE.pieces)
    assert "$0.75" in status_text(done)
    other = status_of("map.zarr", note, times, summary | {"started": "2026-05-01T10:59:59.999+00:00"}, NOW)
    assert (other.stage, other.run, other.result, other.dollars) == ("assembly", note, None, None)
