"""A limit on what the calls of one command may cost on Lambda: a running sum, compared while calls run.

The sum holds what ended calls have cost, and for each call under way the time it has run so far, or that of an average
call if it has run less. A run is stopped before the sum passes the limit, as far as the calls under way allow: they end
by themselves, and what they write is kept. Each command counts from zero, also one that resumes a run.
"""

from collections.abc import Iterable

from maggjob.backend.bill import Prices
from maggjob.backend.outcome import Outcome
from maggjob.errors import InputError, SpendError


class SpendGuard:
    """The running sum of what the calls of a command cost.

    Parameters
    ----------
    limit : float or None
        US dollars; None to sum without a limit.
    memory_mb : float
        Memory of a worker, MB.
    call_dollars : float
        Cost of a call apart from its seconds: its requests and logs.
    prices : Prices, optional
        By default the prices of `Prices.date`.
    """

    def __init__(
        self, limit: float | None, memory_mb: float, call_dollars: float, prices: Prices | None = None
    ) -> None:
        self.limit, self.call_dollars = limit, call_dollars
        self.second = memory_mb / 1024 * (prices or Prices()).gb_second
        """US dollars per second of a worker."""
        self.spent = 0.0
        """US dollars that ended calls have cost."""
        self._ended = 0
        self._seconds = 0.0

    def add(self, outcome: Outcome[object], seconds: float | None = None) -> None:
        """Add an ended task, with all its submissions.

        Parameters
        ----------
        outcome : Outcome
        seconds : float, optional
            Seconds that its last call was seen running, for a call that told nothing.
        """
        call = outcome.call
        takes = call.billed if call.billed is not None else seconds or 0.0
        # Of earlier submissions nothing is known.
        self.spent += call.attempts * (takes * self.second + self.call_dollars)
        self._seconds += takes
        self._ended += 1

    def check(self, running: Iterable[float]) -> None:
        """Check that the calls under way do not pass the limit.

        Parameters
        ----------
        running : iterable of float
            Seconds that each of the calls under way has run so far; 0 for one that has not started.

        Raises
        ------
        SpendError
            If they do.
        """
        if self.limit is None:
            return
        mean = self._seconds / self._ended if self._ended else 0.0
        under_way = sum(max(takes, mean) * self.second + self.call_dollars for takes in running)
        if self.spent + under_way > self.limit:
            raise SpendError(
                f"stopped at the limit of ${self.limit:g}: ended calls have cost about ${self.spent:.4f}, those under "
                f"way about ${under_way:.4f}; what is done is kept; raise --max-cost (max_cost), or leave it to spend "
                "as much once more"
            )


def check_limit(limit: float | None) -> None:
    """Check that a limit is a positive number of dollars.

    Raises
    ------
    InputError
        If it is not.
    """
    number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
    if limit is not None and not (number and 0 < limit < float("inf")):
        raise InputError(f"max_cost is {limit!r}; give US dollars, more than 0")
