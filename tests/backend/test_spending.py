"""The limit on what a command may cost: a running sum by hand, and what it stops."""

import pytest

from maggjob.backend.bill import Prices
from maggjob.backend.outcome import Call, Outcome
from maggjob.backend.spending import SpendGuard, check_limit
from maggjob.errors import InputError, SpendError, StoppedError

SECOND = 1.5 * Prices().gb_second
"""US dollars of a second of a worker of 1,536 MB."""


def ended(billed: float | None, attempts: int = 1) -> Outcome[object]:
    return Outcome(value=1, call=Call(billed=billed, attempts=attempts))


def guard(limit: float | None) -> SpendGuard:
    return SpendGuard(limit, 1536, 1e-5)


def test_the_sum_by_hand() -> None:
    sums = guard(None)
    sums.add(ended(2.0))
    assert sums.spent == pytest.approx(2 * SECOND + 1e-5)
    sums.add(ended(3.0, attempts=2))  # of the first submission nothing is known: it is taken for a second like it
    assert sums.spent == pytest.approx(8 * SECOND + 3e-5)
    sums.add(Outcome(reason="died", call=Call()), 10.0)
    assert sums.spent == pytest.approx(18 * SECOND + 4e-5)
    sums.check([1e9])  # without a limit, nothing stops


def test_what_is_under_way_counts() -> None:
    sums = guard(20 * SECOND + 3.5e-5)
    sums.add(ended(4.0))
    # Calls that have not run as long as an average one count as much as it does.
    sums.check([0.0, 7.0])
    with pytest.raises(SpendError, match="limit of") as stop:
        sums.check([0.0] * 4)
    assert isinstance(stop.value, StoppedError)
    assert "--max-cost" in str(stop.value)
    with pytest.raises(SpendError):
        sums.check([17.0])
    sums.check([])


def test_nothing_is_stopped_before_it_costs_something() -> None:
    guard(1e-9).check([])
    with pytest.raises(SpendError):
        guard(1e-9).check([0.0])


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf"), "5", True])
def test_a_limit_is_a_number_of_dollars(limit: object) -> None:
    with pytest.raises(InputError, match="max_cost is"):
        check_limit(limit)  # type: ignore[arg-type]


def test_limits_that_are_good() -> None:
    for limit in (None, 1, 0.05):
        check_limit(limit)
