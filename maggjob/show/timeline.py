"""The calls of a run as a timeline in SVG: one thin bar per call, by their start, and how many ran at once.

The pictures have no text: they are stretched to the width of a screen, and labels are HTML beside them. Above
`MOST_ROWS` calls of a stage, a row stands for several, so that the size of a page does not grow with the run.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from maggjob.backend.call_times import StageCalls

MOST_ROWS = 600
"""Rows of a stage."""
MANY = 100
"""Rows above which bars of the rarer kinds are drawn thicker than their rows, so that they are seen."""
WIDTH = 1000
"""Units of the picture's width."""
NARROWEST = 1.5
"""Least width of a bar in these units, so that it is seen."""
SLOW, SLOW_MS = 3.0, 1000
"""A call is slow if it takes so many times the median of its stage, and so many milliseconds."""
BINS = 240
"""Steps of the curve of calls that run at once."""
WAITING, STARTING, RUNNING, SLOWER, AGAIN, FAILED = "waiting", "starting", "running", "slow", "again", "failed"
KINDS = {
    WAITING: "waiting",
    STARTING: "start of the sandbox",
    RUNNING: "running",
    SLOWER: "running, three times the median or more",
    AGAIN: "running, submitted more than once",
    FAILED: "failed",
}
"""Kinds of bars, and what a legend says of each. Later ones are drawn over earlier ones."""


@dataclass(frozen=True)
class Bar:
    """A part of a row."""

    kind: str
    """One of `KINDS`."""
    begin: float
    """Begin, milliseconds from the start of the run."""
    end: float
    """End."""


@dataclass(frozen=True)
class StagePicture:
    """The timeline of one stage."""

    calls: StageCalls
    """Its calls."""
    per_row: int
    """Number of calls per row."""
    rows: tuple[tuple[Bar, ...], ...]
    """Bars of each row, from the first call to start to the last."""

    @property
    def kinds(self) -> list[str]:
        """Kinds that occur."""
        found = {bar.kind for row in self.rows for bar in row}
        return [kind for kind in KINDS if kind in found]

    def counts(self) -> dict[str, int]:
        """Return the number of calls that are told of: started in a new sandbox, slow, submitted again, failed."""
        kinds = [_kind(self.calls, index, _limit(self.calls)) for index in range(len(self.calls))]
        return {
            "new sandboxes": len(self.calls.init),
            "slow": kinds.count(SLOWER),
            "submitted again": len(self.calls.attempts),
            "failed": len(self.calls.failed),
        }

    def svg(self, end: float) -> str:
        """Return the picture.

        Parameters
        ----------
        end : float
            Milliseconds that its width stands for.
        """
        paths = []
        for kind in self.kinds:
            lines = [_line(bar, number, end) for number, row in enumerate(self.rows) for bar in row if bar.kind == kind]
            paths.append(f'<path class="{kind}" d="{"".join(lines)}"/>')
        many = ' class="many"' if len(self.rows) > MANY else ""
        return (
            f'<svg{many} viewBox="0 0 {WIDTH} {max(1, len(self.rows))}" preserveAspectRatio="none" role="img" '
            f'aria-label="{len(self.calls)} calls by their start">{"".join(paths)}</svg>'
        )


def stage_picture(calls: StageCalls) -> StagePicture:
    """Return the timeline of the calls of a stage."""
    order = sorted(range(len(calls)), key=lambda i: (calls.started[i] is None, calls.started[i] or 0, i))
    per_row = max(1, math.ceil(len(order) / MOST_ROWS))
    limit = _limit(calls)
    groups = [order[first : first + per_row] for first in range(0, len(order), per_row)]
    return StagePicture(calls, per_row, tuple(tuple(_row(calls, group, limit)) for group in groups))


def _limit(calls: StageCalls) -> float:
    """Return the time above which a call of a stage is slow."""
    ran = [ran for ran, started in zip(calls.ran, calls.started, strict=True) if started is not None]
    return max(SLOW_MS, SLOW * median(ran)) if ran else math.inf


def _kind(calls: StageCalls, index: int, limit: float) -> str:
    if index in calls.failed:
        return FAILED
    if index in calls.attempts:
        return AGAIN
    return SLOWER if calls.ran[index] > limit else RUNNING


def _row(calls: StageCalls, group: Sequence[int], limit: float) -> Iterator[Bar]:
    """Yield the bars of a row: of one call, or of several as their means, with those that are not ordinary over it."""
    began = [index for index in group if calls.started[index] is not None]
    submitted = calls.began + min(calls.submitted[index] for index in group)
    start = {index: calls.began + int(calls.started[index] or 0) for index in began}
    if not began:
        reasons = [calls.failed[index] for index in group if index in calls.failed]
        yield Bar(FAILED if reasons else WAITING, submitted, calls.began + calls.took)
        return
    first = sum(start.values()) / len(began)
    yield Bar(WAITING, submitted, first)
    ends: dict[str, list[tuple[float, float]]] = {}
    for index in began:
        times = (start[index], start[index] + calls.ran[index])
        ends.setdefault(_kind(calls, index, limit), []).append(times)
    for kind in (RUNNING, SLOWER, AGAIN, FAILED):
        if kind in ends:
            begin, end = (sum(values) / len(ends[kind]) for values in zip(*ends[kind], strict=True))
            yield Bar(kind, begin, end)
    new = [calls.init[index] for index in began if index in calls.init]
    if new:
        yield Bar(STARTING, first, first + sum(new) / len(began))


def _line(bar: Bar, row: int, end: float) -> str:
    """Return a bar as a line of a path, whose stroke is as wide as a row."""
    x, width = WIDTH * bar.begin / end, WIDTH * (bar.end - bar.begin) / end
    least = 0.0 if bar.kind in (WAITING, STARTING) else NARROWEST
    width = max(least, min(width, WIDTH - x))
    return f"M{_short(x)} {row}.5h{_short(width)}" if round(width, 1) > 0 else ""


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def running_at_once(stages: Sequence[StageCalls], end: float, bins: int = BINS) -> np.ndarray:
    """Return the mean number of calls that run in each part of the time of a run.

    Parameters
    ----------
    stages : sequence of StageCalls
    end : float
        Time of the run, milliseconds.
    bins : int
        Number of parts.
    """
    starts = np.array([s.began + at for s in stages for at in s.started if at is not None], float)
    ran = np.array([ran for s in stages for at, ran in zip(s.started, s.ran, strict=True) if at is not None], float)
    edges = np.linspace(0.0, end, bins + 1)

    def passed(times: np.ndarray) -> np.ndarray:
        """Return the sum of the times that have passed since each of the times, at each edge."""
        ordered = np.sort(times)
        sums = np.concatenate([[0.0], np.cumsum(ordered)])
        before = np.searchsorted(ordered, edges)
        return np.asarray(before * edges - sums[before])

    return np.diff(passed(starts) - passed(starts + ran)) / (end / bins)


def running_svg(running: np.ndarray) -> str:
    """Return the curve of the calls that run at once as a filled picture."""
    highest, step = max(float(running.max(initial=0.0)), 1e-9), WIDTH / max(1, len(running))
    points = "".join(f"V{_short(100 - 100 * value / highest)}h{_short(step)}" for value in running)
    return (
        f'<svg viewBox="0 0 {WIDTH} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="calls running at once, at most {highest:.0f}">'
        f'<path class="running" d="M0 100{points}V100z"/></svg>'
    )


def ticks(end: float, most: int = 6) -> list[tuple[float, str]]:
    """Return where a time axis is labelled, as parts of its length, and the labels.

    Parameters
    ----------
    end : float
        Its length, milliseconds.
    most : int
        Largest number of labels.

    Examples
    --------
    >>> ticks(9000.0)
    [(0.0, '0'), (0.2222222222222222, '2 s'), (0.4444444444444444, '4 s'), (0.6666666666666666, '6 s'), \
(0.8888888888888888, '8 s')]
    """
    seconds = end / 1000
    steps = (number * unit for unit in (0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36000, 360000) for number in (1, 2, 5))
    step = next((step for step in steps if seconds / step < most), seconds)
    if step >= 60:
        return [
            (at * step / seconds, f"{at * step / 60:g} min" if at else "0") for at in range(int(seconds / step) + 1)
        ]
    return [(at * step / seconds, f"{at * step:g} s" if at else "0") for at in range(int(seconds / step) + 1)]
