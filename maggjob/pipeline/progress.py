"""Show the progress of a run: a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from typing import Any, Self, TextIO

EVERY = 5.0
"""Minimum time between two plain lines, seconds."""


def in_notebook() -> bool:
    """Return True if this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None


class Progress:
    """A watcher that shows the progress of a run; use it as a context manager, and as ``watch`` of `maggjob.run`.

    Parameters
    ----------
    total : int, optional
        Number of cells, if known.
    stream : file, optional
        Where to print; by default standard error.
    """

    def __init__(self, total: int | None = None, stream: TextIO | None = None) -> None:
        self.stream = stream if stream is not None else sys.stderr
        self.total = total
        self.done = self.observations = self.empty = self.failed = 0
        self._start = self._shown = time.monotonic()
        self._bar: Any = None
        if self.stream.isatty() or in_notebook():
            from tqdm import tqdm

            colour = None if os.environ.get("NO_COLOR") else "cyan"
            self._bar = tqdm(total=total, unit=" cells", file=self.stream, colour=colour, dynamic_ncols=True)

    def __call__(self, index: int, outcome: Any) -> None:
        """Count a cell that has ended.

        Parameters
        ----------
        index : int
            Number of the cell; not used.
        outcome : Outcome
            Outcome of the cell.
        """
        report = outcome.value
        if self.done == 0:
            # Whatever came before the first cell, such as the indexes, says nothing about the pace of the cells.
            self._start = time.monotonic() - (0.0 if report is None else report.seconds)
            if self._bar is not None:
                since = time.monotonic() - self._start
                self._bar.start_t = self._bar.last_print_t = self._bar._time() - since  # noqa: SLF001
        self.done += 1
        if report is None or report.state in ("failed", "partial"):
            self.failed += 1
        elif report.state == "empty":
            self.empty += 1
        self.observations += 0 if report is None else report.observations
        if self._bar is not None:
            self._bar.set_postfix_str(self.totals, refresh=False)
            self._bar.update()
        elif time.monotonic() - self._shown >= EVERY:
            self._shown = time.monotonic()
            print(self.line, file=self.stream, flush=True)

    def say(self, text: str) -> None:
        """Print a line of text, above the bar if there is one."""
        if self._bar is None:
            print(text, file=self.stream, flush=True)
        else:
            self._bar.write(text, file=self.stream)

    @property
    def totals(self) -> str:
        """Totals so far, as text."""
        return f"{self.observations:,} observations, {self.empty:,} empty, {self.failed:,} failed"

    @property
    def line(self) -> str:
        """Progress as one plain line: cells, rate, time left, totals."""
        rate = self.done / max(time.monotonic() - self._start, 1e-9)
        known = "" if self.total is None else f" of {self.total:,}"
        left = "" if self.total is None else f", {(self.total - self.done) / rate:.0f} s left"
        return f"{self.done:,}{known} cells, {rate:.1f} per second{left}, {self.totals}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
