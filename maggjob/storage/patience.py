"""How long a request waits for a store that does not answer: an outage of a minute must not lose a cell.

obstore itself asks a few times within three seconds. What still fails, and may succeed later, is asked again with
growing pauses, until the store has not answered any request for `PATIENCE`. So a store that stays away costs each
worker that time once, not once for every request. A store that nobody has reached yet is not waited for: a wrong
address, or a network that is not there, is told within seconds.
"""

import os
import random
import re
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from maggjob.errors import InputError
from maggjob.storage.stores import cause_of, first_line

PATIENCE = 75.0
"""Seconds; the environment variable MAGGJOB_PATIENCE overrides it."""
VARIABLE = "MAGGJOB_PATIENCE"
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
"""Seconds of the first pause, and of the longest."""
ANSWERED = re.compile(r"status code: (429|5\d\d)\b|SlowDown|response body error")
"""Text of obstore's errors that may not happen again, of servers that have answered."""
TEMPORARY = re.compile(rf"{ANSWERED.pattern}|HTTP error|error sending request")
"""Text of all errors of obstore that may not happen again."""
T = TypeVar("T")


def patience() -> float:
    """Return the number of seconds to wait for a store that does not answer.

    Raises
    ------
    InputError
        If the environment variable is not a number of seconds.
    """
    text = os.environ.get(VARIABLE, "")
    try:
        found = float(text) if text else PATIENCE
    except ValueError:
        found = -1.0
    if not 0.0 <= found < 1e6:
        raise InputError(f"{VARIABLE} is {text!r}; give a number of seconds, such as 75")
    return found


def is_temporary(problem: BaseException) -> bool:
    """Return True if a request failed because of the network or the server, and may succeed later.

    Parameters
    ----------
    problem : BaseException
        What obstore raised.
    """
    if type(problem).__name__ != "GenericError" or "certificate" in (cause_of(problem) or ""):
        return False
    return TEMPORARY.search(first_line(problem)) is not None


def pause(attempt: int, draw: float) -> float:
    """Return the seconds to wait before another attempt.

    Parameters
    ----------
    attempt : int
        Number of failed attempts before this one, from 0.
    draw : float
        Random number from 0 to 1: workers that failed together should not ask together.
    """
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt, 10)) * (0.5 + draw / 2)


class Outage:
    """The time since which a store has answered none of the requests of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, reached: bool = False) -> None:
        self.reached = reached
        """Whether the store has answered before, in this process or in the client."""
        self._clock = clock
        self._since: float | None = None
        self._lock = threading.Lock()

    def end(self) -> None:
        """Note that the store has answered."""
        self._since, self.reached = None, True

    def begin(self) -> float:
        """Note that a request has failed; return the time since which all have."""
        with self._lock:
            if self._since is None:
                self._since = self._clock()
            return self._since

    def patiently(self, ask: Callable[[], T], wait: Callable[[float], object] = time.sleep) -> T:
        """Return what a request returns, asking again while it fails for a cause that may pass.

        Parameters
        ----------
        ask : callable
            Sends the request.
        wait : callable
            Waits for some seconds.

        Raises
        ------
        Exception
            If the request fails for a cause that will not pass, or it or all requests have failed for longer than
            `patience`: what it raised last.
        """
        began, attempt = self._clock(), 0
        while True:
            try:
                found = ask()
            except Exception as problem:
                self.reached |= ANSWERED.search(first_line(problem)) is not None
                longest = patience() if self.reached else 0.0
                if not is_temporary(problem) or self._clock() - min(began, self.begin()) >= longest:
                    raise
                wait(pause(attempt, random.random()))  # noqa: S311
                attempt += 1
            else:
                self.end()
                return found
