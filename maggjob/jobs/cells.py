"""What runs in a worker: `index_granules`, `map_cell` and `reduce_tally`, importable by name and picklable.

Nothing here knows who calls it: Lithops, a notebook, or a test by hand.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from maggjob.granules.lists import load_granules
from maggjob.granules.reader import IN_FLIGHT, CellReader
from maggjob.granules.screening import Visit, child_type
from maggjob.grid.healpix import MAX_DECIMAL_ORDER, nested_children, nested_to_decimal, parse_cell
from maggjob.jobs.parts import ledger_of, pack, write_part
from maggjob.jobs.worker import _described, peak_memory
from maggjob.model.ledger import add_counts, failed_report
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellBatch, CellTask, GranuleList
from maggjob.statistics.compute import SLAB_ROWS, SPLIT, compute, fill_children
from maggjob.storage.archive import Access
from maggjob.storage.folder import Place

GRANULES_AT_ONCE = 8  # without an index; each holds its coordinates and what it read
BASE_MEMORY = 60 << 20  # of a worker that has imported this module and opened its connections
READS_AT_ONCE = 64  # connections, without an index: most of a granule's reads find out where the next one is
VISITS_AT_ONCE = 20  # with indexes: reads of all ranges of a granule, with ten connections each at the most


def map_cell(cell: CellTask) -> CellReport:
    """Work on one cell: read its granules, compute its statistics, write its part.

    Parameters
    ----------
    cell : CellTask
        From `maggjob.tasks` or `maggjob.task`. The name of the parameter is Lithops' doing: it
        passes a task under the name that the function gives it.

    Returns
    -------
    CellReport
        Always, whatever happened: what failed is in its ``state``, ``reason`` and ``message``, and in
        its granules. With ``parts`` of None in the task it carries the arrays.

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
    except BaseException as problem:  # noqa: BLE001  # mortie's panics are no Exceptions
        report = _failed(cell, *_described(problem))
    return replace(report, seconds=time.monotonic() - started, peak_memory=peak_memory())


def map_cells(batch: CellBatch) -> tuple[CellReport, ...]:
    """Work on several cells, one after the other: small ones, of which each would be a call of little work.

    Parameters
    ----------
    batch : CellBatch

    Returns
    -------
    tuple of CellReport
        In the order of the tasks; see `map_cell`.
    """
    return tuple(map_cell(task) for task in batch.tasks)


def _failed(task: CellTask, reason: str, message: str) -> CellReport:
    return failed_report(task, () if isinstance(task.granules, GranuleList) else task.granules, reason, message)


def _map_cell(task: CellTask) -> CellReport:
    recipe, grid = task.recipe, task.recipe.grid
    nested = parse_cell(task.cell, grid.parent_order)
    access = Access(task.credentials, task.region)
    granules = load_granules(task)
    indexes = None if task.indexes is None else Place(task.indexes, task.region)
    at_once = READS_AT_ONCE if indexes is None else VISITS_AT_ONCE
    with ThreadPoolExecutor(at_once) as reads, ThreadPoolExecutor(GRANULES_AT_ONCE) as apart:
        reader = CellReader(recipe, nested, access, indexes, _described, reads, apart)
        found = reader.visit_all(granules)
    report, child, columns, attributes = _gather(task, found.visits)
    report = replace(
        report,
        bytes_read=access.bytes_read,
        requests=access.requests,
        indexes=found.indexes,
        index_bytes=found.index_bytes,
        index_problems=tuple(found.problems),
    )
    found.visits.clear()  # their columns are in ``columns`` now
    if report.state == "failed":
        return report
    present, values = compute(recipe.statistics, columns, child, grid.children)
    if task.parts is None:
        full = fill_children(present, values, recipe.statistics, grid.children)
        ids = nested_children(np.array([nested]), grid)[0]
        if grid.child_order <= MAX_DECIMAL_ORDER:  # finer ones have no decimal id in 64 bits
            full["morton"] = nested_to_decimal(ids, grid.child_order)
        return replace(report, arrays={"cell_ids": ids} | full)
    return write_part(task, report, pack(ledger_of(task, report, attributes), present, values))


def predicted_memory(observations: int, recipe: Recipe) -> int:
    """Peak memory that `map_cell` needs with indexes, in bytes, on the safe side.

    ::

        BASE + 2 * IN_FLIGHT                                  interpreter and modules; ranges, and what they unpack to
        + observations * 2 * (child + 4 * columns)            what is kept of each granule, and all of it joined
        + observations / (SPLIT - 1) * (child + 4 * columns + 8)   a part of it, and a part of that
        + min(observations, SLAB_ROWS) * 8 * (columns + expressions + 7)   grouped, in float64, with what is in passing

    Parameters
    ----------
    observations : int
        Segments kept; at most those that indexes say lie in the cell.
    recipe : Recipe
        Columns that are float32, as ATL06's are, take 4 bytes.
    """
    columns = len(recipe.used_columns)
    expressions = len({e.text for s in recipe.statistics for e in s.row_expressions} - recipe.used_columns)
    segment = child_type(recipe.grid.children).itemsize + 4 * columns
    joined = observations * 2 * segment + observations * (segment + 8) // (SPLIT - 1)
    grouped = min(observations, SLAB_ROWS) * 8 * (columns + expressions + 7)
    return BASE_MEMORY + 2 * IN_FLIGHT + joined + grouped


def _gather(
    task: CellTask, visits: Sequence[Visit]
) -> tuple[CellReport, np.ndarray, dict[str, np.ndarray], dict[str, Any]]:
    """Add the visits of one cell up: its report, and the children and columns of the segments kept."""
    reports = tuple(v.report for v in visits)
    failed = [r for r in reports if r.state == "failed"]
    segments = add_counts(v.segments for v in visits)
    used = [v for v in visits if len(v.child)]
    state = "complete" if used else "empty"
    if failed:
        state = "partial" if any(r.state == "used" for r in reports) else "failed"
    times = [v.time for v in used if v.time is not None]
    report = CellReport(
        task.id,
        task.cell,
        task.window,
        state,
        segments,
        reports,
        reason=failed[0].reason if failed else None,
        message=failed[0].message if failed else None,
        time=(min(t for t, _ in times), max(t for _, t in times)) if times else None,
    )
    names = sorted(task.recipe.used_columns)
    child = np.concatenate([v.child for v in used]) if used else np.empty(0, np.int64)
    columns = {name: np.concatenate([v.columns[name] for v in used]) for name in names} if used else {}
    attributes: dict[str, Any] = next((dict(v.attributes) for v in visits if v.attributes), {})
    return report, child, columns, attributes
