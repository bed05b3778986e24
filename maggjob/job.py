"""What runs in a worker: `index_granules`, `map_cell` and `reduce_tally`, importable by name and picklable.

Nothing here knows who calls it: Lithops, a notebook, or a test by hand.
"""

import sys
import time
import traceback
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from maggjob.cells import MAX_DECIMAL_ORDER, nested_children, nested_to_decimal, parse_cell
from maggjob.errors import IndexFileError, MaggjobError
from maggjob.granule import OpenGranule, open_granule
from maggjob.index import GranuleIndex, make_index
from maggjob.index_file import decode, encode, index_key, recipe_digest
from maggjob.lists import load_granules
from maggjob.model import (
    CELL_STATES,
    GRANULE_STATES,
    INVALID_COORDINATE,
    KEPT,
    OUTSIDE,
    SEVERITY,
    UNREAD,
    CellBatch,
    CellReport,
    CellTask,
    Granule,
    GranuleList,
    GranuleReport,
    IndexedGranule,
    IndexReport,
    IndexTask,
    Recipe,
    Tally,
)
from maggjob.parts import ledger_of, pack, write_part
from maggjob.reading import IN_FLIGHT, CellReader
from maggjob.segments import add_counts
from maggjob.statistics import SLAB_ROWS, SPLIT, compute, fill_children
from maggjob.storage import Access, Place
from maggjob.visits import ABSENT, READ, Visit, child_type

GRANULES_AT_ONCE = 8  # without an index; each holds its coordinates and what it read
BASE_MEMORY = 60 << 20  # of a worker that has imported this module and opened its connections
INDEXED_AT_ONCE = 8  # hides some fifteen waits for the archive in a row; each holds 15 MB
READS_AT_ONCE = 64  # connections, without an index: most of a granule's reads find out where the next one is
VISITS_AT_ONCE = 20  # with indexes: reads of all ranges of a granule, with ten connections each at the most
EXAMPLES = 5


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


def _described(problem: BaseException) -> tuple[str, str]:
    """Reason and message of whatever was raised; what ends a process goes on ending it."""
    if isinstance(problem, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise problem
    if isinstance(problem, MaggjobError):
        return problem.reason, str(problem)
    return "internal", "".join(traceback.format_exception(problem))


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _failed(task: CellTask, reason: str, message: str) -> CellReport:
    return failed_report(task, () if isinstance(task.granules, GranuleList) else task.granules, reason, message)


def failed_report(task: CellTask, granules: Iterable[Granule], reason: str, message: str) -> CellReport:
    """Report of a cell that nothing came of: none of its granules was used."""
    lost = tuple(GranuleReport(granule.id, "failed", reason=reason) for granule in granules)
    return CellReport(task.id, task.cell, task.window, "failed", granules=lost, reason=reason, message=message)


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


def index_granules(batch: IndexTask) -> IndexReport:
    """Make the indexes of some granules, and write them down; good ones that are there are kept.

    Parameters
    ----------
    batch : IndexTask
        Any number of granules, each of which takes some 60 ms and 6 MB.

    Returns
    -------
    IndexReport
        Always, whatever happened: a granule that cannot be indexed is in it with its reason.

    Examples
    --------
    >>> import maggjob
    >>> from maggjob.job import index_granules
    >>> from maggjob.model import IndexTask
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> task = maggjob.tasks("atl06.yaml", catalog=maggjob.make_catalog("granules"))[0]
    >>> report = index_granules(IndexTask("all", task.recipe, task.granules, "indexes"))
    >>> {granule.state for granule in report.granules}
    {'made'}
    """
    started = time.monotonic()
    access = Access(batch.credentials, batch.region)
    try:
        place = Place(batch.indexes, batch.region, create=True)
        granules = load_granules(batch)
        with ThreadPoolExecutor(READS_AT_ONCE) as reads, ThreadPoolExecutor(INDEXED_AT_ONCE) as apart:
            done = tuple(apart.map(lambda granule: _index(granule, batch.recipe, place, access, reads), granules))
        report = IndexReport(batch.id, done)
    except BaseException as problem:  # noqa: BLE001  # as in map_cell
        reason, message = _described(problem)
        report = IndexReport(batch.id, (), reason, message)
    return replace(
        report,
        seconds=time.monotonic() - started,
        bytes_read=access.bytes_read,
        requests=access.requests,
        peak_memory=peak_memory(),
    )


def _index(granule: Granule, recipe: Recipe, place: Place, access: Access, reads: ThreadPoolExecutor) -> IndexedGranule:
    """Index one granule, unless that was done; what fails is written down in its report."""
    digest = recipe_digest(recipe)
    key = index_key(granule, digest)
    try:
        opened = open_granule(granule, access)
        content = place.find(key)
        index = None if content is None else _good(content, opened, digest)
        state = "there"
        if index is None:
            index, state = make_index(opened, recipe, digest, reads), "made"
            content = encode(index)
            place.put(key, content)
        rows = index.cells(recipe.grid)
        present = {beam.group for beam in index.beams}
        beams = {group: READ if group in present else ABSENT for group in recipe.groups}
        return IndexedGranule(granule.id, state, index.rows, index.invalid, beams, rows, len(content or b""))
    except BaseException as problem:  # noqa: BLE001  # as in map_cell
        reason, message = _described(problem)
    return IndexedGranule(granule.id, "failed", reason=reason, message=message)


def _good(content: bytes, granule: OpenGranule, digest: str) -> GranuleIndex | None:
    """The index in some bytes; None when it must be made anew: damaged, or the granule has changed, or may have."""
    try:
        index = decode(content, granule.id, digest)
        index.check(granule.source.size, granule.source.etag)
    except IndexFileError:
        return None
    return None if None in (index.etag, granule.source.etag) else index  # size alone does not tell a change


def reduce_tally(reports: Iterable[CellReport]) -> Tally:
    """Add up the reports of all cells.

    Parameters
    ----------
    reports : iterable of CellReport
        One a planned cell.

    Returns
    -------
    Tally

    Examples
    --------
    >>> reduce_tally([CellReport("cycle02/-6134114", "-6134114", "cycle02", "empty")]).cells["empty"]
    1
    """
    cells = dict.fromkeys(("planned", *CELL_STATES), 0)
    segments: dict[str, int] = {KEPT: 0}
    granules: dict[str, GranuleReport] = {}  # by id, in the worst state of any cell
    inside: dict[str, int] = {}
    errors: dict[str, dict[str, Any]] = {}
    for report in reports:
        cells["planned"] += 1
        cells[report.state] += 1
        segments = add_counts((segments, report.segments))
        _count_errors(errors, report)
        for granule in report.granules:
            inside[granule.id] = inside.get(granule.id, 0) + granule.in_cell
            granules[granule.id] = _worse(granules.get(granule.id), granule)
    for state in (INVALID_COORDINATE, OUTSIDE, UNREAD, "rows"):
        segments[state] = 0
    for granule in granules.values():
        left = granule.rows - granule.invalid_coordinate - inside[granule.id]
        segments["rows"] += granule.rows
        segments[INVALID_COORDINATE] += granule.invalid_coordinate
        segments[UNREAD if granule.state == "failed" else OUTSIDE] += left
    states = [granule.state for granule in granules.values()]
    return Tally(
        observations=segments.get(KEPT, 0),
        cells=cells,
        granules={state: states.count(state) for state in GRANULE_STATES},
        segments=segments,
        errors=errors,
    )


def _worse(known: GranuleReport | None, new: GranuleReport) -> GranuleReport:
    """Of two reports of one granule the worse state; rows are known from any cell that read it."""
    if known is None:
        return new
    worse = max(known, new, key=lambda report: SEVERITY[report.state])
    read = known if known.rows else new
    if (worse.rows, worse.invalid_coordinate) == (read.rows, read.invalid_coordinate):
        return worse
    return replace(worse, rows=read.rows, invalid_coordinate=read.invalid_coordinate)


def _count_errors(errors: dict[str, dict[str, Any]], report: CellReport) -> None:
    """Count what failed in a cell: each granule that tells why, else the cell itself."""
    failed: list[tuple[str, str | None, str | None]] = [
        (f"{g.id} in {report.cell}", g.reason, g.message) for g in report.granules if g.message is not None
    ]
    told = {reason for _, reason, _ in failed}
    if (report.state == "failed" and not failed) or (report.message is not None and report.reason not in told):
        failed.append((report.id, report.reason, report.message))  # a call that died, or a quarter's
    for what, reason, message in failed:
        entry = errors.setdefault(str(reason), {"count": 0, "examples": []})
        entry["count"] += 1
        if len(entry["examples"]) < EXAMPLES:
            entry["examples"].append({"what": what, "message": message})
