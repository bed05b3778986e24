"""The second map of a run: map the cells of an exact plan, but for those that an earlier attempt completed.

Cells whose granules could not be read because of the network or the archive are mapped once more at the end, when a
short outage may be over; so are cells whose worker was lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from maggjob.backend.outcome import Outcome, Watcher
from maggjob.errors import RETRYABLE
from maggjob.granules.granule import READING_IMPORTS
from maggjob.jobs.cells import cell_calls, map_call
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellTask
from maggjob.pipeline.balance import (
    MappedCells,
    Piece,
    batches,
    pieces_of,
    report_of,
    spread,
    watch_cells,
    watch_owners,
    with_saved,
)
from maggjob.pipeline.index_stage import IndexStage, outside
from maggjob.pipeline.resume import completed, saved_reports
from maggjob.pipeline.session import Session
from maggjob.planning.tasks import make_tasks

WORKER_LOST = frozenset({"worker"})
"""Reason of calls whose process ended, or whose function raised what it should have reported. On a serverless backend a
call that died was submitted again already (`maggjob.backend.retry`)."""
CallOutcome = Outcome[tuple[CellReport, ...]]
CellOutcome = Outcome[CellReport]


def run_map_stage(session: Session, index: IndexStage, *, resume: bool = False) -> MappedCells:
    """Map the cells of an exact plan: hot cells in quarters, small cells grouped, the longest first.

    Parameters
    ----------
    session : Session
        The run.
    index : IndexStage
        The exact plan, and where the indexes are.
    resume : bool
        Whether to take the parts that an earlier attempt at the same run left.
    """
    plan, workers = index.exact.plan, session.settings.workers
    tasks = make_tasks(plan, session.credentials, session.region, index.place)
    every = pieces_of(tasks, plan.seconds(index.place is not None), workers, split=index.place is not None)
    saved = _saved(session, index, tasks, every) if resume else {}
    mapped = MappedCells(tasks, with_saved(every, tasks, saved))
    outcomes: dict[int, CellOutcome] = {
        number: Outcome(value=saved[piece.task.id])
        for number, piece in enumerate(mapped.pieces)
        if piece.task.id in saved
    }
    todo = [number for number in range(len(mapped.pieces)) if number not in outcomes]
    session.begin("map", mapped.names_of_quarters(), taken=len(outcomes))
    watch = watch_owners(tasks, mapped.pieces, session.options.watch)
    for number, outcome in outcomes.items():
        if watch is not None:
            watch(number, outcome)
    calls, found = _map(session, "map", [mapped.pieces[n] for n in todo], index.place, _numbered(watch, todo))
    outcomes |= dict(zip(todo, found, strict=True))
    outcomes |= _second_pass(session, mapped.pieces, outcomes, index.place)
    ordered = [outcomes[number] for number in range(len(mapped.pieces))]
    return replace(mapped, calls=calls, taken=len(saved), outcomes=ordered)


def _saved(
    session: Session, index: IndexStage, tasks: Sequence[CellTask], pieces: Sequence[Piece]
) -> dict[str, CellReport]:
    """Return the reports of cells and quarters whose parts are there, by id of the task."""
    plan = index.exact.plan
    listed = {plan.task_id(cell): [granule.id for granule in plan.granules(cell)] for cell in plan.cells}
    listed |= {piece.task.id: listed[tasks[piece.owner].id] for piece in pieces}
    quarters = [piece.task for piece in pieces if piece.task.id != tasks[piece.owner].id]
    found = saved_reports([*tasks, *quarters], session.region)
    indexed = index.indexed.granules.values() if index.indexed is not None else ()
    known = {granule.id: outside(granule) for granule in indexed if granule.state != "failed"}
    return completed(found, listed, known)


def _numbered(watch: Watcher | None, numbers: Sequence[int]) -> Watcher | None:
    """Return a watcher of some of the pieces that calls the watcher of all pieces."""
    if watch is None:
        return None

    def tell(number: int, outcome: CellOutcome) -> None:
        watch(numbers[number], outcome)

    return tell


def _map(
    session: Session, stage: str, pieces: Sequence[Piece], place: str | None, watch: Watcher | None = None
) -> tuple[int, list[CellOutcome]]:
    """Map some pieces; return the number of calls, and the outcome of each piece."""
    calls = batches([p.task for p in pieces], [p.seconds for p in pieces], session.settings.workers)
    sent = cell_calls(calls, session.folder, session.region)
    preload = READING_IMPORTS if place is None else ()
    ended = session.map(stage, map_call, sent, watch_cells(calls, watch), begin=False, preload=preload)
    return len(calls), spread(calls, ended)


def _second_pass(
    session: Session, pieces: Sequence[Piece], outcomes: Mapping[int, CellOutcome], place: str | None
) -> dict[int, CellOutcome]:
    """Map the pieces once more whose failures may not happen again; return the outcomes, if they are no worse."""
    first = {number: report_of(pieces[number].task, outcome) for number, outcome in outcomes.items()}
    numbers = [number for number, report in first.items() if report.attempts and _may_succeed(report)]
    if not numbers or session.left == 0.0:
        return {}
    _, again = _map(session, "map again", [pieces[number] for number in numbers], place)
    found: dict[int, CellOutcome] = {}
    for number, outcome in zip(numbers, again, strict=True):
        one, two = first[number], report_of(pieces[number].task, outcome)
        better = two if _failures(two) <= _failures(one) else one
        reasons = (*one.earlier, str(one.reason)) if better is two else (*one.earlier, str(two.reason))
        found[number] = Outcome(value=replace(better, attempts=one.attempts + two.attempts, earlier=reasons))
    return found


def _may_succeed(report: CellReport) -> bool:
    """Return True if a cell lacks something that another attempt may read, or lost its worker."""
    return report.reason in RETRYABLE | WORKER_LOST or any(granule.reason in RETRYABLE for granule in report.granules)


def _failures(report: CellReport) -> tuple[bool, int]:
    """Return what makes one report of a cell worse than another."""
    return report.state == "failed", sum(granule.state == "failed" for granule in report.granules)
