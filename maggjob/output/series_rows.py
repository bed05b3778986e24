"""What a series is made of: its times from the reports of granules, and the ledger that says what became of each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from maggjob.errors import CorruptError
from maggjob.model.means import MeanReport
from maggjob.output.series_files import DOUBLED, FAILED, MISSING, USED, SeriesRow
from maggjob.planning.series import SeriesPlan


def series_rows(
    plan: SeriesPlan, reports: Sequence[MeanReport]
) -> tuple[tuple[SeriesRow, ...], tuple[MeanReport, ...]]:
    """Return the times of all granules, and of those that are missing or failed; no time is there twice.

    Of two granules with the same time, the one of that day is used. The other, whose time is wrong, has failed.

    Parameters
    ----------
    plan : SeriesPlan
    reports : sequence of MeanReport
        One per granule of the plan.

    Returns
    -------
    rows : tuple of SeriesRow
        Ascending in time.
    reports : tuple of MeanReport
        The same, but those with the time of another granule have failed.
    """
    slots = {one.id: _slot(plan, one.day) for one in plan.listing.granules}
    settled, owners = _settled(plan, reports, slots)
    while True:
        # Times without values have the time of day of the others.
        clock = min((time % 86400 for time in owners), default=0)
        lost = [one.day for one in plan.listing.granules if settled[one.id].state == "failed"]
        failed = {_midnight(day) + clock: FAILED for day in lost}
        empty = {_midnight(day) + clock: MISSING for day in plan.missing} | failed
        wrong = [owners[time] for time in empty if time in owners and not _fits(plan, owners[time], slots)]
        if not wrong:
            break
        for report in wrong:
            time = _moment(next(step["time"] for step in report.steps if step["time"] in empty))
            settled[report.id] = _lost(report, f"its time {time} is of another day, of which no granule was read")
        owners = {time: one for time, one in owners.items() if settled[one.id].state != "failed"}
    replaced = set(plan.listing.doubled.values())
    rows = {time: SeriesRow(time, state, {}) for time, state in empty.items()}
    for report in settled.values():
        state = DOUBLED if report.id in replaced else USED
        rows |= {step["time"]: SeriesRow(step["time"], state, step["values"]) for step in report.steps}
    return tuple(rows[time] for time in sorted(rows)), tuple(settled[report.id] for report in reports)


def _settled(
    plan: SeriesPlan, reports: Sequence[MeanReport], slots: Mapping[str, date]
) -> tuple[dict[str, MeanReport], dict[int, MeanReport]]:
    """Return the reports by granule, of which no two have the same time, and the one of each time."""
    settled, owners = {report.id: report for report in reports}, dict[int, MeanReport]()
    # Granules whose times are of their own days come first: theirs are right.
    for report in sorted(reports, key=lambda one: not _fits(plan, one, slots)):
        times = [step["time"] for step in report.steps]
        twice = next((time for time in times if time in owners or times.count(time) > 1), None)
        if twice is None:
            owners |= dict.fromkeys(times, report)
            continue
        why = f"that of {owners[twice].id}, too" if twice in owners else "there twice"
        settled[report.id] = _lost(report, f"its time {_moment(twice)} is {why}")
    return settled, owners


def _lost(report: MeanReport, why: str) -> MeanReport:
    """Return the report of a granule whose time cannot be right."""
    message = f"{report.id}: {why}; correct the time, or remove the granule"
    return replace(report, state="failed", steps=(), reason=CorruptError.reason, message=message)


def _fits(plan: SeriesPlan, report: MeanReport, slots: Mapping[str, date]) -> bool:
    """Return whether any time of a granule is of its own day, or month."""
    days = (datetime.fromtimestamp(step["time"], UTC).date() for step in report.steps)
    return any(_slot(plan, day) == slots[report.id] for day in days)


def _slot(plan: SeriesPlan, day: date) -> date:
    return day.replace(day=1) if plan.config.interval == "month" else day


def _moment(time: int) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%S}"


def _midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def series_ledger(plan: SeriesPlan, reports: Sequence[MeanReport]) -> dict[str, list[Any]]:
    """Return the ledger as columns: each granule and each missing time, and the grid cells by state.

    Parameters
    ----------
    plan : SeriesPlan
    reports : sequence of MeanReport
        From `series_rows`.
    """
    days = {one.id: str(one.day) for one in plan.listing.granules}
    rows: list[dict[str, Any]] = [
        {"granule": one.id, "cell": days[one.id], "state": one.state, "reason": one.reason, "message": one.message}
        | {f"{name}_{k}": n for name, cells in one.cells.items() for k, n in cells.items()}
        for one in reports
    ]
    rows += [
        {"granule": one, "state": "doubled", "message": f"{used} is used"} for one, used in plan.listing.doubled.items()
    ]
    rows += [
        {"granule": path, "state": "passed_over", "message": why} for path, why in plan.listing.passed_over.items()
    ]
    rows += [{"cell": str(day), "state": "missing"} for day in plan.missing]
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = {"granule", "cell", "state", "reason", "message"}
    return {name: [row.get(name, None if name in text else 0) for row in rows] for name in names}
