"""A clock that tests move on, in place of the module `time` where a deadline is watched."""

import time
from typing import Any


class JumpingClock:
    """The true clock until so many tasks have ended, and a day later from then on."""

    def __init__(self, after: int) -> None:
        self.left = after

    def count(self, index: int, outcome: Any) -> None:
        """Watch the tasks of a run."""
        self.left -= 1

    def monotonic(self) -> float:
        """Return seconds."""
        return time.monotonic() + (86400.0 if self.left <= 0 else 0.0)

    def sleep(self, seconds: float) -> None:
        """Wait, by the true clock."""
        time.sleep(min(seconds, 1.0))
