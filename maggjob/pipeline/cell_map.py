"""The cells job, from a configuration to a Zarr: index the granules, map the cells, reduce the reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from maggjob.backend.outcome import Outcome
from maggjob.backend.settings import resolve_backend
from maggjob.config.load import ConfigLike
from maggjob.errors import BackendError, InputError, LedgerError
from maggjob.inputs.places import expand
from maggjob.jobs.shards import ZARR_IMPORTS, ShardReport, ShardTask, shard_call, shard_calls, write_shard
from maggjob.model.invariants import Facts, Planned, check_reports
from maggjob.model.ledger import reduce_tally, with_granules
from maggjob.model.reports import CellReport, GranuleReport
from maggjob.model.tasks import CellTask
from maggjob.output.saved_plan import save_plan
from maggjob.output.zarr_store import WriteShards, assemble, restore, write_shards_locally
from maggjob.pipeline.facts import check_indexed, check_reported, facts_of
from maggjob.pipeline.index_stage import IndexStage, default_indexes, run_index_stage
from maggjob.pipeline.map_stage import run_map_stage
from maggjob.pipeline.progress import Progress, in_notebook
from maggjob.pipeline.result import RunResult, by_hand, drop_unused, keep_record
from maggjob.pipeline.resume import (
    ask_versions,
    check_same_run,
    earlier_run,
    forget,
    holds_incomplete,
    holds_unrecorded,
    keep_versions,
    may_resume,
)
from maggjob.pipeline.session import RunDescription, Session, SessionOptions, check_reach
from maggjob.pipeline.target import check_target, default_store, is_published
from maggjob.planning.plan import Plan, plan as make_plan
from maggjob.planning.presence import check_local
from maggjob.storage.archive import Archive
from maggjob.storage.folder import Folder, exists
from maggjob.storage.urls import is_remote

SHARDS_HERE = 16
"""Number of shards (of 256 cells each) up to which the client writes them itself on localhost.

For so few, that is faster than starting worker processes.
"""


@dataclass(frozen=True)
class RunOptions(SessionOptions):
    """Options of a run of the cells job."""

    overwrite: bool = False
    """Whether to replace an existing store, once the new result is complete. A store with an incomplete result of the
    same run needs no permission."""
    restart: bool = False
    """Whether to drop the parts of an unfinished run, and start anew."""
    allow_partial: bool = False
    """Whether a result with partial or failed cells may replace an existing store, too."""
    index: bool | None = None
    """Whether to build and use indexes of the granules; by default if that saves time (`Plan.worth_index`)."""
    indexes: str | None = None
    """Folder or prefix of the indexes; by default beside the store if that is in a bucket, else in the user's cache."""

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> "RunOptions":
        """Remove the options of this class from ``options``, and return them as an instance."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls) if field.name in options})


def run(config: ConfigLike, *, dry_run: bool = False, **options: Any) -> RunResult | Plan:
    """Run the whole job: plan it, index the granules, map the cells and write the Zarr.

    Parameters
    ----------
    config : str, Path, mapping or Config
        Path of a configuration file, name of a built-in configuration, or its content.
    dry_run : bool
        If True, only make the plan and return it.
    **options
        Options of the plan, see `plan`: ``catalog``, ``store``, ``driver``, ``max_cells`` and ``morton_cell``. If
        neither ``store`` nor the configuration names a store, it is named after the configuration file.
        Options of the run, see `RunOptions`: ``backend``, ``max_workers``, ``region``, ``lithops_config``,
        ``deadline``, ``watch``, ``overwrite``, ``allow_partial``, ``index`` and ``indexes``.

    Returns
    -------
    RunResult or Plan
        The plan if ``dry_run``.

    Raises
    ------
    MaggjobError
        If the run cannot start, or its counts do not agree. The failure of a granule or a cell raises nothing: it is
        recorded in the result.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> catalog = maggjob.make_catalog("granules")
    >>> result = run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    >>> result.tally.cells["complete"] == len(catalog.cells)
    True
    """
    how = RunOptions.taken_from(options)
    plan = plan_run(config, **options)
    if dry_run:
        check_reach(resolve_backend(how.backend), describe(plan, how))
        return plan
    return execute(plan, how)


def plan_run(config: ConfigLike, **asked: Any) -> Plan:
    """Make a `plan` that has a store.

    Parameters
    ----------
    config : str, Path, mapping or Config
        See `run`.
    **asked
        Options of `plan`. Without ``store``, the store of the configuration is used, else ``./<config>.zarr``.
    """
    plan = make_plan(config, check=False, **asked)
    if plan.store_path is None:
        plan = replace(plan, store_path=default_store(config))
    # An earlier attempt has looked already, and looking costs a tenth of what resuming may cost.
    if plan.driver == "file" and not _has_begun(plan):
        check_local(plan.config, plan.used_granules)
    return plan


def _has_begun(plan: Plan) -> bool:
    """Return True if an earlier attempt at the same run has begun, into a local store."""
    store = str(plan.store_path)
    try:
        earlier = None if is_remote(store) else earlier_run(store)
    # A damaged note is told when the run begins.
    except InputError:
        return False
    return earlier is not None and earlier.digest == plan.digest


def execute(plan: Plan, options: RunOptions | None = None, **changes: Any) -> RunResult:
    """Carry out a plan: index the granules, map the cells and write the Zarr.

    Parameters
    ----------
    plan : Plan
        A plan with a store.
    options : RunOptions, optional
        Options of the run.
    **changes
        Fields of `RunOptions` that override ``options``.

    Raises
    ------
    MaggjobError
        If the run cannot start, or its counts do not agree.
    """
    options = replace(options or RunOptions(), **changes)
    session = Session(describe(plan, options), options)
    _begin(session, options, plan.digest)
    if options.watch is None and in_notebook():
        with Progress(len(plan.cells)) as progress:
            return execute(plan, options, watch=progress)
    with session:
        # Once more, as only now no other run can be at work on the same store.
        restore(session.run.store)
        resume, allowed = _begin(session, options, plan.digest)
        folder = Folder(session.folder, session.region)
        save_plan(plan, folder)
        index = _with_versions(session, run_index_stage(session, plan, _indexes(plan, options)))
        if options.restart:
            forget(folder)
        now = index.exact.plan
        keep_versions(folder, now.etags, {now.task_id(c): [g.id for g in now.granules(c)] for c in now.cells})
        absent = () if index.indexed is None else check_indexed(plan, index.indexed)
        cells = run_map_stage(session, index, resume=resume)
        session.begin("assembly")
        reports = cells.reports()
        if index.indexed is None:
            absent = check_reported(plan, reports)
        result = replace(
            _assembled(session, index, cells.tasks, reports, allowed),
            # The result keeps the catalog with all pairs, so that its totals agree with the ledger.
            plan=replace(now, catalog=index.exact.listed.catalog),
            expected=plan.expected(index.place is not None),
            indexed=index.indexed,
            calls=cells.calls,
            taken=cells.taken,
            absent=absent,
            cells_in_quarters=cells.in_quarters,
            session=session.report(),
        )
        if result.published:
            keep_record(result, folder, session.region)
        drop_unused(folder, result.reports)
        session.finish(result.to_dict())
    return result


def _with_versions(session: Session, index: IndexStage) -> IndexStage:
    """Return the index stage with the versions of the granules, asked for if no index has told them."""
    plan = index.exact.plan
    if plan.etags:
        return index
    etags = ask_versions(plan.used_granules, Archive(session.credentials, session.region))
    return replace(index, exact=replace(index.exact, plan=replace(plan, etags=etags)))


def _assembled(
    session: Session, index: IndexStage, tasks: Sequence[CellTask], reports: Sequence[CellReport], options: RunOptions
) -> RunResult:
    """Assemble the result by the workers of a session, while it holds the lock."""
    return assemble_run(
        index.exact.plan,
        tasks,
        reports,
        no_overlap=index.exact.no_overlap,
        facts=facts_of(index.exact.plan, index.indexed),
        region=session.region,
        overwrite=options.overwrite,
        allow_partial=options.allow_partial,
        write=shard_writer(session),
        guard=session.check_lock,
    )


def describe(plan: Plan, options: RunOptions) -> RunDescription:
    """Describe a plan in the terms of a `Session`, which knows nothing about cells.

    Parameters
    ----------
    plan : Plan
        A plan with a store.
    options : RunOptions
        Options of the run.

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
        {"cells": len(plan.cells), "granules": len(plan.positions), "pairs": plan.pairs},
        {"run": plan.digest, "configuration": plan.config.digest},
        [granule.url for granule in plan.used_granules],
        {"indexes": None if options.indexes is None else expand(options.indexes, "indexes")},
    )


def _begin(session: Session, options: RunOptions, digest: str) -> tuple[bool, RunOptions]:
    """Check that a run may start; return whether it resumes an earlier one, and its options.

    An incomplete result of the same run is improved, not replaced, and one without a manifest is recorded, so that the
    options allow both.

    Parameters
    ----------
    session : Session
    options : RunOptions
    digest : str
        Digest of the run.

    Raises
    ------
    ExistsError
        If another run is unfinished, or the store exists and is not to be replaced.
    """
    store, region = session.run.store, session.region
    earlier = earlier_run(store, region)
    check_same_run(earlier, digest, store, restart=options.restart)
    own = holds_incomplete(store, digest, region)
    unrecorded = holds_unrecorded(earlier, store, digest, region)
    allowed = replace(
        options,
        overwrite=options.overwrite or own or unrecorded,
        allow_partial=options.allow_partial or own,
    )
    check_target(store, allowed.overwrite, region)
    return may_resume(earlier, digest, restart=options.restart), allowed


def _indexes(plan: Plan, options: RunOptions) -> str | None:
    """Return the folder or prefix of the indexes; None if the run uses none."""
    wanted = plan.worth_index if options.index is None else options.index
    if not wanted:
        return None
    return default_indexes(plan) if options.indexes is None else expand(options.indexes, "indexes")


def shard_writer(session: Session) -> WriteShards:
    """Return the function that writes the shards of a result: in workers, or in the client if there are few shards."""

    def write(shards: Sequence[ShardTask]) -> list[ShardReport]:
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
    no_overlap: Mapping[int, tuple[GranuleReport, ...]] | None = None,
    facts: Mapping[str, Facts] | None = None,
    region: str | None = None,
    overwrite: bool = False,
    allow_partial: bool = False,
    write: WriteShards = write_shards_locally,
    guard: Callable[[], None] | None = None,
) -> RunResult:
    """Reduce the reports of all cells to a tally, and write the Zarr from their parts.

    `run` calls it. Call it yourself after you have mapped the tasks with Lithops yourself. An incomplete result
    replaces an existing one only if ``allow_partial``; otherwise the existing result stays, and the new parts are kept.

    Parameters
    ----------
    plan : Plan
        A plan with a store.
    tasks : sequence of CellTask
        One per planned cell.
    reports : sequence of CellReport
        One per task, in any order.
    no_overlap : mapping, optional
        Reports of granules that have no segment in a cell according to their index, by nested id of the cell.
    facts : mapping, optional
        What is known of each granule, by id; by default what the catalog knows.
    region : str, optional
        Region of the bucket.
    overwrite, allow_partial : bool
        See `RunOptions`.
    write : callable, optional
        Function that carries out the tasks of shards; by default in this process.
    guard : callable, optional
        Called before anything is published or an old result is touched; raises if it must not be.

    Raises
    ------
    MaggjobError
        If a part does not agree with its report, or the counts do not agree.
    """
    run = describe(plan, RunOptions())
    cells = {plan.task_id(cell): cell for cell in plan.cells}
    if sorted(cells) != sorted(task.id for task in tasks) or sorted(cells) != sorted(report.id for report in reports):
        raise LedgerError("the tasks or reports do not match the plan: pass one task and one report per planned cell")
    if len({task.run for task in tasks}) > 1:
        raise LedgerError("the tasks belong to several runs; make all of them from one plan")
    # The ledger accounts for every granule that the catalog lists for a cell.
    known = no_overlap or {}
    listed = {name: [granule.id for granule in plan.granules(cell)] for name, cell in cells.items()}
    reports = [with_granules(report, listed[report.id], known.get(cells[report.id], ())) for report in reports]
    every = {name: [*ids, *(granule.id for granule in known.get(cells[name], ()))] for name, ids in listed.items()}
    check_reports(reports, Planned(every, plan.catalog.order, facts or facts_of(plan)))
    tally = reduce_tally(reports)
    check_target(run.store, overwrite, region)
    result = RunResult(plan, tally, tuple(reports), by_hand(run))
    there = exists(run.store, region) and is_published(run.store, region)
    nothing = tally.cells["failed"] == tally.cells["planned"]
    if nothing or (there and not (result.complete or allow_partial)):
        return replace(result, published=False)
    shards = assemble(plan.config, tasks, reports, tally, run.store, region=region, write=write, guard=guard)
    return replace(result, shards=shards)
