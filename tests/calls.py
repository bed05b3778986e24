"""Tiny functions for workers to call: importable by name, each with one way to end."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from maggjob.errors import NetworkError
from maggjob.jobs.cells import map_call
from maggjob.jobs.wire import WireTask


class UnpicklableError(Exception):
    """An exception that does not travel."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.function: Callable[[], None] = lambda: None


class TwoArgumentsError(Exception):
    """An exception that pickles and does not unpickle."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} {two}")


def square(task: int) -> int:
    return task**2


def is_loaded(module: str) -> bool:
    return module in sys.modules


def nothing(task: int) -> None:
    return None


def slow_first(task: int) -> int:
    time.sleep(1.0 if task == 0 else 0.0)
    return task


def raises(task: int) -> int:
    if task == 1:
        raise ValueError("task one")
    return task


def raises_unpicklable(task: int) -> int:
    if task == 1:
        raise UnpicklableError("task one")
    return task


def raises_with_two_arguments(task: int) -> int:
    if task == 1:
        raise TwoArgumentsError("task", "one")
    return task


def exits(task: int) -> int:
    if task == 1:
        sys.exit(3)
    return task


def is_killed(task: int) -> int:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def loses_its_worker_once(task: tuple[str, int, int]) -> str:
    """For number 0, end the process that many generations above when called first; all others wait for its return."""
    folder, number, generations = task
    first, again = Path(folder, "first"), Path(folder, "again")
    if number:
        while not again.exists():
            time.sleep(0.01)
        return "waited"
    if first.exists():
        again.touch()
        return "again"
    first.touch()
    process = psutil.Process()
    for _ in range(generations):
        process = process.parent()
    process.kill()
    time.sleep(3600)
    return "never"


def hangs_once(task: tuple[str, int]) -> str:
    """For number 0, do not return when called first."""
    folder, number = task
    if number:
        return "quick"
    first = Path(folder, "first")
    if first.exists():
        return "backup"
    first.touch()
    time.sleep(3600)
    return "never"


def fails_for_a_while(task: tuple[str, int]) -> int:
    """Raise an error that may pass, until it has been called some times."""
    folder, times = task
    with Path(folder, "calls").open("a") as file:
        file.write("x")
    called = Path(folder, "calls").stat().st_size
    if called <= times:
        raise NetworkError("the network is down")
    return called


def returns_a_lambda(task: int) -> object:
    return (lambda: None) if task == 1 else task


def sleeps(task: int) -> int:
    if task == 1:
        time.sleep(3600)
    return task


def interrupts(task: int) -> int:
    if task == 1:
        raise KeyboardInterrupt
    return task


def large(task: int) -> bytes:
    return bytes([task]) * 40_000


def naps(task: int) -> int:
    time.sleep(0.3)
    return task


def naps_and_maps(task: WireTask) -> Any:
    """The map of a run, slow enough to be killed in."""
    time.sleep(1.0)
    return map_call(task)


_mapped: list[WireTask] = []


def maps_two_and_waits(task: WireTask) -> Any:
    """The map of a run in the client's own process, which does not get beyond its second call."""
    if len(_mapped) == 2:
        threading.Event().wait()
    _mapped.append(task)
    return map_call(task)
