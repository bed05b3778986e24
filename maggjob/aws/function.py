"""The Lambda function of a runtime: created by Lithops, then set up as Lithops cannot.

The settings follow from the retry policy of the client (`maggjob.backend.retry`).
"""

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from maggjob.aws.image import Image
from maggjob.aws.steps import carry_out, lithops_step
from maggjob.errors import BackendError

MEMORY = 256  # MB
"""Lithops' own default for runtime_memory."""
RETRIES = 1
"""AWS's own further attempts at a call that crashed or ran out of time or memory.

One, because AWS notices a crash at once and tries again after a minute, whereas the client sees only that there is no
answer, and sends a backup after a minute at the earliest, often later. Not two, AWS's default: by then the client has
submitted the task itself, and a call that always dies would be paid for six times instead of four.
"""
EVENT_AGE = 1800  # seconds
"""Age at which AWS drops a call that it has not started.

A call may rightly wait while all workers are busy, which is 900 s for the longest call that Lambda allows; AWS pauses
for up to 300 s between two attempts; and the client counts on a call for 360 s after workers have become free
(``give_up_after``). What is older is expected by nobody. With AWS's default, six hours, calls of a run that was stopped
would start workers for hours.
"""
KEEP_LOGS = 30  # days
"""How long logs are kept; without a retention, CloudWatch keeps and bills them for ever."""


def function_name(image: Image, memory: int) -> str:
    """Return the name that Lithops gives the function of a runtime (_format_function_name in its aws_lambda.py).

    Parameters
    ----------
    image : Image
    memory : int
        Memory of the function, MB.
    """
    lithops = version("lithops")
    # As Lithops does it; nothing depends on its strength.
    digest = hashlib.sha1(f"{image.runtime}-{memory}-{lithops}".encode()).hexdigest()[:10]  # noqa: S324
    name = f"lithops-worker-{image.user.split(':')[0][-4:].lower()}-{lithops.replace('.', '')}-{digest}"
    return f"{image.namespace}-{name}" if image.namespace else name


def log_group(function: str) -> str:
    """Return the name of the log group of a function."""
    return f"/aws/lambda/{function}"


def memory_of(config: Mapping[str, Any]) -> int:
    """Return the memory of the function that a Lithops configuration names, MB."""
    return int(config.get("aws_lambda", {}).get("runtime_memory") or MEMORY)


def deploy_function(
    session: Any,
    config: Mapping[str, Any],
    image: Image,
    config_file: Path,
    say: Callable[[str], object],
    *,
    quiet: bool = False,
) -> str:
    """Create the function of an image, and set up its logs and what AWS does with its calls.

    Each step can be repeated: what is there already is left or set again.

    Parameters
    ----------
    session : boto3.Session
    config : mapping
        From `maggjob.lithops_config`, for aws_lambda.
    image : Image
        Image, which must be in the repository.
    config_file : Path
        File of the configuration, for Lithops.
    say : callable
        Called with the text of each step.
    quiet : bool
        If True, show nothing of what Lithops prints.

    Returns
    -------
    str
        Name of the function.

    Raises
    ------
    BackendError
        If a step fails; the message names it.
    """
    name = function_name(image, memory_of(config))
    # Before the function exists: its first call would create the log group without a retention.
    say(f"logs of {name} are kept for {KEEP_LOGS} days")
    _ask("log group", lambda: keep_logs(session.client("logs"), log_group(name)))
    carry_out([lithops_step("deploy", config_file, image.runtime)], say, quiet=quiet)
    say(f"AWS tries a call of {name} that dies {RETRIES} time again, and drops calls that wait for {EVENT_AGE} s")
    _ask(
        "calls of the function",
        lambda: session.client("lambda").put_function_event_invoke_config(
            FunctionName=name, MaximumRetryAttempts=RETRIES, MaximumEventAgeInSeconds=EVENT_AGE
        ),
    )
    return name


def _ask(what: str, request: Callable[[], object]) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        request()
    except (BotoCoreError, ClientError) as problem:
        said = " ".join(str(problem).split())
        raise BackendError(f"{what}: {said}; attach the policy ClientPolicy of the stack, and try again") from None


def keep_logs(logs: Any, group: str) -> None:
    """Create a log group if it does not exist, and set how long its logs are kept.

    Parameters
    ----------
    logs : botocore.client.CloudWatchLogs
    group : str
        Name of the log group.
    """
    with suppress(logs.exceptions.ResourceAlreadyExistsException):
        logs.create_log_group(logGroupName=group)
    logs.put_retention_policy(logGroupName=group, retentionInDays=KEEP_LOGS)


def functions_of(runtime: str, memory: int, session: Any) -> list[dict[str, Any]]:
    """Return the Lambda functions that Lithops created from a runtime.

    Parameters
    ----------
    runtime : str
    memory : int
        Memory of the functions, MB.
    session : boto3.Session
    """
    client = session.client("lambda")
    known = [f for page in client.get_paginator("list_functions").paginate() for f in page["Functions"]]
    ours = [f for f in known if f["MemorySize"] == memory and "lithops-worker" in f["FunctionName"]]
    tags = [client.list_tags(Resource=function["FunctionArn"])["Tags"] for function in ours]
    return [f for f, tag in zip(ours, tags, strict=True) if tag.get("runtime_name") == runtime]
