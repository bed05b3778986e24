"""Divide the cells of a run into calls of similar duration: split hot cells, group small ones, start the longest first.

A cell that takes so long that the whole run would wait for it is "hot". It is split into quarters, the four
cells of the next HEALPix order inside it; their tasks are ordinary tasks apart from the order. The reports and parts
of the four quarters are joined into the report and the part of the cell. If nothing fails, that part has the same bytes
as one written by a single call. A granule that fails in one quarter counts as failed in the cell; the segments that
other quarters kept of it are still counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np

from maggjob.backend.outcome import Outcome, Watcher
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.jobs.parts import Level, Part, agree, ledger_digest, ledger_of, load, pack, part_key, tag_in, write_part
from maggjob.model.ledger import failed_report, join_quarters
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellBatch, CellTask
from maggjob.planning.cost import QUARTER
from maggjob.planning.division import CALLS_A_WORKER, call_sizes, divisions
from maggjob.storage.folder import Folder

CELLS_AT_ONCE = 16
"""Number of cells whose quarters are joined concurrently, because the client may be far from the bucket."""


@dataclass(frozen=True)
class Piece:
    """A cell, or a quarter of a hot cell."""

    task: CellTask
    """Its task."""
    owner: int
    """Index of the planned cell that the piece is, or belongs to."""
    seconds: float
    """Expected duration in seconds."""


def pieces_of(
    tasks: Sequence[CellTask],
    seconds: Sequence[float],
    workers: int,
    *,
    split: bool,
    depths: Sequence[int] | None = None,
) -> list[Piece]:
    """Split hot cells into quarters, large cells until they fit, and return all pieces, longest first.

    Parameters
    ----------
    tasks : sequence of CellTask
        One per planned cell.
    seconds : sequence of float
        Expected duration of each task.
    workers : int
        Number of concurrent workers.
    split : bool
        If False, no cell is split to save time: without indexes, each quarter would read all coordinates.
    depths : sequence of int, optional
        How many times each cell must be divided so that its pieces fit in a worker's memory; by default never.
    """
    pieces = []
    split = split and all(task.recipe.can_split for task in tasks)
    every = divisions(seconds, workers, split=split, depths=depths)
    for owner, (task, takes, times) in enumerate(zip(tasks, seconds, every, strict=True)):
        pieces += [Piece(part, owner, QUARTER**times * takes) for part in divided(task, times)]
    return sorted(pieces, key=lambda piece: -piece.seconds)


def divided(task: CellTask, times: int) -> list[CellTask]:
    """Return the tasks of a cell that is divided into quarters some times, in nested order; the cell itself for 0.

    Parameters
    ----------
    task : CellTask
    times : int
    """
    found = [task]
    for _ in range(times):
        found = [quarter for one in found for quarter in quarters(one)]
    return found


def _first_child(task: CellTask) -> int:
    """Return the nested id of the first of the finest children of a cell."""
    grid = task.recipe.grid
    return parse_cell(task.cell, grid.parent_order) << grid.shift


def quarters(task: CellTask) -> list[CellTask]:
    """Return the tasks of the four quarters of a cell, in nested order."""
    grid = task.recipe.grid
    order, first = grid.parent_order + 1, 4 * parse_cell(task.cell, grid.parent_order)
    recipe = replace(task.recipe, grid=replace(grid, parent_order=order))
    names = [format_cell(first + number, order) for number in range(4)]
    return [replace(task, id=f"{task.window}/{name}", cell=name, recipe=recipe) for name in names]


def watch_owners(tasks: Sequence[CellTask], pieces: Sequence[Piece], watch: Watcher) -> Watcher:
    """Return a watcher of pieces that calls a watcher of cells.

    A split cell is reported once, when the last of its quarters has ended.

    Parameters
    ----------
    tasks : sequence of CellTask
        One per planned cell.
    pieces : sequence of Piece
        All pieces of these cells.
    watch : callable
        The watcher of cells, called with the index of a cell and its outcome.
    """
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
    """Return the report of a call, or the report of a failed cell if the call failed.

    Parameters
    ----------
    done : CellTask
        The task of the call.
    outcome : Outcome of CellReport
        The outcome of the call.
    """
    if outcome.value is not None:
        return outcome.value
    failed = failed_report(done, (), str(outcome.reason), str(outcome.message))
    return replace(failed, attempts=outcome.call.attempts, earlier=outcome.earlier)


@dataclass(frozen=True)
class MappedCells:
    """The cells of a run, how they are divided into calls, and the outcomes."""

    tasks: Sequence[CellTask]
    """One task per planned cell."""
    pieces: Sequence[Piece]
    """Cells and quarters of cells, longest first."""
    calls: int = 0
    """Number of calls in which the pieces were mapped."""
    taken: int = 0
    """Number of pieces whose reports are those of an earlier attempt."""
    found: int = 0
    """Number of pieces whose calls gave no answer, but whose parts are there."""
    outcomes: Sequence[Outcome[CellReport]] = ()
    """One outcome per piece; empty until the cells are mapped."""

    @property
    def in_quarters(self) -> int:
        """Number of cells that are split into quarters."""
        owners = Counter(piece.owner for piece in self.pieces)
        return sum(count > 1 for count in owners.values())

    def names_of_quarters(self) -> dict[str, list[str]]:
        """Return the ids of the quarters of each split cell, by the id of the cell's task."""
        numbers = _by_owner(self.pieces)
        split = {owner: some for owner, some in numbers.items() if len(some) > 1}
        return {self.tasks[owner].id: [self.pieces[n].task.id for n in some] for owner, some in split.items()}

    def reports(self) -> list[CellReport]:
        """Return the report of each cell, and join the parts of split cells.

        Raises
        ------
        StoreError
            If the part of a quarter is missing or damaged, or the joined part cannot be written.
        LedgerError
            If the part of a quarter does not agree with its report.
        """
        answers = [report_of(piece.task, outcome) for piece, outcome in zip(self.pieces, self.outcomes, strict=True)]
        return join(self.tasks, self.pieces, answers)


def join(tasks: Sequence[CellTask], pieces: Sequence[Piece], reports: Sequence[CellReport]) -> list[CellReport]:
    """Join the reports and parts of quarters, and return the report of each cell.

    Parameters
    ----------
    tasks : sequence of CellTask
        One per planned cell.
    pieces : sequence of Piece
        All pieces of these cells.
    reports : sequence of CellReport
        One per piece.

    Returns
    -------
    list of CellReport
        In the order of ``tasks``.

    Raises
    ------
    StoreError
        If the part of a quarter is missing or damaged, or the joined part cannot be written.
    LedgerError
        If the part of a quarter does not agree with its report.
    """
    of = _by_owner(pieces)
    done = [[(pieces[n].task, reports[n]) for n in of[owner]] for owner in range(len(tasks))]
    with ThreadPoolExecutor(CELLS_AT_ONCE) as pool:
        return list(pool.map(_joined, tasks, done))


def _by_owner(pieces: Sequence[Piece]) -> dict[int, list[int]]:
    """Return the indexes of the pieces of each cell; quarters are in nested order."""
    found: dict[int, list[int]] = {}
    for number, piece in enumerate(pieces):
        found.setdefault(piece.owner, []).append(number)
    # The quarters of a cell are still in order: their expected durations are equal and sorting is stable.
    return found


def _joined(task: CellTask, done: Sequence[tuple[CellTask, CellReport]]) -> CellReport:
    if len(done) == 1:
        return done[0][1]
    # Quarters of quarters may stand among the quarters.
    done = sorted(done, key=lambda one: _first_child(one[0]))
    report = join_quarters(task.id, task.cell, [report for _, report in done])
    if report.state != "failed":
        report = _join_parts(task, report, done)
    if task.parts is not None:
        # Untagged keys are deleted as well: a quarter may have written its part and died before it reported.
        folder = Folder(task.parts, task.region, create=True)
        unneeded = {part_key(quarter.id, tag) for quarter, own in done for tag in ("", tag_in(own.part or ""))}
        # Those that remain are deleted, or told, at the end of the run.
        folder.discard(lambda: unneeded)
    return report


def _join_parts(task: CellTask, report: CellReport, done: Sequence[tuple[CellTask, CellReport]]) -> CellReport:
    """Join the parts of the quarters of a cell, and write the part of the cell."""
    folder, parts = Folder(str(task.parts), task.region), {}
    for number, (quarter, own) in enumerate(done):
        if own.part is not None:
            parts[number] = load(quarter, folder, tag_in(own.part))
            agree(own, ledger_digest(parts[number].ledger))
    levels = []
    for order in task.recipe.orders:
        at, own_levels = task.recipe.at(order), {number: part.levels[order] for number, part in parts.items()}
        before = [_first_child(done[n][0]) - _first_child(task) >> 2 * (task.recipe.orders[0] - order) for n in parts]
        child = np.concatenate(
            [level.child + np.uint32(first) for level, first in zip(own_levels.values(), before, strict=True)]
        )
        names = [statistic.name for statistic in at.statistics]
        values = {name: np.concatenate([level.values[name] for level in own_levels.values()]) for name in names}
        levels.append(Level(order, child, values))
    attributes = _attributes(report, list(parts.values()))
    return write_part(task, report, pack(ledger_of(task, report, attributes), levels))


def _attributes(report: CellReport, parts: Sequence[Part]) -> Mapping[str, Mapping[str, str]]:
    """Return the attributes of the first granule used in the cell, as a single call would have recorded."""
    order = {granule.id: number for number, granule in enumerate(report.granules)}

    def first(part: Part) -> int:
        return min((order[g["id"]] for g in part.ledger["granules"] if g["state"] == "used"), default=len(order))

    attributes: Mapping[str, Mapping[str, str]] = min(parts, key=first).ledger["attributes"]
    return attributes


def batches(
    tasks: Sequence[CellTask], seconds: Sequence[float], workers: int, calls_a_worker: int = CALLS_A_WORKER
) -> list[CellBatch]:
    """Group cells into calls: consecutive cells, until a call takes its share of the total time.

    Parameters
    ----------
    tasks : sequence of CellTask
        Longest first.
    seconds : sequence of float
        Expected duration of each task.
    workers : int
        Number of concurrent workers.
    calls_a_worker : int
        Target number of calls per worker.
    """
    ends = list(accumulate(call_sizes(seconds, workers, calls_a_worker), initial=0))
    return [CellBatch(tuple(tasks[start:end])) for start, end in pairwise(ends)]


def with_saved(pieces: Sequence[Piece], tasks: Sequence[CellTask], saved: Mapping[str, CellReport]) -> list[Piece]:
    """Return the pieces, with whole cells in place of the pieces of cells whose reports are saved.

    Parameters
    ----------
    pieces : sequence of Piece
        All pieces of these cells.
    tasks : sequence of CellTask
        One per planned cell.
    saved : mapping
        Saved reports of cells and of pieces, by id of the task.
    """
    whole = {owner for owner, task in enumerate(tasks) if task.id in saved}
    return [Piece(tasks[owner], owner, 0.0) for owner in sorted(whole)] + [p for p in pieces if p.owner not in whole]


def spread(
    calls: Sequence[CellBatch], outcomes: Sequence[Outcome[tuple[CellReport, ...]]]
) -> list[Outcome[CellReport]]:
    """Return the outcome of each cell; the cells of a failed call all have its outcome.

    Parameters
    ----------
    calls : sequence of CellBatch
        The cells of each call.
    outcomes : sequence of Outcome
        One per call.
    """
    found: list[Outcome[CellReport]] = []
    for batch, outcome in zip(calls, outcomes, strict=True):
        found += _each(batch, outcome)
    return found


def _each(batch: CellBatch, outcome: Outcome[tuple[CellReport, ...]]) -> list[Outcome[CellReport]]:
    if outcome.value is None:
        lost = Outcome[CellReport](None, outcome.reason, outcome.message, outcome.earlier, outcome.call)
        return [lost for _ in batch.tasks]
    attempts, earlier = outcome.call.attempts, outcome.earlier
    return [Outcome(value=replace(report, attempts=attempts, earlier=earlier)) for report in outcome.value]


def watch_cells(calls: Sequence[CellBatch], watch: Watcher) -> Watcher:
    """Return a watcher of calls that calls a watcher of cells.

    Parameters
    ----------
    calls : sequence of CellBatch
        The cells of each call.
    watch : callable
        The watcher of cells, called with the index of a cell and its outcome. Cells are numbered in the order of the
        calls.
    """
    first = [0]
    for batch in calls:
        first.append(first[-1] + len(batch.tasks))

    def tell(number: int, outcome: Outcome[tuple[CellReport, ...]]) -> None:
        for offset, one in enumerate(_each(calls[number], outcome)):
            watch(first[number] + offset, one)

    return tell
