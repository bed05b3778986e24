"""The reduce of a run: the reports of all cells are checked and tallied, and the Zarr is written from their parts."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from maggjob.backend.bill import Prices
from maggjob.backend.outcome import Outcome
from maggjob.errors import BackendError, InputError, LedgerError
from maggjob.inputs.places import PlaceLike, expand
from maggjob.jobs.shards import ZARR_IMPORTS, ShardReport, ShardTask, shard_call, shard_calls, write_shard
from maggjob.model.invariants import Facts, Planned, check_reports
from maggjob.model.ledger import reduce_tally, with_granules
from maggjob.model.reports import CellReport, GranuleReport
from maggjob.model.tasks import CellTask
from maggjob.output.assembly import Kept, WriteShards, write_shards_locally
from maggjob.output.time_axis import TimeAxis
from maggjob.output.zarr_store import assemble
from maggjob.pipeline.facts import facts_of
from maggjob.pipeline.result import RunResult, by_hand
from maggjob.pipeline.resume import improves
from maggjob.pipeline.session import RunDescription, Session
from maggjob.pipeline.target import check_target, is_published
from maggjob.planning.cloud import CloudRun, CloudWork, cloud_run
from maggjob.planning.plan import Plan
from maggjob.storage.folder import exists

SHARDS_HERE = 16
"""Number of shards (of 256 cells each) up to which the client writes them itself on localhost.

For so few, that is faster than starting worker processes.
"""

Left = Callable[[], Collection[str] | None]
"""Function that returns the ids of the tasks that are still to be mapped; None for all."""


def axis_of(plan: Plan) -> TimeAxis | None:
    """Return the time axis of the result of a plan; None without one."""
    kind = plan.config.output.time
    return None if kind == "none" else TimeAxis(kind, tuple(one.window for one in plan.each))


def describe(
    plan: Plan, indexes: PlaceLike | None = None, left: Left = lambda: None, *, index: bool | None = None
) -> RunDescription:
    """Describe a plan in the terms of a `Session`, which knows nothing about cells.

    Parameters
    ----------
    plan : Plan
        A plan with a store.
    indexes : str or Path, optional
        Folder or prefix of the indexes, if the user named one.
    left : callable, optional
        Returns the ids of the tasks of the cells that are mapped, None for all; called if the run is on Lambda.
    index : bool, optional
        Whether indexes are used; by default if that is worth it.

    Raises
    ------
    InputError
        If the plan has no store.
    """
    if plan.store_path is None:
        raise InputError("no store: make the plan with store=")
    return RunDescription(
        plan.store_path,
        plan.window,
        {"cells": len(plan.units), "granules": len(plan.positions), "pairs": plan.pairs},
        {"run": plan.digest, "configuration": plan.config.digest},
        [granule.url for granule in plan.used_granules],
        {"indexes": None if indexes is None else expand(indexes, "indexes")},
        _Cloud(plan, left, index),
    )


@dataclass(frozen=True)
class _Cloud:
    """What a plan takes on Lambda with some number of workers (`maggjob.planning.cloud.CloudEstimate`)."""

    plan: Plan
    left: Left
    index: bool | None

    @cached_property
    def work(self) -> CloudWork:
        """The work, whatever the number of workers."""
        return self.plan.cloud_work(self.left(), indexed=self.index)

    def __call__(self, workers: int, prices: Prices | None = None) -> CloudRun:
        """Return what the run takes."""
        return cloud_run(self.work, workers, prices)


def shard_writer(session: Session) -> WriteShards:
    """Return the function that writes the shards of a result: in workers, or in the client if there are few shards."""

    def write(shards: Sequence[ShardTask]) -> list[ShardReport]:
        if not shards:
            return []
        few = session.backend == "localhost" and len(shards) <= SHARDS_HERE
        if session.backend == "serial" or session.left == 0.0 or few:
            return write_shards_locally(shards)
        stage = "assembly" if shards[0].write else "check"
        calls = shard_calls(shards, session.folder)
        try:
            outcomes = session.map(stage, shard_call, calls, begin=False, preload=ZARR_IMPORTS)
        except BackendError as problem:
            # All parts exist, so nothing is lost: the failure is recorded, and the client writes the shards.
            outcomes = [Outcome(reason=problem.reason, message=str(problem)) for _ in calls]
            session.record(stage, outcomes, calls, billed=True)
        return [write_shard(s) if o.value is None else o.value for s, o in zip(shards, outcomes, strict=True)]

    return write


def assemble_run(
    plan: Plan,
    tasks: Sequence[CellTask],
    reports: Sequence[CellReport],
    *,
    no_overlap: Mapping[str, tuple[GranuleReport, ...]] | None = None,
    facts: Mapping[str, Facts] | None = None,
    region: str | None = None,
    overwrite: bool = False,
    allow_partial: bool = False,
    write: WriteShards = write_shards_locally,
    guard: Callable[[], None] | None = None,
    kept: Kept | None = None,
) -> RunResult:
    """Reduce the reports of all cells to a tally, and write the Zarr from their parts.

    `run` calls it. Call it yourself after you have mapped the tasks with Lithops yourself. An incomplete result
    replaces an existing one only if ``allow_partial``, or if that is an incomplete result of the same run with no more
    complete and no fewer failed cells; otherwise the existing result stays, and the new parts are kept.

    Parameters
    ----------
    plan : Plan
        A plan with a store.
    tasks : sequence of CellTask
        One per planned cell.
    reports : sequence of CellReport
        One per task, in any order.
    no_overlap : mapping, optional
        Reports of granules that have no segment in a cell according to their index, by id of the cell's task.
    facts : mapping, optional
        What is known of each granule, by id; by default what the catalog knows.
    region : str, optional
        Region of the bucket.
    overwrite, allow_partial : bool
        See `maggjob.pipeline.cell_map.RunOptions`.
    write : callable, optional
        Function that carries out the tasks of shards; by default in this process.
    guard : callable, optional
        Called before anything is published or an old result is touched; raises if it must not be.
    kept : Kept, optional
        Windows of the result in the store that stay as they are; the tasks and reports are those of the others.

    Raises
    ------
    MaggjobError
        If a part does not agree with its report, or the counts do not agree.
    """
    store, known, listed = describe(plan).store, no_overlap or {}, plan.listed
    stay = () if kept is None else kept.reports
    done = sorted([*(task.id for task in tasks), *(report.id for report in stay)])
    if sorted(listed) != done or done != sorted(report.id for report in (*reports, *stay)):
        raise LedgerError("the tasks or reports do not match the plan: pass one task and one report per planned cell")
    if len({(task.window, task.run) for task in tasks}) > len(plan.each):
        raise LedgerError("the tasks belong to several runs; make all of them from one plan")
    # The ledger accounts for every granule that the catalog lists for a cell.
    reports = [with_granules(report, listed[report.id], known.get(report.id, ())) for report in reports]
    every = {name: [*ids, *(granule.id for granule in known.get(name, ()))] for name, ids in listed.items()}
    all_reports = _in_order(plan, [*reports, *stay])
    check_reports(all_reports, Planned(every, plan.catalog.order, facts or facts_of(plan)))
    tally = reduce_tally(all_reports)
    check_target(store, overwrite, region)
    result = RunResult(plan, tally, tuple(all_reports), by_hand(describe(plan)))
    there = exists(store, region) and is_published(store, region)
    nothing = tally.cells["failed"] == tally.cells["planned"]
    allowed = result.complete or allow_partial
    if nothing or (there and not (allowed or improves(tally.cells, store, plan.digest, region))):
        return replace(result, published=False)
    written = assemble(
        plan.config,
        tasks,
        reports,
        tally,
        store,
        region=region,
        write=write,
        guard=guard,
        rows=plan.cells,
        axis=axis_of(plan),
        digest=plan.digest,
        kept=kept,
    )
    return replace(result, shards=written.objects, source_attributes=written.attributes)


def _in_order(plan: Plan, reports: Sequence[CellReport]) -> list[CellReport]:
    """Return reports in the order of the windows; within a window as they are."""
    place = {one.window: number for number, one in enumerate(plan.each)}
    return sorted(reports, key=lambda report: place[report.window])
