"""What can go wrong in the Lambda service: faults that the next invocations or runs meet, one each, in order."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Refuse:
    """The service answers an invocation with an error."""

    status: int
    """HTTP status: 403, 404, 429, 500, 503."""
    code: str = ""
    """AWS's name of it, such as TooManyRequestsException."""
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
    """Seconds after it was given the event; None: when its call has reported its start. In that case there is a file
    `DOOMED` in the sandbox's TMPDIR, at which a function can see that it is to wait (see `tests.aws.doomed`)."""


@dataclass(frozen=True)
class OutOfMemory:
    """The sandbox is killed as when its memory has run out."""

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
    """Faults to come. ``None`` in a queue lets one pass unharmed."""

    at_invoke: deque[AtInvoke | None] = field(default_factory=deque)
    """Met by the next asynchronous invocations."""
    in_sandbox: deque[InSandbox | None] = field(default_factory=deque)
    """Met by the next runs."""
    every_invoke: AtInvoke | None = None
    """Met by all asynchronous invocations that nothing of ``at_invoke`` is left for."""
    of_calls: dict[tuple[int, str], InSandbox] = field(default_factory=dict)
    """Met by all runs of a call of an executor's first job: by the number of the executor, and Lithops' id of the call.
    Executors are numbered as their calls come: each stage of a run has one."""
    struck: list[tuple[int, str]] = field(default_factory=list)
    """Which of these calls have met their fault so far."""
    _executors: list[str] = field(default_factory=list)
    every_run: InSandbox | None = None
    """Met by all runs that nothing of ``in_sandbox`` is left for."""

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
