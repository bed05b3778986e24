"""What the map of the cells has achieved: the cells that are done, and parts that are there whatever calls answered.

A call may write its part and die before it answers, or its answer may get lost. The part is as good as one that an
earlier attempt left, and is taken under the same conditions.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from maggjob.backend.outcome import Outcome, Watcher
from maggjob.errors import ExpiredKeysError
from maggjob.model.reports import CellReport, GranuleReport
from maggjob.model.tasks import CellTask
from maggjob.pipeline.balance import Piece
from maggjob.pipeline.index_stage import IndexStage, outside
from maggjob.pipeline.resume import completed, saved_reports


class Parts:
    """The parts of the cells and quarters of a run.

    Parameters
    ----------
    tasks : sequence of CellTask
        One per planned cell.
    listed : mapping
        Ids of the planned granules, by id of the task of a cell.
    index : IndexStage
        Tells how many segments a granule has that has none in a cell.
    region : str or None
        Region of the bucket.
    """

    def __init__(
        self, tasks: Sequence[CellTask], listed: Mapping[str, Sequence[str]], index: IndexStage, region: str | None
    ) -> None:
        self.found = 0
        """Number of parts that were found although their calls gave no answer."""
        self._tasks, self._listed, self._region = tasks, listed, region
        indexed = index.indexed.granules.values() if index.indexed is not None else ()
        self._known: dict[str, GranuleReport] = {one.id: outside(one) for one in indexed if one.state != "failed"}

    def read(self, pieces: Sequence[Piece], tasks: Sequence[CellTask]) -> dict[str, CellReport]:
        """Return the reports of tasks whose parts are there, whole and of this run, by id of the task.

        Parameters
        ----------
        pieces : sequence of Piece
            Tells to which cells the tasks belong that are not those of whole cells.
        tasks : sequence of CellTask
        """
        listed = {**self._listed, **{piece.task.id: self._listed[self._tasks[piece.owner].id] for piece in pieces}}
        return completed(saved_reports(tasks, self._region), listed, self._known)

    def find(self, pieces: Sequence[Piece], outcomes: Sequence[Outcome[CellReport]]) -> list[Outcome[CellReport]]:
        """Return the outcomes, with the reports of those parts that are there in place of calls without an answer.

        Parameters
        ----------
        pieces : sequence of Piece
        outcomes : sequence of Outcome
            One per piece.
        """
        silent = [piece for piece, outcome in zip(pieces, outcomes, strict=True) if outcome.value is None]
        reports = [outcome.value for outcome in outcomes if outcome.value is not None]
        self._known |= {
            granule.id: granule for report in reports for granule in report.granules if granule.state != "failed"
        }
        found = self.read(silent, [piece.task for piece in silent])
        self.found += len(found)
        return [
            _as_found(found[piece.task.id], outcome) if piece.task.id in found and outcome.value is None else outcome
            for piece, outcome in zip(pieces, outcomes, strict=True)
        ]


def _as_found(report: CellReport, outcome: Outcome[CellReport]) -> Outcome[CellReport]:
    """Return the outcome of a call that gave no answer, with the report of its part."""
    earlier = (*outcome.earlier, str(outcome.reason))
    return replace(
        outcome,
        value=replace(report, attempts=outcome.call.attempts, earlier=earlier),
        reason=None,
        message=None,
        earlier=earlier,
    )


class CountedCells:
    """A watcher of cells that counts those that are done, for the message of an error that ends the run.

    Parameters
    ----------
    watch : callable or None
        Watcher that is told as well.
    """

    def __init__(self, watch: Watcher | None) -> None:
        self.done = 0
        """Number of cells with a part."""
        self._watch = watch

    def __call__(self, index: int, outcome: Outcome[CellReport]) -> None:
        """Count a cell that has ended."""
        self.done += outcome.value is not None and outcome.value.state != "failed"
        if self._watch is not None:
            self._watch(index, outcome)

    @contextmanager
    def told(self, cells: int, already: int = 0) -> Iterator[None]:
        """Tell how many cells are done if credentials expire during the block.

        Parameters
        ----------
        cells : int
            Number of all cells.
        already : int
            Number of cells that were done before the block.

        Raises
        ------
        ExpiredKeysError
            If it is raised in the block, with the number of cells in front of its message.
        """
        try:
            yield
        except ExpiredKeysError as problem:
            raise ExpiredKeysError(f"{self.done + already:,} of {cells:,} cells are done, but {problem}") from problem


def check_keys(outcome: Outcome[CellReport]) -> None:
    """Check that a worker with the credentials of this machine could use them.

    Parameters
    ----------
    outcome : Outcome of CellReport

    Raises
    ------
    ExpiredKeysError
        If it could not: all further cells would fail as well.
    """
    report = outcome.value
    reason, message = (outcome.reason, outcome.message) if report is None else (report.reason, report.message)
    if reason == ExpiredKeysError.reason:
        raise ExpiredKeysError(str(message))
