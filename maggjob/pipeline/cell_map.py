"""The cells job, from a configuration to a Zarr: index the granules, map the cells, reduce the reports."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from maggjob.backend.settings import resolve_backend, settings_of
from maggjob.config.load import ConfigLike
from maggjob.errors import InputError
from maggjob.inputs.places import expand
from maggjob.jobs.parts import part_key
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellTask
from maggjob.output.assembly import Kept
from maggjob.output.saved_plan import save_plan
from maggjob.output.zarr_store import restore
from maggjob.pipeline.assembling import assemble_run, describe, shard_writer
from maggjob.pipeline.facts import check_indexed, check_reported, facts_of
from maggjob.pipeline.history import HistoryEntry, add_entry
from maggjob.pipeline.index_stage import IndexStage, default_indexes, run_index_stage
from maggjob.pipeline.map_stage import run_map_stage
from maggjob.pipeline.progress import Progress, in_notebook
from maggjob.pipeline.reach import check_reach
from maggjob.pipeline.result import RunResult, drop_unused, keep_record
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
from maggjob.pipeline.run_size import size_of
from maggjob.pipeline.session import Session, SessionOptions
from maggjob.pipeline.target import check_target, default_store
from maggjob.planning.make import plan as make_plan
from maggjob.planning.plan import Plan
from maggjob.planning.presence import check_local
from maggjob.planning.requests import job_requests
from maggjob.planning.windows import with_windows, without_windows
from maggjob.storage.archive import Archive
from maggjob.storage.folder import Folder
from maggjob.storage.run_folder import NEXT_PLAN, PARTS
from maggjob.storage.urls import is_remote


@dataclass(frozen=True)
class RunOptions(SessionOptions):
    """Options of a run of the cells job."""

    overwrite: bool = False
    """Whether to replace an existing store, once the new result is complete. A store with an incomplete result of the
    same run needs no permission, but a result that is no worse."""
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
        ``deadline``, ``watch``, ``max_cost``, ``overwrite``, ``allow_partial``, ``index`` and ``indexes``.

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
        check_reach(resolve_backend(how.backend), describe(plan, how.indexes))
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


@dataclass(frozen=True)
class Earlier:
    """What a run takes over from the result that it updates."""

    kept: Kept | None
    """Windows that stay as they are; None if there are none."""
    windows: Mapping[str, Plan]
    """Plans of these windows, with all pairs that their ledger lists, by label."""
    etags: Mapping[str, str]
    """Versions of the granules of these windows, by id."""
    added: tuple[str, ...]
    """Granules that are new, or of a newer revision."""
    removed: tuple[str, ...]
    """Granules that were withdrawn, or replaced by a newer revision."""
    take_over: Callable[[Folder], None]
    """Makes parts of the earlier result parts of this run; called before the cells are mapped."""
    left: frozenset[str] = frozenset()
    """Ids of the tasks of the cells to map."""


def execute(
    plan: Plan, options: RunOptions | None = None, *, earlier: Earlier | None = None, **changes: Any
) -> RunResult:
    """Carry out a plan: index the granules, map the cells and write the Zarr.

    Parameters
    ----------
    plan : Plan
        A plan with a store.
    options : RunOptions, optional
        Options of the run.
    earlier : Earlier, optional
        What is taken over from the result in the store (`maggjob.pipeline.update`).
    **changes
        Fields of `RunOptions` that override ``options``.

    Raises
    ------
    MaggjobError
        If the run cannot start, or its counts do not agree.
    """
    options = replace(options or RunOptions(), **changes)
    session = Session(
        describe(plan, options.indexes, lambda: _left(plan, options, earlier), index=options.index), options
    )
    _begin(session, options, plan.digest)
    if options.watch is None and in_notebook():
        with Progress(len(plan.units)) as progress:
            return execute(plan, options, earlier=earlier, watch=progress)
    with session:
        # Once more, as only now no other run can be at work on the same store.
        restore(session.run.store)
        resume, allowed = _begin(session, options, plan.digest)
        folder = Folder(session.folder, session.region)
        if earlier is None:
            save_plan(plan, folder)
        else:
            earlier.take_over(folder)
        result = _computed(session, plan, allowed, earlier, folder, resume=resume)
        if result.published:
            _record(session, plan, result, folder, earlier)
        remains = drop_unused(folder, result.reports)
        if remains is not None:
            session.warn(f"parts that nobody needs remain in {session.folder}: {remains}")
        result = replace(result, session=session.report())
        session.finish(result.to_dict())
    return result


def _computed(
    session: Session, plan: Plan, options: RunOptions, earlier: Earlier | None, folder: Folder, *, resume: bool
) -> RunResult:
    """Index the granules, map the cells and assemble the result, while the session holds the lock."""
    kept = earlier.kept if earlier else None
    todo = without_windows(plan, kept.windows) if kept else plan
    index = _with_versions(session, run_index_stage(session, todo, _indexes(todo, options)))
    if options.restart:
        forget(folder)
    now = index.exact.plan
    keep_versions(folder, {**(earlier.etags if earlier else {}), **now.etags}, now.listed)
    absent = () if index.indexed is None else check_indexed(plan, index.indexed)
    cells = run_map_stage(session, index, resume=resume or earlier is not None, stay=len(kept.reports) if kept else 0)
    session.begin("assembly")
    reports = cells.reports()
    if index.indexed is None:
        absent = check_reported(plan, reports)
    result = replace(
        _assembled(session, plan, index, cells.tasks, reports, options, earlier),
        # The result keeps the catalog with all pairs, so that its totals agree with the ledger.
        plan=_whole(plan, index, earlier),
        expected=plan.expected(index.place is not None),
        indexed=index.indexed,
        calls=cells.calls,
        taken=cells.taken,
        found=cells.found,
        absent=absent,
        deleted=kept.deleted if kept else frozenset(),
        cells_in_quarters=cells.in_quarters,
    )
    session.own_requests += job_requests(size_of(plan, index, cells, session.report().stages, resumed=resume))
    return replace(result, session=session.report())


def _record(session: Session, plan: Plan, result: RunResult, folder: Folder, earlier: Earlier | None) -> None:
    """Keep the record of a published result, the plan that the user asked for, and an entry in the history."""
    # Until the record is that of the update, its plan lies beside that of the earlier run.
    if earlier is not None:
        save_plan(plan, folder, NEXT_PLAN)
    keep_record(result, folder, session.region)
    if earlier is not None:
        save_plan(plan, folder)
    add_entry(folder, _entry(result, earlier))


def _left(plan: Plan, options: RunOptions, earlier: Earlier | None) -> Collection[str] | None:
    """Return the ids of the tasks that a run on Lambda has to map; None for all of them.

    What is left decides how many workers are worth starting, and what they will cost.
    """
    if earlier is not None:
        return earlier.left
    region = settings_of("aws_lambda", 1, 1, options.lithops_config, options.region).region
    begun = earlier_run(str(plan.store_path), region)
    if not may_resume(begun, plan.digest, restart=options.restart):
        return None
    there = set(Folder(str(plan.run_path), region).keys(PARTS))
    names = (one.task_id(cell) for one, cell in plan.units)
    return {name for name in names if f"{PARTS}/{part_key(name, '')}" not in there}


def _with_versions(session: Session, index: IndexStage) -> IndexStage:
    """Return the index stage with the versions of the granules, asked for if no index has told them."""
    plan = index.exact.plan
    if plan.etags:
        return index
    etags = ask_versions(plan.used_granules, Archive(session.credentials, session.region))
    return replace(index, exact=replace(index.exact, plan=plan.with_etags(etags)))


def _entry(result: RunResult, earlier: Earlier | None) -> HistoryEntry:
    """Return the entry of a run in the history of its result."""
    return HistoryEntry(
        result.started,
        "run" if earlier is None else "update",
        result.plan.digest,
        tuple(one.window for one in result.plan.each),
        result.tally.cells["planned"],
        sum(report.attempts > 0 for report in result.reports),
        len(result.plan.positions),
        result.tally.observations,
        result.complete,
        earlier.added if earlier else (),
        earlier.removed if earlier else (),
    )


def _whole(plan: Plan, index: IndexStage, earlier: Earlier | None) -> Plan:
    """Return the plan of the whole result, with all pairs and with the versions of the granules."""
    found = index.exact.whole
    if earlier is None or earlier.kept is None:
        return found
    whole = with_windows(plan, found, index.exact.listed, earlier.windows)
    return whole.with_etags({**earlier.etags, **found.etags})


def _assembled(
    session: Session,
    plan: Plan,
    index: IndexStage,
    tasks: Sequence[CellTask],
    reports: Sequence[CellReport],
    options: RunOptions,
    earlier: Earlier | None,
) -> RunResult:
    """Assemble the result by the workers of a session, while it holds the lock."""
    exact, kept = index.exact.plan, earlier.kept if earlier else None
    if earlier is not None and kept is not None:
        exact = with_windows(plan, exact, index.exact.listed, earlier.windows)
    return assemble_run(
        exact,
        tasks,
        reports,
        no_overlap=index.exact.no_overlap,
        facts=facts_of(index.exact.plan, index.indexed),
        kept=kept,
        region=session.region,
        overwrite=options.overwrite,
        allow_partial=options.allow_partial,
        write=shard_writer(session),
        guard=session.check_lock,
    )


def _begin(session: Session, options: RunOptions, digest: str) -> tuple[bool, RunOptions]:
    """Check that a run may start; return whether it resumes an earlier one, and its options.

    An incomplete result of the same run is improved, and one without a manifest is recorded, so that the options allow
    both to be replaced.

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
    allowed = replace(options, overwrite=options.overwrite or own or unrecorded)
    check_target(store, allowed.overwrite, region)
    return may_resume(earlier, digest, restart=options.restart), allowed


def _indexes(plan: Plan, options: RunOptions) -> str | None:
    """Return the folder or prefix of the indexes; None if the run uses none."""
    wanted = plan.worth_index if options.index is None else options.index
    if not wanted:
        return None
    return default_indexes(plan) if options.indexes is None else expand(options.indexes, "indexes")
