"""Clocks of the client that jump ahead when only calls are left that will never answer.

A test that really waited until a call counts as lost would have to choose a time: short for the test, and long enough
for a busy machine. With these clocks there is nothing to choose: a clock jumps when all calls that can end have ended.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from maggjob.backend.watch import Collection
from tests.aws.lambda_service import LambdaService

AHEAD = 3600.0


class JumpingClock:
    """The module ``time``, with clocks that are ahead while a condition holds.

    Parameters
    ----------
    due : callable
    step : float, optional
        Seconds by which the clocks go ahead with each look; by default they are an hour ahead.
    """

    def __init__(self, due: Callable[[], bool], step: float | None = None) -> None:
        self.due, self.step, self.ahead = due, step, 0.0

    def _jump(self) -> float:
        if self.due():
            self.ahead = AHEAD if self.step is None else self.ahead + self.step
        elif self.step is None:
            self.ahead = 0.0
        return self.ahead

    def time(self) -> float:
        return time.time() + self._jump()

    def monotonic(self) -> float:
        return time.monotonic() + self._jump()

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.1))

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def wait_for(condition: Callable[[], object], most: float = 600.0) -> None:
    """Wait until a condition holds. Only a test that hangs waits for the whole ``most`` seconds."""
    end = time.monotonic() + most
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def follow(monkeypatch: pytest.MonkeyPatch) -> list[Collection]:
    """Return the collections that are made from here on, in order: one for each stage of a run."""
    made: list[Collection] = []

    class Followed(Collection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(self)

    monkeypatch.setattr("maggjob.backend.executor.Collection", Followed)
    return made


def let_die(
    monkeypatch: pytest.MonkeyPatch, service: LambdaService, doomed: Mapping[int, int], strikes: int = 1
) -> None:
    """Make Lithops' clock jump once the doomed calls of a stage are dead and all others of it have ended.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
    service : LambdaService
    doomed : mapping of int to int
        How many calls of a stage meet a fault, by number of the stage (see `tests.aws.faults.Faults.of_calls`).
    strikes : int, optional
        How often each of them meets it: three times, where AWS tries it again.
    """
    made = follow(monkeypatch)

    def due() -> bool:
        stage = len(made) - 1
        left = doomed.get(stage, 0)
        struck = [call for number, call in service.faults.struck if number == stage]
        return left > 0 and len(struck) == left * strikes and len(made[-1].pending) <= left

    monkeypatch.setattr("lithops.monitoring.monitor.time", JumpingClock(due))


def lose_patience(monkeypatch: pytest.MonkeyPatch, tasks: int, submissions: int) -> None:
    """Make the client's clock jump once only tasks with lost calls are left in the first stage.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
    tasks : int
        How many tasks have calls that are lost.
    submissions : int
        How many submissions of each task are lost.
    """
    made = follow(monkeypatch)

    def due() -> bool:
        pending = made[0].pending if len(made) == 1 else {}
        lost = all(task.history.submissions <= submissions for task in list(pending.values()))
        return 0 < len(pending) <= tasks and lost

    monkeypatch.setattr("maggjob.backend.watch.time", JumpingClock(due, step=100.0))
