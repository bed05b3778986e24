"""A stand-in for the AWS Lambda service: it answers the REST calls that Lithops makes, and runs invocations.

Each sandbox is a real process that runs the real awslambdaric and the real entry point (`tests.aws.sandbox`).
Concurrency, cold and warm sandboxes, timeouts, memory, and AWS's own two retries of asynchronous invocations are as
documented, with shorter delays.
"""

import json
import re
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.aws.faults import Delay, Disconnect, Duplicate, Faults, Lose, Refuse
from tests.aws.sandbox import Ended, Handler, Image, Sandbox, serve

ASYNC_LIMIT = 2**20  # bytes of the event of an asynchronous invocation
SYNC_LIMIT = 6 * 2**20
ACCOUNT = "123456789012"
NOT_ACTIVE = "The function is currently in the following state:"


@dataclass(frozen=True)
class Run:
    """One run in a sandbox, with what CloudWatch's REPORT line has."""

    request: str
    """Request id: the same for all attempts at one event."""
    attempt: int
    """1, and 2 and 3 for AWS's own retries."""
    calls: tuple[str, ...]
    """Lithops' call ids in the event."""
    status: str
    """See `Ended.status`."""
    cold: bool
    """Whether the sandbox was started for it."""
    sandbox: int
    """Number of the sandbox."""
    log_stream: str
    """Log stream of its output."""
    queued: float
    """Seconds of waiting for a sandbox."""
    init: float
    """Seconds that the sandbox took to start; 0 when it was warm."""
    seconds: float
    """Duration of the run in seconds."""
    size: int
    """Bytes of the event."""


class LambdaService:
    """The service, on a free port of 127.0.0.1 while the block runs.

    Parameters
    ----------
    concurrency : int
        Sandboxes at once: the account's quota.
    retry_delays : sequence of float
        Seconds before AWS's own second and third attempts (60 and 120 at AWS).
    enforce_memory : bool
        Kill a sandbox whose processes use more than the function's memory.
    """

    def __init__(
        self,
        image: Image,
        *,
        concurrency: int = 2,
        region: str = "us-west-2",
        retry_delays: Sequence[float] = (60, 120),
        enforce_memory: bool = False,
    ) -> None:
        self.image, self.region, self.concurrency = image, region, concurrency
        self.retry_delays, self.enforce_memory = tuple(retry_delays), enforce_memory
        self.faults = Faults()
        # Tells whether calls have reported their start, by Lithops' ids of their executor, their job and themselves.
        self.has_started: Callable[[str, str, Sequence[str]], bool] = lambda executor, job, calls: True
        self.functions: dict[str, dict[str, Any]] = {}
        self.runs: list[Run] = []
        self.requests: list[tuple[str, str, int]] = []  # method, path, status of each REST call
        self.bad_roles: set[str] = set()  # ARNs that Lambda cannot assume
        self.expired: set[str] = set()  # access keys that are not accepted any more
        self.may_look = True  # whether the client may ask for the state of a function
        self.created_after = 0  # requests that a new function meets Pending
        self._slots = threading.BoundedSemaphore(concurrency)
        self._idle: list[Sandbox] = []
        self._all: list[Sandbox] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._events: list[threading.Thread] = []
        self._age = 0  # events of an earlier age are not tried again

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="lambda-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self._server = serve(_rest(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self.end_sandboxes()
        self._folder.cleanup()

    def end_sandboxes(self) -> None:
        """Kill all sandboxes, so that the next runs are cold."""
        with self._lock:
            doomed, self._all, self._idle = self._all, [], []
        for sandbox in doomed:
            sandbox.close()

    @property
    def processes(self) -> list[int]:
        """Return the ids of the processes of all sandboxes."""
        return [sandbox.process.pid for sandbox in self._all]

    @property
    def invocations(self) -> list[int]:
        """Status of each asynchronous or synchronous invocation; 0 where the connection was cut."""
        return [status for _, path, status in self.requests if path.endswith("/invocations")]

    def log(self, stream: str) -> str:
        """Return the content of a log stream."""
        return (self.folder / f"{stream.replace('/', '_')}.log").read_text(errors="replace")

    def create(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any], str]:
        """Answer CreateFunction: return status, answer, and the name of an error."""
        name = wanted["FunctionName"]
        if name in self.functions:
            return 409, {"Message": f"Function already exist: {name}"}, "ResourceConflictException"
        if wanted["Role"] in self.bad_roles:
            message = "The role defined for the function cannot be assumed by Lambda."
            return 400, {"Type": "User", "Message": message}, "InvalidParameterValueException"
        good = (
            re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name)
            and 1 <= wanted.get("Timeout", 3) <= 900
            and 128 <= wanted.get("MemorySize", 128) <= 10240
            and wanted.get("Architectures", ["x86_64"]) in (["x86_64"], ["arm64"])
            and 512 <= wanted.get("EphemeralStorage", {}).get("Size", 512) <= 10240
            and re.fullmatch(r"arn:aws:iam::\d{12}:role/[\w+=,.@/-]+", wanted["Role"])
        )
        if not good:
            return 400, {"Type": "User", "Message": f"bad request {wanted}"}, "InvalidParameterValueException"
        arn = f"arn:aws:lambda:{self.region}:{ACCOUNT}:function:{name}"
        made = {"Timeout": 3, "MemorySize": 128, "Tags": {}, "Architectures": ["x86_64"]} | wanted
        made |= {"FunctionArn": arn, "State": "Active", "LastUpdateStatus": "Successful"}
        self.functions[name] = made
        if self.created_after:
            made |= {"State": "Pending", "StateReasonCode": "Creating", "StateReason": "The function is being created."}
            made |= {"left": self.created_after}
        return 201, public(made), ""

    def put_to_sleep(self, requests: int | None = 2, state: str = "Active", code: str = "") -> None:
        """Make all functions Inactive, as those are that nobody has called for weeks.

        Parameters
        ----------
        requests : int, optional
            Requests that meet a function Pending once an invocation has woken it; None for all.
        state, code : str
            Its state afterwards, and the StateReasonCode.
        """
        for function in self.functions.values():
            idle = {"State": "Inactive", "StateReasonCode": "Idle", "StateReason": "The function is idle."}
            function |= {**idle, "left": requests, "then": (state, code)}

    def look(self, function: dict[str, Any], *, invoked: bool) -> str:
        """Return the state of a function as a request meets it. An invocation wakes one that is asleep."""
        with self._lock:
            if function["State"] == "Inactive" and invoked:
                restoring = "The function is being restored."
                function |= {"State": "Pending", "StateReasonCode": "Restoring", "StateReason": restoring}
            elif function["State"] == "Pending" and function["left"] == 0:
                state, code = function.get("then", ("Active", ""))
                function |= {"State": state, "StateReasonCode": code, "StateReason": f"made by a test: {code}"}
            elif function["State"] == "Pending" and function["left"] is not None:
                function["left"] -= 1
            return str(function["State"])

    def invoke(self, function: dict[str, Any], body: bytes) -> tuple[str, Ended]:
        """Run a synchronous invocation."""
        request = str(uuid.uuid4())
        return request, self._attempt(function, request, body, 1)

    def accept(self, function: dict[str, Any], body: bytes, fault: object) -> str:
        """Accept an asynchronous invocation, and return its request id."""
        request = str(uuid.uuid4())
        if not isinstance(fault, Lose):
            delay = fault.seconds if isinstance(fault, Delay) else 0.0
            for _ in range(2 if isinstance(fault, Duplicate) else 1):
                thread = threading.Thread(
                    target=self._event, args=(function, request, body, delay, self._age), daemon=True
                )
                self._events.append(thread)
                thread.start()
        return request

    def settle(self, patience: float = 3.0) -> None:
        """Forget events that have not ended: drop their retries, and kill what still runs after some seconds."""
        self._age += 1
        end = time.monotonic() + patience
        for thread in self._events:
            thread.join(max(0.0, end - time.monotonic()))
        if any(thread.is_alive() for thread in self._events):
            self.end_sandboxes()
            for thread in self._events:
                thread.join(10)
        self._events.clear()

    def _event(self, function: dict[str, Any], request: str, body: bytes, delay: float, age: int) -> None:
        retries = function.get("EventConfig", {}).get("MaximumRetryAttempts", 2)
        for attempt, pause in enumerate((delay, *self.retry_delays[:retries]), 1):
            if self._closing.wait(pause) or (age != self._age):
                return
            if self._attempt(function, request, body, attempt).status == "ok":
                return

    def _attempt(self, function: dict[str, Any], request: str, body: bytes, attempt: int) -> Ended:
        asked = time.monotonic()
        with self._slots:
            if self._closing.is_set():
                return Ended("exit", b"{}")
            try:
                sandbox, cold = self._sandbox(function)
            except OSError as problem:
                said = f"fork/exec {self.image.entrypoint[0]}: {str(problem.strerror).lower()}"
                message = f"RequestId: {request} Error: {said}"
                error = {"errorType": "Runtime.InvalidEntrypoint", "errorMessage": message}
                return Ended("init", json.dumps(error).encode())
            begun = time.monotonic()
            event = json.loads(body)
            calls = tuple(event.get("call_ids") or ())
            of = (event.get("executor_id", ""), event.get("job_id", ""), calls)
            ended = sandbox.run(
                request,
                body,
                # Lithops asks a function once what it has, whichever test comes first: faults are for calls.
                None if "get_metadata" in event else self.faults.next_in_sandbox(*of),
                self.enforce_memory,
                partial(self.has_started, *of),
                partial(self.faults.note_struck, *of),
            )
            init = (sandbox.init_seconds or 0.0) if cold else 0.0
            self.runs.append(
                Run(
                    request,
                    attempt,
                    calls,
                    ended.status,
                    cold,
                    sandbox.number,
                    sandbox.log_stream,
                    begun - asked,
                    init,
                    time.monotonic() - begun - init,
                    len(body),
                )
            )
            with self._lock:
                known = sandbox in self._all
                if ended.alive and known:
                    self._idle.append(sandbox)
                elif known:
                    self._all.remove(sandbox)
            if not ended.alive and known:
                sandbox.close()
        return ended

    def _sandbox(self, function: dict[str, Any]) -> tuple[Sandbox, bool]:
        with self._lock:
            warm = [s for s in self._idle if s.function is function and s.process.poll() is None]
            if warm:
                self._idle.remove(warm[-1])
                return warm[-1], False
        sandbox = Sandbox(function, self.image, self.region, self.folder)
        with self._lock:
            self._all.append(sandbox)
        return sandbox, True


def public(function: dict[str, Any]) -> dict[str, Any]:
    """Return a function as the API shows it."""
    hidden = ("Code", "Tags", "EventConfig", "reserved", "left", "then")
    return {key: value for key, value in function.items() if key not in hidden}


def event_config(function: dict[str, Any], method: str, body: bytes) -> tuple[int, Any, str]:
    """Answer a request about what AWS does with events of a function: return status, answer, and name of an error."""
    if method == "PUT":
        wanted = json.loads(body)
        retries, age = wanted.get("MaximumRetryAttempts", 2), wanted.get("MaximumEventAgeInSeconds", 21_600)
        if not (0 <= retries <= 2 and 60 <= age <= 21_600):
            return 400, {"Type": "User", "Message": f"bad request {wanted}"}, "InvalidParameterValueException"
        function["EventConfig"] = {"MaximumRetryAttempts": retries, "MaximumEventAgeInSeconds": age}
    if "EventConfig" not in function:
        message = f"The function {function['FunctionArn']} doesn't have an EventInvokeConfig"
        return 404, {"Type": "User", "Message": message}, "ResourceNotFoundException"
    if method == "DELETE":
        del function["EventConfig"]
        return 204, None, ""
    return 200, {"FunctionArn": f"{function['FunctionArn']}:$LATEST", "LastModified": 0, **function["EventConfig"]}, ""


def concurrency(function: dict[str, Any], method: str, body: bytes) -> tuple[int, dict[str, Any] | None]:
    """Answer a request about the reserved concurrency of a function: return status and content.

    Only 0 is enforced: nothing new starts.
    """
    if method == "DELETE":
        function.pop("reserved", None)
        return 204, None
    if method == "PUT":
        function["reserved"] = json.loads(body)["ReservedConcurrentExecutions"]
    return 200, {"ReservedConcurrentExecutions": function["reserved"]} if "reserved" in function else {}


def _rest(service: LambdaService) -> type[Handler]:
    class Rest(Handler):
        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path).rstrip("/")
            body = self.body()
            if "AWS4-HMAC-SHA256" not in self.headers.get("Authorization", ""):
                return self.done(path, 403, {"message": "Missing Authentication Token"}, "MissingAuthentication")
            if self.headers["Authorization"].partition("Credential=")[2].split("/")[0] in service.expired:
                message = "The security token included in the request is expired"
                return self.done(path, 403, {"message": message}, "ExpiredTokenException")
            if path == "/2015-03-31/functions":
                if self.command == "POST":
                    return self.done(path, *service.create(json.loads(body)))
                return self.done(path, 200, {"Functions": [public(f) for f in service.functions.values()]})
            if path == "/2016-08-19/account-settings":
                limits = {"ConcurrentExecutions": service.concurrency, "UnreservedConcurrentExecutions": 0}
                limits["UnreservedConcurrentExecutions"] = service.concurrency
                return self.done(path, 200, {"AccountLimit": limits, "AccountUsage": {}})
            name = re.split(r"[:/]", path.split("functions/")[-1])[-1 if "/tags/" in path else 0]
            function = service.functions.get(name)
            if function is None:
                message = f"Function not found: arn:aws:lambda:{service.region}:{ACCOUNT}:function:{name}"
                return self.done(path, 404, {"Type": "User", "Message": message}, "ResourceNotFoundException")
            return self.of_function(path, function, body)

        def of_function(self, path: str, function: dict[str, Any], body: bytes) -> None:
            if path.endswith("/invocations"):
                return self.invocation(path, function, body)
            if "/tags/" in path:
                if self.command == "POST":
                    function["Tags"] = function["Tags"] | json.loads(body)["Tags"]
                    return self.done(path, 204)
                return self.done(path, 200, {"Tags": function["Tags"]})
            if path.startswith("/2019-09-25/") and path.endswith("/event-invoke-config"):
                return self.done(path, *event_config(function, self.command, body))
            if path.endswith("/concurrency"):
                return self.done(path, *concurrency(function, self.command, body))
            if self.command == "DELETE":
                del service.functions[function["FunctionName"]]
                return self.done(path, 204)
            if not service.may_look:
                return self.done(path, 403, {"Message": "You may not."}, "AccessDeniedException")
            service.look(function, invoked=False)
            code = {"ImageUri": function["Code"].get("ImageUri", "")}
            content = {"Configuration": public(function), "Tags": function["Tags"], "Code": code}
            if "reserved" in function:
                content["Concurrency"] = {"ReservedConcurrentExecutions": function["reserved"]}
            return self.done(path, 200, content)

        def invocation(self, path: str, function: dict[str, Any], body: bytes) -> None:
            event = self.headers.get("X-Amz-Invocation-Type") == "Event"
            state = service.look(function, invoked=True)
            if state != "Active":
                message = f"The operation cannot be performed at this time. {NOT_ACTIVE} {state}"
                return self.done(path, 409, {"Type": "User", "Message": message}, "ResourceConflictException")
            if len(body) > (ASYNC_LIMIT if event else SYNC_LIMIT):
                message = (
                    f"{len(body)} byte payload is too large for the {'Event' if event else 'RequestResponse'} type"
                )
                return self.done(path, 413, {"Type": "User", "message": message}, "RequestTooLargeException")
            if function.get("reserved") == 0:
                why = {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "message": "Rate Exceeded."}
                return self.done(path, 429, {"Type": "User", **why}, "TooManyRequestsException")
            if not event:
                request, ended = service.invoke(function, body)
                failed = {} if ended.status == "ok" else {"X-Amz-Function-Error": "Unhandled"}
                return self.done(path, 200, ended.payload, "", {"x-amzn-RequestId": request, **failed})
            fault = service.faults.next_at_invoke()
            if isinstance(fault, Disconnect):
                service.requests.append((self.command, path, 0))
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
                return None
            if isinstance(fault, Refuse):
                return self.done(path, fault.status, {"Type": "User", "message": fault.message}, fault.code)
            request = service.accept(function, body, fault)
            return self.done(path, 202, None, "", {"x-amzn-RequestId": request})

        def done(
            self, path: str, status: int, content: Any = None, error: str = "", headers: dict[str, str] | None = None
        ) -> None:
            service.requests.append((self.command, path, status))
            self.reply(status, content, {**({"X-Amzn-Errortype": error} if error else {}), **(headers or {})})

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    return Rest
