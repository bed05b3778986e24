"""Calls on this machine that are lost: noticed while the others run, and submitted again at once, but not for ever."""

import threading
from pathlib import Path
from typing import Any

import pytest

from maggjob.backend.executor import lithops_config, run_tasks
from maggjob.backend.local import LocalJobs
from maggjob.backend.preload import CALLS
from maggjob.backend.retry import LOCAL, RetryPolicy
from maggjob.storage.owner import Owner, me
from tests import calls


@pytest.fixture(autouse=True)
def calls_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers, which are other processes, import the functions of these tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.mark.dear("processes are started and killed; one way to die stands for all", keep=("1-2-died",))
@pytest.mark.parametrize(("generations", "workers", "reason"), [(0, 2, "memory"), (1, 2, "died"), (2, 2, "died")])
def test_a_lost_call_is_submitted_again_while_the_others_run(
    tmp_path: Path, generations: int, workers: int, reason: str
) -> None:
    """Killed are the process of the function, the worker that started it, and the job. The others wait for the answer
    of the second call, so a run that submitted it at the end would never end; but one that ran out of memory."""
    tasks = [(str(tmp_path), 0, generations), *([(str(tmp_path), 1, 0)] if reason == "died" else [])]
    outcomes = run_tasks(calls.loses_its_worker_once, tasks, config=lithops_config("localhost", workers))
    assert [outcome.value for outcome in outcomes] == ["again", "waited"][: len(tasks)]
    assert (outcomes[0].earlier, outcomes[0].call.attempts) == ((reason,), 2)


@pytest.mark.dear("workers that die and are started again")
def test_a_call_that_kills_its_worker_each_time_is_given_up(tmp_path: Path) -> None:
    outcomes = run_tasks(calls.is_killed, [0, 1, 2], config=lithops_config("localhost", 2))
    assert [outcome.value for outcome in outcomes] == [0, None, 2]
    assert (outcomes[1].reason, outcomes[1].earlier) == ("memory", ("memory", "memory"))
    assert outcomes[1].call.attempts == LOCAL.max_submissions
    assert "SIGKILL" in str(outcomes[1].message)


def test_a_straggler_gets_a_backup(tmp_path: Path) -> None:
    policy = RetryPolicy(backup_after=0.2, backup_factor=2.0, max_submissions=2)
    tasks = [(str(tmp_path), number) for number in range(4)]
    outcomes = run_tasks(calls.hangs_once, tasks, config=lithops_config("localhost", 2), policy=policy)
    assert [outcome.value for outcome in outcomes] == ["backup", "quick", "quick", "quick"]
    assert outcomes[0].call.attempts == 2


@pytest.mark.dear("2 CPU-seconds; its neighbours cover the same lines")
@pytest.mark.parametrize("backend", ["serial", "localhost"])
@pytest.mark.parametrize(("times", "value"), [(2, 3), (3, None)])
def test_an_error_that_may_pass_is_tried_again(tmp_path: Path, backend: str, times: int, value: int | None) -> None:
    config: Any = None if backend == "serial" else lithops_config("localhost", 1)
    (outcome,) = run_tasks(calls.fails_for_a_while, [(str(tmp_path), times)], backend=backend, config=config)
    assert outcome.value == value
    assert outcome.earlier == ("network", "network")
    assert outcome.call.attempts == 3
    assert outcome.reason == (None if value else "network")


class Handler:
    """A handler of local jobs whose jobs end when they are told to."""

    def __init__(self) -> None:
        self.env = self
        self.running: dict[str, threading.Event] = {}
        self.started: list[str] = []
        self.lock = threading.Lock()

    def prepare_job_file(self, payload: dict[str, str]) -> str:
        self.running[payload["job_id"]] = threading.Event()
        return "file"

    def _run_queued_job(self, payload: dict[str, str], filename: str) -> None:
        self.started.append(payload["job_id"])
        self.running[payload["job_id"]].wait(300)

    def stop(self, keys: list[str]) -> None:
        for key in keys:
            self.running[key].set()

    def clear(self) -> None:
        """Do nothing more."""


def wait_for(condition: Any) -> None:
    """Wait until something is true."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.01)


def test_jobs_after_the_first_run_one_by_one_and_those_without_memory_last(tmp_path: Path) -> None:
    handler: Any = Handler()
    jobs = LocalJobs(handler, tmp_path)
    for name in ("A", "B", "C"):
        jobs({"job_id": name, "job_key": name})
    jobs.alone = True
    jobs({"job_id": "D", "job_key": "D"})
    wait_for(lambda: len(handler.started) == 2)
    assert handler.started[0] == "A" or handler.started[1] == "A"
    second = next(name for name in handler.started if name != "A")
    handler.running[second].set()
    wait_for(lambda: len(handler.started) == 3)
    assert "D" not in handler.started
    handler.running["A"].set()
    for name in ("B", "C"):
        handler.running[name].set()
    wait_for(lambda: "D" in handler.started)
    assert not jobs.lost(("D", "00000"), "e")
    jobs.close()
    assert all(jobs.lost((name, "00000"), "e") for name in "ABCD")


def test_a_call_is_lost_once_its_worker_is_gone(tmp_path: Path) -> None:
    handler: Any = Handler()
    jobs = LocalJobs(handler, tmp_path)
    (tmp_path / CALLS).mkdir()
    mine = me()
    (tmp_path / CALLS / "e-A-00000").write_bytes(mine.to_json())
    (tmp_path / CALLS / "e-A-00001").write_bytes(Owner(mine.host, mine.pid, "another start", "t").to_json())
    (tmp_path / CALLS / "e-A-00002").write_bytes(b"half")
    assert [jobs.lost(("A", f"{number:05d}"), "e") for number in range(4)] == [False, True, False, False]
