"""The number of workers of a run on Lambda, chosen by cost.

Each worker that starts is paid for, and each needs calls of its own. So many workers that end some seconds earlier cost
several times as much as few. The rule: of the numbers of workers up to a limit, find the time of the fastest; take the
cheapest whose run ends at most `SLACK_S` seconds or `SLACK_SHARE` of that time later, whichever is more. Nobody notices
some seconds, and nobody waits a quarter longer for a long run to save a cent. docs/decisions/workers.md has the
figures.
"""

from dataclasses import dataclass

from maggjob.planning.cloud import CloudEstimate, CloudRun

SLACK_S = 5.0
"""Seconds by which a run may end later than the fastest if it is cheaper."""
SLACK_SHARE = 0.1
"""Share of the time of the fastest by which a run may end later if it is cheaper."""
STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 125, 150, 200, 250, 300, 400, 500, 600, 800)
"""Numbers of workers to compare, up to 1,000; above, thousands of them."""


@dataclass(frozen=True)
class Choice:
    """Two ways to run a plan on Lambda."""

    chosen: CloudRun
    """The cheapest run that is almost as fast as the fastest."""
    fastest: CloudRun
    """The fastest run; of several, the cheapest."""

    @property
    def brief(self) -> str:
        """Both in a few words."""
        return f"{self.chosen.brief}; at the fastest {self.fastest.brief}"


def numbers_up_to(limit: int) -> list[int]:
    """Return the numbers of workers to compare, ascending; the limit is one of them.

    Examples
    --------
    >>> numbers_up_to(9)
    [1, 2, 3, 4, 5, 6, 8, 9]
    """
    steps = (*STEPS, *(1000 * n for n in range(1, limit // 1000 + 1)))
    return sorted({*(step for step in steps if step < limit), limit})


def choose_workers(estimate: CloudEstimate, limit: int, quota: int | None = None) -> Choice:
    """Choose the number of workers of a run by its cost.

    Parameters
    ----------
    estimate : callable
        Tells what the run takes with some number of workers.
    limit : int
        Largest number of workers to choose.
    quota : int, optional
        Largest number of workers of the fastest run; by default ``limit``.
    """
    quota = max(limit, quota or limit)
    runs = {workers: estimate(workers) for workers in {*numbers_up_to(limit), *numbers_up_to(quota)}}
    within = [run for workers, run in runs.items() if workers <= limit]
    soonest = min(run.wall_s for run in within)
    latest = soonest + max(SLACK_S, SLACK_SHARE * soonest)
    soon = [run for run in within if run.wall_s <= latest]
    chosen = min(soon, key=lambda run: (run.dollars, run.wall_s, run.workers))
    return Choice(chosen, min(runs.values(), key=lambda run: (run.wall_s, run.dollars, run.workers)))
