"""The ledger: functions that combine reports, from quarters to a cell and from cells to a run.

Nothing is dropped without being counted:

- A granule in a cell ends as ``used``, ``no_overlap`` or ``failed``. If several cells report on one granule, the worst
  state counts (`worst`); its number of rows comes from any report that read it.
- A cell ends as ``complete``, ``empty``, ``partial`` or ``failed`` (`cell_state`).
- A segment of a granule is counted once, whatever the number of cells: in a planned cell, ``outside``,
  ``invalid_coordinate``, or ``unread`` (its granule failed in one cell and was read in another).
- A task of any job ends with an answer, or fails for a reason (`tally_tasks`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from maggjob.model.reports import (
    CELL_STATES,
    GRANULE_STATES,
    INVALID_COORDINATE,
    KEPT,
    OUTSIDE,
    UNREAD,
    CellReport,
    GranuleReport,
    Tally,
)
from maggjob.model.tasks import CellTask
from maggjob.statistics.fit_model import STATES

SEVERITY = {"no_overlap": 0, "used": 1, "failed": 2}
"""Rank of a granule's states, from best to worst."""
EXAMPLES = 5
"""Number of examples kept per reason of failure."""

Span = tuple[float, float]
"""First and last time, seconds since 2018-01-01."""


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sum counts by state. States keep the order of their first occurrence."""
    total: dict[str, int] = {}
    for some in counts:
        for state, count in some.items():
            total[state] = total.get(state, 0) + count
    return total


def add_fits(fits: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Sum the counts of fits by name and state, in the order of names and of `STATES`, whichever came first."""
    total: dict[str, dict[str, int]] = {}
    for some in fits:
        for name, states in some.items():
            total[name] = add_counts((total.get(name, {}), states))
    return {name: {state: total[name][state] for state in STATES if state in total[name]} for name in sorted(total)}


def join_spans(spans: Iterable[Span | None]) -> Span | None:
    """Return the span from the earliest to the latest time; None if every span is None."""
    known = [span for span in spans if span is not None]
    return (min(first for first, _ in known), max(last for _, last in known)) if known else None


def worst(reports: Sequence[GranuleReport]) -> GranuleReport:
    """Combine the reports on one granule from cells that do not overlap.

    Parameters
    ----------
    reports : sequence of GranuleReport
        At least one.

    Returns
    -------
    GranuleReport
        The worst state; beams and rows of the first report that read the granule; the sums of the segments.
    """
    if len(reports) == 1:
        return reports[0]
    tells = max(reports, key=lambda report: (SEVERITY[report.state], report.message is not None))
    read = next((report for report in reports if report.rows), tells)
    return replace(
        tells,
        beams=read.beams,
        rows=read.rows,
        invalid_coordinate=read.invalid_coordinate,
        in_cell=sum(report.in_cell for report in reports),
        kept=sum(report.kept for report in reports),
        segments=add_counts(report.segments for report in reports),
    )


def cell_state(*, kept: bool, failed: bool, used: bool) -> str:
    """Return the state of a cell.

    Parameters
    ----------
    kept : bool
        True if any segment was kept.
    failed : bool
        True if a granule or the call itself failed.
    used : bool
        True if any granule was used.

    Returns
    -------
    str
        One of `maggjob.model.reports.CELL_STATES`.
    """
    if failed:
        return "partial" if used else "failed"
    return "complete" if kept else "empty"


def failed_report(task: CellTask, granules: Iterable[str], reason: str | None, message: str | None) -> CellReport:
    """Return the report of a cell that failed as a whole.

    Parameters
    ----------
    task : CellTask
    granules : iterable of str
        Ids of its granules; all are reported as failed.
    reason, message : str, optional
        Reason and message of the error.
    """
    lost = _unused(granules, reason)
    return CellReport(task.id, task.cell, task.window, "failed", granules=lost, reason=reason, message=message)


def _unused(granules: Iterable[str], reason: str | None) -> tuple[GranuleReport, ...]:
    return tuple(GranuleReport(granule, "failed", reason=reason) for granule in granules)


def with_granules(report: CellReport, listed: Iterable[str], no_overlap: Sequence[GranuleReport] = ()) -> CellReport:
    """Complete the report of a cell, so that it contains every granule that the catalog lists for it.

    Parameters
    ----------
    report : CellReport
    listed : iterable of str
        Ids of the granules that were to be read. If the cell failed as a whole, all are reported as failed.
    no_overlap : sequence of GranuleReport
        Granules that lie outside the cell according to their index; reported as if they had been read.
    """
    if report.state == "failed" and not report.granules:
        report = replace(report, granules=_unused(listed, report.reason))
    return replace(report, granules=(*report.granules, *no_overlap)) if no_overlap else report


def join_quarters(name: str, cell: str, quarters: Sequence[CellReport]) -> CellReport:
    """Combine the reports of a cell's quarters into one, without a part.

    A granule that failed in one quarter has failed in the cell. Its segments that other quarters kept stay, and are
    counted.

    Parameters
    ----------
    name, cell : str
        Id of the cell's task, and id of the cell.
    quarters : sequence of CellReport
        In the order of the cell's children.
    """
    names = next((tuple(g.id for g in quarter.granules) for quarter in quarters if quarter.granules), ())
    known = [(quarter, {g.id: g for g in quarter.granules}) for quarter in quarters]
    granules = tuple(
        worst([own.get(n) or GranuleReport(n, "failed", reason=quarter.reason) for quarter, own in known])
        for n in names
    )
    # If a quarter failed as a whole, its granules do not give the reason.
    lost = [quarter for quarter in quarters if quarter.state == "failed" and not quarter.granules]
    bad = next((q for q in [*lost, *quarters] if q.state in ("partial", "failed")), None)
    return CellReport(
        name,
        cell,
        quarters[0].window,
        cell_state(
            kept=any(quarter.observations for quarter in quarters),
            failed=bad is not None,
            used=any(g.state == "used" for quarter in quarters for g in quarter.granules),
        ),
        add_counts(quarter.segments for quarter in quarters),
        granules,
        reason=None if bad is None else bad.reason,
        message=None if bad is None else bad.message,
        seconds=sum(quarter.seconds for quarter in quarters),
        time=join_spans(quarter.time for quarter in quarters),
        bytes_read=sum(quarter.bytes_read for quarter in quarters),
        by_h5py=sum(quarter.by_h5py for quarter in quarters),
        requests=sum(quarter.requests for quarter in quarters),
        peak_memory=max(quarter.peak_memory for quarter in quarters),
        fits=add_fits(quarter.fits for quarter in quarters),
        attempts=max(quarter.attempts for quarter in quarters),
        earlier=tuple(reason for quarter in quarters for reason in quarter.earlier),
        indexes=add_counts(quarter.indexes for quarter in quarters),
        index_bytes=sum(quarter.index_bytes for quarter in quarters),
        index_requests=sum(quarter.index_requests for quarter in quarters),
        index_problems=tuple(problem for quarter in quarters for problem in quarter.index_problems),
    )


def reduce_tally(reports: Iterable[CellReport]) -> Tally:
    """Sum the reports of all cells.

    Parameters
    ----------
    reports : iterable of CellReport
        One per planned cell.

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
    granules: dict[str, list[GranuleReport]] = {}
    errors: dict[str, dict[str, Any]] = {}
    fits: dict[str, dict[str, int]] = {}
    for report in reports:
        cells["planned"] += 1
        fits = add_fits((fits, report.fits)) if report.fits else fits
        cells[report.state] += 1
        segments = add_counts((segments, report.segments))
        for failure in _failures(report):
            count_error(errors, *failure)
        for granule in report.granules:
            granules.setdefault(granule.id, []).append(granule)
    folded = [worst(some) for some in granules.values()]
    for state in (INVALID_COORDINATE, OUTSIDE, UNREAD, "rows"):
        segments[state] = 0
    for granule in folded:
        segments["rows"] += granule.rows
        segments[INVALID_COORDINATE] += granule.invalid_coordinate
        elsewhere = granule.rows - granule.invalid_coordinate - granule.in_cell
        segments[UNREAD if granule.state == "failed" else OUTSIDE] += elsewhere
    states = [granule.state for granule in folded]
    return Tally(
        observations=segments.get(KEPT, 0),
        cells=cells,
        granules={state: states.count(state) for state in GRANULE_STATES},
        segments=segments,
        errors=errors,
        fits=fits,
    )


def _failures(report: CellReport) -> list[tuple[str, str | None, str | None]]:
    """Return (what failed, reason, message) of each granule with a message, and of the cell if none explains it."""
    failed: list[tuple[str, str | None, str | None]] = [
        (f"{g.id} in {report.cell}", g.reason, g.message) for g in report.granules if g.message is not None
    ]
    named = {reason for _, reason, _ in failed}
    # The call of the cell, or of one of its quarters, failed.
    if (report.state == "failed" and not failed) or (report.message is not None and report.reason not in named):
        failed.append((report.id, report.reason, report.message))
    return failed


def count_error(errors: dict[str, dict[str, Any]], what: str, reason: str | None, message: str | None) -> None:
    """Count a failure under its reason, and keep the first `EXAMPLES` of each reason.

    Parameters
    ----------
    errors : dict
        Counts and examples by reason; modified in place.
    what : str
        Id of the task, or of the granule and its cell.
    reason, message : str, optional
        Reason and message of the error.
    """
    entry = errors.setdefault(str(reason), {"count": 0, "examples": []})
    entry["count"] += 1
    if len(entry["examples"]) < EXAMPLES:
        entry["examples"].append({"what": what, "message": message})


@dataclass(frozen=True)
class TaskTally:
    """Outcome of the tasks of one stage of any job."""

    tasks: int
    """Number of tasks."""
    done: int
    """Number of tasks that ended with an answer."""
    errors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Number of failed tasks and the first examples, by reason."""

    @property
    def failed(self) -> int:
        """Number of tasks without an answer."""
        return self.tasks - self.done

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"failed": self.failed}


def tally_tasks(outcomes: Iterable[tuple[str, str | None, str | None]]) -> TaskTally:
    """Count the outcomes of tasks.

    Parameters
    ----------
    outcomes : iterable of (id, reason, message)
        One per task; the reason is None if the task ended with an answer.
    """
    tasks = 0
    errors: dict[str, dict[str, Any]] = {}
    for what, reason, message in outcomes:
        tasks += 1
        if reason is not None:
            count_error(errors, what, reason, message)
    return TaskTally(tasks, tasks - sum(error["count"] for error in errors.values()), errors)
