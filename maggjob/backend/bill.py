"""Duration and cost of a stage's calls on Lambda, summed from what is known about each call."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from maggjob.backend.outcome import Outcome

EXAMPLES = 5


@dataclass(frozen=True)
class CostLine:
    """One line of a bill."""

    what: str
    """Item that is paid for."""
    quantity: float
    """Number of units."""
    unit: str
    """Unit of the quantity."""
    price: float
    """US dollars per unit."""

    @property
    def dollars(self) -> float:
        """Cost in US dollars."""
        return self.quantity * self.price


@dataclass(frozen=True)
class Prices:
    """AWS prices in us-west-2, US dollars, and the settings of Lambda that they are multiplied with."""

    date: str = "2026-05"
    """Month of the public notes that the Lambda prices come from. The S3 prices were not looked up: compare them with
    AWS's."""
    gb_second: float = 0.0000133334
    """Lambda on ARM64, per GB-second; the start of a container is charged at the same price."""
    call: float = 0.20e-6
    """Lambda, per call."""
    get: float = 0.40e-6
    """S3, per GET. The owner of the bucket pays: requests to NASA's archive are free."""
    put: float = 5.0e-6
    """S3, per PUT or LIST."""
    log_mb: float = 0.50e-3
    """CloudWatch, per MB of logs; not looked up."""
    log_mb_a_call: float = 500e-6
    """MB logged per call: 120 bytes by Lithops (measured), and Lambda's START, END and REPORT lines (estimated)."""
    memory_gb: float = 1.73
    """Memory of a worker, GB: 1,769 MB, at which Lambda gives a worker one whole core."""
    init_s: float = 0.8
    """Seconds that a new worker takes to start; they are charged. 1.5 were assumed for images without byte code of the
    standard library, which saves 0.7 s of a core and half of the import (``python -m benchmarks.cold_import``)."""


@dataclass(frozen=True)
class Stage:
    """The calls of one stage."""

    name: str
    """index, map, check (of the parts, before an old result in a bucket is deleted) or assembly."""
    calls: int
    """Number of tasks: each needs one call."""
    submitted: int
    """Number of submissions. AWS's own second and third attempts are not reported to us."""
    throttled: int
    """Number of times that the backend put a call off (429, 5xx, no connection)."""
    failed: int
    """Number of failed calls."""
    cold_starts: int
    """Number of calls for which a sandbox was started."""
    queued_s: float
    """Median time from submission to start, seconds."""
    longest_queued_s: float
    """Longest time from submission to start, seconds."""
    billed_s: float
    """Billed seconds, including INIT."""
    gb_s: float
    """Billed seconds times the memory of a worker in GB."""
    unbilled: int
    """Number of calls whose duration is unknown, because they died or did not end. They still cost something."""
    bill: tuple[CostLine, ...]
    """Lines of the bill."""
    large: int
    """Number of calls whose result was an object of its own."""
    problems: tuple[str, ...]
    """Reason and last line of the message of the first failed calls; the line names the log stream."""

    def to_dict(self) -> dict[str, Any]:
        """Return the stage as plain values."""
        bill = [asdict(line) | {"dollars": line.dollars} for line in self.bill]
        return asdict(self) | {"bill": bill, "dollars": sum(line.dollars for line in self.bill)}


def stage_of(name: str, outcomes: Sequence[Outcome[Any]], memory_mb: float, prices: Prices | None = None) -> Stage:
    """Sum the calls of a stage.

    Parameters
    ----------
    name : str
        Name of the stage.
    outcomes : sequence of Outcome
        Outcomes of all its calls.
    memory_mb : float
        Memory of a worker, MB.
    prices : Prices, optional
        By default the prices of AWS as of `Prices.date`.
    """
    prices, calls = prices or Prices(), [outcome.call for outcome in outcomes]
    billed = [call.billed for call in calls if call.billed is not None]
    queued = [call.queued for call in calls if call.queued is not None]
    init = sum(call.init for call in calls if call.billed is not None)
    gb, submitted = memory_mb / 1024, sum(call.attempts for call in calls)
    lost = [outcome for outcome in outcomes if outcome.value is None]
    return Stage(
        name,
        len(calls),
        submitted,
        sum(call.throttled for call in calls),
        len(lost),
        sum(bool(call.cold) for call in calls),
        median(queued) if queued else 0.0,
        max(queued, default=0.0),
        sum(billed),
        sum(billed) * gb,
        len(calls) - len(billed),
        (
            CostLine("compute", (sum(billed) - init) * gb, "GB-s", prices.gb_second),
            CostLine("INIT", init * gb, "GB-s", prices.gb_second),
            CostLine("requests", submitted, "calls", prices.call),
            CostLine("logs", submitted * prices.log_mb_a_call, "MB", prices.log_mb),
        ),
        sum(call.large for call in calls),
        tuple(f"{outcome.reason}: {_last_line(outcome)}" for outcome in lost[:EXAMPLES]),
    )


@dataclass(frozen=True)
class BillLine:
    """One line of the bill of a run: what was paid for, beside what was expected."""

    line: CostLine
    """What was paid for."""
    expected: float | None = None
    """US dollars that were expected; None if nothing was."""

    def to_dict(self) -> dict[str, Any]:
        """Return the line as plain values."""
        return asdict(self.line) | {"dollars": self.line.dollars, "expected": self.expected}


def join_bills(bills: Iterable[Sequence[CostLine]], expected: Mapping[str, float] | None = None) -> list[BillLine]:
    """Return one bill for several, line by line, each beside what was expected.

    Parameters
    ----------
    bills : iterable of sequence of CostLine
        Lines with the same name have the same unit and price.
    expected : mapping, optional
        US dollars that were expected, by name of the line.
    """
    found: dict[str, CostLine] = {}
    for line in (line for bill in bills for line in bill):
        before = found.get(line.what)
        found[line.what] = line if before is None else replace(before, quantity=before.quantity + line.quantity)
    return [BillLine(line, None if expected is None else expected.get(what, 0.0)) for what, line in found.items()]


def _last_line(outcome: Outcome[Any]) -> str:
    """Return the last line of a failed call's message, which says where its log is."""
    return (str(outcome.message).strip().splitlines() or [""])[-1]
