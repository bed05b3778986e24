"""SIGTERM and SIGHUP stop a run or a command as ^C does.

A hub that culls a server, Slurm, ``kill`` and a closed terminal send them. Without this, Python would end at once:
workers would go on, credentials would stay on the disk, and so would halves of files.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that stop a run."""


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end; handled like ^C."""


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise `Stopped` where the program is when a signal arrives, while the block runs.

    Signals that someone else handles, or that are ignored (as by ``nohup``), stay as they are. Outside the main thread
    nothing is changed, because Python delivers signals to that thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_DFL]

    def stop(number: int, frame: FrameType | None) -> None:
        # A second signal must not interrupt the cleaning up; SIGKILL still ends the process.
        for one in ours:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(f"stopped by {signal.Signals(number).name}")

    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
