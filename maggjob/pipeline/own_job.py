"""The public entrance to a session, for jobs of one's own (docs/own-job.md)."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from maggjob.errors import InputError
from maggjob.inputs.places import store_place
from maggjob.pipeline.session import RunDescription, Session, SessionOptions


def session(
    store: str | Path,
    *,
    total: int = 1,
    unit: str = "tasks",
    window: str = "all",
    digest: object = None,
    urls: Sequence[str] = (),
    **options: Any,
) -> Session:
    """Begin a run of a job of your own (docs/own-job.md); use it as a context manager.

    Parameters
    ----------
    store : str or Path
        Path or s3:// URL of the result, which the job writes; the run keeps its files in ``<store>.run``.
    total : int
        Number of tasks, or of whatever the job counts.
    unit : str
        What is counted.
    window : str
        Label of what the run covers.
    digest : object
        Plain values that determine the result, such as settings: two runs of other settings are told apart.
    urls : sequence of str
        URLs that are read from NASA's archive: for these, workers get credentials.
    **options
        Fields of `SessionOptions`: ``backend``, ``max_workers``, ``region``, ``lithops_config``, ``deadline``,
        ``watch`` and ``max_cost``.

    Raises
    ------
    InputError
        If an option is unknown or invalid, or workers on Lambda cannot reach the store or a URL.

    Examples
    --------
    >>> def magnitude(number):
    ...     return abs(number)
    >>> with session("means", total=2, unit="numbers", backend="serial") as run:
    ...     outcomes = run.map("map", magnitude, [-1, 2])
    ...     summary = run.finish({"sum": sum(outcome.value for outcome in outcomes)})
    >>> summary["sum"], summary["complete"]
    (3, True)
    """
    unknown = sorted(options.keys() - {one.name for one in fields(SessionOptions)})
    if unknown:
        known = ", ".join(one.name for one in fields(SessionOptions))
        raise InputError(f"session has no option {unknown[0]!r}; known are {known}")
    if isinstance(total, bool) or not isinstance(total, int) or total < 0:
        raise InputError(f"total is {total!r}; give the number of {unit}, 0 or more")
    plain = json.dumps(digest, sort_keys=True, default=str)
    digests = {"run": hashlib.sha256(plain.encode()).hexdigest()}
    run = RunDescription(store_place(store), window, {unit: total}, digests, list(urls))
    return Session(run, SessionOptions(**options))
