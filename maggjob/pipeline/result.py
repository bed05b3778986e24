"""What a run of the cells job did: its result, and what may be deleted then."""

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
    """What a run did."""

    plan: Plan
    """What it was to do."""
    tally: Tally
    """The ledger."""
    reports: tuple[CellReport, ...]
    """What became of each cell, in the order of the plan."""
    session: SessionReport
    """Where and when it ran, and what that cost."""
    expected: Estimate | None = None
    """What it was expected to take."""
    indexed: Indexed | None = None
    """What became of the indexes of its granules, if it used any."""
    calls: int = 0
    """Calls that the cells were put in."""
    cells_in_quarters: int = 0
    """Cells that took so long that four calls worked on each."""
    published: bool = True
    """Whether the Zarr was written; an incomplete result does not replace an old one unasked."""

    @property
    def complete(self) -> bool:
        """Whether no cell is partial or failed."""
        return not self.tally.cells["partial"] and not self.tally.cells["failed"]

    @property
    def store_path(self) -> str:
        """The Zarr."""
        return self.session.run.store

    @property
    def group(self) -> str:
        """Group of the Zarr that holds the variables."""
        return str(self.plan.config.grid.child_order)

    @property
    def backend(self) -> str:
        """Where it ran."""
        return self.session.backend

    @property
    def workers(self) -> int:
        """Workers at once."""
        return self.session.workers

    @property
    def started(self) -> str:
        """When it started, UTC, ISO 8601."""
        return self.session.started

    @property
    def wall_time_s(self) -> float:
        """Seconds from the plan to the last byte written."""
        return self.session.wall_time_s

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Its calls on Lambda, and what they cost; elsewhere those of a stage that the backend refused."""
        return self.session.stages

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, under magg's names and ours."""
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
    """Return the report of a run whose tasks were mapped by hand: nothing is known of where and when."""
    return SessionReport(run, "by hand", 0, "", 0.0)


def clean(store: str, region: str | None = None) -> int:
    """Delete the parts, lists and note of a run whose Zarr is complete; the summary stays.

    Returns
    -------
    int
        Number of objects deleted.

    Raises
    ------
    InputError
        There is no finished run: its parts are all there is.
    """
    summary = read_summary(store, region)
    metadata = f"{summary['group']}/zarr.json"
    there = exists(store, region) and Folder(store, region).has(metadata)
    if (
        not there
        or json.loads(Folder(store, region).get(metadata))["attributes"]["run_digest"] != summary["run_digest"]
    ):
        raise InputError(f"{store} is not the result of its last run: the parts are all there is of that; run again")
    folder = Folder(run_folder(store), region)
    keys = folder.keys()
    folder.delete(key for key in keys if key != SUMMARY)
    return len(keys) - 1
