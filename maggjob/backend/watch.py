"""The loop that submits tasks to Lithops and collects their outcomes, whatever becomes of their calls.

Lithops is polled, not waited for. On a serverless backend a call can be lost on its way, or its sandbox can die
without a word: such a call is submitted again, and given up in the end. A task may therefore run more than once, even
at once; what ends first counts.
"""

import time
from bisect import insort
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from maggjob.backend.invoke import Invocations
from maggjob.backend.outcome import Outcome, Watcher, call_of, late, outcome_of, refused
from maggjob.backend.retry import RetryPolicy
from maggjob.errors import BackendError

GRACE = 10.0  # seconds from the end of the local process to the last answers being seen
POLL = 0.1  # seconds between two looks at the pending calls, at least
SHARE = 4  # a look is followed by a rest of so many times its own length: at most a fifth of a core
SLICE = 1024  # tasks a Lithops job: it lists all objects of a job again and again until the job is done
READERS = 32


@dataclass
class _Try:
    """One submission of a task."""

    future: Any
    running: float | None = None  # since when it has been seen running

    @property
    def key(self) -> tuple[str, str]:
        return self.future.job_id, self.future.call_id


@dataclass
class _Pending:
    """A task that has not ended."""

    tries: list[_Try]
    submitted: int = 1
    lost: list[Outcome[Any]] = field(default_factory=list)  # of tries that came to nothing


class Collection:
    """Tasks on their way through Lithops.

    Parameters
    ----------
    executor : lithops.FunctionExecutor
    function : callable
    tasks : sequence
    end : float
        When to give up, by `time.monotonic`.
    note : callable
        Called as each task ends.
    policy : RetryPolicy
    invocations : Invocations, optional
        Of a serverless backend; without them there is no second submission.
    """

    def __init__(
        self,
        executor: Any,
        function: Callable[[Any], Any],
        tasks: Sequence[Any],
        end: float,
        note: Watcher,
        policy: RetryPolicy,
        invocations: Invocations | None = None,
    ) -> None:
        self.executor, self.function, self.tasks = executor, function, tasks
        self.end, self.note, self.policy, self.invocations = end, note, policy, invocations
        self.outcomes: list[Outcome[Any] | None] = [None] * len(tasks)
        self.pending: dict[int, _Pending] = {}
        self._next = 0  # index of the first task not yet submitted
        self._gone: float | None = None  # since when the local process that runs the calls has been gone
        self._still: float | None = None  # since when there has been room and nothing started
        self._started = self._most_running = 0
        self._seconds: list[float] = []  # that ended calls ran, sorted

    def collect(self) -> list[Outcome[Any]]:
        """Submit all, and wait until none is pending or the deadline has come."""
        with ThreadPoolExecutor(READERS) as readers:
            while self.pending or self._next < len(self.tasks):
                looked = time.monotonic()
                ended = self._submit_more() | self._look(readers)
                if time.monotonic() >= self.end:
                    waiting = {*self.pending, *range(self._next, len(self.tasks))} - ended.keys()
                    ended |= {index: self._with_call(late(), index) for index in waiting}
                    self._next = len(self.tasks)
                for index, outcome in sorted(ended.items()):
                    self._close(index, outcome)
                if self.invocations is not None:
                    self._revive(self.invocations)
                if self.pending and not ended:
                    time.sleep(max(POLL, SHARE * (time.monotonic() - looked)))
        return [outcome for outcome in self.outcomes if outcome is not None]

    def submit_first(self) -> None:
        """Hand Lithops the first tasks; raises whatever it raises, as nothing runs yet."""
        self._submit(range(len(self.tasks) if self.invocations is None else min(SLICE, len(self.tasks))))

    def _submit(self, chosen: range) -> None:
        self._next = chosen.stop
        futures = self._map([self.tasks[index] for index in chosen])
        self.pending |= {i: _Pending([_Try(future)]) for i, future in zip(chosen, futures, strict=True)}

    def _submit_more(self) -> dict[int, Outcome[Any]]:
        """Keep so many with Lithops as can run and a slice more; what it does not take is refused."""
        chosen = range(self._next, min(self._next + SLICE, len(self.tasks)))
        if not chosen or len(self.pending) + len(chosen) > self.executor.invoker.max_workers + SLICE:
            return {}
        try:
            self._submit(chosen)
        except Exception as problem:  # noqa: BLE001  # others run: what they give is not to be lost
            return dict.fromkeys(chosen, refused(problem))
        return {}

    def _map(self, tasks: list[Any]) -> list[Any]:
        futures: list[Any] = self.executor.map(self.function, tasks, include_modules=None)
        return futures

    def _look(self, readers: ThreadPoolExecutor) -> dict[int, Outcome[Any]]:
        """Tasks that have ended since the last look."""
        storage = self.executor.internal_storage
        ready = [t.future for p in self.pending.values() for t in p.tries if t.future.ready or t.future.success]
        problems = dict(zip(map(id, ready), readers.map(lambda future: _fetch(future, storage), ready), strict=True))
        gone = self._local_process_is_gone()
        ended = {}
        for index, pending in self.pending.items():
            outcome = self._of_task(index, pending, problems)
            if outcome is None and gone:
                outcome = Outcome(reason="worker", message="the local process ended before this call did; run again")
            if outcome is not None:
                ended[index] = outcome
        return ended

    def _of_task(self, index: int, pending: _Pending, problems: dict[int, str | None]) -> Outcome[Any] | None:
        for attempt in list(pending.tries):
            outcome = self._of_try(attempt, problems.get(id(attempt.future)))
            if outcome is None:
                continue
            if outcome.reason not in ("died", "refused"):
                return self._with_call(outcome, index, attempt)
            pending.tries.remove(attempt)  # another may do better
            pending.lost.append(self._with_call(outcome, index, attempt))
        return pending.lost[-1] if not pending.tries and not self._again(index, pending) else None

    def _of_try(self, attempt: _Try, problem: str | None) -> Outcome[Any] | None:
        if problem is not None:
            return Outcome(reason="worker", message=problem)
        if attempt.future.done:
            return outcome_of(attempt.future)
        if self.invocations is not None:
            refusal = self.invocations.refused.get(attempt.key)
            if refusal is not None:
                if not self.invocations.accepted:
                    raise BackendError(refusal)
                return Outcome(reason="refused", message=refusal)
        if attempt.future.running and attempt.running is None:
            attempt.running = time.monotonic()
            self._started += 1
            self._still = None
        return None

    def _again(self, index: int, pending: _Pending) -> bool:
        """Submit a task once more, unless it has been submitted often enough or was refused."""
        if pending.lost and pending.lost[-1].reason == "refused":
            return False
        if pending.submitted >= self.policy.max_submissions or self.invocations is None:
            return False
        pending.submitted += 1
        try:
            pending.tries.append(_Try(self._map([self.tasks[index]])[0]))
        except Exception as problem:  # noqa: BLE001  # as above
            pending.lost.append(refused(problem))
            return False
        return True

    def _revive(self, invocations: Invocations) -> None:
        """See to calls that were accepted and do not start, and to those that run far longer than others."""
        now, tries = time.monotonic(), [t for p in self.pending.values() for t in p.tries]
        running = sum(t.running is not None for t in tries)
        self._most_running = max(self._most_running, running)
        waiting = {
            index: pending
            for index, pending in self.pending.items()
            if all(t.running is None and t.key in invocations.accepted for t in pending.tries)
        }
        room = running == 0 or running < self._most_running
        latest = max((invocations.accepted[t.key] for p in waiting.values() for t in p.tries), default=now)
        self._still = max(self._still or now, latest) if waiting and room else None
        still = 0.0 if self._still is None else now - self._still
        if still > self.policy.resubmit_after:
            again = [self._again(index, pending) for index, pending in waiting.items()]
            if any(again):
                self._still = now
            elif still > self.policy.give_up_after:
                message = f"accepted, and not started for {still:.0f} s although there was room; run again"
                for index in waiting:
                    self._close(index, self._with_call(Outcome(reason="never_started", message=message), index))
        if self._seconds and 2 * len(self._seconds) >= len(self.tasks):
            slow = max(self.policy.backup_after, 10 * self._seconds[len(self._seconds) // 2])
            for index, pending in list(self.pending.items()):
                if any(t.running is not None and now - t.running > slow for t in pending.tries):
                    self._again(index, pending)

    def _close(self, index: int, outcome: Outcome[Any]) -> None:
        """Write down the end of a task, and let go of its calls."""
        self.outcomes[index] = outcome
        pending = self.pending.pop(index, None)
        if pending is not None:
            if outcome.value is not None and outcome.call.billed is not None:
                insort(self._seconds, outcome.call.billed)
            with suppress(AttributeError):  # an executor without a monitor
                self.executor.job_monitor.remove([t.future for t in pending.tries])
            if self.invocations is not None and outcome.reason == "never_started":
                for _ in pending.tries:  # Lithops counts it as running until it ends: its place is free
                    self.executor.job_monitor.token_bucket_q.put("#")
        self.note(index, outcome)

    def _with_call(self, outcome: Outcome[Any], index: int, attempt: _Try | None = None) -> Outcome[Any]:
        """The outcome, with what is known about the call; of one that failed, the message says where its log is."""
        if self.invocations is None or index not in self.pending:
            return outcome
        pending = self.pending[index]
        chosen = attempt or max(pending.tries, key=lambda t: t.running is not None, default=None)
        if chosen is None:
            return outcome
        call = call_of(chosen.future, pending.submitted, self.invocations.put_off[chosen.key])
        message = outcome.message
        if message is not None and call.request is not None:
            message = f"{message}; {call.where()}"
        return Outcome(outcome.value, outcome.reason, message, call)

    def _local_process_is_gone(self) -> bool:
        """Whether the process that runs all local calls has ended a while ago: Lithops tells it nowhere else."""
        if getattr(self.executor.compute_handler, "job_manager", self) is not None:
            return False
        self._gone = self._gone if self._gone is not None else time.monotonic()
        return time.monotonic() - self._gone > GRACE


def _fetch(future: Any, storage: Any) -> str | None:
    """Fetch the result of a call; what that failed with."""
    try:
        future.result(throw_except=False, internal_storage=storage)
    except Exception as problem:  # noqa: BLE001  # an answer that cannot be read is the call's fault, not the run's
        return f"its answer could not be read: {type(problem).__name__}: {problem}"
    return None
