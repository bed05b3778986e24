"""The calls of a run as a timeline in SVG: one thin bar per call, by their start, and how many ran at once.

The pictures have no text: they are stretched to the width of a screen, and labels are HTML beside them. Above
`MOST_ROWS` calls of a stage, a row stands for several, so that the size of a page does not grow with the run.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from maggjob.backend.call_times import StageCalls

MOST_ROWS = 600
"""Rows of a stage."""
WIDTH = 1000
"""Units of the picture's width."""
NARROWEST = 1.5
"""Least width of a bar in these units, so that it is seen."""
SLOW, SLOW_MS = 3.0, 1000
"""A call is slow if it takes so many times the median of those that started around it, and so many milliseconds."""
AROUND = 51
"""Number of these calls. The longest tasks come first, so that the median of a whole stage would say little."""
TICK = 4
"""Width of a bar that stands for a rare call in a row of several."""
BINS = 240
"""Steps of the curve of calls that run at once."""
WAITING, SLOWER, RUNNING, AGAIN, FAILED, STARTING = "waiting", "slow", "running", "again", "failed", "starting"
KINDS = {
    WAITING: "waiting",
    SLOWER: "running, three times as long as others",
    RUNNING: "running",
    AGAIN: "running, submitted more than once",
    FAILED: "failed",
    STARTING: "start of the sandbox",
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

    @cached_property
    def order(self) -> list[int]:
        """Indices of the calls, from the first to start to the last; those that never started come last."""
        started = self.calls.started
        return sorted(range(len(self.calls)), key=lambda i: (started[i] is None, started[i] or 0, i))

    @cached_property
    def kinds(self) -> dict[int, str]:
        """Kind of each call that started: running, slow, again or failed."""
        began = [index for index in self.order if self.calls.started[index] is not None]
        ran = np.array([self.calls.ran[index] for index in began], float)
        slow = ran > np.maximum(SLOW_MS, SLOW * _median_around(ran))
        found = dict.fromkeys(began, RUNNING) | {
            index: SLOWER for index, is_slow in zip(began, slow, strict=True) if is_slow
        }
        found |= {index: AGAIN for index in self.calls.attempts if index in found}
        return found | {index: FAILED for index in self.calls.failed if index in found}

    @property
    def per_row(self) -> int:
        """Number of calls per row."""
        return max(1, math.ceil(len(self.calls) / MOST_ROWS))

    @cached_property
    def rows(self) -> list[list[Bar]]:
        """Bars of each row."""
        step = self.per_row
        return [list(self._row(self.order[first : first + step])) for first in range(0, len(self.order), step)]

    @property
    def shown(self) -> list[str]:
        """Kinds of bars that occur, in the order in which they are drawn."""
        found = {bar.kind for row in self.rows for bar in row}
        return [kind for kind in KINDS if kind in found]

    def counts(self) -> dict[str, int]:
        """Return the number of calls that are told of: started in a new sandbox, slow, submitted again, failed."""
        return {
            "new sandboxes": len(self.calls.init),
            "slow": list(self.kinds.values()).count(SLOWER),
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
        for kind in self.shown:
            bars = ((bar, number) for number, row in enumerate(self.rows) for bar in row if bar.kind == kind)
            tick = self.per_row > 1 and kind in (AGAIN, FAILED)
            paths.append(f'<path class="{kind}" d="{"".join(_line(bar, row, end, tick=tick) for bar, row in bars)}"/>')
        many = ' class="many"' if self.per_row > 1 else ""
        return (
            f'<svg{many} viewBox="0 0 {WIDTH} {max(1, len(self.rows))}" preserveAspectRatio="none" role="img" '
            f'aria-label="{len(self.calls)} calls by their start">{"".join(paths)}</svg>'
        )

    def _row(self, group: Sequence[int]) -> Iterator[Bar]:
        """Yield the bars of a row: of one call, or for several calls their means, by kind."""
        calls, origin = self.calls, self.calls.began
        began = [index for index in group if index in self.kinds]
        submitted = origin + min(calls.submitted[index] for index in group)
        if not began:
            lost = any(index in calls.failed for index in group)
            yield Bar(FAILED if lost else WAITING, submitted, origin + calls.took)
            return
        times = np.array([(origin + (calls.started[index] or 0), calls.ran[index]) for index in began], float)
        first = float(times[:, 0].mean())
        yield Bar(WAITING, submitted, first)
        kinds = np.array([self.kinds[index] for index in began])
        for kind in dict.fromkeys(kinds):
            begin, ran = times[kinds == kind].mean(axis=0)
            yield Bar(str(kind), float(begin), float(begin + ran))
        new = sum(calls.init.get(index, 0) for index in began) / len(began)
        if new:
            yield Bar(STARTING, first, first + new)


def _median_around(ran: np.ndarray) -> np.ndarray:
    """Return the median of the values around each value."""
    if len(ran) <= AROUND:
        return np.full(len(ran), np.median(ran) if len(ran) else 0.0)
    medians = np.median(np.lib.stride_tricks.sliding_window_view(ran, AROUND), axis=1)
    return np.pad(medians, AROUND // 2, mode="edge")


def _line(bar: Bar, row: int, end: float, *, tick: bool = False) -> str:
    """Return a bar as a line of a path, whose stroke is as wide as a row; as a tick, only its end."""
    begin = max(bar.begin, bar.end - TICK * end / WIDTH) if tick else bar.begin
    x, width = WIDTH * begin / end, WIDTH * (bar.end - begin) / end
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
