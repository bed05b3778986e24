"""One run of any job: its folder, its credentials, its backend, its stages and its deadline.

A session does not know what is computed. It is given functions and tasks, and returns one outcome per task::

    with Session(RunDescription("result", "cycle22", {"granules": 3}, {"run": "5f0c"}, urls)) as session:
        outcomes = session.map("map", measure, tasks)
        session.finish({"mean": ...})

While the block runs, workers can read the archive's credentials from a private object, which the session renews; it is
deleted when the block ends. The run's note (``run.json``) tells `maggjob.pipeline.status` which stage the run is in.
A run that cannot start leaves nothing in its folder.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from maggjob.backend.bill import BillLine, CostLine, Stage, stage_of
from maggjob.backend.call_times import StageCalls, stage_calls
from maggjob.backend.executor import run_tasks
from maggjob.backend.outcome import Outcome, Watcher
from maggjob.backend.settings import resolve_backend
from maggjob.errors import InputError
from maggjob.inputs.plain_json import as_plain
from maggjob.inputs.stopping import stop_on_signals
from maggjob.model.ledger import TaskTally, tally_tasks
from maggjob.pipeline.billing import bill_of_run, expected_run, guard_for, keep, prices_of, settings_for, who_pays
from maggjob.pipeline.description import RunDescription, SessionOptions, SessionReport
from maggjob.pipeline.own_folder import ends_for_good, own_folder
from maggjob.pipeline.reach import check_archive, check_reach
from maggjob.pipeline.record import calls_json
from maggjob.pipeline.status import NoteWriter, RunNote
from maggjob.planning.requests import S3Requests
from maggjob.storage.earthdata import private_object
from maggjob.storage.folder import Folder
from maggjob.storage.lock import RunLock, locked
from maggjob.storage.owner import sweep
from maggjob.storage.run_folder import CALLS, SUMMARY, run_folder

__all__ = ["RunDescription", "Session", "SessionOptions", "SessionReport"]

LOG = logging.getLogger(__name__)
Task = TypeVar("Task")
Value = TypeVar("Value")


class Session:
    """A run in progress, as a context manager.

    Parameters
    ----------
    run : RunDescription
        Description of the work.
    options : SessionOptions, optional
        Options of the run.

    Raises
    ------
    InputError
        If workers cannot reach the store, the granules or another folder, or an option is not valid (raised by the
        constructor); or if another run is at work on the same store (raised on entry).
    AccessError
        If there is no login for the archive, or it gives no credentials or denies access (raised on entry).
    StoreError
        If the run's folder cannot be written (raised on entry).
    """

    def __init__(self, run: RunDescription, options: SessionOptions | None = None) -> None:
        self.run, self.options = run, options or SessionOptions()
        self._began = time.monotonic()
        if not self.options.deadline >= 0:
            raise InputError(f"deadline is {self.options.deadline}; give a number of seconds, 0 or more")
        self.backend = resolve_backend(self.options.backend)
        check_reach(self.backend, run)
        self.settings = settings_for(self.backend, run, self.options)
        self.region = self.settings.region
        self.folder = run_folder(run.store)
        self.credentials: str | None = None
        """Path or URL of the archive's credentials while the session lasts; None if none are needed."""
        self.lock: RunLock | None = None
        """Lock of the run's folder, held while the session lasts."""
        note = RunNote.of(self.backend, self.settings.workers, run.window, run.totals, run.digests)
        self._note = NoteWriter(note, self.folder, self.region)
        self.expected = expected_run(run, self.settings)
        """What the run is expected to take on Lambda; None if that is unknown, and on other backends."""
        self._guard = guard_for(self.options.max_cost, self.settings, self.expected)
        self.own_requests = S3Requests()
        """Requests of the job to the user's buckets, apart from those of Lithops; jobs add to it."""
        self._stages: list[Stage] = []
        self._finished = False
        self._tallies: dict[str, TaskTally] = {}
        self._calls: list[StageCalls] = []
        self._warnings: list[str] = []
        self._most = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            # First, so that it ends last: nothing may interrupt the cleaning up.
            stack.enter_context(stop_on_signals())
            sweep()
            login = private_object(self.run.urls, self.settings.private_bucket, self.region)
            # The login comes before the folder, so that a failed login leaves nothing behind.
            self.credentials = stack.enter_context(login)
            check_archive(self.settings, self.run, self.credentials)
            stack.enter_context(own_folder(self.folder, self.region, self._has_work))
            self.lock = stack.enter_context(locked(Folder(self.folder, self.region)))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if problem is not None:
                self._stop(problem)
            elif not self._finished:
                # A job without values of its own: otherwise it would seem to be at work for ever.
                self.finish({})
        except BaseException:
            self._open.__exit__(*sys.exc_info())
            raise
        self._open.__exit__(kind, problem, trace)

    def _stop(self, problem: BaseException) -> None:
        """Record the error that stops the run, and report what no summary will tell."""
        self._note.stopped(problem)
        self._keep_bill_of_stopped()
        # Whoever reports the error can tell that the run may go on.
        begun = self._note.note.stage != "not started" and not ends_for_good(problem, self._has_work())
        problem.unfinished = begun  # type: ignore[attr-defined]
        for text in self._warnings:
            LOG.warning(text)

    def _has_work(self) -> bool:
        """Return True if a stage has ended with answers, which another attempt can use."""
        return any(tally.done for tally in self._tallies.values())

    def warn(self, text: str) -> None:
        """Add a line to the warnings of the summary, such as what could not be cleaned up.

        Parameters
        ----------
        text : str
            What happened, to what, and what to do.
        """
        self._warnings.append(text)

    def say(self, text: str) -> None:
        """Tell people at once what the run is waiting for.

        Parameters
        ----------
        text : str
            One line.
        """
        say = getattr(self.options.watch, "say", None) or LOG.info
        say(text)

    @property
    def elapsed(self) -> float:
        """Seconds since the session was created."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds until the deadline; 0 once it has passed."""
        return max(0.0, self.options.deadline - self.elapsed)

    def check_lock(self) -> None:
        """Check that no other run has taken over the store; call it before anything is published.

        Raises
        ------
        StoppedError
            If another run has.
        """
        if self.lock is not None:
            self.lock.check()

    def begin(self, stage: str, pieces: Mapping[str, Sequence[str]] | None = None, *, taken: int = 0) -> None:
        """Record in the run's note that a stage begins.

        Parameters
        ----------
        stage : str
            Name of the stage. Parts are written in the stage ``map``.
        pieces : mapping, optional
            Names of the pieces of each part that several tasks write; such a part counts once all of them exist.
        taken : int
            Number of parts that an earlier attempt at the run left, and that are used.

        Raises
        ------
        StoreError
            If the note cannot be written.
        """
        self._note.stage(stage, pieces or {}, taken)

    def map(
        self,
        stage: str,
        function: Callable[[Task], Value],
        tasks: Sequence[Task],
        watch: Watcher | None = None,
        *,
        begin: bool = True,
        pieces: Mapping[str, Sequence[str]] | None = None,
        preload: Sequence[str] = (),
    ) -> list[Outcome[Value]]:
        """Call a function on every task.

        Parameters
        ----------
        stage : str
            Name of the stage, such as ``map``.
        function : callable
            Function of one task, which workers can import by name.
        tasks : sequence
            Picklable tasks. A task with an ``id`` is counted under it.
        watch : callable, optional
            ``watch(index, outcome)``, called as each task ends.
        begin : bool
            Whether these calls begin a stage; if False, they belong to a stage that has begun.
        pieces : mapping, optional
            See `begin`.
        preload : sequence of str
            See `run_tasks`.

        Returns
        -------
        list of Outcome
            One outcome per task, in the order of the tasks, also for tasks that failed.

        Raises
        ------
        BackendError
            If the backend accepts no calls.
        StoppedError
            If the user interrupts the run from the keyboard.
        ExpiredKeysError
            If AWS does not accept the credentials of this machine any more.
        Exception
            If ``watch`` raises it. Finished parts stay, and the run can be resumed.
        """
        if begin:
            self.begin(stage, pieces)
        began, since = self.elapsed, time.time()
        outcomes = run_tasks(
            function,
            tasks,
            backend=self.backend,
            config=self.settings.config,
            deadline=self.left,
            watch=watch,
            preload=preload,
            say=self.say,
            warn=self.warn,
            guard=self._guard,
        )
        if tasks:
            took = self.elapsed - began
            self._calls.append(stage_calls(stage, outcomes, began=began, since=since, took=took))
        self._most = max(self._most, len(tasks))
        self.record(stage, outcomes, tasks, billed=self.backend == "aws_lambda")
        return outcomes

    def record(self, stage: str, outcomes: Sequence[Outcome[Any]], tasks: Sequence[Any], *, billed: bool) -> None:
        """Record the outcomes of a stage, and the cost of its calls if they are billed.

        Parameters
        ----------
        stage : str
            Name of the stage.
        outcomes : sequence of Outcome
            One per task.
        tasks : sequence
            The tasks. A task with an ``id`` is counted under it.
        billed : bool
            Whether to record the calls with their cost.
        """
        if billed:
            self._stages.append(stage_of(stage, outcomes, self.settings.memory_mb))
        names = (str(getattr(task, "id", f"{stage} {number}")) for number, task in enumerate(tasks))
        ends = ((one.reason, one.message) for one in outcomes)
        self._tallies[stage] = tally_tasks((name, *end) for name, end in zip(names, ends, strict=True))

    def report(self) -> SessionReport:
        """Return the report of the run so far."""
        workers = min(self.settings.workers, self._most or self.settings.workers)
        prices = prices_of(self.settings)
        bill = bill_of_run(self._stages, self.own_requests, self.elapsed, self.expected, prices)
        return SessionReport(
            self.run,
            self.backend,
            workers,
            self._note.note.started,
            self.elapsed,
            tuple(self._stages),
            dict(self._tallies),
            tuple(self._warnings),
            tuple(bill),
            who_pays() if bill else None,
        )

    def _keep_bill_of_stopped(self) -> None:
        """Keep a bill of the calls of a run that was stopped, as far as their cost is known."""
        if self._guard is not None and self._guard.spent > 0.0:
            line = CostLine("calls", self._guard.spent, "dollars", 1.0)
            plain = replace(self.report(), bill=(BillLine(line),), user=who_pays()).to_dict()
            problem = keep(plain | {"complete": False}, self.settings)
            if problem is not None:
                self.warn(problem)

    def finish(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write the summary of the run, which marks it as done.

        Parameters
        ----------
        content : mapping
            Results of the job, as plain values, or those of numpy, paths and times. They override values of
            `SessionReport.to_dict` with the same keys.

        Returns
        -------
        dict
            The summary as written.

        Raises
        ------
        InputError
            If a value cannot be written as JSON.
        """
        # Nothing is kept of a summary that cannot be written.
        plain = json.loads(json.dumps(self.report().to_dict() | dict(content), default=as_plain))
        problem = keep(plain, self.settings)
        plain["warnings"] += [problem] if problem else []
        text = json.dumps(plain, indent=1)
        self._finished = True
        folder = Folder(self.folder, self.region)
        folder.put(CALLS, calls_json(self._note.note.started, self._calls))
        folder.put(SUMMARY, text.encode())
        summary: dict[str, Any] = json.loads(text)
        return summary
