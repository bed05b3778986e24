"""A stand-in for lithops.FunctionExecutor with a simulated clock: calls start, run, die and get lost as modelled.

In the runner's modules, the clock replaces `time`. All other code of the runner is real.
"""

import heapq
import itertools
import queue
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self
from unittest.mock import patch

from maggjob.backend import executor, invoke, watch


@dataclass(frozen=True)
class Model:
    """Behaviour of the service; durations in seconds."""

    workers: int = 1700
    """Maximum of concurrent sandboxes."""
    burst: int = 1000
    """Concurrent sandboxes in the first ten seconds; as many more every ten seconds (AWS's rule per function)."""
    invoke: float = 0.06
    """Duration of one invocation by one of `threads`: a request from a laptop to us-west-2."""
    threads: int = 128
    """Threads that invoke."""
    cold: float = 3.0
    """Duration of the start of a sandbox, including image and imports."""
    warm: float = 0.15
    """Duration of a call besides its work."""
    seen: float = 1.0
    """Delay until the client sees that a call started or ended, because Lithops lists the bucket."""
    throttled: float = 0.0
    """Share of invocations that are throttled."""
    lost: float = 0.0
    """Share of accepted events that never run."""
    died: float = 0.0
    """Share of calls whose sandbox dies half-way; the service runs them again."""
    retry: float = 60.0
    """Delay until the service runs them again."""


class Clock:
    """A clock on which time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        # CPU seconds of the simulation itself.
        self.spent = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        begun = time.process_time()
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = end
        self.spent += time.process_time() - begun

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), event))


@dataclass(eq=False)
class Future:
    """The attributes of a lithops.future.ResponseFuture that the runner uses."""

    job_id: str
    call_id: str
    value: Any
    first: bool
    execution_timeout: int = 895
    activation_id: str | None = None
    running: bool = False
    ready: bool = False
    success: bool = False
    done: bool = False
    error: bool = False
    _state: str = "New"
    _call_status: dict[str, Any] | None = None
    _exception: Any = None
    State = SimpleNamespace(Done="Done")

    def result(self, **_: Any) -> Any:
        self.ready, self.done, self._state = False, True, "Done"
        return self.value


@dataclass
class Service:
    """The modelled sandboxes, and the events that wait for one."""

    model: Model
    clock: Clock
    seconds: Callable[[Any], float]
    """Seconds of work of a task."""
    chance: random.Random = field(default_factory=lambda: random.Random(0))
    waiting: deque[tuple[Future, Any]] = field(default_factory=deque)
    busy: int = 0
    started: int = 0
    most: int = 0
    first: float | None = None

    def accept(self, future: Future, task: Any) -> None:
        if self.chance.random() >= self.model.lost:
            self.waiting.append((future, task))
            self.start()

    def start(self) -> None:
        if self.first is None:
            self.first = self.clock.now
            for step in range(1, 1 + self.model.workers // self.model.burst):
                self.clock.later(10.0 * step, self.start)
        allowed = self.model.burst * (1 + int((self.clock.now - self.first) // 10))
        while self.waiting and self.busy < min(allowed, self.model.workers):
            self.run(*self.waiting.popleft())

    def run(self, future: Future, task: Any) -> None:
        self.busy += 1
        self.most = max(self.most, self.busy)
        # A sandbox starts when no idle one is left.
        cold = self.started < self.busy
        self.started = max(self.started, self.busy)
        begin = self.model.cold if cold else 0.0
        work = self.model.warm + self.seconds(task)
        begun = self.clock.now + begin

        def running() -> None:
            future.running, future.activation_id = not (future.ready or future.done), "request"

        self.clock.later(begin + self.model.seen, running)
        if self.chance.random() < self.model.died:
            self.clock.later(begin + work / 2, self.free)
            self.clock.later(begin + work / 2 + self.model.retry, lambda: self.again(future, task))
            return

        def seen() -> None:
            future.running, future.ready = False, not future.done
            future._call_status = {
                "worker_cold_start": cold,
                "worker_start_tstamp": begun,
                "worker_end_tstamp": begun + work,
                "host_submit_tstamp": 0.0,
            }

        self.clock.later(begin + work, self.free)
        self.clock.later(begin + work + self.model.seen, seen)

    def free(self) -> None:
        self.busy -= 1
        self.start()

    def again(self, future: Future, task: Any) -> None:
        self.waiting.append((future, task))
        self.start()


def session_of(service: Service) -> Any:
    """Return a stand-in for the HTTP session of a backend: the service accepts or throttles each invocation."""

    class Session:
        def __init__(self, max_pool_connections: int = 10) -> None:
            self.connections = max_pool_connections

        def send(self, request: object) -> SimpleNamespace:
            throttled = service.chance.random() < service.model.throttled
            return SimpleNamespace(status_code=429 if throttled else 202, text="", headers={})

    return Session()


class Executor:
    """The attributes and methods of a lithops.FunctionExecutor that the runner uses."""

    executor_id = "stub"

    def __init__(self, service: Service) -> None:
        self.service, self.clock, self.model = service, service.clock, service.model
        self.compute_handler = SimpleNamespace(
            backend=SimpleNamespace(invoke=self.raw_invoke, session=session_of(service))
        )
        pool = ThreadPoolExecutor(1)
        self.invoker = SimpleNamespace(
            max_workers=self.model.workers, invoke_pool_threads=self.model.threads, executor=pool
        )
        self.job_monitor = SimpleNamespace(remove=lambda futures: None, token_bucket_q=queue.Queue())
        storage = SimpleNamespace(list_keys=lambda bucket, prefix: [])
        self.internal_storage = SimpleNamespace(storage=storage, bucket="stub")
        self.jobs = itertools.count()
        # Time when the last call was accepted, not counting calls that were submitted again.
        self.submitted = 0.0
        self._sender = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def raw_invoke(self, runtime: str, memory: int, payload: dict[str, Any]) -> str:
        answer = self.compute_handler.backend.session.send(payload)
        if answer.status_code != 202:
            raise OSError(f"answer {answer.status_code}")
        return "request"

    def map(self, function: Any, tasks: Sequence[Any], include_modules: None) -> list[Future]:
        begun = time.process_time()
        job = f"M{next(self.jobs):03d}"
        futures = [Future(job, f"{i:05d}", task, len(tasks) > 1) for i, task in enumerate(tasks)]
        for future, task in zip(futures, tasks, strict=True):
            self._sender = max(self._sender, self.clock.now) + self.model.invoke / self.model.threads
            self.clock.later(self._sender - self.clock.now, lambda f=future, t=task: self.invoke(f, t))
        self.clock.spent += time.process_time() - begun
        return futures

    def invoke(self, future: Future, task: Any) -> None:
        payload = {"job_id": future.job_id, "call_ids": [future.call_id]}
        if self.compute_handler.backend.invoke("stub:1", 1769, payload) is None:
            # Lithops waits as long, too.
            self.clock.later(self.service.chance.uniform(0, 5), lambda: self.invoke(future, task))
            return
        if future.first:
            self.submitted = self.clock.now
        self.service.accept(future, task)


@contextmanager
def simulated(model: Model, seconds: Callable[[Any], float]) -> Iterator[Executor]:
    """Replace lithops.FunctionExecutor by the stand-in, and the runner's clock by the simulated one.

    Parameters
    ----------
    model : Model
    seconds : callable
        Seconds of work of a task.
    """
    clock = Clock()
    stand_in = Executor(Service(model, clock, seconds))
    with (
        patch("lithops.FunctionExecutor", lambda **_: stand_in),
        patch.object(watch, "time", clock),
        patch.object(invoke, "time", clock),
        patch.object(executor, "time", clock),
    ):
        yield stand_in
