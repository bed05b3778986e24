"""One execution environment: a real awslambdaric process that gets its events from a Runtime API of its own."""

import itertools
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.aws.faults import DOOMED, Crash, Hang, InSandbox, OutOfMemory

RUNTIME_API = re.compile(r"/2018-06-01/runtime/invocation/([^/]+)/(response|error)")
NUMBERS = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    """A request with a body, answered in JSON."""

    protocol_version = "HTTP/1.1"

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, status: int, content: Any = None, headers: Mapping[str, str] | None = None) -> None:
        data = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""


class QuietServer(ThreadingHTTPServer):
    """A server whose clients are killed on purpose."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def serve(handler: type[BaseHTTPRequestHandler]) -> QuietServer:
    """Start a server on a free port of 127.0.0.1."""
    server = QuietServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


@dataclass(frozen=True)
class Image:
    """An image: how it is started, and its environment."""

    handler: str = "maggjob.aws.handler.handler"
    """As in the Dockerfile's CMD."""
    entrypoint: Sequence[str] = (sys.executable, "-m", "awslambdaric")
    """As in the Dockerfile's ENTRYPOINT."""
    environment: Mapping[str, str] | None = None
    """Variables beside those that Lambda sets."""


@dataclass(frozen=True)
class Ended:
    """End of one run in a sandbox."""

    status: str
    """ok, error (the handler raised), exit, timeout, oom or init (the handler could not be imported)."""
    payload: bytes
    """What the caller of a synchronous invocation gets."""

    @property
    def alive(self) -> bool:
        """True if the sandbox can be used again."""
        return self.status in ("ok", "error")


class Sandbox:
    """An execution environment of a function."""

    def __init__(self, function: Mapping[str, Any], image: Image, region: str, folder: Path) -> None:
        self.function, self.number = function, next(NUMBERS)
        self.log_stream = time.strftime("%Y/%m/%d/") + f"[$LATEST]{uuid.uuid4().hex}"
        self.log = folder / f"{self.log_stream.replace('/', '_')}.log"
        self.tmp = Path(tempfile.mkdtemp(prefix=f"sandbox-{self.number}-", dir=folder))
        self._inbox: queue.Queue[tuple[str, bytes, float] | None] = queue.Queue()
        self._answers: dict[str, tuple[str, bytes]] = {}
        self._init_error: bytes | None = None
        self._changed = threading.Condition()
        self.ready = threading.Event()
        self.started = time.monotonic()
        self.init_seconds: float | None = None
        self._api = serve(self._runtime_api())
        name = function["FunctionName"]
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.tmp),
            "TMPDIR": str(self.tmp),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._api.server_address[1]}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function["MemorySize"]),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": self.log_stream,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "LAMBDA_TASK_ROOT": str(self.tmp),
            "_HANDLER": image.handler,
            **(image.environment or {}),
            **function.get("Environment", {}).get("Variables", {}),
        }
        try:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [*image.entrypoint, image.handler],
                    env=environment,
                    cwd=self.tmp,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError:  # no program for this machine
            self._api.shutdown()
            self._api.server_close()
            raise

    def _runtime_api(self) -> type[Handler]:
        sandbox = self

        class Api(Handler):
            def do_GET(self) -> None:  # /runtime/invocation/next
                if not sandbox.ready.is_set():
                    sandbox.init_seconds = time.monotonic() - sandbox.started
                    sandbox.ready.set()
                item = sandbox._inbox.get()
                if item is None:
                    self.close_connection = True
                    return
                request, body, deadline = item
                headers = {
                    "Lambda-Runtime-Aws-Request-Id": request,
                    "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
                    "Lambda-Runtime-Invoked-Function-Arn": sandbox.function["FunctionArn"],
                    "Lambda-Runtime-Trace-Id": "Root=1-0;Sampled=0",
                }
                self.reply(200, body, headers)

            def do_POST(self) -> None:
                body, match = self.body(), RUNTIME_API.match(self.path)
                with sandbox._changed:
                    if match is None:  # /runtime/init/error
                        sandbox._init_error = body
                    else:
                        sandbox._answers[match[1]] = (match[2], body)
                    sandbox._changed.notify_all()
                self.reply(202, {"status": "OK"})

        return Api

    def run(
        self,
        request: str,
        body: bytes,
        fault: InSandbox | None,
        enforce_memory: bool,
        has_started: Callable[[], bool],
        note_struck: Callable[[], None],
    ) -> Ended:
        """Give it an event, and wait for its answer or its end.

        Parameters
        ----------
        request : str
        body : bytes
        fault : InSandbox, optional
            The fault that the run meets.
        enforce_memory : bool
        has_started : callable
            Tells whether the event's calls have reported their start.
        note_struck : callable
            Called when the fault has been met.
        """
        while not self.ready.wait(0.02):  # the function's time does not run while it starts
            if (early := self._gone(request)) is not None:
                return early
        if fault is not None and fault.after is None:
            (self.tmp / DOOMED).touch()
        else:
            (self.tmp / DOOMED).unlink(missing_ok=True)
        timeout = float(self.function["Timeout"])
        begun = time.monotonic()
        self._inbox.put((request, body, time.time() + timeout))
        memory = self.function["MemorySize"] * 2**20 if enforce_memory else None
        with self._changed:
            while request not in self._answers:
                if (gone := self._gone(request)) is not None:
                    return gone
                passed = time.monotonic() - begun
                if passed > timeout:
                    return self._end(request, "timeout", f"Task timed out after {timeout:.2f} seconds")
                if memory is not None and self.memory() > memory:
                    return self._end(request, "oom", "Runtime exited with error: signal: killed")
                if fault is not None and (has_started() if fault.after is None else passed > fault.after):
                    note_struck()
                    if isinstance(fault, OutOfMemory):
                        return self._end(request, "oom", "Runtime exited with error: signal: killed")
                    self._signal(signal.SIGKILL if isinstance(fault, Crash) else signal.SIGSTOP)
                    fault = None
                self._changed.wait(0.02)
            kind, payload = self._answers.pop(request)
        return Ended("ok" if kind == "response" else "error", payload)

    def _gone(self, request: str) -> Ended | None:
        if self._init_error is not None:
            return Ended("init", self._init_error)
        code = self.process.poll()
        return None if code is None else self._end(request, "exit", f"Runtime exited with error: {code}")

    def _end(self, request: str, status: str, message: str) -> Ended:
        self._signal(signal.SIGKILL)
        kinds = {"timeout": "Sandbox.Timedout", "oom": "Runtime.OutOfMemory", "exit": "Runtime.ExitError"}
        error = {"errorType": kinds[status], "errorMessage": f"RequestId: {request} Error: {message}"}
        return Ended(status, json.dumps(error).encode())

    def memory(self) -> int:
        """Bytes of memory of its processes that are theirs alone, or their share of it."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(status.read_text().rsplit(")", 1)[1].split()[3]) != self.process.pid:  # its session
                    continue
                found = re.search(r"^Pss_Anon:\s+(\d+)", status.with_name("smaps_rollup").read_text(), re.MULTILINE)
                total += int(found[1]) * 1024 if found else 0
        return total

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def close(self) -> None:
        """End all of its processes."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        self._inbox.put(None)
        self._api.shutdown()
        self._api.server_close()
        shutil.rmtree(self.tmp, ignore_errors=True)


__all__ = ["Crash", "Ended", "Handler", "Hang", "Image", "Sandbox", "serve"]
