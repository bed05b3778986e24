"""The retry policy: when a call is retried, waited for, or given up.

1. A serverless backend does not accept a call. If the cause may be temporary (throttling, an outage, no connection),
   the call is offered again for five minutes. After that, and after any other answer, the call is refused. A refused
   task is not tried again. If the backend refuses a call before it has accepted any, the run stops.
2. A serverless backend has accepted a call, but the call does not start. This is normal while all workers are busy.
   When workers have been free for a minute and nothing has started, each waiting task is submitted once more, and the
   wait begins again. After six minutes, waiting tasks that may not be submitted again are given up.
3. A call started, and died without an answer: its task is submitted again at once, after a second death with a growing
   pause. On this machine a call that ran out of memory is submitted again when the others have ended.
4. A call runs for more than a minute and more than ten times as long as the median of the others: its task gets a
   backup, which is one more submission. The call that ends first counts.
5. A function that raised an exception has answered: its task is not tried again, unless it is an error of maggjob
   that may not happen again (``retryable``); then it is submitted again after a pause.

6. A call ended, and its answer cannot be read: it is asked for again, and then the task is submitted again.
7. AWS puts a function to sleep that nobody has called for weeks, and does not accept calls until it has woken up. It is
   woken before the first call, and waited for up to ten minutes.

A task is submitted at most twice on a serverless backend, where AWS's own second and third attempts at a call do not
count, and three times on this machine. All numbers are in `RetryPolicy`; pauses are drawn at random, so that calls that
failed together are not repeated together.

The functions in this module are pure: times are arguments, and no clock is read. `maggjob.backend.invoke` asks them
about point 1, `maggjob.backend.waking` about point 7, and `maggjob.backend.watch` about the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from maggjob.errors import RETRYABLE

NO_CONNECTION = 0
"""Status used when there was no answer."""

DEATHS = frozenset({"died", "memory"})
"""Reasons of calls whose process ended without an answer."""
MAY_SUCCEED = DEATHS | RETRYABLE | {"refused", "lost"}
"""Reasons of calls that do not end their task: another call of the same task may succeed."""


@dataclass(frozen=True)
class RetryPolicy:
    """Waiting times and number of attempts. The points are those in the docstring of this module."""

    offer_for: float = 300.0
    """Point 1: seconds for which a call that the backend does not accept is offered again."""
    resubmit_after: float = 60.0
    """Point 2: seconds with free workers and without a start, after which the waiting tasks are submitted again."""
    give_up_after: float = 360.0
    """Point 2: seconds with free workers and without a start, after which waiting tasks that may not be submitted again
    are given up. AWS itself may wait five minutes before it retries an event."""
    backup_after: float = 60.0
    """Point 4: seconds that a call must have run before its task gets a backup."""
    backup_factor: float = 10.0
    """Point 4: multiple of the median duration of the ended calls that a call must have run before its task gets a
    backup."""
    backup_share: float = 0.5
    """Point 4: share of all tasks that must have ended first, so that their median is representative."""
    first_pause: float = 1.0
    """Points 3 and 5: seconds before the second submission of a task whose function raised, and before the third of one
    whose call died; each further pause is twice as long."""
    longest_pause: float = 30.0
    """Points 3 and 5: the longest pause, seconds."""
    answer_tries: int = 3
    """Point 6: number of attempts to read the answer of a call that has ended."""
    wake_for: float = 600.0
    """Point 7: seconds to wait until a function is ready."""
    wake_pause: float = 2.0
    """Point 7: seconds between two looks at the function."""
    max_submissions: int = 2
    """Maximum number of submissions of a task."""


LOCAL = RetryPolicy(max_submissions=3)
"""The policy for processes on this machine."""
ONE_SUBMISSION = RetryPolicy(max_submissions=1)
"""The policy for backends of which nothing is known."""


@dataclass(frozen=True)
class History:
    """What has been tried for a task that has not ended."""

    submissions: int = 1
    """Number of submissions so far."""
    last_failure: str | None = None
    """Reason of the last failed call that did not end the task (see `ends_task`); None if there was none."""


@dataclass(frozen=True)
class FunctionState:
    """State of a function, as AWS tells it."""

    state: str
    """Active, Inactive (asleep), Pending (being created, or waking up) or Failed."""
    code: str = ""
    """AWS's word for the reason, such as Idle, Restoring or ImageAccessDenied."""
    reason: str = ""
    """The reason as text."""
    is_stopped: bool = False
    """True if no call may start: its reserved concurrency is 0."""


@dataclass(frozen=True)
class Look:
    """What one look at all calls showed."""

    now: float
    """Time of the look, seconds, by the clock that all times share."""
    running: int
    """Number of running calls."""
    started: bool
    """True if a call has started since the previous look."""
    last_accepted: float | None
    """Time at which the last of the waiting calls was accepted; None if no call waits."""


@dataclass(frozen=True)
class Stall:
    """State of a stall (calls wait although workers are free), updated with every look."""

    since: float | None = None
    """Time since which workers have been free and nothing has started; None if there is no stall."""
    most_running: int = 0
    """Largest number of calls seen running at once, taken as the number of available workers."""

    def seconds(self, now: float) -> float:
        """Return how many seconds the stall has lasted at time ``now``; 0 if there is none."""
        return 0.0 if self.since is None else now - self.since


@dataclass(frozen=True)
class Unstarted:
    """What to do with tasks whose calls were accepted but do not start; tasks in neither list are waited for."""

    submit_again: tuple[int, ...] = ()
    """Indices of tasks to submit once more."""
    give_up: tuple[int, ...] = ()
    """Indices of tasks to give up."""


def is_temporary(status: int | None) -> bool:
    """Return True if a retry may help: the backend throttles, has an outage, or cannot be reached.

    Parameters
    ----------
    status : int, optional
        HTTP status of the backend's answer, or `NO_CONNECTION`; None when nothing was sent.

    Returns
    -------
    bool
    """
    return status is not None and (status in (NO_CONNECTION, 409, 429) or status >= 500)


def may_offer_again(policy: RetryPolicy, status: int | None, put_off: float) -> bool:
    """Return True if a call that the backend did not accept is offered again, False if it is refused.

    Parameters
    ----------
    policy : RetryPolicy
    status : int, optional
        As for `is_temporary`.
    put_off : float
        Seconds since the backend first did not accept the call.

    Returns
    -------
    bool
    """
    return is_temporary(status) and put_off < policy.offer_for


def decide_function(
    policy: RetryPolicy, function: FunctionState, waited: float, *, woken: bool
) -> Literal["call", "wake", "wait", "give up"]:
    """Decide what to do before the first call of a function.

    Parameters
    ----------
    policy : RetryPolicy
    function : FunctionState
    waited : float
        Seconds since the first look.
    woken : bool
        True if it has been woken before.

    Returns
    -------
    str
        ``wake``: invoke it once, which AWS refuses, and which makes it wake up. If it falls asleep again for another
        reason than idleness, AWS could not wake it.
    """
    if function.is_stopped:
        return "give up"
    if function.state not in ("Inactive", "Pending", "Failed"):
        return "call"
    lost = function.state == "Inactive" and woken and function.code not in ("", "Idle")
    if function.state == "Failed" or lost or waited >= policy.wake_for:
        return "give up"
    return "wake" if function.state == "Inactive" else "wait"


def ends_task(reason: str | None) -> bool:
    """Return True if a call that ended for this reason ends its task, whatever its other calls do.

    Parameters
    ----------
    reason : str, optional
        As in `maggjob.backend.outcome.Outcome`; None when the function returned.

    Returns
    -------
    bool
    """
    return reason not in MAY_SUCCEED


def may_submit_again(policy: RetryPolicy, history: History) -> bool:
    """Return True if a task may be submitted once more.

    Parameters
    ----------
    policy : RetryPolicy
    history : History

    Returns
    -------
    bool
        False if its last failure was a refusal, or if it has been submitted ``max_submissions`` times.
    """
    return history.last_failure != "refused" and history.submissions < policy.max_submissions


def pause_before(policy: RetryPolicy, history: History, draw: float) -> float:
    """Return the seconds to wait before a task is submitted once more.

    Parameters
    ----------
    policy : RetryPolicy
    history : History
    draw : float
        Random number from 0 to 1.
    """
    doublings = history.submissions - (2 if history.last_failure in DEATHS else 1)
    if doublings < 0:
        return 0.0
    return min(policy.longest_pause, policy.first_pause * 2.0**doublings) * (0.5 + draw / 2)


def update_stall(stall: Stall, look: Look) -> Stall:
    """Return the state of the stall after one more look.

    Workers are free when no call runs, or when fewer calls run than once ran at the same time. A stall begins no
    earlier than the last waiting call was accepted, and begins again when a call starts.

    Parameters
    ----------
    stall : Stall
        State before the look.
    look : Look

    Returns
    -------
    Stall
    """
    most_running = max(stall.most_running, look.running)
    has_room = look.running == 0 or look.running < most_running
    if look.last_accepted is None or not has_room:
        return Stall(None, most_running)
    since = look.now if stall.since is None or look.started else stall.since
    return Stall(max(since, look.last_accepted), most_running)


def decide_unstarted(policy: RetryPolicy, stalled: float, waiting: Mapping[int, History]) -> Unstarted:
    """Decide what to do with tasks whose calls were accepted but do not start.

    No task is given up in the same step in which another is submitted again: the new call may start.

    Parameters
    ----------
    policy : RetryPolicy
    stalled : float
        Seconds for which workers have been free and nothing has started.
    waiting : mapping of int to History
        What has been tried for each waiting task, by index of the task.

    Returns
    -------
    Unstarted
    """
    if stalled <= policy.resubmit_after:
        return Unstarted()
    again = tuple(index for index, history in waiting.items() if may_submit_again(policy, history))
    if again or stalled <= policy.give_up_after:
        return Unstarted(submit_again=again)
    return Unstarted(give_up=tuple(waiting))


def find_stragglers(
    policy: RetryPolicy, now: float, running_since: Mapping[int, float], ended: Sequence[float], tasks: int
) -> list[int]:
    """Find tasks whose call runs so long that they should get a backup, if they may be submitted again.

    Parameters
    ----------
    policy : RetryPolicy
    now : float
        Seconds, by the clock that all times share.
    running_since : mapping of int to float
        Start of the first running call of each task, by index of the task.
    ended : sequence of float
        Durations of the calls of ended tasks, seconds, ascending.
    tasks : int
        Number of all tasks.

    Returns
    -------
    list of int
        Indices of the tasks, in the order of ``running_since``.
    """
    if not ended or len(ended) < policy.backup_share * tasks:
        return []
    longest = max(policy.backup_after, policy.backup_factor * ended[len(ended) // 2])
    return [index for index, since in running_since.items() if now - since > longest]
