"""The lock of a run's folder: at most one run works on a store, on whatever machine.

The lock is an object ``lock-N.json`` that only one process can create (O_EXCL locally, If-None-Match on S3). It says
who holds it, and the holder writes it again every `BEAT` seconds. If its process has ended, or has been silent for
`STALE` seconds on another host, the next run takes the lock over by creating number N + 1: of several that try, one
succeeds. Whoever finds that a higher number exists has lost the lock, and must not publish.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from maggjob.errors import ExistsError, StoppedError, StoreError
from maggjob.storage.folder import Folder
from maggjob.storage.owner import Owner, is_gone, me

LOG = logging.getLogger(__name__)
PREFIX = "lock-"
"""Beginning of the keys of locks."""
BEAT = 30.0
"""Seconds between two signs of life of a holder."""
STALE = 300.0
"""Seconds of silence, by the store's clock, after which a holder on another host is taken to have ended."""
TRIES = 5
"""Attempts to take a lock that others try to take at the same time."""

_given_back: set[str] = set()
"""Tokens of the locks that this process has given back, some of which could not be deleted."""


class RunLock:
    """The lock of a run's folder, held by this process.

    Parameters
    ----------
    folder : Folder
        Folder of the run.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder, self.owner = folder, me()
        self.taken_from: Owner | None = None
        """Who held the lock before, if it was taken over."""
        self._key = ""
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        ExistsError
            If another run holds it.
        StoreError
            If the folder cannot be read or written.
        """
        for _ in range(TRIES):
            held = self._held()
            self._check_all_gone(held)
            self._key = f"{PREFIX}{max(held, default=0) + 1:06d}.json"
            if not self.folder.create(self._key, self.owner.to_json()):
                continue
            try:
                # A run may have begun and ended since the first look, and another one begun.
                self._check_all_gone(self._held(), but=self.owner)
            except ExistsError:
                self.folder.delete([self._key])
                raise
            self.taken_from = held[max(held)][0] if held else None
            self._beat = threading.Thread(target=self._keep, daemon=True, name="run-lock")
            self._beat.start()
            return
        raise ExistsError(f"{self.folder.url}: other runs take its lock again and again; try later")

    def _held(self) -> dict[int, tuple[Owner, datetime]]:
        """Return the holder of each lock, and when it last wrote it, by number."""
        found = {}
        for key, written in self.folder.times().items():
            if key.startswith(PREFIX):
                content = self.folder.find(key)
                # A lock that cannot be read is being written, or of another version: its holder is unknown.
                with suppress(ValueError):
                    number = int(key.removeprefix(PREFIX).removesuffix(".json"))
                    if content is not None:
                        found[number] = (Owner.from_json(content), written)
        return found

    def _check_all_gone(self, held: dict[int, tuple[Owner, datetime]], but: Owner | None = None) -> None:
        """Check that no lock has a holder that may be alive."""
        others = [(owner, written) for owner, written in held.values() if owner != but]
        if not others:
            return
        now = self._now()
        for owner, written in others:
            silent = (now - written).total_seconds()
            if not (is_gone(owner) or owner.token in _given_back or silent > STALE):
                seen = f"last seen {max(0.0, silent):.0f} s ago"
                raise ExistsError(
                    f"another run is at work in {self.folder.url}: process {owner.pid} of {owner.host.split()[0]}, "
                    f"{seen}; wait until it ends, or stop it"
                )

    def _now(self) -> datetime:
        """Return the time by the store's clock."""
        key = f".maggjob-{self.owner.token}"
        self.folder.put(key, b"")
        now = self.folder.modified(key)
        self.folder.delete([key])
        return now

    def _keep(self) -> None:
        """Write the lock again and again, so that others see that this process lives."""
        while not self._stop.wait(BEAT):
            # A beat that is lost is not the end; a folder that is gone is found when the run writes to it.
            with suppress(StoreError):
                if self.folder.has(self._key):
                    self.folder.put(self._key, self.owner.to_json())

    def check(self) -> None:
        """Check that this process still holds the lock; call it before anything is published.

        Raises
        ------
        StoppedError
            If another run has taken it over.
        """
        held = self._held()
        top = held[max(held)][0] if held else None
        if top != self.owner:
            who = "nobody" if top is None else f"process {top.pid} of {top.host.split()[0]}"
            raise StoppedError(
                f"the lock of {self.folder.url} is held by {who} now: this run was silent for too long, and publishes "
                "nothing; run the same command again"
            )

    def release(self) -> None:
        """Give the lock back."""
        _given_back.add(self.owner.token)
        self._stop.set()
        if self._beat is not None:
            self._beat.join()
        # What was taken over goes first, so that no one sees it as the highest.
        own = int(self._key.removeprefix(PREFIX).removesuffix(".json"))
        older = [f"{PREFIX}{number:06d}.json" for number in self._held() if number < own]
        self.folder.delete(older)
        self.folder.delete([self._key])


@contextmanager
def locked(folder: Folder) -> Iterator[RunLock]:
    """Hold the lock of a run's folder while the block runs.

    Raises
    ------
    ExistsError
        If another run holds it.
    """
    lock = RunLock(folder)
    lock.acquire()
    try:
        yield lock
    finally:
        # The run's own error matters more.
        try:
            lock.release()
        except StoreError as problem:
            LOG.warning(
                "the lock of %s remains: another machine must wait five minutes before it runs there: %s",
                folder.url,
                problem,
            )
