"""What the calls of a stage on Lambda took and cost, from what is known about each of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from maggjob.backend.outcome import Outcome

EXAMPLES = 5


@dataclass(frozen=True)
class CostLine:
    """One line of a bill."""

    what: str
    """What is paid for."""
    quantity: float
    """How much of it."""
    unit: str
    """Unit of the quantity."""
    price: float
    """US dollars a unit."""

    @property
    def dollars(self) -> float:
        """US dollars."""
        return self.quantity * self.price


@dataclass(frozen=True)
class Prices:
    """Prices of AWS in us-west-2, US dollars, and how Lambda is set up."""

    date: str = "2026-05"
    """Month of the public notes that Lambda's were taken from. S3's were not looked up: hold them against AWS's."""
    gb_second: float = 0.0000133334
    """Lambda on ARM64, a GB-second; the start of a container is charged alike."""
    call: float = 0.20e-6
    """Lambda, a call."""
    get: float = 0.40e-6
    """S3, a GET. The bucket's owner pays: those of NASA's archive cost nothing."""
    put: float = 5.0e-6
    """S3, a PUT or LIST."""
    log_mb: float = 0.50e-3
    """CloudWatch, a MB of logs; not looked up."""
    log_mb_a_call: float = 500e-6
    """MB that a call logs: 120 bytes of Lithops', measured, and START, END and REPORT of Lambda, estimated."""
    memory_gb: float = 1.73
    """Memory of a worker: 1,769 MB, which is one whole processor."""
    init_s: float = 1.5
    """Seconds that a new worker takes to start, charged."""
    puts_a_call: int = 3
    """Objects that a call of the map writes: its part, Lithops' status and result. Without a part it is one less."""
    gets_a_call: int = 6
    """Objects that are read for a call: function, task, recipe, list of granules; its status by the client, its part
    by the call of its shard. Calls of shards, of which there are few, are not counted."""


@dataclass(frozen=True)
class Stage:
    """The calls of one stage."""

    name: str
    """index, map, check (of the parts, before an old result in a bucket goes) or assembly."""
    calls: int
    """Calls that there were to make."""
    submitted: int
    """How often one was submitted; AWS's own second and third attempts are not told."""
    throttled: int
    """How often the backend put one off (429, 5xx, no connection)."""
    failed: int
    """Calls that came to nothing."""
    cold_starts: int
    """Sandboxes that were started for a call."""
    queued_s: float
    """Median of the seconds from submission to start."""
    longest_queued_s: float
    """The longest of them."""
    billed_s: float
    """Seconds that are billed, INIT included."""
    gb_s: float
    """These, times the memory of a worker in GB."""
    unbilled: int
    """Calls of which the seconds are not known: they died or did not end. They cost something all the same."""
    bill: tuple[CostLine, ...]
    """Line by line."""
    problems: tuple[str, ...]
    """What the first failed calls came to, with their log streams."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        bill = [asdict(line) | {"dollars": line.dollars} for line in self.bill]
        return asdict(self) | {"bill": bill, "dollars": sum(line.dollars for line in self.bill)}


def stage_of(name: str, outcomes: Sequence[Outcome[Any]], memory_mb: float, prices: Prices | None = None) -> Stage:
    """Add the calls of a stage up.

    Parameters
    ----------
    name : str
    outcomes : sequence of Outcome
        Of all of its calls.
    memory_mb : float
        Memory of a worker, MB.
    prices : Prices, optional
        By default those of today's AWS, as far as we know.
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
        tuple(f"{outcome.reason}: {_last_line(outcome)}" for outcome in lost[:EXAMPLES]),
    )


def _last_line(outcome: Outcome[Any]) -> str:
    """Of the message of a call that failed; it ends with where its log is."""
    return (str(outcome.message).strip().splitlines() or [""])[-1]
