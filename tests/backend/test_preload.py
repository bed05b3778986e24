"""Modules that local jobs import once: seen by the calls of a real job, whatever becomes of the import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maggjob.backend.executor import run_tasks
from maggjob.backend.preload import MODULES, local_interpreter, preloading
from maggjob.backend.settings import lithops_config
from tests import calls

ROOT = Path(__file__).resolve().parents[2]
PRELOADED, OTHER = "colorsys", "wave"
"""Modules of the standard library that neither Lithops nor maggjob imports."""


@pytest.fixture(autouse=True)
def calls_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers, which are other processes, import the functions of these tests."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def interpreter() -> str:
    found = local_interpreter()
    if found == sys.executable:
        pytest.skip("maggjob is not installed here: there is no maggjob-python")
    return found


def test_calls_find_the_modules_imported(interpreter: str) -> None:
    tasks = [PRELOADED, OTHER, calls.__name__]
    done = run_tasks(calls.is_loaded, tasks, config=lithops_config("localhost", 1), preload=(PRELOADED,))
    assert [outcome.value for outcome in done] == [True, False, True]
    assert MODULES not in os.environ


def test_a_module_that_cannot_be_imported_stops_no_call(interpreter: str) -> None:
    config = lithops_config("localhost", 1)
    done = run_tasks(calls.is_loaded, [PRELOADED], config=config, preload=("no_such_module", PRELOADED))
    assert [(outcome.value, outcome.reason) for outcome in done] == [(True, None)]


@pytest.mark.dear("starts an interpreter")
def test_an_interpreter_of_the_users_is_taken() -> None:
    config = lithops_config("localhost", 1, {"localhost": {"runtime": sys.executable}})
    done = run_tasks(calls.is_loaded, [PRELOADED], config=config, preload=(PRELOADED,))
    assert [outcome.value for outcome in done] == [False]


def test_where_it_is_not_installed_the_interpreter_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert local_interpreter() == str(tmp_path / "python")


def test_it_runs_a_script_as_the_interpreter_does(interpreter: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nprint(__name__, sys.argv, sys.path[0])\nsys.exit(3)\n")
    ends = [
        subprocess.run([python, script, "a", "b"], capture_output=True, text=True, check=False)
        for python in (sys.executable, interpreter)
    ]
    assert [end.returncode for end in ends] == [3, 3]
    assert ends[0].stdout == ends[1].stdout == f"__main__ ['{script}', 'a', 'b'] {tmp_path}\n"


def test_one_inside_another_gives_back_what_was_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MODULES, raising=False)
    with preloading(calls.square):
        with preloading(calls.square, ("wave",)):
            assert os.environ[MODULES] == "tests.calls wave"
        assert os.environ[MODULES] == "tests.calls"
    assert MODULES not in os.environ
