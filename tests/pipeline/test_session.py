"""A run of any job: a second one, which knows no cells, on the same session."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import maggjob
from maggjob.backend.outcome import Outcome
from maggjob.cli import commands as cli
from maggjob.cli.results import INCOMPLETE
from maggjob.errors import BackendError, InputError, StoppedError, StoreError
from maggjob.pipeline.session import RunDescription, Session, SessionOptions
from maggjob.pipeline.status import read_status
from tests.granule_files import SEGMENTS, beam, write_granule
from tests.pipeline import second_job
from tests.pipeline.second_job import table_of_means

ROOT = Path(__file__).resolve().parents[2]
DATASET = f"gt1l/{SEGMENTS}/h_li"


@pytest.fixture
def granules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three granules; the third lacks the beam."""
    # Workers import functions of the tests.
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "granules").mkdir()
    paths = [tmp_path / "granules" / f"ATL06_2019022203120{i}_085{i}0211_006_01.h5" for i in range(3)]
    for number, path in enumerate(paths):
        write_granule(path, {"gt1l" if number < 2 else "gt2l": beam(40 + number, seed=number)})
    return [str(path) for path in paths]


def expected(urls: list[str]) -> list[dict[str, Any]]:
    """The table, by h5py."""
    rows = []
    for url in urls:
        with h5py.File(url) as file:
            if DATASET in file:
                values = file[DATASET][:]
                good = values[values < 1e30].astype(np.float64)
                rows.append({"granule": Path(url).stem, "values": len(good), "mean": float(np.mean(good))})
    return rows


def test_the_second_job_is_short() -> None:
    assert len(Path(second_job.__file__).read_text().splitlines()) < 60


@pytest.mark.parametrize("backend", ["serial", "localhost"])
def test_a_second_job_has_session_ledger_status_and_summary(granules: list[str], backend: str) -> None:
    seen: dict[int, Outcome[Any]] = {}
    options = SessionOptions(backend=backend, max_workers=2, watch=seen.__setitem__)
    summary = table_of_means(granules, DATASET, "means", options)
    assert summary["table"] == expected(granules)
    assert len(summary["table"]) == 2
    assert sorted(seen) == [0, 1, 2]
    ledger = summary["tasks"]["map"]
    assert (ledger["tasks"], ledger["done"], ledger["failed"]) == (3, 2, 1)
    (error,) = ledger["errors"]["worker"]["examples"]
    assert error["what"] == Path(granules[2]).stem
    assert f"has no {DATASET}" in error["message"]
    assert not summary["complete"]
    assert json.loads(Path("means.run/summary.json").read_text()) == summary
    status = read_status("means")
    assert (status.stage, status.result) == ("done", summary)
    assert status.run is not None
    assert (status.run.unit, status.run.parts, status.run.backend) == ("granules", 3, backend)


def test_its_status_is_told_on_the_command_line(
    granules: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table_of_means(granules, DATASET, "means", SessionOptions(backend="serial"))
    monkeypatch.setattr("sys.argv", ["maggjob", "status", "means"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().out
    assert end.value.code == INCOMPLETE
    assert "run           all: 3 granules" in said
    assert "map           3 tasks: 2 done, 1 failed" in said
    assert "failed        1 x worker, such as ATL06_20190222031202_08520211_006_01" in said


def test_a_run_that_cannot_start_leaves_nothing(granules: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> Any:
        raise BackendError("no login")

    monkeypatch.setattr("maggjob.pipeline.session.run_tasks", refuses)
    with pytest.raises(BackendError):
        table_of_means(granules, DATASET, "means", SessionOptions(backend="serial"))
    assert not Path("means.run").exists()


@pytest.mark.parametrize(
    ("problem", "raised"), [(KeyboardInterrupt, StoppedError), (ValueError("odd"), ValueError)], ids=["stop", "odd"]
)
def test_what_stops_a_run_is_noted(granules: list[str], problem: Any, raised: type[BaseException]) -> None:
    def stop(*_: Any) -> None:
        raise problem

    with pytest.raises(raised):
        table_of_means(granules, DATASET, "means", SessionOptions(backend="serial", watch=stop))
    status = read_status("means")
    assert status.stage == "stopped"
    assert status.run is not None
    assert status.run.stopped is not None
    assert raised.__name__ in status.run.stopped


def test_what_workers_on_lambda_cannot_reach_is_refused_at_once(granules: list[str]) -> None:
    for store, urls, said in (("means", [], "store means"), ("s3://ours/means", granules, "3 of 3 granules are local")):
        with pytest.raises(InputError, match=said):
            Session(RunDescription(store, "all", {"granules": 3}, {}, urls), SessionOptions(backend="lambda"))
    assert not list(Path.cwd().glob("means*"))


def test_a_deadline_is_that_of_the_whole_session(granules: list[str]) -> None:
    summary = table_of_means(granules, DATASET, "means", SessionOptions(backend="serial", deadline=0.0))
    assert summary["table"] == []
    assert summary["tasks"]["map"]["errors"]["deadline"]["count"] == 3


@pytest.mark.parametrize("stages", [["index", "map"], ["map", "assembly"]])
def test_the_note_tells_of_each_stage(stages: list[str]) -> None:
    seen: list[str] = []
    look: Callable[[], None] = lambda: seen.append(read_status("any").stage)  # noqa: E731
    with Session(RunDescription("any", "all", {"things": 2}, {}), SessionOptions(backend="serial")) as session:
        for stage in stages:
            session.begin(stage)
            look()
        session.finish({})
    look()
    assert seen == [*stages, "done"]


def test_a_summary_may_hold_values_of_numpy_and_no_others() -> None:
    with maggjob.session("means", total=2, backend="serial") as run:
        told = {"mean": np.float32(1.5), "counts": np.arange(3), "day": date(2024, 1, 31), "where": Path("here")}
        summary = run.finish(told)
    assert {key: summary[key] for key in told} == {
        "mean": 1.5,
        "counts": [0, 1, 2],
        "day": "2024-01-31",
        "where": "here",
    }
    text = CliRunner().invoke(cli.cli, ["report", "means"]).stdout
    assert "mean          1.5" in text
    with pytest.raises(InputError, match="object"), maggjob.session("others", backend="serial") as run:
        run.finish({"thing": object()})


def test_a_session_without_a_summary_is_done_all_the_same() -> None:
    with maggjob.session("means", total=2, backend="serial") as run:
        run.map("map", double, [1, 2])
    assert read_status("means").stage == "done"


def double(number: int) -> int:
    if number > 5:
        raise ValueError("too large")
    return 2 * number


def test_what_failed_is_told_and_can_be_cleaned() -> None:
    Path("means").mkdir()
    Path("means/table.csv").write_text("1\n")
    with maggjob.session("means", total=2, backend="serial") as run:
        run.map("map", double, [1, 9])
    told = CliRunner().invoke(cli.cli, ["status", "means"])
    assert told.exit_code == 2
    assert "too large" in told.output
    assert "the same command" in told.output
    assert "retry" not in told.output
    with pytest.raises(InputError, match="another job"):
        maggjob.retry("means")
    assert CliRunner().invoke(cli.cli, ["clean", "means"]).exit_code == 0
    assert Path("means/table.csv").exists()


@pytest.mark.parametrize("total", [-1, "x", True, 1.5])
def test_totals_that_are_no_numbers(total: Any) -> None:
    with pytest.raises(InputError, match="total is"):
        maggjob.session("means", total=total)


@pytest.mark.dear("a job of its own on Lithops")
def test_modules_that_a_job_uses_are_sent_along(tmp_path: Path) -> None:
    (tmp_path / "helper_of_job.py").write_text("FACTOR = 3\n\n\ndef times(number):\n    return FACTOR * number\n")
    (tmp_path / "my_job.py").write_text(
        "import helper_of_job\n\n\ndef work(number):\n    return helper_of_job.times(number)\n"
    )
    (tmp_path / "main.py").write_text(
        "import maggjob\nimport my_job\n\n\nif __name__ == '__main__':\n"
        "    with maggjob.session('means', total=2, backend='localhost', max_workers=1) as run:\n"
        "        print([o.value for o in run.map('map', my_job.work, [1, 2])])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "main.py"], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[3, 6]\n"


def test_a_summary_that_cannot_be_written_leaves_no_lock(tmp_path: Path) -> None:
    run = RunDescription(str(tmp_path / "result"), "all", {"tasks": 1}, {"run": "5f0c"})
    folder = tmp_path / "result.run"
    with pytest.raises(StoreError, match=r"summary\.json"), Session(run, SessionOptions("serial")) as session:  # noqa: PT012
        session.map("map", abs, [-1])
        (folder / "summary.json" / "in the way").mkdir(parents=True)
    assert list(folder.glob("lock-*")) == []
    with Session(run, SessionOptions("serial")):
        (folder / "summary.json" / "in the way").rmdir()
        (folder / "summary.json").rmdir()
