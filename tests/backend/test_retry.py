"""The retry policy, as tables and properties of pure functions: times are numbers, and nobody waits."""

import ast
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from maggjob.backend import retry
from maggjob.backend.retry import (
    NO_CONNECTION,
    ONE_SUBMISSION,
    FunctionState,
    History,
    Look,
    RetryPolicy,
    Stall,
    Unstarted,
    decide_function,
    decide_unstarted,
    ends_task,
    find_stragglers,
    is_temporary,
    may_offer_again,
    may_submit_again,
    update_stall,
)

POLICY = RetryPolicy()
REASONS = (None, "worker", "died", "never_started", "refused", "deadline")
# Whole seconds: their sums and differences are exact.
SECONDS = st.integers(0, 10_000).map(float)
STATUSES = st.one_of(st.none(), st.just(NO_CONNECTION), st.integers(100, 599))
HISTORIES = st.builds(History, st.integers(1, 5), st.sampled_from(REASONS))
WAITING = st.dictionaries(st.integers(0, 50), HISTORIES, max_size=8)
POLICIES = st.builds(
    RetryPolicy,
    offer_for=SECONDS,
    resubmit_after=SECONDS,
    give_up_after=SECONDS,
    backup_after=SECONDS,
    backup_factor=st.integers(1, 20).map(float),
    max_submissions=st.integers(1, 5),
)
LOOKS = st.builds(Look, SECONDS, st.integers(0, 20), st.booleans(), st.none() | SECONDS)
STALLS = st.builds(Stall, st.none() | SECONDS, st.integers(0, 20))


def test_the_policy_knows_no_clock() -> None:
    nodes = list(ast.walk(ast.parse(Path(str(retry.__file__)).read_text())))
    assert {node.module for node in nodes if isinstance(node, ast.ImportFrom)} == {
        "collections.abc",
        "dataclasses",
        "maggjob.errors",
        "typing",
    }
    assert not [node for node in nodes if isinstance(node, ast.Import)]


# ---- 1. the backend does not take a call


@pytest.mark.parametrize(
    ("status", "put_off", "again"),
    [
        (429, 0.0, True),
        (429, 299.0, True),
        (429, 300.0, False),
        (500, 10.0, True),
        (503, 10.0, True),
        (503, 1000.0, False),
        (NO_CONNECTION, 10.0, True),
        (NO_CONNECTION, 300.0, False),
        (None, 0.0, False),
        (400, 0.0, False),
        (403, 0.0, False),
        (404, 0.0, False),
        (413, 0.0, False),
    ],
)
def test_what_may_pass_is_offered_again_for_five_minutes(status: int | None, put_off: float, again: bool) -> None:
    assert may_offer_again(POLICY, status, put_off) == again


@given(POLICIES, STATUSES, SECONDS)
def test_what_does_not_pass_is_refused_at_once(policy: RetryPolicy, status: int | None, put_off: float) -> None:
    again = may_offer_again(policy, status, put_off)
    assert again == (is_temporary(status) and put_off < policy.offer_for)
    if again:
        assert may_offer_again(policy, status, 0.0)
    assert not may_offer_again(policy, status, policy.offer_for)


# ---- 3 and 5. a call has ended, and its task may be submitted once more


@pytest.mark.parametrize(
    ("reason", "ends"),
    [
        (None, True),
        ("worker", True),
        ("never_started", True),
        ("deadline", True),
        ("died", False),
        ("lost", False),
        ("refused", False),
    ],
)
def test_an_answer_ends_a_task_and_a_lost_call_does_not(reason: str | None, ends: bool) -> None:
    assert ends_task(reason) == ends


@pytest.mark.parametrize(
    ("submissions", "last_failure", "again"),
    [(1, None, True), (1, "died", True), (1, "refused", False), (2, None, False), (2, "died", False), (3, None, False)],
)
def test_a_task_is_submitted_twice_at_most(submissions: int, last_failure: str | None, again: bool) -> None:
    assert may_submit_again(POLICY, History(submissions, last_failure)) == again
    assert not may_submit_again(ONE_SUBMISSION, History(submissions, last_failure))


@given(POLICIES, st.sampled_from([None, "died"]))
def test_a_task_that_is_never_refused_is_submitted_as_often_as_the_policy_says(
    policy: RetryPolicy, last_failure: str | None
) -> None:
    history = History(last_failure=last_failure)
    while may_submit_again(policy, history):
        history = replace(history, submissions=history.submissions + 1)
    assert history.submissions == policy.max_submissions


# ---- 2. a call was accepted and does not start


@pytest.mark.parametrize(
    ("before", "look", "after"),
    [
        # nothing runs: there is room from now on, or from when the last call was accepted
        (Stall(), Look(100.0, 0, False, 90.0), Stall(100.0, 0)),
        (Stall(50.0), Look(100.0, 0, False, 40.0), Stall(50.0, 0)),
        (Stall(50.0), Look(100.0, 0, False, 90.0), Stall(90.0, 0)),
        (Stall(0.0), Look(100.0, 0, False, 0.0), Stall(0.0, 0)),
        # a call that is accepted during the look
        (Stall(50.0), Look(100.0, 0, False, 100.5), Stall(100.5, 0)),
        # as many run as ever did: no room
        (Stall(50.0, 3), Look(100.0, 3, False, 90.0), Stall(None, 3)),
        (Stall(50.0, 3), Look(100.0, 4, True, 90.0), Stall(None, 4)),
        # less run than once did: there is room
        (Stall(None, 3), Look(100.0, 2, False, 90.0), Stall(100.0, 3)),
        (Stall(95.0, 3), Look(100.0, 2, False, 90.0), Stall(95.0, 3)),
        # a call has started: the stall begins anew
        (Stall(50.0, 3), Look(100.0, 2, True, 40.0), Stall(100.0, 3)),
        # no call waits
        (Stall(50.0, 3), Look(100.0, 0, False, None), Stall(None, 3)),
    ],
)
def test_a_stall_is_room_without_a_start(before: Stall, look: Look, after: Stall) -> None:
    assert update_stall(before, look) == after


@given(STALLS, LOOKS)
def test_a_stall_is_never_longer_than_what_was_seen(before: Stall, look: Look) -> None:
    after = update_stall(before, look)
    assert after.most_running == max(before.most_running, look.running)
    if after.since is None:
        assert look.last_accepted is None or look.running == after.most_running > 0
        assert after.seconds(look.now) == 0.0
    else:
        assert look.last_accepted is not None
        assert look.running == 0 or look.running < after.most_running
        assert after.since >= look.last_accepted
        assert after.since >= (look.now if look.started or before.since is None else before.since)
        assert after.since in (look.now, before.since, look.last_accepted)


@given(st.lists(LOOKS, min_size=2, max_size=8))
def test_a_stall_goes_on_from_look_to_look(looks: list[Look]) -> None:
    stalls = [Stall()]
    for look in sorted(looks, key=lambda one: one.now):
        accepted = None if look.last_accepted is None else min(look.last_accepted, look.now)
        stalls.append(update_stall(stalls[-1], replace(look, last_accepted=accepted)))
    for one, two in pairwise(stalls):
        assert two.most_running >= one.most_running
        if one.since is not None and two.since is not None:
            assert two.since >= one.since


FRESH, TWICE, REFUSED = History(), History(2), History(1, "refused")


@pytest.mark.parametrize(
    ("stalled", "waiting", "todo"),
    [
        (0.0, {0: FRESH}, Unstarted()),
        (60.0, {0: FRESH}, Unstarted()),
        (61.0, {0: FRESH}, Unstarted(submit_again=(0,))),
        (61.0, {}, Unstarted()),
        (61.0, {3: FRESH, 1: TWICE, 2: FRESH}, Unstarted(submit_again=(3, 2))),
        (61.0, {0: TWICE}, Unstarted()),
        (61.0, {0: REFUSED}, Unstarted()),
        (360.0, {0: TWICE}, Unstarted()),
        (361.0, {0: TWICE, 4: REFUSED}, Unstarted(give_up=(0, 4))),
        (361.0, {0: TWICE, 1: FRESH}, Unstarted(submit_again=(1,))),
    ],
)
def test_tasks_that_do_not_start_are_submitted_again_and_then_given_up(
    stalled: float, waiting: dict[int, History], todo: Unstarted
) -> None:
    assert decide_unstarted(POLICY, stalled, waiting) == todo


@given(POLICIES, SECONDS, WAITING)
def test_no_task_is_given_up_that_may_be_submitted_again(
    policy: RetryPolicy, stalled: float, waiting: dict[int, History]
) -> None:
    todo = decide_unstarted(policy, stalled, waiting)
    allowed = [index for index, history in waiting.items() if may_submit_again(policy, history)]
    assert todo.submit_again in ((), tuple(allowed))
    assert todo.give_up in ((), tuple(waiting))
    if todo.submit_again:
        assert stalled > policy.resubmit_after
        assert not todo.give_up
    if todo.give_up:
        assert stalled > max(policy.resubmit_after, policy.give_up_after)
        assert not allowed
    assert decide_unstarted(policy, stalled, {}) == Unstarted()


SHORT = st.integers(0, 200).map(float)


@given(
    st.builds(RetryPolicy, resubmit_after=SHORT, give_up_after=SHORT, max_submissions=st.integers(1, 4)),
    st.integers(1, 100),
)
def test_a_call_that_never_starts_is_given_up_in_the_end(policy: RetryPolicy, step: int) -> None:
    """A whole run of one task, whose calls are accepted at once and never start; a look every ``step`` seconds."""
    now, accepted, stall, history = 0.0, [0.0], Stall(), History()
    todo = Unstarted()
    while not todo.give_up:
        now += step
        stall = update_stall(stall, Look(now, 0, False, max(accepted)))
        todo = decide_unstarted(policy, stall.seconds(now), {0: history})
        if todo.submit_again:
            history = replace(history, submissions=history.submissions + 1)
            stall = replace(stall, since=now)
            accepted.append(now)
    assert history.submissions == policy.max_submissions
    # The first look begins the wait, and each wait ends with the first look after it.
    resubmitted = (policy.max_submissions - 1) * policy.resubmit_after
    waited = resubmitted + max(policy.resubmit_after, policy.give_up_after)
    assert waited < now - step <= waited + step * policy.max_submissions


# ---- 4. a call runs for too long

ENDED = [1.0, 2.0, 8.0, 9.0]


@pytest.mark.parametrize(
    ("now", "running_since", "ended", "tasks", "slow"),
    [
        # longer than a minute, and ten times longer than half
        (1000.0, {7: 939.0}, [1.0, 2.0, 2.0], 4, [7]),
        (1000.0, {7: 940.0}, [1.0, 2.0, 2.0], 4, []),
        # of an even number, the upper of the two in the middle is taken
        (1000.0, {7: 919.0}, ENDED, 5, [7]),
        (1000.0, {7: 920.0}, ENDED, 5, []),
        (1000.0, {7: 909.0}, [9.0, 9.0], 3, [7]),
        (1000.0, {7: 910.0}, [9.0, 9.0], 3, []),
        # of many tasks, in their order
        (1000.0, {7: 100.0, 3: 100.0, 5: 990.0}, ENDED, 7, [7, 3]),
        # half must have ended
        (1000.0, {7: 0.0}, ENDED, 8, [7]),
        (1000.0, {7: 0.0}, ENDED, 9, []),
        (1000.0, {7: 0.0}, [], 1, []),
        (1000.0, {7: 0.0}, [], 0, []),
        # none runs
        (1000.0, {}, ENDED, 4, []),
    ],
)
def test_what_runs_ten_times_longer_than_half_is_a_straggler(
    now: float, running_since: dict[int, float], ended: list[float], tasks: int, slow: list[int]
) -> None:
    assert find_stragglers(POLICY, now, running_since, ended, tasks) == slow


RUNNING = st.dictionaries(st.integers(0, 50), SECONDS, max_size=8)
TIMES = st.lists(SECONDS, max_size=9).map(sorted)


@given(POLICIES, SECONDS, RUNNING, TIMES, st.integers(0, 20))
def test_stragglers_run_longer_than_all_limits(
    policy: RetryPolicy, now: float, running: dict[int, float], ended: list[float], tasks: int
) -> None:
    slow = find_stragglers(policy, now, running, ended, tasks)
    if slow:
        assert 2 * len(ended) >= tasks
    for index in slow:
        longest = now - running[index]
        assert longest > policy.backup_after
        assert 2 * sum(longest > policy.backup_factor * seconds for seconds in ended) > len(ended)


@given(POLICIES, SECONDS, RUNNING, TIMES, st.integers(0, 20), SECONDS)
def test_stragglers_stay_stragglers_and_no_clock_has_a_zero(
    policy: RetryPolicy, now: float, running: dict[int, float], ended: list[float], tasks: int, later: float
) -> None:
    slow = find_stragglers(policy, now, running, ended, tasks)
    assert set(slow) <= set(find_stragglers(policy, now + later, running, ended, tasks))
    moved = {index: since + later for index, since in running.items()}
    assert find_stragglers(policy, now + later, moved, ended, tasks) == slow


# ---- 7. a function that is not ready


@pytest.mark.parametrize(
    ("function", "waited", "woken", "todo"),
    [
        (FunctionState("Active"), 0.0, False, "call"),
        (FunctionState("Active"), 1e9, True, "call"),
        (FunctionState("a state to come"), 0.0, False, "call"),
        (FunctionState("Inactive", "Idle"), 0.0, False, "wake"),
        (FunctionState("Inactive"), 10.0, True, "wake"),
        (FunctionState("Inactive", "Idle"), 599.0, True, "wake"),
        (FunctionState("Inactive", "Idle"), 600.0, True, "give up"),
        (FunctionState("Inactive", "ImageDeleted"), 0.0, False, "wake"),
        (FunctionState("Inactive", "ImageDeleted"), 1.0, True, "give up"),
        (FunctionState("Pending", "Restoring"), 599.0, True, "wait"),
        (FunctionState("Pending", "Creating"), 0.0, False, "wait"),
        (FunctionState("Pending", "Restoring"), 600.0, True, "give up"),
        (FunctionState("Failed", "InvalidImage"), 0.0, False, "give up"),
        (FunctionState("Active", is_stopped=True), 0.0, False, "give up"),
        (FunctionState("Inactive", "Idle", is_stopped=True), 0.0, False, "give up"),
    ],
)
def test_a_function_is_woken_and_waited_for(function: FunctionState, waited: float, woken: bool, todo: str) -> None:
    assert decide_function(POLICY, function, waited, woken=woken) == todo
