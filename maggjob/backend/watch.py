"""The loop that submits tasks to Lithops and collects an outcome for each, whatever happens to its calls.

Lithops is polled, not waited for: on a serverless backend a call can get lost, or its sandbox can die without any
message. The loop sees when calls are accepted, start and end, asks `maggjob.backend.retry` what to do, and submits
tasks again or closes them. A task may therefore run more than once, even at the same time; the call that ends first
counts.
"""

import random
import sys
import sysconfig
import time
from bisect import insort
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from maggjob.backend import retry
from maggjob.backend.client_keys import ClientKeys
from maggjob.backend.invoke import Invocations, Key
from maggjob.backend.local import LocalJobs
from maggjob.backend.outcome import (
    Call,
    Outcome,
    Watcher,
    deadline_outcome,
    local_death_outcome,
    lost_outcome,
    never_started_outcome,
    outcome_of,
    refused_outcome,
)
from maggjob.backend.pending import Attempt, PendingTask, find_running
from maggjob.backend.private_root import last_words
from maggjob.backend.spending import SpendGuard

POLL = 0.1
"""Minimum pause between two looks at the pending tasks, seconds."""
SHARE = 4
"""Pause after a look, as a multiple of the look's duration: the loop takes at most a fifth of a core."""
SLICE = 1024
"""Tasks per Lithops job. Lithops lists all objects of a job repeatedly until the job is done."""
READERS = 32
"""Number of threads that fetch answers."""


class Collection:
    """Tasks that are being run through Lithops.

    Parameters
    ----------
    executor : lithops.FunctionExecutor
    function : callable
    tasks : sequence
    end : float
        Deadline, by `time.monotonic`.
    note : callable
        Called as each task ends.
    policy : RetryPolicy
    invocations : Invocations, optional
        Those of a serverless backend. Without them it is unknown which calls were accepted.
    root : Path, optional
        Lithops' folder of this run, with the log of the local processes.
    local : LocalJobs, optional
        The jobs on this machine.
    keys : ClientKeys, optional
        The AWS credentials of this machine, as Lithops' requests show them.
    guard : SpendGuard, optional
        Stops the run before its calls cost more than a limit.
    """

    def __init__(
        self,
        executor: Any,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        end: float,
        note: Watcher,
        policy: retry.RetryPolicy,
        invocations: Invocations | None = None,
        root: Path | None = None,
        local: LocalJobs | None = None,
        keys: ClientKeys | None = None,
        guard: SpendGuard | None = None,
    ) -> None:
        self.root, self.local, self.keys, self.guard = root, local, keys or ClientKeys(), guard
        self.executor, self.function, self.tasks = executor, function, tasks
        self.end, self.note, self.policy, self.invocations = end, note, policy, invocations
        self.outcomes: list[Outcome[Any] | None] = [None] * len(tasks)
        self.pending: dict[int, PendingTask] = {}
        # Index of the first task that has not been submitted.
        self._next = 0
        # True if a call has started since the retry policy was last asked.
        self._started = False
        self._stall = retry.Stall()
        # Durations of the calls of ended tasks, seconds, ascending.
        self._ended_seconds: list[float] = []

    def collect(self) -> list[Outcome[Any]]:
        """Submit all tasks, and return their outcomes when all have ended or the deadline has passed.

        Raises
        ------
        ExpiredKeysError
            If AWS does not accept the credentials of this machine any more.
        Exception
            If ``note`` raises it: it ends the run.
        """
        with ThreadPoolExecutor(READERS) as readers:
            while self.pending or self._next < len(self.tasks):
                looked = time.monotonic()
                ended = self._submit_more() | self._find_ended(readers)
                # What failed for want of credentials has not failed.
                self.keys.check()
                if time.monotonic() >= self.end:
                    ended = self._give_all_up() | ended
                for index, outcome in sorted(ended.items()):
                    self._close(index, outcome)
                self._check_spending()
                if self.invocations is not None:
                    self._follow_policy(self.invocations)
                else:
                    self._back_stragglers_up(time.monotonic(), find_running(self.pending))
                if self.pending and not ended:
                    time.sleep(max(POLL, SHARE * (time.monotonic() - looked)))
        return [outcome for outcome in self.outcomes if outcome is not None]

    def _check_spending(self) -> None:
        """Stop if the calls that the backend has accepted would cost more than the limit."""
        if self.guard is None or self.invocations is None:
            return
        accepted, now = self.invocations.accepted, time.monotonic()
        under_way = [a for p in self.pending.values() for a in p.attempts if a.key in accepted]
        self.guard.check(0.0 if a.running_since is None else now - a.running_since for a in under_way)

    def submit_first(self) -> None:
        """Submit the first tasks. Errors of Lithops are raised, as no call runs yet."""
        self._submit(range(len(self.tasks) if self.invocations is None else min(SLICE, len(self.tasks))))

    def _submit_more(self) -> dict[int, Outcome[Any]]:
        """Submit the next slice if Lithops has few tasks left; return outcomes of tasks that it did not accept.

        Lithops is given at most one slice more tasks than it has workers.
        """
        chosen = range(self._next, min(self._next + SLICE, len(self.tasks)))
        if not chosen or len(self.pending) + len(chosen) > self.executor.invoker.max_workers + SLICE:
            return {}
        try:
            self._submit(chosen)
        # Other tasks run, and their results must not be lost.
        except Exception as problem:  # noqa: BLE001
            return dict.fromkeys(chosen, refused_outcome(problem))
        return {}

    def _submit(self, chosen: range) -> None:
        self._next = chosen.stop
        futures = self._map([self.tasks[index] for index in chosen])
        self.pending |= {i: PendingTask([Attempt(future)]) for i, future in zip(chosen, futures, strict=True)}

    def _submit_again(self, index: int) -> bool:
        """Submit a pending task once more; return False if Lithops did not accept it."""
        pending = self.pending[index]
        pending.count_submission()
        if self.local is not None:
            self.local.alone = pending.history.last_failure == "memory"
        try:
            pending.attempts.append(Attempt(self._map([self.tasks[index]])[0]))
        # Other tasks run, and their results must not be lost.
        except Exception as problem:  # noqa: BLE001
            pending.note_failure(refused_outcome(problem))
            return False
        return True

    def _map(self, tasks: list[Any]) -> list[Any]:
        # Lithops would take a tuple for several arguments, and a dict for named ones.
        each = [(task,) for task in tasks]
        futures: list[Any] = self.executor.map(self.function, each, include_modules=own_modules(self.function))
        return futures

    def _find_ended(self, readers: ThreadPoolExecutor) -> dict[int, Outcome[Any]]:
        """Return the outcomes of tasks that have ended since the last look."""
        storage = self.executor.internal_storage
        ready = [a for p in self.pending.values() for a in p.attempts if a.future.ready or a.future.success]
        list(readers.map(lambda attempt: attempt.fetch(storage), ready))
        found = {index: self._outcome_of_task(index, pending) for index, pending in self.pending.items()}
        return {index: outcome for index, outcome in found.items() if outcome is not None}

    def _outcome_of_task(self, index: int, pending: PendingTask) -> Outcome[Any] | None:
        """Return the outcome of a task, or None if it has not ended.

        A task whose calls have all failed may be submitted again.
        """
        for attempt in list(pending.attempts):
            outcome = self._outcome_of_attempt(attempt)
            if outcome is None:
                continue
            if retry.ends_task(outcome.reason):
                pending.seconds = attempt.seconds
                return self._add_call(outcome, index, attempt)
            pending.attempts.remove(attempt)
            pending.note_failure(self._add_call(outcome, index, attempt))
        if pending.attempts:
            return None
        if not retry.may_submit_again(self.policy, pending.history):
            return self._given_up(pending)
        now = time.monotonic()
        if pending.due is None:
            # No secret depends on it.
            pending.due = now + retry.pause_before(self.policy, pending.history, random.random())  # noqa: S311
        if now < pending.due:
            return None
        pending.due = None
        return None if self._submit_again(index) else self._given_up(pending)

    def _given_up(self, pending: PendingTask) -> Outcome[Any] | None:
        """Return the last failure of a task, which is its outcome, with the reasons of those before."""
        return pending.failure and replace(pending.failure, earlier=pending.reasons[:-1])

    def _outcome_of_attempt(self, attempt: Attempt) -> Outcome[Any] | None:
        """Return the outcome of a call, or None if it has not ended; record when it is first seen running."""
        if attempt.tries >= self.policy.answer_tries:
            return lost_outcome(str(attempt.problem))
        if attempt.problem is not None and not attempt.tries:
            return Outcome(reason="worker", message=attempt.problem)
        if attempt.future.done:
            return outcome_of(attempt.future)
        lost = self.local is not None and self.local.lost(attempt.key, attempt.future.executor_id)
        # What it wrote before it ended is seen all the same.
        if lost and not attempt.has_status(self.executor.internal_storage):
            return local_death_outcome(last_words(self.root))
        if self.invocations is not None and attempt.key in self.invocations.refused:
            return Outcome(reason="refused", message=self.invocations.refusal(attempt.key))
        if attempt.future.running and attempt.running_since is None:
            attempt.running_since = time.monotonic()
            self._started = True
        return None

    def _follow_policy(self, invocations: Invocations) -> None:
        """Handle calls that were accepted but do not start, and calls that run far longer than others."""
        now, accepted = time.monotonic(), invocations.accepted
        running_since = find_running(self.pending)
        waiting = {i: p for i, p in self.pending.items() if i not in running_since and p.is_accepted(accepted)}
        self._look_for_stall(now, waiting, accepted)
        self._see_to_unstarted(now, waiting)
        self._back_stragglers_up(now, running_since)

    def _look_for_stall(self, now: float, waiting: dict[int, PendingTask], accepted: dict[Key, float]) -> None:
        """Update the time since which workers have been free for the waiting tasks and nothing has started."""
        running = sum(a.running_since is not None for p in self.pending.values() for a in p.attempts)
        last_accepted = max((accepted[a.key] for p in waiting.values() for a in p.attempts), default=None)
        self._stall = retry.update_stall(self._stall, retry.Look(now, running, self._started, last_accepted))
        self._started = False

    def _see_to_unstarted(self, now: float, waiting: dict[int, PendingTask]) -> None:
        """Submit tasks whose calls do not start once more, give them up, or keep waiting."""
        stalled = self._stall.seconds(now)
        todo = retry.decide_unstarted(self.policy, stalled, {i: p.history for i, p in waiting.items()})
        submitted = [self._submit_again(index) for index in todo.submit_again]
        if any(submitted):
            self._stall = replace(self._stall, since=now)
        for index in todo.give_up:
            self._close(index, self._add_call(never_started_outcome(stalled), index))

    def _back_stragglers_up(self, now: float, running_since: dict[int, float]) -> None:
        """Submit tasks that run far longer than others once more."""
        for index in retry.find_stragglers(self.policy, now, running_since, self._ended_seconds, len(self.tasks)):
            if retry.may_submit_again(self.policy, self.pending[index].history):
                self._submit_again(index)

    def _give_all_up(self) -> dict[int, Outcome[Any]]:
        """Return outcomes of all tasks that have not ended at the deadline; no other task is submitted."""
        waiting = [*self.pending, *range(self._next, len(self.tasks))]
        self._next = len(self.tasks)
        return {index: self._add_call(deadline_outcome(), index) for index in waiting}

    def _close(self, index: int, outcome: Outcome[Any]) -> None:
        """Record the outcome of a task, and stop watching its calls."""
        self.outcomes[index] = outcome
        pending = self.pending.pop(index, None)
        if pending is not None:
            if self.guard is not None:
                self.guard.add(outcome, pending.seconds)
            seconds = pending.seconds if outcome.call.billed is None else outcome.call.billed
            if outcome.value is not None and seconds is not None:
                insort(self._ended_seconds, seconds)
            self._let_go(pending, outcome.reason == "never_started")
        self.note(index, outcome)

    def _let_go(self, pending: PendingTask, never_started: bool) -> None:
        """Stop watching the calls of a task."""
        # Some executors have no monitor.
        with suppress(AttributeError):
            self.executor.job_monitor.remove([attempt.future for attempt in pending.attempts])
        if never_started:
            # Lithops counts a call as running until it ends, so the place of a call that never will must be freed.
            for _ in pending.attempts:
                self.executor.job_monitor.token_bucket_q.put("#")

    def _add_call(self, outcome: Outcome[Any], index: int, attempt: Attempt | None = None) -> Outcome[Any]:
        """Return the outcome with what is known about the call, if calls are known and the task was submitted."""
        pending = self.pending.get(index)
        if pending is None:
            return outcome
        outcome = replace(outcome, earlier=pending.reasons)
        if self.invocations is None:
            return replace(outcome, call=Call(attempts=pending.history.submissions))
        return pending.add_call(outcome, self.invocations.put_off, attempt)


def own_modules(function: Callable[..., Any]) -> list[str] | None:
    """Return the modules of the user's that a function needs and workers do not have; None if there are none.

    These are its own module and those that it uses, and what these use in turn.

    Parameters
    ----------
    function : callable
        Function that workers call.
    """
    found: dict[str, None] = {}
    left = [str(getattr(function, "__module__", "")), *_used(getattr(function, "__globals__", {}))]
    while left:
        name = left.pop()
        if name not in found and _is_own(name):
            found[name] = None
            left += _used(vars(sys.modules[name]))
    return list(found) or None


def _used(names: Mapping[str, Any]) -> list[str]:
    """Return the names of the modules that global names stand for, or were defined in."""
    values = list(names.values())
    modules = [value.__name__ for value in values if isinstance(value, ModuleType)]
    return modules + [str(getattr(value, "__module__", None)) for value in values if callable(value)]


def _is_own(name: str) -> bool:
    """Return True if a module is a file of the user's, which is neither installed nor the main script."""
    place = getattr(sys.modules.get(name), "__file__", None)
    if name == "__main__" or place is None or name.split(".", maxsplit=1)[0] == "maggjob":
        return False
    installed = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not any(Path(place).is_relative_to(folder) for folder in installed)
