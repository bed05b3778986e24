"""What a run did: its result, the summary that it leaves beside the Zarr, and what may be deleted then."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from maggjob.backend.bill import Stage
from maggjob.errors import InputError
from maggjob.model.reports import CellReport, Tally
from maggjob.pipeline.index_stage import Indexed
from maggjob.planning.cost import Estimate
from maggjob.planning.plan import Plan
from maggjob.storage.folder import Place, exists
from maggjob.storage.run_folder import PARTS, SUMMARY, run_folder


@dataclass(frozen=True)
class RunResult:
    """What a run did."""

    plan: Plan
    """What it was to do."""
    tally: Tally
    """The ledger."""
    reports: tuple[CellReport, ...]
    """What became of each cell, in the order of the plan."""
    backend: str
    """Where it ran."""
    workers: int
    """Workers at once."""
    started: str
    """When it started, UTC, ISO 8601."""
    wall_time_s: float
    """From the plan to the last byte written."""
    store_path: str
    """The Zarr."""
    group: str
    """Group of the Zarr that holds the variables."""
    expected: Estimate | None = None
    """What it was expected to take."""
    indexed: Indexed | None = None
    """What became of the indexes of its granules, if it used any."""
    calls: int = 0
    """Calls that the cells were put in."""
    cells_in_quarters: int = 0
    """Cells that took so long that four calls worked on each."""
    stages: tuple[Stage, ...] = ()
    """Its calls on Lambda, and what they cost; elsewhere those of a stage that the backend refused."""
    published: bool = True
    """Whether the Zarr was written; an incomplete result does not replace an old one unasked."""

    @property
    def complete(self) -> bool:
        """Whether no cell is partial or failed."""
        return not self.tally.cells["partial"] and not self.tally.cells["failed"]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, under the names of the system before us, and ours."""
        cells, plan = self.tally.cells, self.plan.to_dict()
        maps: list[CellReport | Indexed] = [*self.reports, *([self.indexed] if self.indexed else [])]
        worker_time = sum(report.seconds for report in self.reports)
        index = None if self.indexed is None else asdict(self.indexed)
        if index is not None and self.indexed is not None:
            index |= {"states": self.indexed.states, "problems": self.indexed.problems}
            del index["granules"]
        return {
            "total_cells": cells["planned"],
            "cells_with_data": sum(report.observations > 0 for report in self.reports),
            "cells_error": cells["failed"] + cells["partial"],
            "total_obs": self.tally.observations,
            "wall_time_s": self.wall_time_s,
            "store_path": self.store_path,
            "backend": self.backend,
            "results": [report.to_dict() for report in self.reports],
            "group": self.group,
            "published": self.published,
            "run_path": self.plan.run_path,
            "parts_path": f"{self.plan.run_path}/{PARTS}",
            "started": self.started,
            "workers": self.workers,
            "calls": self.calls,
            "cells_in_quarters": self.cells_in_quarters,
            "worker_time_s": worker_time + (self.indexed.worker_time_s if self.indexed else 0.0),
            "bytes_read": sum(done.bytes_read for done in maps),
            "requests": sum(done.requests for done in maps),
            "peak_memory": max((done.peak_memory for done in maps), default=0),
            "complete": self.complete,
            "index": index,
            "estimate": None if self.expected is None else self.expected.to_dict(),
            **({"stages": [stage.to_dict() for stage in self.stages]} if self.stages else {}),
            **{key: plan[key] for key in ("total_granules", "total_pairs", "driver", "window", "run_digest")},
            **{key: value for key, value in asdict(self.tally).items() if key != "observations"},
        }


def read_summary(store: str, region: str | None = None) -> dict[str, Any]:
    """The summary that the run of a store left.

    Raises
    ------
    InputError
        There is none, or it is damaged.
    """
    run_path = run_folder(store)
    if not (exists(run_path, region) and Place(run_path, region).has(SUMMARY)):
        raise InputError(f"no summary at {run_path}/{SUMMARY}; give the path of a Zarr that 'maggjob run' wrote")
    try:
        content: dict[str, Any] = json.loads(Place(run_path, region).get(SUMMARY))
    except ValueError as problem:
        raise InputError(f"{run_path}/{SUMMARY} is damaged ({problem}); run again") from problem
    if not (isinstance(content, dict) and {"started", "cells", "run_digest"} <= content.keys()):
        raise InputError(f"{run_path}/{SUMMARY} is no summary of a run; run again")
    return content


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
    there = exists(store, region) and Place(store, region).has(metadata)
    if not there or json.loads(Place(store, region).get(metadata))["attributes"]["run_digest"] != summary["run_digest"]:
        raise InputError(f"{store} is not the result of its last run: the parts are all there is of that; run again")
    place = Place(run_folder(store), region)
    keys = place.keys()
    place.delete(key for key in keys if key != SUMMARY)
    return len(keys) - 1
