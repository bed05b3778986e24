"""Every way to end a client: workers end, nothing private is left, and the run can go on."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import maggjob
from maggjob.errors import InputError
from maggjob.inputs.stopping import Stopped, stop_on_signals
from maggjob.pipeline.status import read_status
from maggjob.simulator.scene import simulate
from maggjob.storage.owner import sweep

RUN = "--config atl06.yaml --catalog catalog.json --store map.zarr --no-index --max-workers 2"
LIMIT = 300.0
"""Seconds after which a test fails whatever the machine does; none takes a tenth of that."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a catalog, which is also where temporary files go."""
    simulate("granules", area=(-108.0, -76.5, -98.0, -73.6), every=20, most=12)
    maggjob.make_catalog("granules").write("catalog.json")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path


def client(before: str = "") -> "subprocess.Popen[str]":
    """Start a run on the command line."""
    command = f"{before} exec {sys.executable} -m maggjob run {RUN}"
    return subprocess.Popen(["/bin/sh", "-c", command], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def until(condition: object) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + LIMIT
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def workers(folder: Path) -> list[int]:
    """Return the ids of all processes, but this one, whose temporary files go to the folder."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            content = environ.read_bytes()
        except OSError:
            continue
        if f"TMPDIR={folder}/tmp".encode() in content and int(environ.parent.name) != os.getpid():
            found.append(int(environ.parent.name))
    return found


def secrets(folder: Path) -> list[Path]:
    """Return all files below the temporary folder."""
    return [path for path in (folder / "tmp").rglob("*") if path.is_file()]


def parts(folder: Path) -> list[Path]:
    """Return the parts that are there."""
    return list(folder.glob("map.zarr.run/parts/*/*.npz"))


def finishes(folder: Path) -> None:
    """Run the same command again, and check that it takes what is there."""
    there = len(parts(folder))
    again = [sys.executable, "-m", "maggjob", "run", *RUN.split()]
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_status("map.zarr").stage == "done"
    assert maggjob.verify_result("map.zarr", deep=True).good
    assert there > 0


@pytest.mark.dear("two runs of their own per signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_a_run_as_the_keyboard_does(folder: Path, number: signal.Signals) -> None:
    process = client()
    until(lambda: parts(folder))
    process.send_signal(number)
    _, problem = process.communicate(timeout=LIMIT)
    assert process.returncode == 3
    assert number.name in problem
    assert "run the same command again" in problem.splitlines()[-1]
    until(lambda: not workers(folder))
    assert secrets(folder) == []
    assert read_status("map.zarr").stage == "stopped"
    finishes(folder)


@pytest.mark.dear("two whole runs; tests/faults kills a client, too")
def test_of_a_killed_client_the_workers_end_and_the_next_command_cleans_up(folder: Path) -> None:
    process = client()
    until(lambda: parts(folder))
    process.kill()
    process.communicate(timeout=LIMIT)
    until(lambda: not workers(folder))
    assert secrets(folder)
    assert sweep() == 1
    assert secrets(folder) == []
    finishes(folder)


@pytest.mark.dear("a hang-up that the shell ignores must not stop a run; a whole run")
def test_a_hang_up_is_ignored_where_it_was_ignored(folder: Path) -> None:
    process = client("trap '' HUP;")
    until(lambda: parts(folder))
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=LIMIT)
    assert process.returncode == 0


def test_signals_are_only_ours_while_a_run_lasts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"), stop_on_signals():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before

    def own(number: int, frame: object) -> None:
        raise AssertionError

    previous = signal.signal(signal.SIGTERM, own)
    try:
        with stop_on_signals():
            assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, previous)


def reads(folder: str) -> str:
    """Read a folder in a forked process, and return what happens."""
    try:
        return str(len(maggjob.make_catalog(folder).granules))
    except InputError as problem:
        return str(problem)


def test_a_forked_process_says_so_instead_of_hanging() -> None:
    simulate("granules", area=(-105.0, -76.0, -100.0, -75.0), every=200, most=1)
    assert reads("granules") == "1"
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert "start processes with spawn" in pool.apply_async(reads, ("granules",)).get(timeout=LIMIT)
