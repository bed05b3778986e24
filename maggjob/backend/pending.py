"""A task that was submitted to Lithops and has not ended: its calls, and what has been tried for it."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from maggjob.backend.call_times import corrected
from maggjob.backend.invoke import Key
from maggjob.backend.outcome import CallTimes, Outcome, call_of
from maggjob.backend.retry import History


@dataclass
class Attempt:
    """One submission of a task, which is one call."""

    future: Any
    """Lithops' future of the call."""
    running_since: float | None = None
    """Time at which the call was first seen running, by `time.monotonic`; None before that."""
    problem: str | None = None
    """Reason why its answer could not be read at the last attempt; None if it could."""
    tries: int = 0
    """Number of attempts to read its answer that failed because of the storage: another one may succeed."""

    @property
    def key(self) -> Key:
        """Lithops' ids of the call."""
        return self.future.job_id, self.future.call_id

    @property
    def seconds(self) -> float | None:
        """Seconds that the call took on its worker; None if it has not ended."""
        # Lithops has no public field for it.
        status = self.future._call_status or {}  # noqa: SLF001
        begin, end = status.get("worker_start_tstamp"), status.get("worker_end_tstamp")
        return None if begin is None or end is None else float(end) - float(begin)

    def has_status(self, storage: Any) -> bool:
        """Return whether the call has written its status, which Lithops' monitor may not have seen yet."""
        written = storage.get_call_status(self.future.executor_id, *self.key)
        return written is not None

    def fetch(self, storage: Any) -> None:
        """Fetch the call's answer from Lithops' storage into the future."""
        try:
            self.future.result(throw_except=False, internal_storage=storage)
        # Only this call fails, not the run.
        except Exception as problem:  # noqa: BLE001
            self.tries += is_of_storage(problem)
            self.problem = f"its answer could not be read: {type(problem).__name__}: {problem}"


def is_of_storage(problem: Exception) -> bool:
    """Return True if an answer could not be read because of the storage, False if it cannot be unpickled."""
    return isinstance(problem, OSError) or type(problem).__module__.startswith("botocore")


@dataclass
class PendingTask:
    """A task that was submitted and has not ended."""

    attempts: list[Attempt]
    """Calls that may still succeed."""
    history: History = field(default_factory=History)
    """What has been tried, for the retry policy."""
    failure: Outcome[Any] | None = None
    """Outcome of the last failed attempt; None if none has failed."""
    reasons: tuple[str, ...] = ()
    """Reasons of all failed attempts."""
    due: float | None = None
    """Time at which it is submitted once more, by `time.monotonic`; None if no submission is planned."""
    seconds: float | None = None
    """Seconds that its successful call took on its worker; None before it ended."""
    submitted: float = field(default_factory=time.time)
    """Time of its first submission, seconds since 1970."""

    def is_accepted(self, accepted: Mapping[Key, float]) -> bool:
        """Return True if the backend has accepted all calls of the task."""
        return all(attempt.key in accepted for attempt in self.attempts)

    def count_submission(self) -> None:
        """Count one more submission of the task."""
        self.history = replace(self.history, submissions=self.history.submissions + 1)

    def note_failure(self, failure: Outcome[Any]) -> None:
        """Record a failed attempt."""
        self.failure = failure
        self.reasons = (*self.reasons, str(failure.reason))
        self.history = replace(self.history, last_failure=failure.reason)

    def chosen(self, attempt: Attempt | None = None) -> Attempt | None:
        """Return the attempt that gave an outcome: by default one that runs, else the first; None if there is none."""
        return attempt or max(self.attempts, key=lambda one: one.running_since is not None, default=None)

    def times(self, attempt: Attempt | None, billed: float | None = None) -> CallTimes:
        """Return when the call of an attempt ran, as far as it is known.

        Parameters
        ----------
        attempt : Attempt, optional
            By default one that runs, else the first.
        billed : float, optional
            Seconds that the call took with the start of its sandbox; by default what Lithops measured.
        """
        now, chosen = time.time(), self.chosen(attempt)
        if chosen is None:
            return CallTimes(self.submitted, None, now)
        # As in `Attempt.seconds`.
        status = chosen.future._call_status or {}  # noqa: SLF001
        begin, end = status.get("worker_start_tstamp"), status.get("worker_end_tstamp")
        if begin is not None and end is not None:
            start = float(begin) if billed is None else float(end) - billed
            measured = CallTimes(self.submitted, start, float(end))
            return corrected(measured, max(self.submitted, float(status.get("host_submit_tstamp", 0.0))), now)
        since = chosen.running_since
        return CallTimes(self.submitted, None if since is None else now - (time.monotonic() - since), now)

    def add_call(
        self, outcome: Outcome[Any], put_off: Mapping[Key, int], attempt: Attempt | None = None
    ) -> Outcome[Any]:
        """Return the outcome of the task together with what is known about its call.

        Parameters
        ----------
        outcome : Outcome
        put_off : mapping of Key to int
            Number of times that the backend put each call off.
        attempt : Attempt, optional
            The attempt that gave the outcome; by default one that runs, else the first.

        Returns
        -------
        Outcome
            The message of a failure says where the log of the call is.
        """
        chosen = self.chosen(attempt)
        if chosen is None:
            return outcome
        call = call_of(chosen.future, self.history.submissions, put_off.get(chosen.key, 0))
        call = replace(call, times=self.times(chosen, call.billed))
        message = outcome.message
        if message is not None and call.request is not None:
            message = f"{message}; {call.where()}"
        return replace(outcome, message=message, call=call)


def find_running(pending: Mapping[int, PendingTask]) -> dict[int, float]:
    """Find the tasks that run.

    Parameters
    ----------
    pending : mapping of int to PendingTask
        Tasks by index.

    Returns
    -------
    dict of int to float
        Index of each running task, and the time at which the first of its running calls was seen to start, by
        `time.monotonic`.
    """
    found: dict[int, float] = {}
    for index, task in pending.items():
        for attempt in task.attempts:
            since = attempt.running_since
            if since is not None and since < found.get(index, math.inf):
                found[index] = since
    return found
