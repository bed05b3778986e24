"""Jobs on this machine: each runs beside the others, and a call whose process has ended is known to be lost.

Lithops runs one job after the other, so a call that is submitted again would wait until all others have ended; and it
does not report a call whose worker was killed. Here each job runs in a thread of its own, and every worker notes which
call it works on (`maggjob.backend.preload`). A worker that is gone will not answer.
"""

import threading
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from maggjob.backend.invoke import Key
from maggjob.backend.preload import CALLS
from maggjob.storage.owner import Owner, is_gone


class LocalJobs:
    """Replacement for the ``invoke`` method of Lithops' handler of local jobs.

    Parameters
    ----------
    handler : lithops.localhost.v1.localhost.LocalhostHandler
    root : Path
        Lithops' folder of this run.
    """

    def __init__(self, handler: Any, root: Path) -> None:
        self.alone = False
        """Whether jobs that are submitted now wait until the first job has ended: for calls that ran out of memory."""
        self._handler, self._notes = handler, root / CALLS
        # Ids of the jobs that have ended.
        self._ended: set[str] = set()
        self._first: threading.Thread | None = None
        # Jobs after the first replace calls that were lost: one at a time beside the workers of the first.
        self._one_by_one = threading.Lock()
        self._owners: dict[Key, Owner] = {}
        self._threads: list[threading.Thread] = []
        self._keys: list[str] = []
        handler.invoke = self

    def __call__(self, payload: Mapping[str, Any]) -> None:
        """Start a job."""
        filename = self._handler.env.prepare_job_file(payload)
        waits_for = self._first if self.alone else None
        arguments = (payload, filename, self._first is not None, waits_for)
        thread = threading.Thread(target=self._run, args=arguments, daemon=True, name="maggjob-local-job")
        self._first = self._first or thread
        self._threads.append(thread)
        self._keys.append(str(payload["job_key"]))
        thread.start()

    def _run(
        self, payload: Mapping[str, Any], filename: str, replaces: bool, waits_for: threading.Thread | None
    ) -> None:
        try:
            if waits_for is not None:
                waits_for.join()
            with self._one_by_one if replaces else nullcontext():
                self._handler._run_queued_job(payload, filename)  # noqa: SLF001
        finally:
            self._ended.add(str(payload["job_id"]))

    def lost(self, key: Key, executor: str) -> bool:
        """Return True if a call without a status will never have one: its job has ended, or its worker is gone.

        Parameters
        ----------
        key : (str, str)
            Lithops' ids of the job and of the call.
        executor : str
            Lithops' id of the executor.
        """
        if key[0] in self._ended:
            return True
        if key not in self._owners:
            try:
                self._owners[key] = Owner.from_json((self._notes / f"{executor}-{key[0]}-{key[1]}").read_bytes())
            except (OSError, ValueError):
                # It has not begun, or its note is being written.
                return False
        return is_gone(self._owners[key])

    def close(self) -> None:
        """End all jobs that still run: of a run that was stopped, or calls that were given up."""
        # By name, so that one that is about to start is not started.
        self._handler.env.stop(self._keys)
        self._handler.clear()
        for thread in self._threads:
            thread.join(5.0)
