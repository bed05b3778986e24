"""TODO model.ledger."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
from maggjob.model.tasks import CellTask, Granule


def add_counts(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sum of counts by state; states in the order in which they first come."""
    total: dict[str, int] = {}
    for some in counts:
        for state, count in some.items():
            total[state] = total.get(state, 0) + count
    return total


def joined_report(name: str, cell: str, quarters: Sequence[CellReport]) -> CellReport:
    """The report of a cell, but for its part, from those of its quarters.

    A granule that failed in one quarter has failed; what others kept of it stays, and is counted.
    """
    names = next((tuple(g.id for g in quarter.granules) for quarter in quarters if quarter.granules), ())
    known = [(quarter, {g.id: g for g in quarter.granules}) for quarter in quarters]
    granules = tuple(
        _worst([own.get(n) or GranuleReport(n, "failed", reason=quarter.reason) for quarter, own in known])
        for n in names
    )
    lost = [quarter for quarter in quarters if quarter.state == "failed" and not quarter.granules]  # nobody else tells
    bad = next((q for q in [*lost, *quarters] if q.state in ("partial", "failed")), None)
    state = "complete" if any(quarter.observations for quarter in quarters) else "empty"
    if bad is not None:
        used = any(g.state == "used" for quarter in quarters for g in quarter.granules)
        state = "partial" if used else "failed"
    times = [quarter.time for quarter in quarters if quarter.time is not None]
    return CellReport(
        name,
        cell,
        quarters[0].window,
        state,
        add_counts(quarter.segments for quarter in quarters),
        granules,
        reason=None if bad is None else bad.reason,
        message=None if bad is None else bad.message,
        seconds=sum(quarter.seconds for quarter in quarters),
        time=(min(t for t, _ in times), max(t for _, t in times)) if times else None,
        bytes_read=sum(quarter.bytes_read for quarter in quarters),
        requests=sum(quarter.requests for quarter in quarters),
        peak_memory=max(quarter.peak_memory for quarter in quarters),
        indexes=add_counts(quarter.indexes for quarter in quarters),
        index_bytes=sum(quarter.index_bytes for quarter in quarters),
        index_problems=tuple(problem for quarter in quarters for problem in quarter.index_problems),
    )


def _worst(reports: Sequence[GranuleReport]) -> GranuleReport:
    """What became of one granule in all quarters."""
    worst = max(reports, key=lambda report: (SEVERITY[report.state], report.message is not None))
    read = next((report for report in reports if report.rows), worst)
    return replace(
        worst,
        beams=read.beams,
        rows=read.rows,
        invalid_coordinate=read.invalid_coordinate,
        in_cell=sum(report.in_cell for report in reports),
        kept=sum(report.kept for report in reports),
    )


EXAMPLES = 5


def failed_report(task: CellTask, granules: Iterable[Granule], reason: str, message: str) -> CellReport:
    """Report of a cell that nothing came of: none of its granules was used."""
    lost = tuple(GranuleReport(granule.id, "failed", reason=reason) for granule in granules)
    return CellReport(task.id, task.cell, task.window, "failed", granules=lost, reason=reason, message=message)


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


SEVERITY = {"no_overlap": 0, "used": 1, "failed": 2}  # of the states of a granule: the worst one counts
