"""The folder of a run: it must be writable, and a run that cannot go on leaves nothing in it."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from maggjob.errors import BackendError, ConfigError, StoreError
from maggjob.storage.folder import Folder
from maggjob.storage.urls import is_remote, local_path

NOTHING_TO_RESUME = (BackendError, ConfigError)
"""Errors after which the same run would fail again: what it wrote to its folder is deleted."""
LOG = logging.getLogger(__name__)


@contextmanager
def own_folder(url: str, region: str | None, has_work: Callable[[], bool]) -> Iterator[None]:
    """Check that a run's folder can be written, and delete what the run wrote to it if there is nothing to resume.

    Parameters
    ----------
    url : str
        Path or URL of the folder.
    region : str or None
        Region of the bucket.
    has_work : callable
        Returns True if a stage has ended with answers.
    """
    folder = Folder(url, region, create=True)
    folder.probe()
    before = set(folder.keys())
    try:
        yield
    except NOTHING_TO_RESUME as problem:
        if ends_for_good(problem, has_work()):
            # The error of the run is told in any case.
            try:
                _leave_nothing(folder, before)
            except (StoreError, OSError) as left:
                LOG.warning("what the run wrote to %s remains: %s", url, left)
        raise


def _leave_nothing(folder: Folder, before: set[str]) -> None:
    """Delete what a run wrote to its folder."""
    folder.delete(set(folder.keys()) - before)
    if not before and not is_remote(folder.url):
        for empty, _, _ in os.walk(local_path(folder.url), topdown=False):
            Path(empty).rmdir()


def ends_for_good(problem: BaseException, has_work: bool) -> bool:
    """Return True if the same run would fail again.

    A backend that refuses calls after it has answered others may accept them later.

    Parameters
    ----------
    problem : BaseException
        The error that ends the run.
    has_work : bool
        Whether a stage has ended with answers.
    """
    return isinstance(problem, NOTHING_TO_RESUME) and not (isinstance(problem, BackendError) and has_work)
