"""What a run of any job is told and tells: options, description of the work, report; and what workers can reach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maggjob.backend.bill import BillLine, Stage
from maggjob.backend.executor import DEADLINE
from maggjob.backend.outcome import Watcher
from maggjob.model.ledger import TaskTally
from maggjob.planning.cloud import CloudEstimate
from maggjob.storage.run_folder import PARTS, run_folder


@dataclass(frozen=True)
class SessionOptions:
    """Options of a run of any job."""

    backend: str = "localhost"
    """Backend of the calls: localhost (or local), aws_lambda (or lambda), or serial."""
    max_workers: int | None = None
    """Largest number of concurrent workers; by default as many as cores and memory allow, or as Lithops' configuration
    says."""
    region: str | None = None
    """Region of the buckets; by default from the Lithops configuration on Lambda, else from the environment."""
    lithops_config: Mapping[str, Any] | str | Path | None = None
    """Configuration of Lithops; by default ./lithops_config.yaml if it exists, else a built-in one."""
    deadline: float = DEADLINE
    """Seconds after which unfinished tasks are given up and counted as failed."""
    watch: Watcher | None = None
    """``watch(index, outcome)``, called as each task of the map ends. What it raises stops the run, which can be
    resumed. If it has a method ``say``, that is given a line of text when the run waits for something."""
    max_cost: float | None = None
    """US dollars that this command may cost on Lambda: a dearer plan is refused, and a run that would cost more is
    stopped and can be resumed. A command that resumes counts from zero. Ignored on other backends, which cost nothing.
    """


@dataclass(frozen=True)
class RunDescription:
    """Description of the work of a run, in the terms of its job."""

    store: str
    """Path or URL of the result; the run's folder lies beside it."""
    window: str
    """Label of the time window; part of the keys of the run's parts."""
    totals: Mapping[str, int]
    """Amount of work by unit, such as ``{"cells": 20, "granules": 60}``. Each part, and each task of the map, is made
    for one item of the first unit."""
    digests: Mapping[str, str]
    """Digests of what determines the result, by name; ``run`` covers all of it."""
    urls: Sequence[str] = ()
    """URLs that are read from the archive."""
    folders: Mapping[str, str | None] = field(default_factory=dict)
    """Other folders that workers use, by the name of their option; None if not used."""
    cloud: CloudEstimate | None = None
    """What the run takes on Lambda with some number of workers, which is chosen by it; None if that is unknown."""


@dataclass(frozen=True)
class SessionReport:
    """Report of a run of any job."""

    run: RunDescription
    """Description of the work."""
    backend: str
    """Backend of the calls."""
    workers: int
    """Number of concurrent workers."""
    started: str
    """Start of the run, UTC, ISO 8601."""
    wall_time_s: float
    """Seconds from the plan to the last byte written."""
    stages: tuple[Stage, ...] = ()
    """Calls on Lambda and their cost, by stage; on other backends, only a stage that the backend refused."""
    tasks: Mapping[str, TaskTally] = field(default_factory=dict)
    """Counts of the tasks that ended and failed, by stage."""
    warnings: tuple[str, ...] = ()
    """What could not be cleaned up, and whatever else does not concern the result."""
    bill: tuple[BillLine, ...] = ()
    """What the run has cost on Lambda, line by line; empty on other backends."""
    user: str | None = None
    """Who ran it, for the bill; None on other backends, and if no name is told."""

    @property
    def dollars(self) -> float:
        """What the run has cost, US dollars."""
        return sum(line.line.dollars for line in self.bill)

    @property
    def expected_dollars(self) -> float | None:
        """What the plan expected, US dollars; None if it expected nothing."""
        known = [line.expected for line in self.bill if line.expected is not None]
        return sum(known) if known else None

    @property
    def complete(self) -> bool:
        """True if no task failed."""
        return not any(tally.failed for tally in self.tasks.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the values that every summary holds, as plain values."""
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
            "warnings": list(self.warnings),
            **({"stages": [stage.to_dict() for stage in self.stages]} if self.stages else {}),
            **(self._billed() if self.bill else {}),
        }

    def _billed(self) -> dict[str, Any]:
        """Return what a summary says of the cost."""
        dollars = {"dollars": self.dollars, "expected_dollars": self.expected_dollars}
        return {"bill": [line.to_dict() for line in self.bill], **dollars, "user": self.user}
