"""The outcome of a task, and what is known about its call: where it ran, where its log is, how many seconds are billed.

Lithops reports the id of an activation when a call starts and when it ends, and nothing else that a worker can
choose. `maggjob.aws.handler` therefore packs the log stream and the times into that id, so that they are known even
for a call whose sandbox died.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from maggjob.errors import MaggjobError

Value = TypeVar("Value")

# An activation id is part of a key in a bucket, so characters of a log stream that a key should not have are replaced.
_TO_KEY = str.maketrans("/[]$", "!()*")
_FROM_KEY = str.maketrans("!()*", "/[]$")


@dataclass(frozen=True)
class Activation:
    """One run of the handler in a sandbox."""

    request: str
    """Request id of the backend. AWS's own retries of a call share it."""
    log_stream: str = ""
    """CloudWatch log stream; empty if the backend has none."""
    started: float = 0.0
    """Time at which the handler was entered, seconds since 1970 by the worker's clock."""
    init: float = 0.0
    """Seconds from the start of the sandbox's process until the handler was ready; 0 in a warm sandbox."""

    def pack(self) -> str:
        """Return the activation as one word that may be part of a key in a bucket.

        Examples
        --------
        >>> Activation("8f-1", "2025/11/21/[$LATEST]ab", 12.5, 0.75).pack()
        '8f-1_2025!11!21!(*LATEST)ab_12500_750'
        """
        stream = self.log_stream.translate(_TO_KEY)
        return f"{self.request}_{stream}_{self.started * 1000:.0f}_{self.init * 1000:.0f}"

    @classmethod
    def parse(cls, word: str) -> "Activation":
        """Return the activation that `pack` made a word of; any other word is taken as a request id.

        Examples
        --------
        >>> Activation.parse("8f-1_2025!11!21!(*LATEST)ab_12500_750").log_stream
        '2025/11/21/[$LATEST]ab'
        >>> Activation.parse("f3a9b2")
        Activation(request='f3a9b2', log_stream='', started=0.0, init=0.0)
        """
        request, *rest = word.split("_", 1)
        stream, *times = rest[0].rsplit("_", 2) if rest else [""]
        if len(times) != 2 or not all(number.isdecimal() for number in times):
            return cls(word)
        return cls(request, stream.translate(_FROM_KEY), int(times[0]) / 1000, int(times[1]) / 1000)


@dataclass(frozen=True)
class Call:
    """What is known about the call of one task; unknown values are None."""

    request: str | None = None
    """Request id of the backend."""
    log_stream: str | None = None
    """CloudWatch log stream that holds the call's output."""
    cold: bool | None = None
    """True if its sandbox was started for this call."""
    init: float = 0.0
    """Seconds that the sandbox took to start, measured inside it; 0 in a warm sandbox."""
    queued: float | None = None
    """Seconds from submission, by the client's clock, to start, by the worker's; off by the difference of the
    clocks."""
    billed: float | None = None
    """Billed seconds, including init: from the entry of the handler to its last status, some 10 ms less than AWS
    bills."""
    attempts: int = 1
    """Number of submissions of the task."""
    throttled: int = 0
    """Number of times that the backend put it off (429, 5xx, no connection)."""
    large: bool = False
    """True if its result was too large for its status, so that Lithops wrote and read an object of its own."""

    def where(self, group: str | None = None) -> str:
        """Return where the call's log is, as text for people.

        Examples
        --------
        >>> Call("8f-1", "2025/11/21/[$LATEST]ab").where("/aws/lambda/f")
        'log stream 2025/11/21/[$LATEST]ab of /aws/lambda/f, request 8f-1'
        """
        of = f" of {group}" if group else ""
        stream = f"log stream {self.log_stream}{of}, " if self.log_stream else ""
        return f"{stream}request {self.request}" if self.request else "no log: it never started"


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """Outcome of one task."""

    value: Value | None = None
    """Return value of the function; None if the task failed."""
    reason: str | None = None
    """Reason of the failure: ``worker`` (the function raised), ``network``, ``throttled`` or ``store`` (it raised an
    error of maggjob that may not happen again), ``died`` (the call started and sent no answer: its process or sandbox
    crashed, was killed, or ran out of time), ``memory`` (its process was killed as by the out-of-memory killer),
    ``lost`` (the call ended, and its answer cannot be read),
    ``never_started`` (accepted, but not run), ``refused`` (not accepted by the backend), or ``deadline``. None if the
    function returned."""
    message: str | None = None
    """Details of the failure."""
    earlier: tuple[str, ...] = ()
    """Reasons of the failures of earlier submissions."""
    call: Call = field(default_factory=Call, compare=False)
    """What is known about its call."""


Watcher = Callable[[int, Outcome[Any]], None]
"""``watch(index, outcome)``, called in the caller's thread as each task ends. What it raises ends the run."""
Say = Callable[[str], None]
"""Function that is given a line of text for people."""


def deadline_outcome() -> Outcome[Any]:
    """Return the outcome of a task that had not ended at the deadline."""
    return Outcome(reason="deadline", message="did not end before the deadline; run again, or raise --deadline")


def refused_outcome(problem: Exception) -> Outcome[Any]:
    """Return the outcome of a task that Lithops did not accept."""
    return Outcome(reason="refused", message=f"Lithops did not accept the task: {type(problem).__name__}: {problem}")


def never_started_outcome(waited: float) -> Outcome[Any]:
    """Return the outcome of a task whose calls were accepted, but did not start within ``waited`` seconds."""
    message = f"accepted, but not started within {waited:.0f} s although workers were free; run again"
    return Outcome(reason="never_started", message=message)


def lost_outcome(why: str) -> Outcome[Any]:
    """Return the outcome of a call that has ended, but whose answer cannot be read."""
    return Outcome(reason="lost", message=f"the call has ended, but {why}; run again")


def local_death_outcome(said: str) -> Outcome[Any]:
    """Return the outcome of a call whose local process ended without an answer, with the last lines of its log."""
    message = "its process ended before it had answered; run again"
    return Outcome(reason="died", message=f"{message}. Its last words:\n{said}" if said else message)


def outcome_of(future: Any) -> Outcome[Any]:
    """Return the outcome of a future that is done: success, error, or death of the worker."""
    # Lithops has no public field for it.
    if future.error or future._state != future.State.Done:  # noqa: SLF001
        status = future._call_status or {}  # noqa: SLF001
        # A status without this key was written by the client in place of a worker.
        if status and "worker_cold_start" not in status:
            seconds = future.execution_timeout
            message = f"started, but sent no answer for {seconds} s: its sandbox crashed, or ran out of memory or time"
            return Outcome(reason="died", message=message)
        problem = future._exception  # noqa: SLF001
        if not isinstance(problem, tuple):
            if status.get("exception") is False:
                return lost_outcome("its answer is not in Lithops' bucket")
            return Outcome(reason="worker", message=str(problem).strip() or "the worker ended without an answer")
        return Outcome(reason=reason_of(problem[1]), message="".join(traceback.format_exception(*problem)).strip())
    return Outcome(value=future.result(throw_except=False))


def reason_of(problem: object) -> str:
    """Return the reason of a failure by the exception that a call ended with.

    Parameters
    ----------
    problem : object
        The exception: of the function, or of Lithops about the function's process.
    """
    arguments = getattr(problem, "args", ())
    if arguments[:1] == ("HANDLER",):
        return "memory" if isinstance(problem, MemoryError) else "died"
    if isinstance(problem, MemoryError):
        return "memory"
    return problem.reason if isinstance(problem, MaggjobError) and problem.retryable else "worker"


def call_of(future: Any, attempts: int, throttled: int) -> Call:
    """Return what Lithops' status of a call tells about it.

    Parameters
    ----------
    future : lithops.future.ResponseFuture
    attempts : int
        Number of submissions of the task.
    throttled : int
        Number of times that the backend put the call off.
    """
    # As in outcome_of.
    word, status = future.activation_id, future._call_status or {}  # noqa: SLF001
    if not word:
        return Call(attempts=attempts, throttled=throttled)
    activation = Activation.parse(word)
    queued = billed = None
    if "worker_cold_start" in status:
        begun = activation.started or status["worker_start_tstamp"]
        queued = max(0.0, begun - status["host_submit_tstamp"])
        billed = status["worker_end_tstamp"] - begun + activation.init
    return Call(
        activation.request,
        activation.log_stream or None,
        activation.init > 0 if activation.log_stream else status.get("worker_cold_start"),
        activation.init,
        queued,
        billed,
        attempts,
        throttled,
        "result" not in status and status.get("func_result_size", 0) > 0,
    )
