"""The map stage: read and screen the granules of a cell, compute its statistics, and write its part.

`map_cell` is importable by name and picklable. It does not depend on its caller: Lithops, a notebook or a test.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from itertools import groupby
from typing import Any

import numpy as np

from maggjob.errors import InputError, MaggjobError
from maggjob.granules.index_format import index_digest
from maggjob.granules.index_store import load_indexed
from maggjob.granules.lists import load_granules
from maggjob.granules.reader import CellReader
from maggjob.granules.screening import ScreenedGranule
from maggjob.grid.healpix import MAX_DECIMAL_ORDER, nested_children, nested_to_decimal, order_of, parse_cell
from maggjob.jobs.derived import derived_columns
from maggjob.jobs.parts import Level, ledger_of, pack, write_part
from maggjob.jobs.wire import WireTask, read_shared, wire_tasks
from maggjob.jobs.worker import peak_memory, reason_and_message
from maggjob.model.ledger import add_counts, cell_state, failed_report, join_spans
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellBatch, CellTask, GranuleList
from maggjob.statistics.compute import compute, fill_children
from maggjob.storage.archive import Archive
from maggjob.storage.folder import Folder
from maggjob.storage.run_folder import PARTS
from maggjob.storage.urls import join_url

GRANULES_AT_ONCE = 8
"""Granules read concurrently without an index; each keeps its coordinates and the data read in memory."""
GRANULES_BY_INDEX_AT_ONCE = 20
"""Granules read concurrently with an index; each requests all of its ranges, over ten connections at most."""
READS_AT_ONCE = 64
"""Connections without an index. Many are needed, as most reads of a granule only locate the next one."""


def map_cell(cell: CellTask) -> CellReport:
    """Process one cell: read its granules, compute its statistics, and write its part.

    Parameters
    ----------
    cell : CellTask
        From `maggjob.tasks` or `maggjob.task`. Lithops passes a task by the parameter's name, so the name must stay.

    Returns
    -------
    CellReport
        Failures are not raised, but reported in its ``state``, ``reason``, ``message`` and granules. It contains the
        arrays if ``parts`` of the task is None.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> tasks = maggjob.tasks("atl06.yaml", catalog=maggjob.make_catalog("granules"))
    >>> report = map_cell(tasks[0])
    >>> int(report.arrays["count"].sum()) == report.observations
    True

    On many workers:

    >>> import lithops  # doctest: +SKIP
    >>> with lithops.FunctionExecutor(config=maggjob.lithops_config()) as fexec:  # doctest: +SKIP
    ...     reports = fexec.get_result(fexec.map(maggjob.map_cell, tasks))
    """
    started = time.monotonic()
    try:
        report = _map_cell(cell)
    # mortie's panics do not derive from Exception.
    except BaseException as problem:  # noqa: BLE001
        report = failed_report(cell, _granule_ids(cell), *reason_and_message(problem))
    return replace(report, seconds=time.monotonic() - started, peak_memory=peak_memory())


def map_cells(batch: CellBatch) -> tuple[CellReport, ...]:
    """Process several cells, one after the other: small cells, too little work for a call each.

    Parameters
    ----------
    batch : CellBatch

    Returns
    -------
    tuple of CellReport
        In the order of the tasks; see `map_cell`.
    """
    return tuple(map_cell(task) for task in batch.tasks)


def _granule_ids(task: CellTask) -> list[str]:
    return [] if isinstance(task.granules, GranuleList) else [granule.id for granule in task.granules]


def _map_cell(task: CellTask) -> CellReport:
    recipe, grid = task.recipe, task.recipe.grid
    nested = parse_cell(task.cell, grid.parent_order)
    archive = Archive(task.credentials, task.region)
    indexes = None if task.indexes is None else Folder(task.indexes, task.region)
    granules = load_granules(task) if indexes is None else load_indexed(task, indexes, index_digest(recipe))
    # Somebody has reached the archive: the client that asked for versions, or the calls that made indexes.
    archive.outage.reached = task.indexes is not None or any(granule.etag is not None for granule in granules)
    at_once = READS_AT_ONCE if indexes is None else GRANULES_BY_INDEX_AT_ONCE
    with ThreadPoolExecutor(at_once) as reads, ThreadPoolExecutor(GRANULES_AT_ONCE) as apart:
        reader = CellReader(recipe, nested, archive, indexes, reason_and_message, reads, apart)
        found = reader.read_all(granules)
    report, child, columns, attributes = _gather(task, found.granules)
    report = replace(
        report,
        bytes_read=archive.bytes_read,
        requests=archive.requests,
        indexes=found.indexes,
        index_bytes=found.index_bytes,
        index_requests=found.index_requests,
        index_problems=tuple(found.problems),
        by_h5py=sum(one.by_h5py for one in found.granules),
    )
    # Free the granules' columns, which have been copied to ``columns``.
    found.granules.clear()
    if report.state == "failed":
        return report
    fits: dict[str, dict[str, int]] = {}
    levels = [_level(recipe, order, columns, child, nested, fits) for order in recipe.orders]
    report = replace(report, fits=fits)
    if task.parts is not None:
        return write_part(task, report, pack(ledger_of(task, report, attributes), levels))
    arrays = _arrays(nested, recipe, levels[0])
    for level in levels[1:]:
        own = _arrays(nested, recipe.at(level.order), level)
        arrays |= {f"{level.order}/{name}": values for name, values in own.items()}
    return replace(report, arrays=arrays)


def _level(
    recipe: Recipe,
    order: int,
    columns: Mapping[str, np.ndarray],
    child: np.ndarray,
    cell: int,
    fits: dict[str, dict[str, int]],
) -> Level:
    """Compute the statistics of the children of one order, from the finest child of each segment.

    The number of children by state of each fit is added to ``fits``.
    """
    at, shift = recipe.at(order), 2 * (recipe.grid.child_order - order)
    own = child >> shift if shift else child
    counts: dict[str, dict[str, int]] = {}
    derived = derived_columns(at, cell)
    level = Level(order, *compute(at.statistics, columns, own, at.grid.children, recipe.omit, derived, counts))
    fits |= {f"{order}/{name}": states for name, states in counts.items()}
    return level


def _arrays(nested: int, recipe: Recipe, level: Level) -> dict[str, np.ndarray]:
    """Return ids and statistics of all children of a cell."""
    grid = recipe.grid
    full = fill_children(level.child, level.values, recipe.statistics, grid.children)
    ids = nested_children(np.array([nested]), grid)[0]
    # Decimal ids of finer cells do not fit in 64 bits.
    if grid.child_order <= MAX_DECIMAL_ORDER:
        full["morton"] = nested_to_decimal(ids, grid.child_order)
    return {"cell_ids": ids} | full


def _gather(
    task: CellTask, granules: Sequence[ScreenedGranule]
) -> tuple[CellReport, np.ndarray, dict[str, np.ndarray], dict[str, Any]]:
    """Return a cell's report, and the joined children, columns and attributes of its granules' kept segments."""
    reports = tuple(one.report for one in granules)
    failed = next((report for report in reports if report.state == "failed"), None)
    kept = [one for one in granules if len(one.child)]
    report = CellReport(
        task.id,
        task.cell,
        task.window,
        cell_state(kept=bool(kept), failed=failed is not None, used=any(r.state == "used" for r in reports)),
        add_counts(one.segments for one in granules),
        reports,
        reason=None if failed is None else failed.reason,
        message=None if failed is None else failed.message,
        time=join_spans(one.time for one in kept),
    )
    child = np.concatenate([one.child for one in kept]) if kept else np.empty(0, np.int64)
    columns = {n: np.concatenate([one.columns[n] for one in kept]) for n in sorted(task.recipe.kept_columns) if kept}
    attributes: dict[str, Any] = next((dict(one.attributes) for one in granules if one.attributes), {})
    return report, child, columns, attributes


def cell_calls(batches: Sequence[CellBatch], folder: str, region: str | None = None) -> list[WireTask]:
    """Return the calls for some batches of one run.

    Cells may have another order than the recipe's parent order, as quarters do: it follows from their ids.

    Parameters
    ----------
    batches : sequence of CellBatch
        Their lists of granules must be written already, all to one object.
    folder : str
        Path or URL of the run's folder.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If a task contains its granules instead of the place of their list.
    """
    if not batches:
        return []
    first = batches[0].tasks[0]
    shared = {
        "recipe": first.recipe.to_dict(),
        "lists": _list_of(first).url.rsplit("/", 1)[-1],
        "runs": {task.window: task.run for batch in batches for task in batch.tasks},
        "credentials": first.credentials,
        "indexes": first.indexes,
    }
    own = [
        [
            [window, [[task.cell, *astuple(_list_of(task))[1:]] for task in some]]
            for window, some in groupby(batch.tasks, key=lambda task: task.window)
        ]
        for batch in batches
    ]
    return wire_tasks(shared, own, folder, region)


def _list_of(task: CellTask) -> GranuleList:
    if not isinstance(task.granules, GranuleList):
        raise InputError(f"{task.id}: its list of granules is not written to a store; make tasks with a store")
    return task.granules


def map_call(task: WireTask) -> tuple[CellReport, ...]:
    """Process the cells of a call (`map_cells`). All cells fail if the values shared by its stage cannot be read."""
    cells = [(window, *one) for window, some in task.own for one in some]
    try:
        shared = read_shared(task)
    except MaggjobError as problem:
        reason, message = problem.reason, str(problem)
        return tuple(
            CellReport(f"{window}/{cell}", cell, window, "failed", reason=reason, message=message)
            for window, cell, *_ in cells
        )
    recipe = Recipe.from_dict(shared["recipe"])
    tasks = (
        CellTask(
            f"{window}/{cell}",
            cell,
            window,
            replace(recipe, grid=replace(recipe.grid, parent_order=order_of(cell))),
            GranuleList(join_url(task.folder, shared["lists"]), *where),
            run=shared["runs"][window],
            parts=join_url(task.folder, PARTS),
            credentials=shared["credentials"],
            region=task.region,
            indexes=shared["indexes"],
        )
        for window, cell, *where in cells
    )
    return map_cells(CellBatch(tuple(tasks)))
