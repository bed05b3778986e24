"""A stand-in for lithops.FunctionExecutor on a clock of its own: calls that start, run, die and get lost as modelled.

The runner's modules are given the clock in place of `time`; everything else of them is real.
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
    """How the service behaves; seconds."""

    workers: int = 1700
    """Sandboxes at once."""
    burst: int = 1000
    """Sandboxes at once in the first ten seconds; as many more every ten seconds (AWS's rule for a function)."""
    invoke: float = 0.06
    """One invocation, by each of `threads`: a request from a laptop to us-west-2."""
    threads: int = 128
    cold: float = 3.0
    """Start of a sandbox, image and imports included."""
    warm: float = 0.15
    """What a call costs beside its work."""
    seen: float = 1.0
    """Until the client sees that a call started or ended: Lithops lists the bucket."""
    throttled: float = 0.0
    """Share of invocations that are put off."""
    lost: float = 0.0
    """Share of accepted events that never run."""
    died: float = 0.0
    """Share of runs whose sandbox dies half-way; the service runs them again."""
    retry: float = 60.0
    """Until it does."""


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.spent = 0.0  # CPU seconds of the simulation itself
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
    """What the runner looks at of a lithops.future.ResponseFuture."""

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
    """Sandboxes of the model, and the events that wait for one."""

    model: Model
    clock: Clock
    seconds: Callable[[Any], float]
    """Work of a task."""
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
        cold = self.started < self.busy  # no sandbox is left that has run before
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
    """What a backend sends invocations with: the service takes them, or puts them off."""

    class Session:
        def __init__(self, max_pool_connections: int = 10) -> None:
            self.connections = max_pool_connections

        def send(self, request: object) -> SimpleNamespace:
            throttled = service.chance.random() < service.model.throttled
            return SimpleNamespace(status_code=429 if throttled else 202, text="", headers={})

    return Session()


class Executor:
    """What the runner uses of a lithops.FunctionExecutor."""

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
        self.submitted = 0.0  # when the last call was accepted, those submitted again left out
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
            self.clock.later(self.service.chance.uniform(0, 5), lambda: self.invoke(future, task))  # as Lithops does
            return
        if future.first:
            self.submitted = self.clock.now
        self.service.accept(future, task)


@contextmanager
def simulated(model: Model, seconds: Callable[[Any], float]) -> Iterator[Executor]:
    """Put a stand-in in place of lithops.FunctionExecutor, and its clock in place of the runner's."""
    clock = Clock()
    stand_in = Executor(Service(model, clock, seconds))
    with (
        patch("lithops.FunctionExecutor", lambda **_: stand_in),
        patch.object(watch, "time", clock),
        patch.object(invoke, "time", clock),
        patch.object(executor, "time", clock),
    ):
        yield stand_in
