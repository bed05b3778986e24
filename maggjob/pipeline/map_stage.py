"""The second map of a run: map the cells of an exact plan, but for those that an earlier attempt completed.

A cell whose call gave no answer, but whose part is there, is complete. Cells whose granules could not be read because
of the network or the archive are mapped once more at the end, when a short outage may be over. A cell whose call died
is mapped in quarters, or in a call of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from maggjob.backend.outcome import Outcome, Watcher
from maggjob.backend.retry import DEATHS
from maggjob.errors import RETRYABLE
from maggjob.granules.granule import READING_IMPORTS
from maggjob.jobs.cells import cell_calls, map_call
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellBatch, CellTask
from maggjob.pipeline.balance import (
    MappedCells,
    Piece,
    batches,
    pieces_of,
    quarters,
    report_of,
    spread,
    watch_cells,
    watch_owners,
    with_saved,
)
from maggjob.pipeline.index_stage import IndexStage
from maggjob.pipeline.map_watch import CountedCells, Parts, check_keys
from maggjob.pipeline.session import Session
from maggjob.planning import cloud
from maggjob.planning.division import CALLS_A_WORKER
from maggjob.planning.tasks import make_tasks

CellOutcome = Outcome[CellReport]
Done = tuple[Piece, CellOutcome]


def run_map_stage(session: Session, index: IndexStage, *, resume: bool = False, stay: int = 0) -> MappedCells:
    """Map the cells of an exact plan: hot cells in quarters, small cells grouped, the longest first.

    Parameters
    ----------
    session : Session
        The run.
    index : IndexStage
        The exact plan, and where the indexes are.
    resume : bool
        Whether to take the parts that an earlier attempt at the same run left.
    stay : int
        Number of cells of windows that stay as they are, for the status.
    """
    plan, workers = index.exact.plan, session.settings.workers
    tasks = make_tasks(plan, session.credentials, session.region, index.place, index.places)
    seconds, indexed = plan.seconds(index.place is not None), index.place is not None
    depths = plan.split_depths(session.settings.worker_memory)
    every = pieces_of(tasks, seconds, workers, split=indexed, depths=depths)
    parts = Parts(tasks, plan.listed, index, session.region)
    saved = parts.read(every, [*tasks, *_quarters(tasks, every)]) if resume else {}
    mapped = MappedCells(tasks, with_saved(every, tasks, saved))
    outcomes: dict[int, CellOutcome] = {
        number: Outcome(value=saved[piece.task.id])
        for number, piece in enumerate(mapped.pieces)
        if piece.task.id in saved
    }
    todo = [number for number in range(len(mapped.pieces)) if number not in outcomes]
    done = CountedCells(session.options.watch)
    with done.told(len(tasks) + stay, already=stay):
        session.begin("map", mapped.names_of_quarters(), taken=len(outcomes) + stay)
        watch = watch_owners(tasks, mapped.pieces, done)
        for number, outcome in outcomes.items():
            watch(number, outcome)
        first = [mapped.pieces[number] for number in todo]
        calls = _batches(session, first)
        ended = _map(session, "map", calls, index.place, parts, first, _numbered(watch, todo))
        outcomes |= dict(zip(todo, ended, strict=True))
        again = _second_pass(session, mapped, outcomes, _companions(calls, todo), index.place, parts)
    # In their places, as the quarters of a cell must stay in order.
    now = [done for n, piece in enumerate(mapped.pieces) for done in again.get(n, [(piece, outcomes[n])])]
    pieces, ended = [piece for piece, _ in now], [outcome for _, outcome in now]
    return replace(mapped, calls=len(calls), taken=len(saved), found=parts.found, pieces=pieces, outcomes=ended)


def _batches(session: Session, pieces: Sequence[Piece]) -> list[CellBatch]:
    """Group pieces into calls, into fewer where calls cost something."""
    calls_a_worker = cloud.CALLS_A_WORKER if session.backend == "aws_lambda" else CALLS_A_WORKER
    seconds = [piece.seconds for piece in pieces]
    return batches([piece.task for piece in pieces], seconds, session.settings.workers, calls_a_worker)


def _companions(calls: Sequence[CellBatch], numbers: Sequence[int]) -> dict[int, int]:
    """Return the number of pieces in the call of each piece, by number of the piece."""
    sizes = [len(call.tasks) for call in calls for _ in call.tasks]
    return dict(zip(numbers, sizes, strict=True))


def _quarters(tasks: Sequence[CellTask], pieces: Sequence[Piece]) -> list[CellTask]:
    """Return the tasks of the pieces that are not whole cells."""
    return [piece.task for piece in pieces if piece.task.id != tasks[piece.owner].id]


def _numbered(watch: Watcher, numbers: Sequence[int]) -> Watcher:
    """Return a watcher of some of the pieces that calls the watcher of all pieces."""

    def tell(number: int, outcome: CellOutcome) -> None:
        watch(numbers[number], outcome)

    return tell


def _map(
    session: Session,
    stage: str,
    calls: Sequence[CellBatch],
    place: str | None,
    parts: Parts,
    pieces: Sequence[Piece],
    watch: Watcher | None = None,
) -> list[CellOutcome]:
    """Carry out the calls of some pieces, and return the outcome of each.

    What a call without an answer did is told when all calls have ended, and its part has been looked for.
    """
    silent: list[int] = []
    here = session.backend != "aws_lambda"

    def tell(number: int, outcome: CellOutcome) -> None:
        if here:
            check_keys(outcome)
        if outcome.value is None:
            silent.append(number)
        elif watch is not None:
            watch(number, outcome)

    sent = cell_calls(calls, session.folder, session.region)
    preload = READING_IMPORTS if place is None else ()
    ended = session.map(stage, map_call, sent, watch_cells(calls, tell), begin=False, preload=preload)
    outcomes = parts.find(pieces, spread(calls, ended))
    if watch is not None:
        for number in silent:
            watch(number, outcomes[number])
    return outcomes


def _second_pass(
    session: Session,
    mapped: MappedCells,
    outcomes: Mapping[int, CellOutcome],
    companions: Mapping[int, int],
    place: str | None,
    parts: Parts,
) -> dict[int, list[Done]]:
    """Map the pieces once more whose failures may not happen again.

    Returns
    -------
    dict of int to list of (Piece, Outcome)
        What takes the place of each of these pieces: itself, or the quarters of a cell.
    """
    first = {number: report_of(mapped.pieces[number].task, outcome) for number, outcome in outcomes.items()}
    plans = {n: _again(mapped, n, report, companions, place) for n, report in first.items() if report.attempts}
    plans = {number: pieces for number, pieces in plans.items() if pieces}
    if not plans or session.left == 0.0:
        return {}
    # A call that died takes its companions along, so each piece of it has a call of its own.
    apart = [piece.task for n, pieces in plans.items() if first[n].reason in DEATHS for piece in pieces]
    others = [piece for n, pieces in plans.items() if first[n].reason not in DEATHS for piece in pieces]
    calls = [CellBatch((task,)) for task in apart]
    calls += _batches(session, others)
    by_task = {piece.task.id: piece for pieces in plans.values() for piece in pieces}
    sent = [by_task[task.id] for call in calls for task in call.tasks]
    ended = _map(session, "map again", calls, place, parts, sent)
    of = dict(zip((piece.task.id for piece in sent), ended, strict=True))
    return {n: [_better(first[n], piece, of[piece.task.id]) for piece in pieces] for n, pieces in plans.items()}


def _again(
    mapped: MappedCells, number: int, report: CellReport, companions: Mapping[int, int], place: str | None
) -> list[Piece]:
    """Return what is mapped in place of a piece that failed; nothing if it would fail again.

    A cell, or a piece of one, whose call died is split if it can be, as each quarter needs less memory. If it cannot be
    split, and had a call of its own, another attempt would die as well.
    """
    piece = mapped.pieces[number]
    if report.reason in DEATHS:
        if place is not None and piece.task.recipe.can_split:
            return [Piece(quarter, piece.owner, piece.seconds / 4) for quarter in quarters(piece.task)]
        return [piece] if companions.get(number, 1) > 1 else []
    return [piece] if _may_succeed(report) else []


def _better(one: CellReport, piece: Piece, outcome: CellOutcome) -> Done:
    """Return the better of two outcomes of a piece, with the attempts and failures of both."""
    two = report_of(piece.task, outcome)
    better = two if one.id != two.id or _failures(two) <= _failures(one) else one
    worse = one if better is two else two
    reasons = (*one.earlier, *two.earlier, str(worse.reason))
    return piece, Outcome(value=replace(better, attempts=one.attempts + two.attempts, earlier=reasons))


def _may_succeed(report: CellReport) -> bool:
    """Return True if a cell lacks something that another attempt may read."""
    return report.reason in RETRYABLE or any(granule.reason in RETRYABLE for granule in report.granules)


def _failures(report: CellReport) -> tuple[bool, int]:
    """Return what makes one report of a cell worse than another."""
    return report.state == "failed", sum(granule.state == "failed" for granule in report.granules)
