"""A task that Lithops has and that has not ended: its calls, and what has been tried for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from maggjob.backend.invoke import Key
from maggjob.backend.outcome import Outcome, call_of
from maggjob.backend.retry import History


@dataclass
class Attempt:
    """One submission of a task, and so one call."""

    future: Any
    """Lithops' future of the call."""
    running_since: float | None = None
    """When the call was first seen running, by `time.monotonic`; None while it has not been."""
    problem: str | None = None
    """Why its answer could not be read, if it could not."""

    @property
    def key(self) -> Key:
        """Lithops' ids of the call."""
        return self.future.job_id, self.future.call_id

    def has_status(self, storage: Any) -> bool:
        """Return whether the call has written its status, which Lithops' monitor may not have seen yet."""
        written = storage.get_call_status(self.future.executor_id, *self.key)
        return written is not None

    def fetch(self, storage: Any) -> None:
        """Fetch the answer from Lithops' storage, into the future."""
        try:
            self.future.result(throw_except=False, internal_storage=storage)
        except Exception as problem:  # noqa: BLE001  # it is the call's fault, not the run's
            self.problem = f"its answer could not be read: {type(problem).__name__}: {problem}"


@dataclass
class PendingTask:
    """A task that was submitted and has not ended."""

    attempts: list[Attempt]
    """Those that may still end well."""
    history: History = field(default_factory=History)
    """What has been tried, for the retry policy."""
    failure: Outcome[Any] | None = None
    """Outcome of the last attempt that came to nothing; None while there is none."""

    def is_accepted(self, accepted: Mapping[Key, float]) -> bool:
        """Whether the backend has accepted all of its calls."""
        return all(attempt.key in accepted for attempt in self.attempts)

    def count_submission(self) -> None:
        """Note that the task is submitted once more."""
        self.history = replace(self.history, submissions=self.history.submissions + 1)

    def note_failure(self, failure: Outcome[Any]) -> None:
        """Note an attempt that came to nothing."""
        self.failure = failure
        self.history = replace(self.history, last_failure=failure.reason)

    def add_call(
        self, outcome: Outcome[Any], put_off: Mapping[Key, int], attempt: Attempt | None = None
    ) -> Outcome[Any]:
        """The outcome of the task, with what is known about its call.

        Parameters
        ----------
        outcome : Outcome
        put_off : mapping of Key to int
            How often the backend put calls off.
        attempt : Attempt, optional
            That gave the outcome; by default one that runs, else the first.

        Returns
        -------
        Outcome
            If it is of a failure, its message says where the log of the call is.
        """
        chosen = attempt or max(self.attempts, key=lambda one: one.running_since is not None, default=None)
        if chosen is None:
            return outcome
        call = call_of(chosen.future, self.history.submissions, put_off.get(chosen.key, 0))
        message = outcome.message
        if message is not None and call.request is not None:
            message = f"{message}; {call.where()}"
        return Outcome(outcome.value, outcome.reason, message, call)


def find_running(pending: Mapping[int, PendingTask]) -> dict[int, float]:
    """Which tasks run.

    Parameters
    ----------
    pending : mapping of int to PendingTask
        Tasks by index.

    Returns
    -------
    dict of int to float
        When the first of a task's running calls was seen to start, by index of the task.
    """
    found: dict[int, float] = {}
    for index, task in pending.items():
        for attempt in task.attempts:
            since = attempt.running_since
            if since is not None and since < found.get(index, math.inf):
                found[index] = since
    return found
