"""Cells as calls of about the same length: small ones together, the longest first."""

from collections.abc import Sequence

from maggjob.model import CellBatch, CellReport, CellTask
from maggjob.runner import Outcome, Watcher

CALLS_A_WORKER = 8  # so that workers end together, and a call that dies loses little
MOST = 16  # cells a call


def batches(tasks: Sequence[CellTask], seconds: Sequence[float], workers: int) -> list[CellBatch]:
    """Put cells together, in their order, until a call takes its share of the time.

    Parameters
    ----------
    tasks : sequence of CellTask
        Longest first.
    seconds : sequence of float
        What each is expected to take.
    workers : int
        Workers at once.
    """
    share = sum(seconds) / (CALLS_A_WORKER * workers)
    made: list[CellBatch] = []
    waiting: list[CellTask] = []
    time = 0.0
    for task, takes in zip(tasks, seconds, strict=True):
        if waiting and (time + takes > share or len(waiting) == MOST):
            made.append(CellBatch(tuple(waiting)))
            waiting, time = [], 0.0
        waiting.append(task)
        time += takes
    return [*made, CellBatch(tuple(waiting))] if waiting else made


def spread(made: Sequence[CellBatch], outcomes: Sequence[Outcome[tuple[CellReport, ...]]]) -> list[Outcome[CellReport]]:
    """The outcome of each cell, from those of the calls; a call that came to nothing is one for all of its cells."""
    found: list[Outcome[CellReport]] = []
    for batch, outcome in zip(made, outcomes, strict=True):
        found += _each(batch, outcome)
    return found


def _each(batch: CellBatch, outcome: Outcome[tuple[CellReport, ...]]) -> list[Outcome[CellReport]]:
    if outcome.value is None:
        return [Outcome(reason=outcome.reason, message=outcome.message) for _ in batch.tasks]
    return [Outcome(value=report) for report in outcome.value]


def watch_cells(made: Sequence[CellBatch], watch: Watcher | None) -> Watcher | None:
    """A watcher of calls that tells one of cells, whose numbers are those of the tasks."""
    if watch is None:
        return None
    first = [0]
    for batch in made:
        first.append(first[-1] + len(batch.tasks))

    def tell(number: int, outcome: Outcome[tuple[CellReport, ...]]) -> None:
        for offset, one in enumerate(_each(made[number], outcome)):
            watch(first[number] + offset, one)

    return tell
