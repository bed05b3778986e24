"""The retry policy: when a call on a serverless backend is tried again, waited for, or given up.

1. The backend does not take a call. If that may pass (it throttles, is out of order, or cannot be reached), the call
   is offered again for five minutes. After that, and after any other answer, the call is refused. A task that was
   refused is not tried again. A backend that refuses a call before it has accepted any stops the run.
2. The backend has accepted a call, and the call does not start. While all workers are busy, that is no fault. When
   there has been room for a minute and nothing has started, each task that waits is submitted once more, and the wait
   begins anew. After six minutes, those that may not be submitted again are given up.
3. A call started, and died without an answer: its task is submitted once more.
4. A call runs for more than a minute and more than ten times as long as half of the others: its task gets a backup,
   which is one more submission. What ends first counts.
5. A function that raised has answered: its task is not tried again.

A task is submitted twice at most; AWS's own second and third attempts at a call do not count. All numbers are in
`RetryPolicy`. Local processes lose no calls: there, each task is submitted once.

The functions here are pure: they are given times, and have no clock. `maggjob.backend.invoke` asks them about point 1,
`maggjob.backend.watch` about the others, and both do as they are told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NO_CONNECTION = 0
"""In place of a status, where there was no answer."""

WITHOUT_ANSWER = frozenset({"died", "refused"})
"""Reasons of calls that ended although their function did not: another call of the same task may do better."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for what, and how often to try. The points are those of the text at the top of this module."""

    offer_for: float = 300.0
    """Point 1: seconds for which a call that the backend does not take is offered again."""
    resubmit_after: float = 60.0
    """Point 2: seconds with room and without a start, after which the tasks that wait are submitted again."""
    give_up_after: float = 360.0
    """Point 2: seconds of the same, after which tasks that may not be submitted again are given up. AWS itself may wait
    five minutes before it tries an event again."""
    backup_after: float = 60.0
    """Point 4: seconds that a call must have run before its task gets a backup."""
    backup_factor: float = 10.0
    """Point 4: how many times as long as the median of the ended calls a call must have run before that."""
    backup_share: float = 0.5
    """Point 4: share of all tasks that must have ended before that, so that their median says something of all."""
    max_submissions: int = 2
    """How often a task is submitted, at most."""


ONE_SUBMISSION = RetryPolicy(max_submissions=1)
"""The policy for local processes."""


@dataclass(frozen=True)
class History:
    """What has been tried so far for a task that has not ended."""

    submissions: int = 1
    """How often it has been submitted."""
    last_failure: str | None = None
    """Reason of the last of its calls that came to nothing (see `ends_task`); None while there is none."""


@dataclass(frozen=True)
class Look:
    """What one look at all calls showed."""

    now: float
    """When it was; seconds, by any clock that all times share."""
    running: int
    """Calls that run."""
    started: bool
    """Whether a call has been seen to start since the look before."""
    last_accepted: float | None
    """When the last of the waiting calls was accepted; None when no call waits."""


@dataclass(frozen=True)
class Stall:
    """Whether calls wait although there is room for them, from all looks so far."""

    since: float | None = None
    """Since when there has been room and nothing has started; None when that is not so."""
    most_running: int = 0
    """How many calls ran at once, at most: there is room for as many."""

    def seconds(self, now: float) -> float:
        """Seconds that it has lasted at the time ``now``; 0 when there is none."""
        return 0.0 if self.since is None else now - self.since


@dataclass(frozen=True)
class Unstarted:
    """What to do with tasks whose calls were accepted and do not start; those that are not named are waited for."""

    submit_again: tuple[int, ...] = ()
    """Indices of tasks to submit once more."""
    give_up: tuple[int, ...] = ()
    """Indices of tasks to give up."""


def is_temporary(status: int | None) -> bool:
    """Whether trying again may help: throttled, out of order, or no connection.

    Parameters
    ----------
    status : int, optional
        HTTP status of the backend's answer, or `NO_CONNECTION`; None when nothing was sent.

    Returns
    -------
    bool
    """
    return status is not None and (status in (NO_CONNECTION, 429) or status >= 500)


def may_offer_again(policy: RetryPolicy, status: int | None, put_off: float) -> bool:
    """Whether a call that the backend did not take is offered again; if not, it is refused.

    Parameters
    ----------
    policy : RetryPolicy
    status : int, optional
        As for `is_temporary`.
    put_off : float
        Seconds since the backend first did not take it.

    Returns
    -------
    bool
    """
    return is_temporary(status) and put_off < policy.offer_for


def ends_task(reason: str | None) -> bool:
    """Whether a task ends when one of its calls has ended for this reason, whatever becomes of its other calls.

    Parameters
    ----------
    reason : str, optional
        As in `maggjob.backend.outcome.Outcome`; None when the function returned.

    Returns
    -------
    bool
    """
    return reason not in WITHOUT_ANSWER


def may_submit_again(policy: RetryPolicy, history: History) -> bool:
    """Whether a task may be submitted once more.

    Parameters
    ----------
    policy : RetryPolicy
    history : History

    Returns
    -------
    bool
        False when its last failure was a refusal, or when it has been submitted often enough.
    """
    return history.last_failure != "refused" and history.submissions < policy.max_submissions


def update_stall(stall: Stall, look: Look) -> Stall:
    """What is known of a stall after one more look.

    There is room when nothing runs, or when less runs than once ran at the same time. A stall begins no earlier than
    the last waiting call was accepted, and it begins anew when a call starts.

    Parameters
    ----------
    stall : Stall
        What was known before.
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
    """What to do with tasks whose calls were accepted and do not start.

    No task is given up while another is submitted again: the new call may start.

    Parameters
    ----------
    policy : RetryPolicy
    stalled : float
        Seconds for which there has been room and nothing has started.
    waiting : mapping of int to History
        What has been tried for each of these tasks, by index of the task.

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
    """Tasks with a call that runs so long that they get a backup, if they may be submitted again.

    Parameters
    ----------
    policy : RetryPolicy
    now : float
        Seconds, by any clock that all times share.
    running_since : mapping of int to float
        When the first running call of a task began to run, by index of the task.
    ended : sequence of float
        Seconds that the calls of ended tasks took, ascending.
    tasks : int
        How many tasks there are in all.

    Returns
    -------
    list of int
        Indices of these tasks, in the order of ``running_since``.
    """
    if not ended or len(ended) < policy.backup_share * tasks:
        return []
    longest = max(policy.backup_after, policy.backup_factor * ended[len(ended) // 2])
    return [index for index, since in running_since.items() if now - since > longest]
