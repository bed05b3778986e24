"""What is known of a finished run, put together for a report: text, page and JSON are made from one `RunOverview`.

`overview_of` is a pure function of what the run left in its folder: the summary, the times of the calls, the plan and
the manifest. What an older run did not keep is left out, and a note says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from maggjob.backend.call_times import StageCalls
from maggjob.output.manifest import Manifest

SLOWEST = 12
"""Number of the slowest cells that are listed."""
LISTED = 25
"""Number of granules that are listed per reason of failure."""


@dataclass(frozen=True)
class Phase:
    """A part of the time of a run."""

    name: str
    """Name of the stage, or ``other``."""
    seconds: float
    """Seconds by the client's clock."""
    calls: int | None = None
    """Number of its calls; None if it has none, or they are not known."""


@dataclass(frozen=True)
class Comparison:
    """A quantity as it was expected, and as it was."""

    what: str
    """Name of the quantity."""
    unit: str
    """Its unit; empty for a number."""
    expected: float | None
    """Value of the estimate; None if there was none."""
    actual: float
    """Value of the run."""


@dataclass(frozen=True)
class BillRow:
    """A line of a bill."""

    what: str
    """Item that is paid for."""
    quantity: float
    """Number of units."""
    unit: str
    """Unit of the quantity."""
    dollars: float
    """Cost in US dollars."""
    expected: float | None = None
    """Cost that the plan expected; None if it expected none."""


@dataclass(frozen=True)
class SlowCell:
    """A cell that took long."""

    cell: str
    """Id of the cell, with its window if the run has several."""
    state: str
    """One of `maggjob.model.reports.CELL_STATES`."""
    seconds: float
    """Seconds in its worker."""
    granules: int
    """Number of granules."""
    observations: int
    """Number of segments that entered the statistics."""
    bytes_read: int
    """Bytes read from granules."""
    attempts: int
    """Number of times that it was worked on."""


@dataclass(frozen=True)
class FailedGranule:
    """A granule that failed in some of its cells, or the task that failed."""

    id: str
    """Id of the granule, or of the task."""
    cells: int
    """Number of cells in which it failed."""
    message: str
    """Last line of the error's message; empty if none was kept."""


@dataclass(frozen=True)
class Failure:
    """A reason of failures."""

    reason: str
    """The word under which the ledger counts it."""
    count: int
    """Number of failures: of granules in cells, or of tasks."""
    granules: int
    """Number of granules or tasks that failed for it."""
    listed: tuple[FailedGranule, ...]
    """The first of them, at most `LISTED`."""


@dataclass(frozen=True)
class RunOverview:
    """What is known of a finished run."""

    summary: Mapping[str, Any]
    """Its summary, without the reports of single cells."""
    phases: tuple[Phase, ...]
    """Where its time went, in the order of the stages; together its whole time."""
    calls: tuple[StageCalls, ...]
    """When each call ran, by stage; empty if that was not kept."""
    estimate: tuple[Comparison, ...]
    """The estimate that was made before the run, and what came of it."""
    bill: tuple[BillRow, ...]
    """Cost of the calls on Lambda, by line; empty on other backends."""
    slowest: tuple[SlowCell, ...]
    """Cells that took longest, the longest first; empty for other jobs."""
    failures: tuple[Failure, ...]
    """All reasons of failures, the most frequent first."""
    stored: Mapping[str, int] = field(default_factory=dict)
    """Number and bytes of the objects of the result and of its parts; empty if there is no manifest of the run."""
    configuration: Mapping[str, Any] | None = None
    """The configuration of the run; None if it was not kept."""
    notes: tuple[str, ...] = ()
    """What is not known, and why."""

    @property
    def state(self) -> str:
        """Outcome of the run in a few words."""
        if not self.summary.get("published", True):
            return "not published"
        return "complete" if self.summary["complete"] else "incomplete"

    @property
    def dollars(self) -> float:
        """Cost of the calls on Lambda in US dollars."""
        return sum(row.dollars for row in self.bill)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        plain = {"state": self.state, **asdict(self), "dollars": self.dollars}
        return plain | {"calls": [stage.to_dict() for stage in self.calls]}


def overview_of(
    summary: Mapping[str, Any],
    calls: Sequence[StageCalls] = (),
    configuration: Mapping[str, Any] | None = None,
    manifest: Manifest | None = None,
    notes: Sequence[str] = (),
) -> RunOverview:
    """Put together what is known of a run.

    Parameters
    ----------
    summary : mapping
        Content of its summary.json.
    calls : sequence of StageCalls
        When its calls ran; nothing if that was not kept.
    configuration : mapping, optional
        Its configuration.
    manifest : Manifest, optional
        Its manifest.
    notes : sequence of str
        What could not be read.
    """
    told = list(notes)
    if not calls:
        told.append(
            "timeline: not kept by this run; runs of earlier versions, and runs by hand, keep no times of calls"
        )
    if summary.get("taken"):
        parts = f"{summary['taken']:,} parts" if summary["taken"] > 1 else "one part"
        told.append(f"timeline: without the calls of an earlier attempt at this run, of which {parts} could be used")
    return RunOverview(
        {key: value for key, value in summary.items() if key != "results"},
        _phases(summary, calls),
        tuple(calls),
        _comparisons(summary),
        _bill(summary),
        _slowest(summary),
        _failures(summary),
        {} if manifest is None else _stored(manifest),
        configuration,
        tuple(told),
    )


def _phases(summary: Mapping[str, Any], calls: Sequence[StageCalls]) -> tuple[Phase, ...]:
    found = [Phase(stage.stage, stage.took / 1000, len(stage)) for stage in calls]
    if not calls and summary.get("index"):
        found = [Phase("index", summary["index"]["wall_time_s"])]
    rest = summary["wall_time_s"] - sum(phase.seconds for phase in found)
    return (*found, Phase("other", max(0.0, rest)))


def _comparisons(summary: Mapping[str, Any]) -> tuple[Comparison, ...]:
    own = _own(summary)
    estimate = summary.get("estimate") or {}
    rows = [
        ("observations", "", estimate.get("observations"), summary.get("total_obs")),
        ("read", "bytes", estimate.get("bytes_read"), own.get("bytes_read")),
        ("requests", "", estimate.get("requests"), own.get("requests")),
        ("work in all workers", "s", estimate.get("worker_time_s"), own.get("worker_time_s")),
    ]
    bill = _bill(summary)
    if bill:
        expected = summary.get("expected_dollars", own.get("projected_dollars"))
        rows.append(("cost", "dollars", expected, sum(row.dollars for row in bill)))
    return tuple(Comparison(what, unit, before, float(now)) for what, unit, before, now in rows if now is not None)


def _own(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values that the job of a run counted: those of the cells job are in the summary itself."""
    if "cells" in summary:
        return summary
    return next((summary[job] for job in ("series", "scenes") if isinstance(summary.get(job), Mapping)), {})


def _bill(summary: Mapping[str, Any]) -> tuple[BillRow, ...]:
    whole = summary.get("bill")
    lines = whole or [line for stage in summary.get("stages", ()) for line in stage["bill"]]
    rows: dict[str, BillRow] = {}
    for line in lines:
        before = rows.get(line["what"])
        rows[line["what"]] = BillRow(
            line["what"],
            line["quantity"] + (before.quantity if before else 0.0),
            line["unit"],
            line["dollars"] + (before.dollars if before else 0.0),
            line.get("expected"),
        )
    return tuple(rows.values())


def _slowest(summary: Mapping[str, Any]) -> tuple[SlowCell, ...]:
    reports = summary.get("results") or ()
    several = len({report["window"] for report in reports}) > 1
    longest = sorted((one for one in reports if one["seconds"]), key=lambda one: -one["seconds"])[:SLOWEST]
    return tuple(
        SlowCell(
            report["id"] if several else report["cell"],
            report["state"],
            report["seconds"],
            len(report["granules"]),
            report["observations"],
            report["bytes_read"],
            report["attempts"],
        )
        for report in longest
    )


def _failures(summary: Mapping[str, Any]) -> tuple[Failure, ...]:
    """Return the reasons of failures: with all granules of the cells job, of other jobs with the kept examples."""
    errors: dict[str, Any] = {}
    for some in (summary.get("errors"), _own(summary).get("errors"), *(t["errors"] for t in summary["tasks"].values())):
        for reason, error in (some or {}).items():
            # A task and its granules may fail for the same reason: the first count is that of the ledger.
            errors.setdefault(reason, error)
    failed = _failed_granules(summary)
    found = []
    for reason in {**errors, **failed}:
        error = errors.get(reason, {"count": 0, "examples": []})
        told = failed.get(reason) or _examples(error)
        count = max(error["count"], sum(one.cells for one in told.values()))
        names = len(told) if reason in failed else error["count"]
        found.append(Failure(reason, count, names, tuple(told.values())[:LISTED]))
    return tuple(sorted(found, key=lambda one: -one.count))


def _failed_granules(summary: Mapping[str, Any]) -> dict[str, dict[str, FailedGranule]]:
    """Return the failed granules of all cells, by reason and id."""
    found: dict[str, dict[str, FailedGranule]] = {}
    for report in summary.get("results") or ():
        for granule in report["granules"]:
            if granule["state"] != "failed":
                continue
            some = found.setdefault(str(granule["reason"]), {})
            before = some.get(granule["id"])
            message = _last_line(granule["message"] or report["message"])
            known = before.message if before and before.message else message
            some[granule["id"]] = FailedGranule(granule["id"], 1 + (before.cells if before else 0), known)
    return found


def _examples(error: Mapping[str, Any]) -> dict[str, FailedGranule]:
    names = [str(one.get("what", one.get("granule", ""))) for one in error["examples"]]
    messages = [_last_line(one.get("message")) for one in error["examples"]]
    return {name: FailedGranule(name, 1, message) for name, message in zip(names, messages, strict=True)}


def _last_line(message: object) -> str:
    return (str(message or "").strip().splitlines() or [""])[-1]


def _stored(manifest: Manifest) -> dict[str, int]:
    return {
        "objects": len(manifest.store),
        "bytes": sum(one.size for one in manifest.store.values()),
        "parts": len(manifest.parts),
        "part_bytes": sum(one.size for one in manifest.parts.values()),
    }
