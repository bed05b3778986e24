"""The retry policy: when a call on a serverless backend is tried again, waited for, or given up."""

from dataclasses import dataclass

NO_CONNECTION = 0
"""In place of a status, where there was no answer."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for what, and how often to try. For serverless backends."""

    offer_for: float = 300.0
    """Seconds for which a call that the backend does not take (429, 5xx, no connection) is offered again."""
    resubmit_after: float = 60.0
    """Seconds with room and without a start, after which tasks that wait are submitted again."""
    give_up_after: float = 360.0
    """Seconds of the same, after which tasks that may not be submitted again are given up. AWS itself may wait five
    minutes before it tries an event again."""
    backup_after: float = 60.0
    """Seconds for which a call must have run before its task gets a backup."""
    max_submissions: int = 2
    """How often a task is submitted, at most."""


def is_temporary(status: int | None) -> bool:
    """Whether trying again may help: throttled, out of order, or no connection."""
    return status is not None and (status in (NO_CONNECTION, 429) or status >= 500)
