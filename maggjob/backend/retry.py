"""TODO backend.retry."""

from dataclasses import dataclass

NO_CONNECTION = 0
"""In place of a status, where there was no answer."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds, and how often to try. For serverless backends."""

    start: float = 60.0
    """Until an accepted call that does not start while there is room for it is submitted again."""
    never: float = 360.0
    """Until it is given up: AWS itself may wait five minutes before it tries an event again."""
    put_off: float = 300.0
    """For which a call that the backend does not take now (429, 5xx, no connection) is offered again."""
    slow: float = 60.0
    """A call that runs for longer than this, and ten times longer than half of the others, gets a backup."""
    attempts: int = 2
    """How often a task is submitted at most."""


def temporary(status: int | None) -> bool:
    """Whether trying again may help: throttled, out of order, or no connection."""
    return status is not None and (status in (NO_CONNECTION, 429) or status >= 500)
