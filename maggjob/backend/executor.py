"""Run a function on tasks through Lithops: submit them, watch the calls, collect the outcomes.

Takes an importable function and tasks, and returns an `Outcome` for
every task, whether its call succeeded or not.
"""

import logging
import os
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from maggjob.backend.client_keys import ClientKeys
from maggjob.backend.invoke import Invocations
from maggjob.backend.local import LocalJobs
from maggjob.backend.outcome import Call, Outcome, Say, Watcher, deadline_outcome, reason_of
from maggjob.backend.preload import preloading
from maggjob.backend.private_root import private_root, write_whole
from maggjob.backend.retry import (
    LOCAL,
    ONE_SUBMISSION,
    History,
    RetryPolicy,
    ends_task,
    may_submit_again,
    pause_before,
)
from maggjob.backend.settings import check_filled_in, lithops_config, name_executors, packaged_config, resolve_backend
from maggjob.backend.spending import SpendGuard
from maggjob.backend.waking import wake_function
from maggjob.backend.watch import Collection
from maggjob.errors import BackendError, ExpiredKeysError, MaggjobError, StoppedError
from maggjob.storage.expiry import expiry_message, refused_keys

__all__ = [
    "DEADLINE",
    "Outcome",
    "RetryPolicy",
    "Watcher",
    "lithops_config",
    "packaged_config",
    "resolve_backend",
    "run_tasks",
]

LOG = logging.getLogger(__name__)
Task = TypeVar("Task")
Value = TypeVar("Value")
DEADLINE = 6 * 3600.0
# Errors of Lithops and AWS when a run cannot start, and what to do about them; `maggjob doctor` checks more.
HINTS = {
    "Unable to locate credentials": "log in to AWS first (aws configure, aws sso login, or AWS_PROFILE)",
    "InvalidClientTokenId": "AWS does not know these credentials; check AWS_PROFILE and AWS_ACCESS_KEY_ID",
    "HeadBucket operation: Bad Request": "the AWS credentials may have expired: see 'aws sts get-caller-identity'",
    "HeadBucket operation: Forbidden": "the bucket is another account's, or access is denied; name another in aws_s3",
    "cannot be assumed by Lambda": "check execution_role in aws_lambda",
    "is not deployed to ECR": "there is no image of this name; type 'maggjob runtime build'",
    "pop from empty list": "there is no image with this tag; type 'maggjob runtime build'",
    "version mismatch": "the image has another Lithops; type 'maggjob runtime build' and 'maggjob runtime deploy'",
    "not compatible with the local Python": "build the image for this Python (maggjob runtime build), or change Python",
    "InvalidEntrypoint": "the image was built for another architecture; type 'maggjob runtime build'",
}


def run_tasks(
    function: Callable[[Task], Value],
    tasks: Sequence[Task],
    *,
    backend: str = "localhost",
    config: Mapping[str, Any] | None = None,
    deadline: float = DEADLINE,
    watch: Watcher | None = None,
    policy: RetryPolicy | None = None,
    preload: Sequence[str] = (),
    say: Say = LOG.info,
    warn: Say = LOG.warning,
    guard: SpendGuard | None = None,
) -> list[Outcome[Value]]:
    """Call a function on every task.

    Parameters
    ----------
    function : callable
        Takes one task. Must be importable by name where the calls run.
    tasks : sequence
        Picklable tasks; Lithops starts them in this order.
    backend : str
        ``serial`` calls the function in this process, on one task after the other; all others go through Lithops.
    config : mapping, optional
        Lithops' configuration, from `lithops_config`.
    deadline : float
        Seconds after which tasks that have not ended are given up.
    watch : callable, optional
        Called as each task ends. An exception that it raises ends the run.
    policy : RetryPolicy, optional
        Waiting times and number of submissions; by default those of the backend (`maggjob.backend.retry`).
    preload : sequence of str
        Modules that the function imports while it runs; on localhost they are imported once for all calls.
    say : callable, optional
        Is given a line of text when the run waits for something; by default the log.
    warn : callable, optional
        Is given what could not be cleaned up, which loses no outcome; by default the log.
    guard : SpendGuard, optional
        Stops the run before its calls on a serverless backend cost more than a limit.

    Returns
    -------
    list of Outcome
        In the order of the tasks.

    Raises
    ------
    BackendError
        If the backend accepts no call at all.
    StoppedError
        If the run is interrupted from the keyboard, or would cost more than its limit.
    ExpiredKeysError
        If AWS does not accept the credentials of this machine any more.
    """
    if not tasks:
        return []
    end = time.monotonic() + deadline
    note = watch or (lambda index, outcome: None)
    try:
        if backend == "serial":
            return _serial(function, tasks, end, note)
        return _lithops(_Work(function, tasks, end, policy, note, say, warn, guard), dict(config or {}), preload)
    except KeyboardInterrupt as stop:
        how = str(stop) or "stopped from the keyboard"
        raise StoppedError(f"{how}, before all of the {len(tasks)} tasks had ended") from None


def _serial(
    function: Callable[[Task], Value], tasks: Sequence[Task], end: float, note: Watcher
) -> list[Outcome[Value]]:
    """Call the function in this process: the reference for what every other backend must do."""
    outcomes: list[Outcome[Value]] = []
    for index, task in enumerate(tasks):
        outcome = deadline_outcome() if time.monotonic() >= end else _call_here(function, task, end)
        outcomes.append(outcome)
        note(index, outcome)
    return outcomes


def _call_here(function: Callable[[Task], Value], task: Task, end: float) -> Outcome[Value]:
    """Call the function in this process, and again if it raises an error that may not happen again."""
    history = History()
    reasons: tuple[str, ...] = ()
    while True:
        try:
            return Outcome(value=function(task), earlier=reasons, call=Call(attempts=history.submissions))
        except KeyboardInterrupt:
            raise
        # Any error is the outcome of its task.
        except BaseException as problem:  # noqa: BLE001
            reason, message = reason_of(problem), "".join(traceback.format_exception(problem))
        history = History(history.submissions, reason)
        wait = pause_before(LOCAL, history, random.random())  # noqa: S311
        if ends_task(reason) or not may_submit_again(LOCAL, history) or time.monotonic() + wait >= end:
            return Outcome(reason=reason, message=message, earlier=reasons, call=Call(attempts=history.submissions))
        time.sleep(wait)
        history, reasons = History(history.submissions + 1, reason), (*reasons, reason)


@dataclass(frozen=True)
class _Work:
    """What is to be done, and who is told about it."""

    function: Callable[[Any], Any]
    """Function of one task."""
    tasks: Sequence[Any]
    """The tasks."""
    end: float
    """Deadline, by `time.monotonic`."""
    policy: RetryPolicy | None
    """Retry policy; None for that of the backend."""
    watch: Watcher
    """Called as each task ends."""
    say: Say
    """Given a line of text when the run waits for something."""
    warn: Say
    """Given what could not be cleaned up."""
    guard: SpendGuard | None = None
    """Stops the run before its calls on a serverless backend cost more than a limit."""


def _lithops(work: _Work, config: dict[str, Any], preload: Sequence[str]) -> list[Outcome[Any]]:
    check_filled_in(config)
    if config.get("lithops", {}).get("backend") != "localhost":
        return _submit(work, config, preload, None)
    with private_root() as root:
        return _submit(work, config, preload, root)


def _submit(work: _Work, config: dict[str, Any], preload: Sequence[str], root: Path | None) -> list[Outcome[Any]]:
    import lithops  # 1 s

    write_whole()
    # No limit: each call is sent only its own task.
    config["lithops"] = {"data_limit": 0} | config.get("lithops", {})
    # With a log_level, Lithops would close the caller's handlers.
    logger = logging.getLogger("lithops")
    level = logger.level
    wanted = os.environ.get("MAGGJOB_LITHOPS_LOG")
    # Our own error reports what fails at the start.
    logger.setLevel(wanted or "CRITICAL")
    try:
        with _starting():
            name_executors(config)
            executor = lithops.FunctionExecutor(config=config, log_level=None)
        logger.setLevel(wanted or "ERROR")
        try:
            with preloading(work.function, preload):
                return _collect(executor, work, root)
        finally:
            with _reported("Lithops' threads could not be ended", work.warn):
                executor.__exit__(None, None, None)
    finally:
        logger.setLevel(level)


def _collect(executor: Any, work: _Work, root: Path | None) -> list[Outcome[Any]]:
    """Run tasks by an executor, and delete what it stored; a failure of the deletion is reported, and changes nothing.

    Once there are outcomes, they are returned. If there is an error, no other one takes its place.
    """
    keys, handler = ClientKeys(), executor.compute_handler
    backend = getattr(handler, "backend", None)
    threads = getattr(executor.invoker, "invoke_pool_threads", 1)
    policy = work.policy or RetryPolicy()
    invocations = None if backend is None else Invocations(backend, threads, policy, keys)
    # Another version of Lithops' local backend runs its jobs otherwise.
    local = LocalJobs(handler, root) if root is not None and hasattr(handler, "_run_queued_job") else None
    own = RetryPolicy() if backend is not None else LOCAL if local is not None else ONE_SUBMISSION
    collection = Collection(
        executor,
        work.function,
        work.tasks,
        work.end,
        work.watch,
        work.policy or own,
        invocations,
        root,
        local,
        keys,
        work.guard,
    )
    for client in (executor.internal_storage.get_client(), getattr(backend, "lambda_client", None)):
        keys.follow(client)
    try:
        with _starting():
            if hasattr(backend, "lambda_client"):
                info = executor.invoker.runtime_info
                wake_function(backend, info["runtime_name"], info["runtime_memory"], policy, work.say, work.end)
            collection.submit_first()
        return collection.collect()
    finally:
        with _reported("calls could not be ended", work.warn):
            if invocations is not None:
                invocations.close(executor.invoker.executor)
            elif local is not None:
                local.close()
            else:
                handler.clear()
        with _reported("the objects of Lithops could not be listed", work.warn):
            _clean(executor, work.warn, possible=keys.problem is None)


@contextmanager
def _reported(what: str, warn: Say) -> Iterator[None]:
    """Report a failure of the cleaning up instead of raising it."""
    try:
        yield
    # Neither the outcomes nor the error of the run may be lost.
    except Exception as problem:  # noqa: BLE001
        warn(f"{what}: {type(problem).__name__}: {' '.join(str(problem).split())}")


@contextmanager
def _starting() -> Iterator[None]:
    """Turn any error that Lithops raises before the first call runs into one that says what to do."""
    try:
        yield
    except MaggjobError:
        raise
    except Exception as problem:
        said = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        word = refused_keys(said)
        if word is not None and "xpired" in word:
            raise ExpiredKeysError(f"Lithops could not start: {expiry_message(word)}") from problem
        hint = next((hint for text, hint in HINTS.items() if text in said), "'maggjob doctor' may show the cause")
        raise BackendError(f"Lithops could not start: {said}; {hint}") from problem


def _clean(executor: Any, warn: Say, *, possible: bool) -> None:
    """Delete what Lithops stored for this executor, and wait until it is deleted; report what remains."""
    storage, bucket = executor.internal_storage.storage, executor.internal_storage.bucket
    prefix = f"lithops.jobs/{executor.executor_id}"
    where = f"in the bucket {bucket}, below {prefix}: they are deleted after the days of KeepDays (runtime/README.md)"
    if not possible:
        warn(f"objects of Lithops remain {where}")
        return
    keys = storage.list_keys(bucket, prefix=prefix)
    if not keys:
        return
    try:
        answers = storage.delete_objects(bucket, keys)
    # botocore raises a dozen types.
    except Exception as problem:  # noqa: BLE001
        said = f"{type(problem).__name__}: {' '.join(str(problem).split())}"
        warn(f"{len(keys):,} objects of Lithops remain {where} ({said})")
        return
    # S3 answers 200 also where it has refused to delete some of the objects.
    refused = [error for one in answers or () if isinstance(one, dict) for error in one.get("Errors", ())]
    if refused:
        warn(f"{len(refused):,} objects of Lithops remain {where} ({refused[0].get('Code')})")
