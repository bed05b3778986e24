"""From a configuration to a Zarr: catalog, plan, map, reduce. What notebooks and the command line call."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from maggjob.backend.bill import Stage, stage_of
from maggjob.backend.executor import DEADLINE, run_tasks
from maggjob.backend.outcome import Outcome, Watcher
from maggjob.backend.settings import place_run, resolve_backend
from maggjob.catalog.file import CatalogLike
from maggjob.config.load import ConfigLike
from maggjob.errors import BackendError, InputError, LedgerError
from maggjob.jobs.shards import ShardReport, ShardTask, write_shard
from maggjob.jobs.wire import index_written, map_written, written_batches, written_index_tasks
from maggjob.model.ledger import reduce_tally
from maggjob.model.reports import CellReport, GranuleReport
from maggjob.model.tasks import CellTask
from maggjob.output.zarr_store import WriteShards, assemble, here
from maggjob.pipeline.balance import batches, join, pieces_of, report_of, spread, watch_cells, watch_owners
from maggjob.pipeline.index_stage import ExactPlan, collect, exact_plan, index_place, index_tasks
from maggjob.pipeline.result import RunResult
from maggjob.pipeline.status import RunFile
from maggjob.pipeline.target import _opens, check_reach, check_target, default_store
from maggjob.planning.plan import Plan, plan
from maggjob.planning.tasks import make_tasks
from maggjob.storage.earthdata import private_object
from maggjob.storage.folder import Place, exists
from maggjob.storage.run_folder import SUMMARY
from maggjob.storage.urls import is_remote, local_path

SHARDS_HERE = 16  # 4,096 cells: fewer are written here before processes have started


def run(
    config: ConfigLike,
    *,
    catalog: CatalogLike | None = None,
    store: str | None = None,
    backend: str = "localhost",
    driver: str | None = None,
    max_cells: int | None = None,
    morton_cell: str | None = None,
    max_workers: int | None = None,
    overwrite: bool = False,
    allow_partial: bool = False,
    index: bool | None = None,
    indexes: str | None = None,
    dry_run: bool = False,
    region: str | None = None,
    lithops_config: Mapping[str, Any] | str | Path | None = None,
    deadline: float = DEADLINE,
    watch: Watcher | None = None,
) -> RunResult | Plan:
    """Run the whole job.

    Parameters
    ----------
    config, catalog, store, driver, max_cells, morton_cell
        See `plan`. A store is needed: here, in the configuration, or by the configuration's name.
    backend : {"localhost", "aws_lambda", "serial"}
        Where the calls run; ``local`` and ``lambda`` are short for the first two.
    max_workers : int, optional
        Local processes; by default what cores and memory allow.
    overwrite : bool
        Replace a store that is there, once the new result is complete.
    allow_partial : bool
        Replace it even by a result with partial or failed cells.
    index : bool, optional
        Make and use indexes of the granules; by default when it pays (`Plan.worth_index`).
    indexes : str, optional
        Folder or prefix that indexes are kept in; by default one beside a store in a bucket, else in the
        user's cache.
    dry_run : bool
        Return the plan, and do nothing.
    region : str, optional
        Region of the buckets.
    lithops_config : mapping or path, optional
        Lithops' own configuration; by default ./lithops_config.yaml, else a built-in one.
    deadline : float
        Seconds after which cells that have not ended are given up, and counted as failed.
    watch : callable, optional
        ``watch(index, outcome)``, called as each cell ends.

    Returns
    -------
    RunResult or Plan
        The plan when it is a dry run.

    Raises
    ------
    MaggjobError
        The run cannot start, or its ledger does not add up. Whatever happens to single granules and
        cells is in the result instead.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> catalog = maggjob.make_catalog("granules")
    >>> result = run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    >>> result.tally.cells["complete"] == len(catalog.cells)
    True
    """
    made = plan_run(config, catalog=catalog, store=store, driver=driver, max_cells=max_cells, morton_cell=morton_cell)
    if dry_run:
        check_reach(resolve_backend(backend), made, indexes)
        return made
    return execute(
        made,
        backend=backend,
        max_workers=max_workers,
        overwrite=overwrite,
        allow_partial=allow_partial,
        index=index,
        indexes=indexes,
        region=region,
        lithops_config=lithops_config,
        deadline=deadline,
        watch=watch,
    )


def plan_run(config: ConfigLike, **options: Any) -> Plan:
    """`plan`, with a store in any case: that of the options, of the configuration, or ``./<config>.zarr``."""
    made = plan(config, **options)
    return made if made.store_path is not None else replace(made, store_path=default_store(config))


def execute(
    made: Plan,
    *,
    backend: str = "localhost",
    max_workers: int | None = None,
    overwrite: bool = False,
    allow_partial: bool = False,
    index: bool | None = None,
    indexes: str | None = None,
    region: str | None = None,
    lithops_config: Mapping[str, Any] | str | Path | None = None,
    deadline: float = DEADLINE,
    watch: Watcher | None = None,
) -> RunResult:
    """Carry out a plan; for the parameters see `run`.

    Raises
    ------
    MaggjobError
        The run cannot start, or its ledger does not add up.
    """
    clock = time.monotonic()
    name = resolve_backend(backend)
    if made.store_path is None:
        raise InputError("no store: make the plan with store=")
    check_reach(name, made, indexes)
    setting = place_run(name, len(made.cells), max_workers, lithops_config, region)
    region = setting.region
    check_target(made.store_path, overwrite, region)
    run_file = RunFile(made, name, setting.workers, region)
    login = private_object(
        [granule.url for granule in made.used_granules], setting.private_bucket, region
    )  # one that fails leaves nothing behind
    with login as credentials, _run_folder(str(made.run_path), region), run_file:
        started = run_file.note.started
        place = (indexes or index_place(made)) if (made.worth_index if index is None else index) else None

        def call(
            stage: str, function: Callable[[Any], Any], tasks: Sequence[Any], watch: Watcher | None
        ) -> list[Outcome[Any]]:
            if stage in ("index", "map"):  # assembly has begun already
                run_file.stage(stage)
            left = max(0.0, deadline - (time.monotonic() - clock))
            done = run_tasks(function, tasks, backend=name, config=setting.config, deadline=left, watch=watch)
            if name == "aws_lambda":
                stages.append(stage_of(stage, done, setting.memory_mb))
            return done

        def shards(some: Sequence[ShardTask]) -> list[ShardReport]:
            late = time.monotonic() - clock >= deadline
            if name == "serial" or late or (name == "localhost" and len(some) <= SHARDS_HERE):
                return here(some)
            stage = "assembly" if some[0].write else "check"
            try:
                outcomes = call(stage, write_shard, some, None)
            except BackendError as problem:  # all parts are there: the backend's trouble is told, and is no loss
                outcomes = [Outcome(reason=problem.reason, message=str(problem)) for _ in some]
                stages.append(stage_of(stage, outcomes, setting.memory_mb))
            return [write_shard(s) if o.value is None else o.value for s, o in zip(some, outcomes, strict=True)]

        stages: list[Stage] = []
        exact, indexed, first = ExactPlan(made, made), None, []
        if place is not None:
            first, began = index_tasks(made, place, setting.workers, credentials, region), time.monotonic()
            sent = written_index_tasks(first, str(made.run_path), region)
            indexed = collect(place, first, call("index", index_written, sent, None))
            indexed = replace(indexed, wall_time_s=time.monotonic() - began)
            exact = exact_plan(made, indexed)
            indexed = replace(indexed, added=exact.added)
            if set(indexed.states) == {"failed"}:  # nobody may have made the place that cells would open
                place = None
        todo = make_tasks(exact.plan, credentials, region, place)
        seconds = exact.plan.seconds(place is not None)
        pieces = pieces_of(todo, seconds, setting.workers, split=place is not None)
        calls = batches([p.task for p in pieces], [p.seconds for p in pieces], setting.workers)
        workers = min(setting.workers, max(len(first), len(calls)))
        written = written_batches(calls, made.config.recipe(), str(made.run_path), region)
        outcomes = spread(
            calls, call("map", map_written, written, watch_cells(calls, watch_owners(todo, pieces, watch)))
        )
    with run_file:
        run_file.stage("assembly")
        answers = [report_of(piece.task, outcome) for piece, outcome in zip(pieces, outcomes, strict=True)]
        reports = join(todo, pieces, answers)
        result = assemble_run(
            exact.plan,
            todo,
            reports,
            no_overlap=exact.no_overlap,
            region=region,
            overwrite=overwrite,
            allow_partial=allow_partial,
            write=shards,
        )
    result = replace(result, backend=name, workers=workers, started=started, calls=len(calls), indexed=indexed)
    result = replace(result, cells_in_quarters=(len(pieces) - len(todo)) // 3)
    told = replace(exact.plan, catalog=exact.listed.catalog)  # totals are those of the ledger
    result = replace(result, plan=told, stages=tuple(stages))
    result = replace(result, expected=made.expected(place is not None), wall_time_s=time.monotonic() - clock)
    Place(str(made.run_path), region).put(SUMMARY, json.dumps(result.to_dict(), indent=1).encode())
    return result


@contextmanager
def _run_folder(url: str, region: str | None) -> Iterator[None]:
    """A run's folder that can be written to; of a run that cannot start, nothing is left in it."""
    place = Place(url, region, create=True)
    place.probe()
    before = set(place.keys())
    try:
        yield
    except BackendError:
        place.delete(set(place.keys()) - before)
        if not before and not is_remote(url):
            local_path(url).rmdir()
        raise


def _with_granules(
    made: Plan, reports: Sequence[CellReport], no_overlap: Mapping[int, tuple[GranuleReport, ...]]
) -> list[CellReport]:
    """The reports with every granule of the catalog.

    Those of cells that failed as a whole get all their granules: none was used. And the pairs that an index
    showed to be none are told, as they would be if they had been visited.
    """
    cells = {made.task_id(cell): cell for cell in made.cells}

    def lost(report: CellReport) -> tuple[GranuleReport, ...]:
        granules = made.granules(cells[report.id])
        return tuple(GranuleReport(granule.id, "failed", reason=report.reason) for granule in granules)

    reports = [replace(r, granules=lost(r)) if r.state == "failed" and not r.granules else r for r in reports]
    return [replace(r, granules=(*r.granules, *no_overlap.get(cells[r.id], ()))) for r in reports]


def assemble_run(
    made: Plan,
    done: Sequence[CellTask],
    reports: Sequence[CellReport],
    *,
    no_overlap: Mapping[int, tuple[GranuleReport, ...]] | None = None,
    region: str | None = None,
    overwrite: bool = False,
    allow_partial: bool = False,
    write: WriteShards = here,
) -> RunResult:
    """Reduce: the tally of the reports, and the Zarr of the parts they name.

    For tasks that were mapped by hand with Lithops; `run` does it by itself. An incomplete result does
    not replace an old one unless ``allow_partial``: the old one stays, and the new parts are kept.

    Raises
    ------
    MaggjobError
        A part is not what its report says, or the counts differ.
    """
    if made.store_path is None:
        raise InputError("no store: make the plan with store=")
    planned = sorted(made.task_id(cell) for cell in made.cells)
    if planned != sorted(task.id for task in done) or planned != sorted(report.id for report in reports):
        raise LedgerError("tasks and reports are not those of the plan: one each for every planned cell")
    if len({task.run for task in done}) > 1:
        raise LedgerError("tasks are of several runs; make all of them with one plan")
    reports = _with_granules(made, reports, no_overlap or {})
    tally = reduce_tally(reports)
    check_target(made.store_path, overwrite, region)
    group = str(made.config.grid.child_order)
    result = RunResult(made, tally, tuple(reports), "by hand", 0, "", 0.0, made.store_path, group)
    if exists(made.store_path, region) and _opens(made.store_path, region) and not (result.complete or allow_partial):
        return replace(result, published=False)
    assemble(made.config, done, reports, tally, made.store_path, region=region, write=write)
    return result
