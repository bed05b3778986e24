"""The runner: an outcome for every task, in order, whatever became of it; nothing left behind."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from maggjob.backend.executor import run_tasks
from maggjob.backend.outcome import Outcome
from maggjob.backend.preload import local_interpreter
from maggjob.backend.settings import lithops_config, packaged_config, resolve_backend
from maggjob.errors import InputError, StoppedError
from tests import calls
from tests.clock import JumpingClock

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ("serial", "localhost")


@pytest.fixture(autouse=True)
def calls_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers, which are other processes, import the functions of these tests."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def do(function: Callable[[int], Any], backend: str, tasks: int = 4, **options: Any) -> list[Outcome[Any]]:
    config = None if backend == "serial" else lithops_config(backend, 2)
    return run_tasks(function, list(range(tasks)), backend=backend, config=config, **options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_come_in_the_order_of_tasks(backend: str) -> None:
    assert do(calls.square, backend, 30) == [Outcome(value=i**2) for i in range(30)]


def test_a_slow_task_keeps_its_place() -> None:
    assert [outcome.value for outcome in do(calls.slow_first, "localhost")] == [0, 1, 2, 3]


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_tasks_are_no_outcomes(backend: str) -> None:
    assert do(calls.square, backend, 0) == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_answer_of_none_is_an_answer(backend: str) -> None:
    assert do(calls.nothing, backend) == [Outcome()] * 4


@pytest.mark.dear(
    "processes per way to fail; some stand for all",
    keep=(
        "localhost-is_killed-",
        "localhost-raises-ValueError: task one",
        "serial-raises-ValueError: task one",
        "serial-raises_unpicklable-task one",
        "serial-raises_with_two_arguments-task one",
        "serial-exits-SystemExit: 3",
    ),
)
@pytest.mark.parametrize(
    ("backend", "function", "said"),
    [
        ("serial", calls.raises, "ValueError: task one"),
        ("localhost", calls.raises, "ValueError: task one"),
        ("serial", calls.raises_unpicklable, "task one"),
        ("localhost", calls.raises_unpicklable, "UnpicklableError"),
        ("serial", calls.raises_with_two_arguments, "task one"),
        ("localhost", calls.raises_with_two_arguments, "TwoArgumentsError"),
        ("serial", calls.exits, "SystemExit: 3"),
        ("localhost", calls.exits, "SystemExit: 3"),
        ("localhost", calls.is_killed, ""),
        ("localhost", calls.returns_a_lambda, ""),
    ],
)
def test_one_task_fails_and_the_others_finish(backend: str, function: Callable[[int], Any], said: str) -> None:
    outcomes = do(function, backend)
    assert [outcome.value for outcome in outcomes] == [0, None, 2, 3]
    reason = "memory" if function is calls.is_killed else "worker"
    assert [outcome.reason for outcome in outcomes] == [None, reason, None, None]
    assert [bool(outcome.message) for outcome in outcomes] == [False, True, False, False]
    assert said in str(outcomes[1].message)


def test_the_deadline_ends_what_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = JumpingClock(after=3)
    monkeypatch.setattr("maggjob.backend.watch.time", clock)
    outcomes = do(calls.sleeps, "localhost", deadline=3600, watch=clock.count)
    assert [(outcome.value, outcome.reason) for outcome in outcomes] == [
        (0, None),
        (None, "deadline"),
        (2, None),
        (3, None),
    ]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deadline_that_has_passed_ends_everything(backend: str) -> None:
    assert [outcome.reason for outcome in do(calls.sleeps, backend, 2, deadline=0)] == ["deadline"] * 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_watch_sees_each_outcome_once_in_the_callers_thread(backend: str) -> None:
    seen: dict[int, Outcome[Any]] = {}
    threads = set()

    def watch(index: int, outcome: Outcome[Any]) -> None:
        assert index not in seen
        seen[index] = outcome
        threads.add(threading.current_thread())

    outcomes = do(calls.raises, backend, watch=watch)
    assert [seen[index] for index in range(4)] == outcomes
    assert threads == {threading.current_thread()}


def test_an_interrupt_stops_the_run() -> None:
    with pytest.raises(StoppedError, match="keyboard"):
        do(calls.interrupts, "serial")


def test_it_runs_in_a_thread() -> None:
    found: list[Outcome[Any]] = []
    thread = threading.Thread(target=lambda: found.extend(do(calls.square, "localhost")))
    thread.start()
    thread.join(600)
    assert [outcome.value for outcome in found] == [0, 1, 4, 9]


def test_a_worker_process_that_dies_at_its_start_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This happens before any call has begun: Lithops reports nothing, and would wait forever."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$2" = run_job ] && exit 1\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    config = lithops_config("localhost", 2, {"localhost": {"runtime": str(python)}})
    outcomes = run_tasks(calls.square, [0, 1], config=config)
    assert [outcome.reason for outcome in outcomes] == ["died"] * 2
    assert [(outcome.call.attempts, outcome.earlier) for outcome in outcomes] == [(3, ("died", "died"))] * 2


@pytest.mark.dear("a run on Lithops")
def test_answers_seen_late_are_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The local process has ended, and Lithops' monitor has not looked since: nothing is lost, however slow it is."""
    monkeypatch.setattr("maggjob.backend.watch.POLL", 0.0)
    assert [outcome.value for outcome in do(calls.square, "localhost", 12)] == [i**2 for i in range(12)]


def _with(variable: str, value: str) -> list[int]:
    """Processes that have an environment variable of this value."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize(
    ("function", "ended"),
    [
        ("square", None),
        ("raises", "worker"),
        pytest.param("is_killed", "memory", marks=pytest.mark.dear("as a call that raises")),
        pytest.param("sleeps", "deadline", marks=pytest.mark.dear("as a call that raises")),
    ],
)
def test_nothing_is_left_behind(tmp_path: Path, function: str, ended: str | None) -> None:
    code = (
        "import json\n"
        "import maggjob.backend.watch as loop\n"
        "from maggjob.backend.executor import lithops_config, run_tasks\n"
        "from tests import calls\n"
        "from tests.clock import JumpingClock\n"
        f"loop.time = clock = JumpingClock(after={2 if ended == 'deadline' else 4})\n"
        f"done = run_tasks(calls.{function}, [0, 1, 2], config=lithops_config('localhost', 2), watch=clock.count)\n"
        "print(json.dumps([outcome.reason for outcome in done]))\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=600, check=True
    )
    assert json.loads(done.stdout) == [None, ended, None]
    # Lithops makes empty folders when it is imported.
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    end = time.monotonic() + 300
    while _with("TMPDIR", str(tmp_path)) and time.monotonic() < end:
        time.sleep(0.1)
    assert _with("TMPDIR", str(tmp_path)) == []


@pytest.mark.parametrize(
    "content", [*(pytest.param(one, marks=pytest.mark.dear("as half a file")) for one in (b"", b"\xff\xfe", b'{"half'))]
)
def test_a_damaged_cache_of_lithops_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr("lithops.storage.storage.CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("lithops.storage.storage.RUNTIME_META_CACHE", {})
    assert [outcome.value for outcome in do(calls.square, "localhost", 1)] == [0]
    (path,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    whole = path.read_bytes()
    path.write_bytes(content)
    monkeypatch.setattr("lithops.storage.storage.RUNTIME_META_CACHE", {})
    assert [outcome.value for outcome in do(calls.square, "localhost", 1)] == [0]
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


def test_names_of_backends() -> None:
    names = {"local": "localhost", "localhost": "localhost", "lambda": "aws_lambda", "aws_lambda": "aws_lambda"}
    assert {name: resolve_backend(name) for name in names} == names
    assert resolve_backend("serial") == "serial"
    with pytest.raises(InputError, match="'cloud' is unknown; known are localhost"):
        resolve_backend("cloud")


def test_without_a_file_localhost_is_built_in() -> None:
    config = lithops_config("localhost", 3)
    assert config["lithops"] == {"backend": "localhost", "storage": "localhost", "data_cleaner": False}
    assert config["localhost"] == {"version": 1, "runtime": local_interpreter(), "worker_processes": 3}


def test_the_file_beside_is_found(tmp_path: Path) -> None:
    (tmp_path / "lithops_config.yaml").write_text(
        "lithops: {log_level: DEBUG, data_cleaner: true}\nlocalhost: {version: 2}"
    )
    for config in (lithops_config("localhost", 1), lithops_config("localhost", 1, folder=tmp_path)):
        assert config["lithops"]["log_level"] == "DEBUG"
        assert config["lithops"]["data_cleaner"] is True
        assert config["localhost"]["version"] == 2
        assert config["localhost"]["worker_processes"] == 1


def test_a_file_named_goes_before_the_file_beside(tmp_path: Path) -> None:
    (tmp_path / "lithops_config.yaml").write_text("lithops: {log_level: DEBUG}")
    (tmp_path / "other.yaml").write_text("lithops: {log_level: INFO}\naws_lambda: {runtime: mine}")
    config = lithops_config("aws_lambda", 1, tmp_path / "other.yaml")
    assert config["lithops"]["log_level"] == "INFO"
    assert config["lithops"]["backend"] == "aws_lambda"
    assert config["aws_lambda"] == {"runtime": "mine"}


def test_a_mapping_is_taken_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "lithops_config.yaml").write_text("lithops: {log_level: DEBUG}")
    given = {"lithops": {"log_level": "INFO"}, "localhost": {"runtime": "python9"}}
    config = lithops_config("localhost", 1, given)
    assert config["lithops"]["log_level"] == "INFO"
    assert config["localhost"]["runtime"] == "python9"
    assert given == {"lithops": {"log_level": "INFO"}, "localhost": {"runtime": "python9"}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no Lithops configuration"),
        ("lithops: [", "Lithops configuration"),
        ("- lithops", "expected a mapping"),
        ("lithops: local", "lithops"),
        ("aws_lambda: 3", "aws_lambda"),
        ("aws_lambda: {}\naws: us-west-2", "section 'aws' is not a mapping"),
        ("aws_lambda: {}\naws_s3: ours", "section 'aws_s3' is not a mapping"),
        ("localhost: {version: 1}", "no section 'aws_lambda'"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=said) as raised:
        lithops_config("aws_lambda", 1, str(file))
    assert str(file) in str(raised.value)


def test_aws_lambda_needs_its_section() -> None:
    with pytest.raises(InputError, match="no section 'aws_lambda'"):
        lithops_config("aws_lambda", 1)


def test_the_packaged_configuration_serves_both_backends_once_it_is_filled_in() -> None:
    file = packaged_config()
    assert lithops_config("localhost", 2, file)["lithops"]["storage"] == "localhost"
    config = lithops_config("aws_lambda", 2, file)
    assert (config["lithops"]["backend"], config["lithops"]["storage"]) == ("aws_lambda", "aws_s3")
    section = config["aws_lambda"]
    assert (section["architecture"], section["max_workers"], section["runtime_timeout"]) == ("arm64", 400, 900)
    assert config["aws"] == {"region": "us-west-2"}
    with pytest.raises(InputError, match="still says CHANGE-ME"):
        run_tasks(calls.square, [1], backend="aws_lambda", config=config)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_watcher_raises_ends_the_calls(backend: str) -> None:
    seen: list[int] = []

    def watch(index: int, outcome: Outcome[Any]) -> None:
        seen.append(index)
        raise StoppedError("that is enough")

    with pytest.raises(StoppedError, match="that is enough"):
        do(calls.square, backend, watch=watch)
    assert len(seen) == 1
