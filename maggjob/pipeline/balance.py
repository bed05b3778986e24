"""Balance the calls of a run: split long cells into quarters, group short ones, and start the longest first.

A hot cell, one that all workers would wait for, is split among four calls. A quarter is a cell of the next order; its
task is otherwise the same. The four reports and parts are then joined to the report and the part of the cell. If
nothing fails, the part has the same bytes as that of a single call. A granule that fails in one quarter has failed in
the cell; the segments that other quarters kept of it are still counted.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from maggjob.backend.outcome import Outcome, Watcher
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.jobs.parts import Part, agree, ledger_digest, ledger_of, load, pack, part_key, tag_in, write_part
from maggjob.model.ledger import failed_report, join_quarters
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellBatch, CellTask
from maggjob.planning.cost import QUARTER, is_hot
from maggjob.storage.folder import Folder

CELLS_AT_ONCE = 16
"""Number of cells whose quarters are joined concurrently, because the client may be far from the bucket."""


@dataclass(frozen=True)
class Piece:
    """The unit of work: a cell, or a quarter of one."""

    task: CellTask
    """Task of the cell or quarter."""
    owner: int
    """Index of the planned cell that it is, or is a quarter of."""
    seconds: float
    """Expected seconds."""


def pieces_of(tasks: Sequence[CellTask], seconds: Sequence[float], workers: int, *, split: bool) -> list[Piece]:
    """Return cells, or quarters of hot cells, longest first.

    Parameters
    ----------
    tasks : sequence of CellTask
    seconds : sequence of float
        Expected seconds per task.
    workers : int
        Maximum number of concurrent workers.
    split : bool
        Allow splitting; pointless without indexes, because each quarter would read all coordinates again.
    """
    total, pieces = sum(seconds), []
    for owner, (task, takes) in enumerate(zip(tasks, seconds, strict=True)):
        grid = task.recipe.grid
        if split and grid.parent_order < grid.child_order and is_hot(takes, total, workers):
            pieces += [Piece(quarter, owner, QUARTER * takes) for quarter in quarters(task)]
        else:
            pieces.append(Piece(task, owner, takes))
    return sorted(pieces, key=lambda piece: -piece.seconds)


def quarters(task: CellTask) -> list[CellTask]:
    """Return the tasks of the four quarters of a cell, in the order of its children."""
    grid = task.recipe.grid
    order, first = grid.parent_order + 1, 4 * parse_cell(task.cell, grid.parent_order)
    recipe = replace(task.recipe, grid=replace(grid, parent_order=order))
    names = [format_cell(first + number, order) for number in range(4)]
    return [replace(task, id=f"{task.window}/{name}", cell=name, recipe=recipe) for name in names]


def watch_owners(tasks: Sequence[CellTask], pieces: Sequence[Piece], watch: Watcher | None) -> Watcher | None:
    """Return a watcher of pieces that calls a watcher of cells; a split cell ends with the last of its quarters."""
    if watch is None:
        return None
    left = _by_owner(pieces)
    ended: dict[int, dict[int, Outcome[CellReport]]] = {owner: {} for owner in left}

    def tell(number: int, outcome: Outcome[CellReport]) -> None:
        owner = pieces[number].owner
        ended[owner][number] = outcome
        if len(ended[owner]) < len(left[owner]):
            return
        if len(left[owner]) == 1:
            watch(owner, outcome)
            return
        reports = [report_of(pieces[n].task, ended[owner][n]) for n in left[owner]]
        watch(owner, Outcome(value=join_quarters(tasks[owner].id, tasks[owner].cell, reports)))

    return tell


def report_of(done: CellTask, outcome: Outcome[CellReport]) -> CellReport:
    """Return the report of a call, or a report of failure if the call returned none."""
    if outcome.value is not None:
        return outcome.value
    return failed_report(done, (), str(outcome.reason), str(outcome.message))


@dataclass(frozen=True)
class MappedCells:
    """The cells of a run, and how they are mapped."""

    tasks: Sequence[CellTask]
    """One per planned cell."""
    pieces: Sequence[Piece]
    """Cells, and quarters of cells, longest first."""
    batches: Sequence[CellBatch]
    """Calls, each with one or more pieces."""
    outcomes: Sequence[Outcome[CellReport]] = ()
    """Outcome of each piece, once mapped."""

    @property
    def in_quarters(self) -> int:
        """Number of cells that are split into quarters."""
        return (len(self.pieces) - len(self.tasks)) // 3

    def names_of_quarters(self) -> dict[str, list[str]]:
        """Return the names of the quarters of each split cell, by the name of the cell."""
        numbers = _by_owner(self.pieces)
        split = {owner: some for owner, some in numbers.items() if len(some) > 1}
        return {self.tasks[owner].cell: [self.pieces[n].task.cell for n in some] for owner, some in split.items()}

    def reports(self) -> list[CellReport]:
        """Return the report of each cell, and join the parts of split cells.

        Raises
        ------
        StoreError
            If the part of a quarter is missing or damaged, or the joined one cannot be written.
        LedgerError
            If a quarter's part does not match its report.
        """
        answers = [report_of(piece.task, outcome) for piece, outcome in zip(self.pieces, self.outcomes, strict=True)]
        return join(self.tasks, self.pieces, answers)


def join(tasks: Sequence[CellTask], pieces: Sequence[Piece], reports: Sequence[CellReport]) -> list[CellReport]:
    """Return the report of each cell, and write the joined part of each split cell.

    Parameters
    ----------
    tasks : sequence of CellTask
        The planned cells.
    pieces : sequence of Piece
        Pieces of all cells.
    reports : sequence of CellReport
        One per piece.

    Raises
    ------
    StoreError
        If the part of a quarter is missing or damaged, or the joined one cannot be written.
    LedgerError
        If a quarter's part does not match its report.
    """
    of = _by_owner(pieces)
    done = [[(pieces[n].task, reports[n]) for n in of[owner]] for owner in range(len(tasks))]
    with ThreadPoolExecutor(CELLS_AT_ONCE) as pool:
        return list(pool.map(_joined, tasks, done))


def _by_owner(pieces: Sequence[Piece]) -> dict[int, list[int]]:
    """Return the indices of the pieces of each cell, quarters in the order of its children."""
    found: dict[int, list[int]] = {}
    for number, piece in enumerate(pieces):
        found.setdefault(piece.owner, []).append(number)
    # The four quarters have the same expected seconds, so the stable sort kept their order.
    return found


def _joined(task: CellTask, done: Sequence[tuple[CellTask, CellReport]]) -> CellReport:
    if len(done) == 1:
        return done[0][1]
    report = join_quarters(task.id, task.cell, [report for _, report in done])
    if report.state != "failed":
        report = _join_parts(task, report, done)
    if task.parts is not None:
        # Delete by name, because a quarter may have written its part and died before it reported it.
        folder = Folder(task.parts, task.region, create=True)
        folder.delete({part_key(quarter.id, tag) for quarter, own in done for tag in ("", tag_in(own.part or ""))})
    return report


def _join_parts(task: CellTask, report: CellReport, done: Sequence[tuple[CellTask, CellReport]]) -> CellReport:
    """Join the parts of the quarters of a cell, and write its part."""
    folder, parts = Folder(str(task.parts), task.region), {}
    for number, (quarter, own) in enumerate(done):
        if own.part is not None:
            parts[number] = load(quarter, folder, tag_in(own.part))
            agree(own, ledger_digest(parts[number].ledger))
    step = task.recipe.grid.children // 4
    child = np.concatenate([part.child + np.uint32(number * step) for number, part in parts.items()])
    names = [statistic.name for statistic in task.recipe.statistics]
    values = {name: np.concatenate([part.values[name] for part in parts.values()]) for name in names}
    attributes = _attributes(report, list(parts.values()))
    return write_part(task, report, pack(ledger_of(task, report, attributes), child, values))


def _attributes(report: CellReport, parts: Sequence[Part]) -> Mapping[str, Mapping[str, str]]:
    """Return the attributes of the first granule used in the cell, as if the cell had been mapped in one call."""
    order = {granule.id: number for number, granule in enumerate(report.granules)}

    def first(part: Part) -> int:
        return min((order[g["id"]] for g in part.ledger["granules"] if g["state"] == "used"), default=len(order))

    attributes: Mapping[str, Mapping[str, str]] = min(parts, key=first).ledger["attributes"]
    return attributes


CALLS_A_WORKER = 8
"""Calls per worker: enough that workers end together, and that a lost call loses little."""
MOST = 16
"""Maximum number of cells per call."""


def batches(tasks: Sequence[CellTask], seconds: Sequence[float], workers: int) -> list[CellBatch]:
    """Group consecutive cells into calls that each take about an equal share of the time.

    Parameters
    ----------
    tasks : sequence of CellTask
        Longest first.
    seconds : sequence of float
        Expected seconds per task.
    workers : int
        Maximum number of concurrent workers.
    """
    share = sum(seconds) / (CALLS_A_WORKER * workers)
    calls: list[CellBatch] = []
    waiting: list[CellTask] = []
    time = 0.0
    for task, takes in zip(tasks, seconds, strict=True):
        if waiting and (time + takes > share or len(waiting) == MOST):
            calls.append(CellBatch(tuple(waiting)))
            waiting, time = [], 0.0
        waiting.append(task)
        time += takes
    return [*calls, CellBatch(tuple(waiting))] if waiting else calls


def spread(
    calls: Sequence[CellBatch], outcomes: Sequence[Outcome[tuple[CellReport, ...]]]
) -> list[Outcome[CellReport]]:
    """Return the outcome of each cell from those of the calls; a failed call fails all of its cells."""
    found: list[Outcome[CellReport]] = []
    for batch, outcome in zip(calls, outcomes, strict=True):
        found += _each(batch, outcome)
    return found


def _each(batch: CellBatch, outcome: Outcome[tuple[CellReport, ...]]) -> list[Outcome[CellReport]]:
    if outcome.value is None:
        return [Outcome(reason=outcome.reason, message=outcome.message) for _ in batch.tasks]
    return [Outcome(value=report) for report in outcome.value]


def watch_cells(calls: Sequence[CellBatch], watch: Watcher | None) -> Watcher | None:
    """Return a watcher of calls that calls a watcher of cells, with the index of each cell's task."""
    if watch is None:
        return None
    first = [0]
    for batch in calls:
        first.append(first[-1] + len(batch.tasks))

    def tell(number: int, outcome: Outcome[tuple[CellReport, ...]]) -> None:
        for offset, one in enumerate(_each(calls[number], outcome)):
            watch(first[number] + offset, one)

    return tell
