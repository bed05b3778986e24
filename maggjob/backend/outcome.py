"""What became of a task, and what is known about its call: where it ran, where its log is, what it is billed for.

Lithops reports the id of an activation when a call starts and when it ends, and nothing else that a worker could
choose. `maggjob.aws.handler` therefore packs the log stream and the times into that id, so that they are known even
of a call whose sandbox died.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")

# An activation id is part of a key in a bucket: what a log stream has and a key should not have is replaced.
_TO_KEY = str.maketrans("/[]$", "!()*")
_FROM_KEY = str.maketrans("!()*", "/[]$")


@dataclass(frozen=True)
class Activation:
    """One run of a handler in a sandbox."""

    request: str
    """Request id of the backend; AWS's own retries of a call have the same."""
    log_stream: str = ""
    """CloudWatch log stream; empty where there is none."""
    started: float = 0.0
    """When the handler was entered, seconds since 1970 by the worker's clock."""
    init: float = 0.0
    """Seconds from the start of the sandbox's process to the handler being ready; 0 in a warm sandbox."""

    def pack(self) -> str:
        """As one word that may be part of a key.

        Examples
        --------
        >>> Activation("8f-1", "2025/11/21/[$LATEST]ab", 12.5, 0.75).pack()
        '8f-1_2025!11!21!(*LATEST)ab_12500_750'
        """
        stream = self.log_stream.translate(_TO_KEY)
        return f"{self.request}_{stream}_{self.started * 1000:.0f}_{self.init * 1000:.0f}"

    @classmethod
    def parse(cls, word: str) -> "Activation":
        """What `pack` gave; any other word is a request id.

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
    """What is known about the call of one task; what is not known is None."""

    request: str | None = None
    """Request id of the backend."""
    log_stream: str | None = None
    """CloudWatch log stream that holds its output."""
    cold: bool | None = None
    """Whether its sandbox was started for it."""
    init: float = 0.0
    """Seconds that the sandbox took to start, as seen from inside it; 0 in a warm one."""
    queued: float | None = None
    """Seconds from its submission to its start: by the client's clock and the worker's, so off by their difference."""
    billed: float | None = None
    """Seconds that are billed, init included: from the entry of the handler to its last status, some 10 ms short."""
    attempts: int = 1
    """How often the task was submitted."""
    throttled: int = 0
    """How often the backend put it off (429, 5xx, no connection)."""

    def where(self, group: str | None = None) -> str:
        """For people: where its log is.

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
    """What became of one task."""

    value: Value | None = None
    """What the function returned; None when it did not."""
    reason: str | None = None
    """Why it did not: ``worker`` (it raised, or its process died), ``died`` (it started and was never heard of again:
    its sandbox crashed, or ran out of memory or time), ``never_started`` (accepted, and never run), ``refused`` (the
    backend did not accept it), or ``deadline``."""
    message: str | None = None
    """What is known about that."""
    call: Call = field(default_factory=Call, compare=False)
    """What is known about its call."""


Watcher = Callable[[int, Outcome[Any]], None]
"""``watch(index, outcome)``, called in the caller's thread as each task ends."""


def deadline_outcome() -> Outcome[Any]:
    """Of a task that had not ended when the deadline came."""
    return Outcome(reason="deadline", message="did not end before the deadline; run again, or raise --deadline")


def refused_outcome(problem: Exception) -> Outcome[Any]:
    """Of a task that Lithops did not take."""
    return Outcome(reason="refused", message=f"Lithops did not take it: {type(problem).__name__}: {problem}")


def never_started_outcome(waited: float) -> Outcome[Any]:
    """Of a task whose calls were accepted, and waited so many seconds for a start."""
    message = f"accepted, and not started for {waited:.0f} s although there was room; run again"
    return Outcome(reason="never_started", message=message)


def outcome_of(future: Any) -> Outcome[Any]:
    """Of a future that is done: success, error, or unknown."""
    if future.error or future._state != future.State.Done:  # noqa: SLF001  # Lithops tells it nowhere else
        status = future._call_status or {}  # noqa: SLF001
        if status and "worker_cold_start" not in status:  # written by the client in place of a worker
            seconds = future.execution_timeout
            message = f"started, and not heard of for {seconds} s: its sandbox crashed, or ran out of memory or time"
            return Outcome(reason="died", message=message)
        problem = future._exception  # noqa: SLF001
        text = "".join(traceback.format_exception(*problem)) if isinstance(problem, tuple) else str(problem)
        return Outcome(reason="worker", message=text.strip() or "the worker ended without an answer")
    return Outcome(value=future.result(throw_except=False))


def call_of(future: Any, attempts: int, throttled: int) -> Call:
    """What Lithops' status of a call tells."""
    word, status = future.activation_id, future._call_status or {}  # noqa: SLF001  # Lithops tells it nowhere else
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
    )
