"""The result of a run of the cells job, and the removal of its parts."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from maggjob.backend.bill import Stage
from maggjob.errors import InputError
from maggjob.model.reports import CellReport, Tally
from maggjob.pipeline.index_stage import Indexed
from maggjob.pipeline.session import RunDescription, SessionReport
from maggjob.pipeline.status import read_summary
from maggjob.planning.cost import Estimate
from maggjob.planning.plan import Plan
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import SUMMARY, run_folder


@dataclass(frozen=True)
class RunResult:
    """The result of a run of the cells job."""

    plan: Plan
    """Plan that was carried out."""
    tally: Tally
    """Counts of the ledger."""
    reports: tuple[CellReport, ...]
    """Report of each cell, in the order of the plan."""
    session: SessionReport
    """Where and when the run took place, and its cost."""
    expected: Estimate | None = None
    """Estimate made before the run."""
    indexed: Indexed | None = None
    """Outcome of the index stage; None if no indexes were used."""
    calls: int = 0
    """Number of calls that mapped the cells."""
    cells_in_quarters: int = 0
    """Number of cells that were split among four calls each, because they take long."""
    published: bool = True
    """True if the Zarr was written; an incomplete result replaces an old one only with ``allow_partial``."""

    @property
    def complete(self) -> bool:
        """True if no cell is partial or failed."""
        return not self.tally.cells["partial"] and not self.tally.cells["failed"]

    @property
    def store_path(self) -> str:
        """Path or URL of the Zarr."""
        return self.session.run.store

    @property
    def group(self) -> str:
        """Group of the Zarr that holds the variables."""
        return str(self.plan.config.grid.child_order)

    @property
    def backend(self) -> str:
        """Backend of the run."""
        return self.session.backend

    @property
    def workers(self) -> int:
        """Maximum number of concurrent workers."""
        return self.session.workers

    @property
    def started(self) -> str:
        """Start of the run, UTC, ISO 8601."""
        return self.session.started

    @property
    def wall_time_s(self) -> float:
        """Seconds from the plan to the last byte written."""
        return self.session.wall_time_s

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Calls on Lambda and their cost, per stage; on other backends only stages that the backend refused."""
        return self.session.stages

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain values, under the names of magg and of maggjob."""
        cells, plan = self.tally.cells, self.plan.to_dict()
        maps: list[CellReport | Indexed] = [*self.reports, *([self.indexed] if self.indexed else [])]
        worker_time = sum(report.seconds for report in self.reports)
        totals = {"cells": cells["planned"], "granules": plan["total_granules"], "pairs": plan["total_pairs"]}
        return {
            "total_cells": cells["planned"],
            "cells_with_data": sum(report.observations > 0 for report in self.reports),
            "cells_error": cells["failed"] + cells["partial"],
            "total_obs": self.tally.observations,
            **self.session.to_dict(),
            "totals": totals,
            "results": [report.to_dict() for report in self.reports],
            "group": self.group,
            "published": self.published,
            "calls": self.calls,
            "cells_in_quarters": self.cells_in_quarters,
            "worker_time_s": worker_time + (self.indexed.worker_time_s if self.indexed else 0.0),
            "bytes_read": sum(done.bytes_read for done in maps),
            "requests": sum(done.requests for done in maps),
            "peak_memory": max((done.peak_memory for done in maps), default=0),
            "complete": self.complete,
            "index": None if self.indexed is None else self.indexed.to_dict(),
            "estimate": None if self.expected is None else self.expected.to_dict(),
            **{key: plan[key] for key in ("total_granules", "total_pairs", "driver", "run_digest")},
            **{key: value for key, value in asdict(self.tally).items() if key != "observations"},
        }


def by_hand(run: RunDescription) -> SessionReport:
    """Return the session report of tasks that were mapped by hand, whose backend and times are unknown."""
    return SessionReport(run, "by hand", 0, "", 0.0)


def clean(store: str, region: str | None = None) -> int:
    """Delete the parts, lists and note of a run whose Zarr is complete; the summary stays.

    Parameters
    ----------
    store : str
        Path or URL of the Zarr.
    region : str, optional
        Region of the bucket.

    Returns
    -------
    int
        Number of objects deleted.

    Raises
    ------
    InputError
        If the store is not the complete result of its last run, so that the parts are the only copy.
    """
    summary = read_summary(store, region)
    metadata = f"{summary['group']}/zarr.json"
    there = exists(store, region) and Folder(store, region).has(metadata)
    if (
        not there
        or json.loads(Folder(store, region).get(metadata))["attributes"]["run_digest"] != summary["run_digest"]
    ):
        raise InputError(
            f"{store} is not the result of its last run, whose parts are the only copy and are kept; run again"
        )
    folder = Folder(run_folder(store), region)
    keys = folder.keys()
    folder.delete(key for key in keys if key != SUMMARY)
    return len(keys) - 1
