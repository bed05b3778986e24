"""Faults of the Lambda service. Each of the next invocations or runs meets one of them, in the order given."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Refuse:
    """The service answers an invocation with an error."""

    status: int
    """HTTP status: 403, 404, 429, 500, 503."""
    code: str = ""
    """AWS's name of the error, such as TooManyRequestsException."""
    message: str = "made by a test"


@dataclass(frozen=True)
class Disconnect:
    """The service closes the connection without an answer."""


@dataclass(frozen=True)
class Lose:
    """The service accepts an event and never runs it."""


@dataclass(frozen=True)
class Delay:
    """The service accepts an event and runs it later."""

    seconds: float


@dataclass(frozen=True)
class Duplicate:
    """The service runs an event twice, at once: delivery is at least once."""


@dataclass(frozen=True)
class Crash:
    """The sandbox is killed while it runs."""

    after: float | None = None
    """Seconds from the event to the fault; None: when the call has reported its start. In that case, a file `DOOMED` in
    the sandbox's TMPDIR tells the function to wait (see `tests.aws.doomed`)."""


@dataclass(frozen=True)
class OutOfMemory:
    """The sandbox is killed because its memory has run out."""

    after: float | None = None


@dataclass(frozen=True)
class Hang:
    """The sandbox stands still until the function's time is up."""

    after: float | None = None


DOOMED = "doomed"
AtInvoke = Refuse | Disconnect | Lose | Delay | Duplicate
InSandbox = Crash | OutOfMemory | Hang

THROTTLED = Refuse(429, "TooManyRequestsException", "Rate Exceeded.")
UNAVAILABLE = Refuse(503, "ServiceException", "Service unavailable")
BROKEN = Refuse(500, "ServiceException", "Internal error")
DENIED = Refuse(403, "AccessDeniedException", "User: t is not authorized to perform: lambda:InvokeFunction")
EXPIRED = Refuse(403, "ExpiredTokenException", "The security token included in the request is expired")


@dataclass
class Faults:
    """Faults to come. ``None`` in a queue stands for no fault."""

    at_invoke: deque[AtInvoke | None] = field(default_factory=deque)
    """Met by the next asynchronous invocations."""
    in_sandbox: deque[InSandbox | None] = field(default_factory=deque)
    """Met by the next runs."""
    every_invoke: AtInvoke | None = None
    """Met by all asynchronous invocations when ``at_invoke`` is empty."""
    of_calls: dict[tuple[int, str], InSandbox] = field(default_factory=dict)
    """Met by all runs of a call, by the number of its executor and Lithops' id of the call. Executors are numbered in
    the order of their first calls. Each stage of a run has its own executor. Only an executor's first job counts."""
    struck: list[tuple[int, str]] = field(default_factory=list)
    """Which of these calls have met their fault so far."""
    _executors: list[str] = field(default_factory=list)
    every_run: InSandbox | None = None
    """Met by all runs when ``in_sandbox`` is empty."""

    def next_at_invoke(self) -> AtInvoke | None:
        return self.at_invoke.popleft() if self.at_invoke else self.every_invoke

    def next_in_sandbox(self, executor: str, job: str, calls: Sequence[str]) -> InSandbox | None:
        for key in self._keys(executor, job, calls):
            if key in self.of_calls:
                return self.of_calls[key]
        return self.in_sandbox.popleft() if self.in_sandbox else self.every_run

    def note_struck(self, executor: str, job: str, calls: Sequence[str]) -> None:
        self.struck += [key for key in self._keys(executor, job, calls) if key in self.of_calls]

    def _keys(self, executor: str, job: str, calls: Sequence[str]) -> list[tuple[int, str]]:
        if calls and executor not in self._executors:
            self._executors.append(executor)
        return [(self._executors.index(executor), call) for call in calls] if job == "M000" else []

    def clear(self) -> None:
        self.at_invoke.clear()
        self.in_sandbox.clear()
        self.of_calls.clear()
        self.struck.clear()
        self._executors.clear()
        self.every_invoke = self.every_run = None
