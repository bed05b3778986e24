"""What a run of any job does, and what it did: the values that every summary holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maggjob.backend.bill import Stage
from maggjob.model.ledger import TaskTally
from maggjob.pipeline.record import package_versions
from maggjob.storage.run_folder import PARTS, run_folder


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
            "versions": package_versions(),
            "tasks": {stage: tally.to_dict() for stage, tally in self.tasks.items()},
            "warnings": list(self.warnings),
            **({"stages": [stage.to_dict() for stage in self.stages]} if self.stages else {}),
        }
