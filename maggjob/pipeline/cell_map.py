"""The cells job, from a configuration to a Zarr: plan, index, map, reduce."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from maggjob.backend.outcome import Outcome
from maggjob.backend.settings import resolve_backend
from maggjob.config.load import ConfigLike
from maggjob.errors import BackendError, InputError, LedgerError
from maggjob.jobs.cells import cell_calls, map_call
from maggjob.jobs.shards import ShardReport, ShardTask, shard_call, shard_calls, write_shard
from maggjob.model.ledger import reduce_tally, with_granules
from maggjob.model.reports import CellReport, GranuleReport
from maggjob.model.tasks import CellTask
from maggjob.output.zarr_store import WriteShards, assemble, write_shards_locally
from maggjob.pipeline.balance import MappedCells, batches, pieces_of, spread, watch_cells, watch_owners
from maggjob.pipeline.index_stage import IndexStage, default_indexes, run_index_stage
from maggjob.pipeline.result import RunResult, by_hand
from maggjob.pipeline.session import RunDescription, Session, SessionOptions, check_reach
from maggjob.pipeline.target import check_target, default_store, is_published
from maggjob.planning.plan import Plan, plan as make_plan
from maggjob.planning.tasks import make_tasks
from maggjob.storage.folder import exists

SHARDS_HERE = 16
"""Number of shards (256 cells each) up to which the client writes them itself on localhost.

They are written before worker processes would have started.
"""


@dataclass(frozen=True)
class RunOptions(SessionOptions):
    """Options of a run of the cells job."""

    overwrite: bool = False
    """Replace an existing store once the new result is complete."""
    allow_partial: bool = False
    """Replace an existing store even with a result that has partial or failed cells."""
    index: bool | None = None
    """Build and use indexes of the granules; by default if they save time (`Plan.worth_index`)."""
    indexes: str | None = None
    """Folder or prefix of the indexes; by default beside a store in a bucket, otherwise the user's cache."""

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> "RunOptions":
        """Remove the options of this class from a dictionary, and return them."""
        return cls(**{field.name: options.pop(field.name) for field in fields(cls) if field.name in options})


def run(config: ConfigLike, *, dry_run: bool = False, **options: Any) -> RunResult | Plan:
    """Run the whole job: plan, index, map, reduce.

    Parameters
    ----------
    config : str, Path, mapping or Config
        A file, the name of a built-in configuration, or its content.
    dry_run : bool
        Only return the plan.
    **options
        What to work on: ``catalog``, ``store``, ``driver``, ``max_cells`` and ``morton_cell`` (see `plan`). The default
        store is that of the configuration, or ``./<config>.zarr``. How to run: ``backend``, ``max_workers``,
        ``region``, ``lithops_config``, ``deadline``, ``watch``, ``overwrite``, ``allow_partial``, ``index`` and
        ``indexes`` (see `RunOptions`).

    Returns
    -------
    RunResult or Plan
        The plan if ``dry_run`` is set.

    Raises
    ------
    MaggjobError
        If the run cannot start, or its ledger does not add up. Failures of single granules and cells do not raise; the
        result reports them.

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
    """Make a `plan` that has a store: the given one, the configuration's, or ``./<config>.zarr``.

    Parameters
    ----------
    config : str, Path, mapping or Config
    **asked
        Arguments of `plan`.
    """
    plan = make_plan(config, **asked)
    return plan if plan.store_path is not None else replace(plan, store_path=default_store(config))


def execute(plan: Plan, options: RunOptions | None = None, **changes: Any) -> RunResult:
    """Carry out a plan: index the granules, map the cells, reduce them to a Zarr.

    Parameters
    ----------
    plan : Plan
        A plan with a store.
    options : RunOptions, optional
    **changes
        Fields of `RunOptions` that override those of ``options``.

    Raises
    ------
    MaggjobError
        If the run cannot start, or its ledger does not add up.
    """
    options = replace(options or RunOptions(), **changes)
    session = Session(describe(plan, options), options)
    check_target(session.run.store, options.overwrite, session.region)
    with session:
        index = run_index_stage(session, plan, _indexes(plan, options))
        cells = map_cells_of(session, index)
        session.begin("assembly")
        result = assemble_run(
            index.exact.plan,
            cells.tasks,
            cells.reports(),
            no_overlap=index.exact.no_overlap,
            region=session.region,
            overwrite=options.overwrite,
            allow_partial=options.allow_partial,
            write=shard_writer(session),
        )
        result = replace(
            result,
            # The totals must be those of the ledger.
            plan=replace(index.exact.plan, catalog=index.exact.listed.catalog),
            expected=plan.expected(index.place is not None),
            indexed=index.indexed,
            calls=len(cells.batches),
            cells_in_quarters=cells.in_quarters,
            session=session.report(),
        )
        session.finish(result.to_dict())
    return result


def describe(plan: Plan, options: RunOptions) -> RunDescription:
    """Describe a plan as a run of any job, for the session.

    Parameters
    ----------
    plan : Plan
        A plan with a store.
    options : RunOptions

    Raises
    ------
    InputError
        If the plan has no store.
    """
    if plan.store_path is None:
        raise InputError("the plan has no store: make it with store=")
    return RunDescription(
        plan.store_path,
        plan.window,
        {"cells": len(plan.cells), "granules": len(plan.positions), "pairs": plan.pairs},
        {"run": plan.digest, "configuration": plan.config.digest},
        [granule.url for granule in plan.used_granules],
        {"indexes": options.indexes},
    )


def _indexes(plan: Plan, options: RunOptions) -> str | None:
    """Return the folder or prefix of the indexes, or None to use none."""
    wanted = plan.worth_index if options.index is None else options.index
    return (options.indexes or default_indexes(plan)) if wanted else None


def map_cells_of(session: Session, index: IndexStage) -> MappedCells:
    """Map the cells of an exact plan: long ones in quarters, short ones together, the longest first.

    Parameters
    ----------
    session : Session
    index : IndexStage
        Result of `run_index_stage`.
    """
    plan, workers = index.exact.plan, session.settings.workers
    tasks = make_tasks(plan, session.credentials, session.region, index.place)
    pieces = pieces_of(tasks, plan.seconds(index.place is not None), workers, split=index.place is not None)
    calls = batches([piece.task for piece in pieces], [piece.seconds for piece in pieces], workers)
    watch = watch_cells(calls, watch_owners(tasks, pieces, session.options.watch))
    mapped = MappedCells(tasks, pieces, calls)
    sent = cell_calls(calls, session.folder, session.region)
    outcomes = session.map("map", map_call, sent, watch, pieces=mapped.names_of_quarters())
    return replace(mapped, outcomes=spread(calls, outcomes))


def shard_writer(session: Session) -> WriteShards:
    """Return a function that writes the shards of the result: with calls of the session, or here if there are few."""

    def write(shards: Sequence[ShardTask]) -> list[ShardReport]:
        few = session.backend == "localhost" and len(shards) <= SHARDS_HERE
        if session.backend == "serial" or session.left == 0.0 or few:
            return write_shards_locally(shards)
        stage = "assembly" if shards[0].write else "check"
        calls = shard_calls(shards, session.folder)
        try:
            outcomes = session.map(stage, shard_call, calls, begin=False)
        except BackendError as problem:
            # All parts are complete, so the client can write the shards; the backend's error is only reported.
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
    region: str | None = None,
    overwrite: bool = False,
    allow_partial: bool = False,
    write: WriteShards = write_shards_locally,
) -> RunResult:
    """Reduce the reports to a tally, and their parts to the Zarr.

    Call it for tasks that were mapped by hand with Lithops; `run` calls it itself. An incomplete result replaces an
    old one only if ``allow_partial`` is set; otherwise the old result and the new parts are both kept.

    Parameters
    ----------
    plan : Plan
        A plan with a store.
    tasks : sequence of CellTask
        One per planned cell.
    reports : sequence of CellReport
        One per task, in any order.
    no_overlap : mapping, optional
        Granules that have no segments in a cell according to their index, by nested id of the cell.
    region : str, optional
        Region of the bucket.
    overwrite, allow_partial : bool
        See `RunOptions`.
    write : callable, optional
        Function that carries out shard tasks; by default in this process.

    Raises
    ------
    MaggjobError
        If tasks or reports are not those of the plan, a part does not match its report, or counts differ.
    """
    run = describe(plan, RunOptions())
    cells = {plan.task_id(cell): cell for cell in plan.cells}
    if sorted(cells) != sorted(task.id for task in tasks) or sorted(cells) != sorted(report.id for report in reports):
        raise LedgerError(
            "tasks and reports do not match the plan: give one task and one report for every planned cell"
        )
    if len({task.run for task in tasks}) > 1:
        raise LedgerError("tasks belong to several runs; make all of them with one plan")
    # The ledger must account for every granule of the catalog.
    known = no_overlap or {}
    reports = [
        with_granules(report, (g.id for g in plan.granules(cells[report.id])), known.get(cells[report.id], ()))
        for report in reports
    ]
    tally = reduce_tally(reports)
    check_target(run.store, overwrite, region)
    result = RunResult(plan, tally, tuple(reports), by_hand(run))
    there = exists(run.store, region) and is_published(run.store, region)
    if there and not (result.complete or allow_partial):
        return replace(result, published=False)
    assemble(plan.config, tasks, reports, tally, run.store, region=region, write=write)
    return result
