"""The result of a run of the cells job, and the deletion of what is no longer needed after it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from maggjob.backend.bill import Stage
from maggjob.errors import InputError
from maggjob.inputs.places import store_place
from maggjob.model.display import Displayed
from maggjob.model.reports import TRANSITION, CellReport, Tally
from maggjob.output.manifest import (
    Manifest,
    cell_records,
    part_below,
    read_granules,
    stored_objects,
    stored_parts,
    write_manifest,
)
from maggjob.output.table import ledger_columns, table_of
from maggjob.pipeline.index_stage import Indexed
from maggjob.pipeline.session import RunDescription, SessionReport
from maggjob.pipeline.status import read_summary
from maggjob.planning.cost import Estimate
from maggjob.planning.plan import Plan
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import BETWEEN, KEPT, OURS, PARTS, run_folder


@dataclass(frozen=True, repr=False)
class RunResult(Displayed):
    """Result of a run of the cells job."""

    plan: Plan
    """The plan that was carried out."""
    tally: Tally
    """The ledger."""
    reports: tuple[CellReport, ...]
    """One report per cell, in the order of the plan."""
    session: SessionReport
    """Where and when the run took place, and what it cost."""
    expected: Estimate | None = None
    """The estimate made before the run."""
    indexed: Indexed | None = None
    """Results of the index stage; None if no indexes were used."""
    calls: int = 0
    """Number of calls in which the cells were mapped."""
    cells_in_quarters: int = 0
    """Number of cells that were split into quarters because they would have taken too long."""
    published: bool = True
    """Whether the Zarr was written. An incomplete result replaces an existing one only with ``allow_partial``, or one
    of the same run that is no better; a result whose cells have all failed is not written at all."""
    absent: tuple[str, ...] = ()
    """What of the configuration no granule has, in words, if that is no mistake: beams that a subset lacks, times."""
    taken: int = 0
    """Number of parts that an earlier attempt at the same run left, and that were used."""
    found: int = 0
    """Number of cells and quarters whose parts were there although their calls had given no answer."""
    shards: Mapping[str, tuple[int, str]] = field(default_factory=dict, repr=False)
    """Size and SHA-256 of each shard of the Zarr, by key."""
    deleted: frozenset[str] = frozenset()
    """Keys of parts that 'maggjob clean' had deleted before this update, below the folder of parts."""
    source_attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    """``units`` and ``long_name`` of the columns in the granules."""

    def facts(self) -> dict[str, object]:
        """Return what is shown of a result."""
        return {
            "store": self.store_path if self.published else f"{self.store_path} (not published)",
            "complete": "yes" if self.complete else "no",
            **self.tally.facts(),
            "time": f"{self.wall_time_s:.1f} s on {self.backend}",
        }

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
        """Backend of the calls: localhost, aws_lambda, serial, or "by hand" if there was no session."""
        return self.session.backend

    @property
    def workers(self) -> int:
        """Number of concurrent workers."""
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
        """Calls on Lambda and their cost, by stage; on other backends, only a stage that the backend refused."""
        return self.session.stages

    @property
    def in_transition(self) -> list[str]:
        """Granules during which the spacecraft turned, so that it is not known which of their beams were strong."""
        every = (granule for report in self.reports for granule in report.granules)
        return sorted({granule.id for granule in every if granule.segments.get(TRANSITION)})

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain values: the keys of magg's summary, and more."""
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
            "taken": self.taken,
            "found": self.found,
            "absent": list(self.absent),
            "unreadable": len(self.plan.catalog.provenance.get("unreadable", ())),
            "worker_time_s": worker_time + (self.indexed.worker_time_s if self.indexed else 0.0),
            "bytes_read": sum(done.bytes_read for done in maps),
            "requests": sum(done.requests for done in maps),
            "read_by_h5py": sum(report.by_h5py for report in self.reports),
            "in_transition": self.in_transition,
            "peak_memory": max((done.peak_memory for done in maps), default=0),
            "complete": self.complete,
            "index": None if self.indexed is None else self.indexed.to_dict(),
            "estimate": None if self.expected is None else self.expected.to_dict(),
            **{key: plan[key] for key in ("total_granules", "total_pairs", "driver", "simulated", "run_digest")},
            **{key: value for key, value in asdict(self.tally).items() if key != "observations"},
        }


def keep_record(result: RunResult, folder: Folder, region: str | None) -> None:
    """Write the manifest and the ledger of a published result.

    Parameters
    ----------
    result : RunResult
    folder : Folder
        Folder of the run.
    region : str or None
        Region of the bucket.
    """
    table = table_of(ledger_columns(result.reports))
    # At every moment, one of the two ledgers is that of the manifest.
    table.put_next(folder)
    manifest = Manifest(
        result.started,
        result.group,
        {
            **result.session.run.digests,
            "parts": result.plan.digest,
            **{f"parts {one.window}": one.digest for one in result.plan.windows or ()},
        },
        stored_objects(result.store_path, result.shards, region),
        stored_parts(result.reports),
        cell_records(result.reports),
        read_granules(result.plan),
        table.stored,
        result.tally.segments,
        deleted=tuple(sorted(result.deleted)),
        attributes=result.source_attributes,
    )
    write_manifest(manifest, folder)
    table.put(folder)


def drop_unused(folder: Folder, reports: Sequence[CellReport]) -> str | None:
    """Delete the parts that no report names: those of failed attempts, of quarters, and of earlier runs.

    Parameters
    ----------
    folder : Folder
        Folder of the run.
    reports : sequence of CellReport

    Returns
    -------
    str or None
        Why they remain, if they cannot be deleted. The result needs none of them.
    """
    used = {f"{PARTS}/{part_below(report)}" for report in reports}
    return folder.discard(lambda: [key for key in folder.keys(PARTS) if key not in used])


def by_hand(run: RunDescription) -> SessionReport:
    """Return the session report of a run whose tasks were mapped by hand, with place and time unknown."""
    return SessionReport(run, "by hand", 0, "", 0.0)


def _is_result(store: str, summary: Mapping[str, Any], region: str | None) -> bool:
    """Return True if a store is the result of the run of a summary; of other jobs than cells, if there is any."""
    if not exists(store, region):
        return False
    if "group" not in summary:
        return bool(summary.get("published", True))
    metadata, folder = f"{summary['group']}/zarr.json", Folder(store, region)
    if not folder.has(metadata):
        return False
    attributes: dict[str, Any] = json.loads(folder.get(metadata))["attributes"]
    return bool(attributes["run_digest"] == summary["run_digest"])


def clean(store: str, region: str | None = None) -> int:
    """Delete the parts, lists and note of a run whose Zarr has been written; keep the summary.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    region : str, optional
        Region of the bucket.

    Returns
    -------
    int
        Number of objects deleted.

    Raises
    ------
    InputError
        If the last run left no summary, or the Zarr is not its result: its data then exist only in the parts.
    """
    store = store_place(store)
    summary = read_summary(store, region)
    if not _is_result(store, summary, region):
        raise InputError(
            f"{store} is not the result of its last run, whose data exist only as parts; nothing was deleted; run again"
        )
    folder = Folder(run_folder(store), region)
    keys = folder.keys()
    unneeded = [key for key in keys if key.startswith(OURS) and key not in (*KEPT, *BETWEEN)]
    folder.delete(unneeded)
    return len(unneeded)
