"""Wake the function before the first call: AWS puts one to sleep that nobody has called for weeks.

A function that is asleep (Inactive) refuses the first invocation (409), which wakes it up: it is Pending while AWS
prepares its image again, and refuses every invocation until it is Active.
"""

import time
from typing import Any

from maggjob.backend.outcome import Say
from maggjob.backend.retry import FunctionState, RetryPolicy, decide_function
from maggjob.errors import BackendError

UNKNOWN = frozenset(["ResourceNotFoundException", "AccessDeniedException"])
"""Errors that end the look: Lithops creates a function that does not exist, and an invocation tells the rest."""
NOT_READY = frozenset(["ResourceConflictException", "ResourceNotReadyException"])
"""Errors of an invocation that wakes a function up."""


def wake_function(
    backend: Any, runtime: str, memory: int, policy: RetryPolicy, say: Say, end: float = float("inf")
) -> None:
    """Wait until a function accepts calls, and wake it up if it is asleep.

    Parameters
    ----------
    backend : lithops.serverless.backends.aws_lambda.AWSLambdaBackend
    runtime : str
        Lithops' name of the runtime.
    memory : int
        Memory of the function, MB.
    policy : RetryPolicy
    say : callable
        Is given a line of text when the wait begins and ends.
    end : float
        Deadline of the run, by `time.monotonic`.

    Raises
    ------
    BackendError
        If the function has failed or is stopped, or is not ready in time.
    """
    client, name = backend.lambda_client, backend._format_function_name(runtime, memory)  # noqa: SLF001
    began, woken, waits = time.monotonic(), False, False
    while (found := _state_of(client, name)) is not None and time.monotonic() < end:
        waited = time.monotonic() - began
        todo = decide_function(policy, found, waited, woken=woken)
        if todo == "give up":
            raise BackendError(_why_not(name, found, waited))
        if todo == "call":
            if waits:
                say(f"the function {name} is ready, after {waited:.0f} s")
            return
        if not waits:
            what = "is asleep, and is woken up" if todo == "wake" else "is being prepared by AWS"
            say(f"the function {name} {what}: this may take some minutes")
            waits = True
        if todo == "wake":
            _wake(client, name)
            woken = True
        time.sleep(policy.wake_pause)


def _state_of(client: Any, name: str) -> FunctionState | None:
    """Return the state of a function; None if there is none, or it may not be looked at."""
    from botocore.exceptions import ClientError

    try:
        answer = client.get_function(FunctionName=name)
    except ClientError as problem:
        if problem.response["Error"]["Code"] in UNKNOWN:
            return None
        raise
    found, reserved = answer["Configuration"], answer.get("Concurrency", {}).get("ReservedConcurrentExecutions")
    reason = found.get("StateReasonCode", ""), found.get("StateReason", "")
    return FunctionState(found.get("State", ""), *reason, is_stopped=reserved == 0)


def _wake(client: Any, name: str) -> None:
    """Invoke a function once, with an event that costs nothing if it is awake by now."""
    from botocore.exceptions import ClientError

    try:
        client.invoke(FunctionName=name, Payload=b'{"get_metadata": {}}')
    except ClientError as problem:
        if problem.response["Error"]["Code"] not in NOT_READY:
            raise


def _why_not(name: str, found: FunctionState, waited: float) -> str:
    if found.is_stopped:
        return (
            f"the function {name} is stopped: its reserved concurrency is 0; 'maggjob cloud stop --undo' lets calls "
            "start again"
        )
    why = ": ".join(filter(None, (found.code, " ".join(found.reason.split()))))
    said = f"the function {name} is {found.state}{f' ({why})' if why else ''}"
    if found.state == "Pending" or found.code == "Idle":
        return f"{said} after {waited:.0f} s; AWS still prepares its image: run again later"
    return f"{said}; mend that, then type 'maggjob runtime delete' and 'maggjob runtime deploy'"
