"""When the calls of a stage were submitted, started and ended: a few bytes per call, for the timeline of a run.

Workers and client have clocks of their own. How long a call took is known exactly, as its worker measured both ends;
when it started is known by the worker's clock, and corrected by what the client saw: no call starts before it is
submitted, or ends after its answer was read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from maggjob.backend.outcome import CallTimes, Outcome


def corrected(times: CallTimes, submitted: float, seen: float) -> CallTimes:
    """Return the times of a call by the client's clock.

    Parameters
    ----------
    times : CallTimes
        With start and end by the worker's clock.
    submitted : float
        Time of the submission that led to the call, by the client's clock.
    seen : float
        Time at which the client saw that the call had ended.

    Examples
    --------
    >>> two_hours_late = CallTimes(100.0, 7301.0, 7304.0)
    >>> corrected(two_hours_late, submitted=100.0, seen=105.0)
    CallTimes(submitted=100.0, started=102.0, ended=105.0)
    """
    if times.started is None:
        return times
    took = max(0.0, times.ended - times.started)
    started = max(submitted, min(times.started, seen - took))
    return CallTimes(times.submitted, started, started + took)


@dataclass(frozen=True)
class StageCalls:
    """The calls of a stage: columns with one value per task, in the order of the tasks. Times are milliseconds."""

    stage: str
    """Name of the stage, such as map."""
    began: int
    """Time from the start of the run to the first submission; the times below count from there."""
    took: int
    """Time from there to the last answer."""
    submitted: tuple[int, ...]
    """Time of the first submission."""
    started: tuple[int | None, ...]
    """Start of the call that gave the outcome, including the start of its sandbox; None if it never started."""
    ran: tuple[int, ...]
    """Duration of that call, or of what is known of it; 0 if it never started."""
    init: Mapping[int, int] = field(default_factory=dict)
    """Time in which a sandbox was started for the call; only calls with such a start."""
    attempts: Mapping[int, int] = field(default_factory=dict)
    """Number of submissions; only tasks with more than one."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Reason of the failure; only tasks that failed."""
    workers: tuple[int | None, ...] = ()
    """Number of the sandbox; empty if sandboxes are not known."""

    def __len__(self) -> int:
        return len(self.started)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values. Equal times of submission that follow each other are written once, with their number."""
        runs = [[time, len(list(same))] for time, same in groupby(self.submitted)]
        sparse = {
            name: {str(index): value for index, value in getattr(self, name).items()}
            for name in ("init", "attempts", "failed")
        }
        return {
            "stage": self.stage,
            "began": self.began,
            "took": self.took,
            "submitted": runs,
            "started": list(self.started),
            "ran": list(self.ran),
            **sparse,
            "workers": list(self.workers),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "StageCalls":
        """Return the calls that `to_dict` made plain values of.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the values are others.
        """
        sparse = {
            name: {int(index): value for index, value in plain[name].items()} for name in ("init", "attempts", "failed")
        }
        submitted = tuple(time for time, count in plain["submitted"] for _ in range(count))
        found = cls(
            plain["stage"],
            int(plain["began"]),
            int(plain["took"]),
            submitted,
            tuple(plain["started"]),
            tuple(plain["ran"]),
            workers=tuple(plain["workers"]),
            **sparse,
        )
        if not len(submitted) == len(found.started) == len(found.ran) or len(found.workers) not in (0, len(found)):
            raise ValueError(f"the columns of stage {found.stage} differ in length")
        return found


def stage_calls(stage: str, outcomes: Sequence[Outcome[Any]], *, began: float, since: float, took: float) -> StageCalls:
    """Return when the calls of a stage ran.

    Parameters
    ----------
    stage : str
        Name of the stage.
    outcomes : sequence of Outcome
        Outcomes of all its tasks.
    began : float
        Seconds from the start of the run to that of the stage.
    since : float
        Start of the stage, seconds since 1970 by the client's clock.
    took : float
        Seconds from there to the last answer.
    """

    def ms(time: float) -> int:
        return max(0, round(1000 * (time - since)))

    times = [outcome.call.times for outcome in outcomes]
    streams: dict[str, int] = {}
    named = [one.call.log_stream for one in outcomes]
    numbers = [None if name is None else streams.setdefault(name, len(streams)) for name in named]
    started = [None if one is None or one.started is None else ms(one.started) for one in times]
    return StageCalls(
        stage,
        round(1000 * began),
        round(1000 * took),
        tuple(0 if one is None else ms(one.submitted) for one in times),
        tuple(started),
        tuple(
            0 if one is None or begin is None else max(0, ms(one.ended) - begin)
            for one, begin in zip(times, started, strict=True)
        ),
        {i: round(1000 * one.call.init) for i, one in enumerate(outcomes) if one.call.init},
        {i: one.call.attempts for i, one in enumerate(outcomes) if one.call.attempts > 1},
        {i: one.reason for i, one in enumerate(outcomes) if one.reason is not None},
        tuple(numbers) if streams else (),
    )
