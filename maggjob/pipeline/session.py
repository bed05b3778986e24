"""One run of any job: its folder, its credentials, its backend, its stages and its deadline.

A session knows nothing of what is computed. It is handed functions and tasks, and gives back an outcome for each::

    with Session(RunDescription("result", "cycle22", {"granules": 3}, {"run": "5f0c"}, urls)) as session:
        outcomes = session.map("map", measure, tasks)
        session.finish({"mean": ...})

While the block runs, what the archive asks for lies where workers can read it, and is kept fresh; afterwards it is
gone. The run's note (``run.json``) tells `maggjob.pipeline.status` which stage it is in. A run that cannot start leaves
nothing in its folder.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from maggjob.backend.bill import Stage, stage_of
from maggjob.backend.executor import DEADLINE, run_tasks
from maggjob.backend.outcome import Outcome, Watcher
from maggjob.backend.settings import resolve_backend, settings_of
from maggjob.errors import BackendError, InputError
from maggjob.model.ledger import TaskTally, tally_tasks
from maggjob.pipeline.status import NoteWriter, RunNote
from maggjob.storage.earthdata import private_object
from maggjob.storage.folder import Folder
from maggjob.storage.run_folder import PARTS, SUMMARY, run_folder
from maggjob.storage.urls import is_remote, local_path

Task = TypeVar("Task")
Value = TypeVar("Value")


@dataclass(frozen=True)
class SessionOptions:
    """How any run is carried out."""

    backend: str = "localhost"
    """Where the calls run: localhost (or local), aws_lambda (or lambda), or serial."""
    max_workers: int | None = None
    """Workers at once, at most; by default what cores and memory allow, or what the Lithops configuration says."""
    region: str | None = None
    """Region of the buckets; by default that of the Lithops configuration for Lambda, else the environment's."""
    lithops_config: Mapping[str, Any] | str | Path | None = None
    """Lithops' own configuration; by default ./lithops_config.yaml, else a built-in one."""
    deadline: float = DEADLINE
    """Seconds after which tasks that have not ended are given up, and counted as failed."""
    watch: Watcher | None = None
    """``watch(index, outcome)``, called as each task of the map ends."""


@dataclass(frozen=True)
class RunDescription:
    """What a run is to do, in the words of its job."""

    store: str
    """Path or URL of its result; its folder lies beside it."""
    window: str
    """Label of its time window; its parts lie below it."""
    totals: Mapping[str, int]
    """How much there is to do, by what it is. The first is what a task of the map, and a part, is made for."""
    digests: Mapping[str, str]
    """What decides the result, by what it is; ``run`` for all of it."""
    urls: Sequence[str] = ()
    """What is read from the archive."""
    folders: Mapping[str, str | None] = field(default_factory=dict)
    """Further places that workers use, by the name of their option; None where one is not used."""


@dataclass(frozen=True)
class SessionReport:
    """What a run did, whatever its job."""

    run: RunDescription
    """What it was to do."""
    backend: str
    """Where it ran."""
    workers: int
    """Workers at once."""
    started: str
    """When it started, UTC, ISO 8601."""
    wall_time_s: float
    """Seconds from the plan to the last byte written."""
    stages: tuple[Stage, ...] = ()
    """Its calls on Lambda, and what they cost; elsewhere those of a stage that the backend refused."""
    tasks: Mapping[str, TaskTally] = field(default_factory=dict)
    """What became of the tasks of each stage."""

    @property
    def complete(self) -> bool:
        """Whether no task failed."""
        return not any(tally.failed for tally in self.tasks.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values: what every summary holds."""
        folder = run_folder(self.run.store)
        return {
            "store_path": self.run.store,
            "run_path": folder,
            "parts_path": f"{folder}/{PARTS}",
            "window": self.run.window,
            "totals": dict(self.run.totals),
            "digests": dict(self.run.digests),
            "backend": self.backend,
            "workers": self.workers,
            "started": self.started,
            "wall_time_s": self.wall_time_s,
            "complete": self.complete,
            "tasks": {stage: tally.to_dict() for stage, tally in self.tasks.items()},
            **({"stages": [stage.to_dict() for stage in self.stages]} if self.stages else {}),
        }


class Session:
    """A run under way; a context manager.

    Parameters
    ----------
    run : RunDescription
    options : SessionOptions, optional

    Raises
    ------
    InputError
        From the constructor, if workers cannot reach the store or what is read, or options cannot be used.
    AccessError
        On entry, if there is no login for the archive, or it gives no credentials.
    StoreError
        On entry, if the run's folder cannot be written.
    """

    def __init__(self, run: RunDescription, options: SessionOptions | None = None) -> None:
        self.run, self.options = run, options or SessionOptions()
        self._began = time.monotonic()
        self.backend = resolve_backend(self.options.backend)
        check_reach(self.backend, run)
        tasks, given = next(iter(run.totals.values()), 1), self.options
        self.settings = settings_of(self.backend, tasks, given.max_workers, given.lithops_config, given.region)
        self.region = self.settings.region
        self.folder = run_folder(run.store)
        self.credentials: str | None = None
        """Where credentials of the archive are while the session lasts."""
        note = RunNote.of(self.backend, self.settings.workers, run.window, run.totals, run.digests)
        self._note = NoteWriter(note, self.folder, self.region)
        self._stages: list[Stage] = []
        self._tallies: dict[str, TaskTally] = {}
        self._most = 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            login = private_object(self.run.urls, self.settings.private_bucket, self.region)
            # A login that fails leaves nothing behind.
            self.credentials = stack.enter_context(login)
            stack.enter_context(_own_folder(self.folder, self.region))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is not None:
            self._note.stopped(problem)
        self._open.__exit__(kind, problem, trace)

    @property
    def elapsed(self) -> float:
        """Seconds since the session was made."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds until the deadline; 0 from then on."""
        return max(0.0, self.options.deadline - self.elapsed)

    def begin(self, stage: str, pieces: Mapping[str, Sequence[str]] | None = None) -> None:
        """Note that a stage begins.

        Parameters
        ----------
        stage : str
            Parts are written in the stage ``map``.
        pieces : mapping, optional
            Names of the pieces of parts that are made in several; such a part counts when all of them are there.

        Raises
        ------
        StoreError
            If it cannot be noted.
        """
        self._note.stage(stage, pieces or {})

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
            What the calls are for, such as ``map``.
        function : callable
            Importable by name where the calls run; takes one task.
        tasks : sequence
            Picklable. One that has an ``id`` is counted under it.
        watch : callable, optional
            ``watch(index, outcome)``, called as each task ends.
        begin : bool
            Whether a stage begins; else the calls belong to one that has begun.
        pieces : mapping, optional
            See `begin`.
        preload : sequence of str
            See `run_tasks`.

        Returns
        -------
        list of Outcome
            In the order of the tasks, whatever became of them.

        Raises
        ------
        BackendError
            If the backend takes no calls.
        StoppedError
            If it was interrupted from the keyboard.
        """
        if begin:
            self.begin(stage, pieces)
        outcomes = run_tasks(
            function,
            tasks,
            backend=self.backend,
            config=self.settings.config,
            deadline=self.left,
            watch=watch,
            preload=preload,
        )
        self._most = max(self._most, len(tasks))
        self.record(stage, outcomes, tasks, billed=self.backend == "aws_lambda")
        return outcomes

    def record(self, stage: str, outcomes: Sequence[Outcome[Any]], tasks: Sequence[Any], *, billed: bool) -> None:
        """Count what became of the tasks of a stage, and what their calls cost where they are billed."""
        if billed:
            self._stages.append(stage_of(stage, outcomes, self.settings.memory_mb))
        names = (str(getattr(task, "id", f"{stage} {number}")) for number, task in enumerate(tasks))
        ends = ((one.reason, one.message) for one in outcomes)
        self._tallies[stage] = tally_tasks((name, *end) for name, end in zip(names, ends, strict=True))

    def report(self) -> SessionReport:
        """Return what the run did so far."""
        workers = min(self.settings.workers, self._most or self.settings.workers)
        return SessionReport(
            self.run,
            self.backend,
            workers,
            self._note.note.started,
            self.elapsed,
            tuple(self._stages),
            dict(self._tallies),
        )

    def finish(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write the summary of the run: from then on it is done.

        Parameters
        ----------
        content : mapping
            What the job says of it, plain values; in place of what every summary holds, if the names are the same.

        Returns
        -------
        dict
            The summary, as it is written.
        """
        text = json.dumps(self.report().to_dict() | dict(content), indent=1)
        Folder(self.folder, self.region).put(SUMMARY, text.encode())
        summary: dict[str, Any] = json.loads(text)
        return summary


@contextmanager
def _own_folder(url: str, region: str | None) -> Iterator[None]:
    """See that a run's folder can be written to; of a run that cannot start, nothing is left in it."""
    folder = Folder(url, region, create=True)
    folder.probe()
    before = set(folder.keys())
    try:
        yield
    except BackendError:
        folder.delete(set(folder.keys()) - before)
        if not before and not is_remote(url):
            local_path(url).rmdir()
        raise


def check_reach(backend: str, run: RunDescription) -> None:
    """See that workers can reach what they are to read and write.

    Parameters
    ----------
    backend : {"localhost", "aws_lambda", "serial"}
    run : RunDescription

    Raises
    ------
    InputError
        If something of it lies on the client, and the workers are on Lambda.
    """
    if backend != "aws_lambda":
        return
    why = "workers on Lambda cannot reach this machine"
    if not run.store.startswith("s3://"):
        raise InputError(f"store {run.store}: {why}; give --store s3://BUCKET/NAME.zarr")
    for name, url in run.folders.items():
        if url is not None and not url.startswith("s3://"):
            raise InputError(f"{name} at {url}: {why}; give --{name} s3://BUCKET/FOLDER, or leave it out")
    local = [url for url in run.urls if not is_remote(url)]
    if local:
        raise InputError(
            f"{len(local)} of {len(run.urls)} granules are local files, such as {local[0]}: {why}; "
            "copy them to a bucket, or make a catalog of the archive with 'maggjob catalog'"
        )
