"""A function, tasks and a deadline on Lithops: submit, watch, collect.

This module knows nothing of ATL06: it is handed an importable function and tasks, and gives back
an `Outcome` for every task, whatever became of it.
"""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml

from maggjob.errors import InputError, StoppedError
from maggjob.resources import default_workers

Task = TypeVar("Task")
Value = TypeVar("Value")

BACKENDS = {
    "localhost": "localhost",
    "local": "localhost",
    "aws_lambda": "aws_lambda",
    "lambda": "aws_lambda",
    "serial": "serial",
}
CONFIG_FILE = "lithops_config.yaml"
DEADLINE = 6 * 3600.0
GRACE = 10.0  # seconds from the end of the local process to the last answers being seen
POLL = 0.1  # seconds between two looks at the pending calls


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of one task."""

    value: Value | None = None
    """What the function returned; None when it did not."""
    reason: str | None = None
    """Why it did not: ``worker`` (it raised or died) or ``deadline``."""
    message: str | None = None
    """What is known about that."""


Watcher = Callable[[int, Outcome[Any]], None]
"""``watch(index, outcome)``, called in the caller's thread as each task ends."""


def resolve_backend(name: str) -> str:
    """The backend behind a name; ``local`` and ``lambda`` are short for localhost and aws_lambda.

    Raises
    ------
    InputError
        There is no such backend.
    """
    if name not in BACKENDS:
        raise InputError(f"backend {name!r} is unknown; known are {', '.join(BACKENDS)}")
    return BACKENDS[name]


def lithops_config(
    backend: str = "localhost",
    workers: int | None = None,
    given: Mapping[str, Any] | str | Path | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """The configuration that Lithops is handed.

    Parameters
    ----------
    backend : str
        localhost or aws_lambda.
    workers : int, optional
        Local processes; by default what cores and memory allow.
    given : mapping or path, optional
        Lithops' own configuration; by default lithops_config.yaml in ``folder``, else a built-in one
        for localhost. Lithops finds no file of that name by itself.
    folder : Path, optional
        By default the working directory.

    Raises
    ------
    InputError
        The file is not there, is no YAML mapping, or has no section for the backend.

    Examples
    --------
    >>> lithops_config(workers=2)["localhost"]["worker_processes"]
    2
    """
    source: str | Path | None = None
    content: Any = {}
    if isinstance(given, Mapping):
        content = dict(given)
    else:
        beside = (folder or Path()) / CONFIG_FILE
        source = given if given is not None else beside if beside.is_file() else None
    if source is not None:
        try:
            content = yaml.safe_load(Path(source).read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as problem:
            raise InputError(f"Lithops configuration {source}: {' '.join(str(problem).split())}") from problem
    if not isinstance(content, dict):
        raise InputError(f"Lithops configuration {source}: expected a mapping with a section 'lithops'")
    for key in {"lithops", backend} & content.keys():
        if not isinstance(content[key], Mapping):
            raise InputError(f"Lithops configuration {source}: section {key!r} is no mapping")
    config = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    general = config.setdefault("lithops", {})
    general["backend"] = backend
    general.setdefault("data_cleaner", False)  # we clean up ourselves; its process would outlive the run
    if backend == "localhost":
        general["storage"] = "localhost"
        local = config.setdefault("localhost", {})
        local.setdefault("version", 1)  # version 2 starts an interpreter a call
        local.setdefault("runtime", sys.executable)
        local["worker_processes"] = workers or default_workers()
    elif backend not in config:
        raise InputError(f"Lithops configuration {source or '(none)'} has no section {backend!r}; add one")
    return config


def run_tasks(
    function: Callable[[Task], Value],
    tasks: Sequence[Task],
    *,
    backend: str = "localhost",
    config: Mapping[str, Any] | None = None,
    deadline: float = DEADLINE,
    watch: Watcher | None = None,
) -> list[Outcome[Value]]:
    """Call a function on every task.

    Parameters
    ----------
    function : callable
        Importable by name where the calls run; takes one task.
    tasks : sequence
        Picklable; Lithops starts them in this order.
    backend : str
        ``serial`` calls it here, one task after the other; any other goes through Lithops.
    config : mapping, optional
        From `lithops_config`.
    deadline : float
        Seconds after which what has not ended is given up.
    watch : callable, optional
        Called as each task ends.

    Returns
    -------
    list of Outcome
        In the order of the tasks.

    Raises
    ------
    StoppedError
        Interrupted from the keyboard.
    """
    if not tasks:
        return []
    end = time.monotonic() + deadline
    note = watch or (lambda index, outcome: None)
    try:
        if backend == "serial":
            return _serial(function, tasks, end, note)
        return _lithops(function, tasks, dict(config or {}), end, note)
    except KeyboardInterrupt:
        raise StoppedError(f"stopped from the keyboard, before all of the {len(tasks)} tasks had ended") from None


def _late(deadline_end: float) -> Outcome[Any] | None:
    if time.monotonic() < deadline_end:
        return None
    return Outcome(reason="deadline", message="did not end before the deadline; run again, or raise --deadline")


def _serial(
    function: Callable[[Task], Value], tasks: Sequence[Task], end: float, note: Watcher
) -> list[Outcome[Value]]:
    """The readable specification of every other backend."""
    outcomes: list[Outcome[Value]] = []
    for index, task in enumerate(tasks):
        outcome = _late(end)
        if outcome is None:
            try:
                outcome = Outcome(value=function(task))
            except KeyboardInterrupt:
                raise
            except BaseException as problem:  # noqa: BLE001  # whatever it is, it is recorded
                outcome = Outcome(reason="worker", message="".join(traceback.format_exception(problem)))
        outcomes.append(outcome)
        note(index, outcome)
    return outcomes


def _lithops(
    function: Callable[[Task], Value], tasks: Sequence[Task], config: dict[str, Any], end: float, note: Watcher
) -> list[Outcome[Value]]:
    import lithops  # 1 s

    logger = logging.getLogger("lithops")  # given a log_level, Lithops closes the caller's own handlers
    level = logger.level
    logger.setLevel(os.environ.get("MAGGJOB_LITHOPS_LOG", "ERROR"))
    try:
        with lithops.FunctionExecutor(config=config, log_level=None) as executor:
            futures = executor.map(function, list(tasks), include_modules=None)
            try:
                return _watch(executor, futures, end, note)
            finally:
                _clean(executor)
    finally:
        logger.setLevel(level)


def _watch(executor: Any, futures: Sequence[Any], end: float, note: Watcher) -> list[Outcome[Any]]:
    """Collect outcomes until none is pending or the deadline has come."""
    from lithops.wait import ALWAYS

    outcomes: list[Outcome[Any] | None] = [None] * len(futures)
    pending = dict(enumerate(futures))
    gone: float | None = None  # since when the local process that runs the calls has been gone
    while pending:
        # ALWAYS looks once and returns: other ways of waiting have no end of their own, or need SIGALRM
        executor.wait(
            list(pending.values()),
            throw_except=False,
            return_when=ALWAYS,
            download_results=True,
            show_progressbar=False,
            clean_jobs=False,
        )
        late = _late(end)
        ended = {index: _outcome(future) for index, future in pending.items() if future.done}
        if getattr(executor.compute_handler, "job_manager", executor) is None:  # Lithops tells it nowhere else
            gone = gone if gone is not None else time.monotonic()
            if late is None and time.monotonic() - gone > GRACE:
                late = Outcome(reason="worker", message="the local process ended before this call did; run again")
        if late is not None:
            ended |= dict.fromkeys(pending.keys() - ended.keys(), late)
        for index, outcome in sorted(ended.items()):
            outcomes[index] = outcome
            del pending[index]
            note(index, outcome)
        if pending and not ended:
            time.sleep(POLL)
    return [outcome for outcome in outcomes if outcome is not None]


def _outcome(future: Any) -> Outcome[Any]:
    """Of a future that is done: success, error, or unknown."""
    if future.error or future._state != future.State.Done:  # noqa: SLF001  # Lithops tells it nowhere else
        problem = future._exception  # noqa: SLF001
        text = "".join(traceback.format_exception(*problem)) if isinstance(problem, tuple) else str(problem)
        return Outcome(reason="worker", message=text.strip() or "the worker ended without an answer")
    return Outcome(value=future.result(throw_except=False))


def _clean(executor: Any) -> None:
    """Delete what Lithops stored for this executor, here and now."""
    storage, bucket = executor.internal_storage.storage, executor.internal_storage.bucket
    keys = storage.list_keys(bucket, prefix=f"lithops.jobs/{executor.executor_id}")
    if keys:
        storage.delete_objects(bucket, keys)
