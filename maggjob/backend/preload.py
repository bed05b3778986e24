"""Interpreter of a local job that imports the job's modules before Lithops forks workers from it.

Lithops forks a process for each call, and each would import again what the function needs: half a second, for calls
that take as long.

The console script ``maggjob-python`` stands in place of the interpreter in Lithops' configuration, which takes the path
of one file.
"""

import ctypes
import functools
import importlib
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maggjob.storage.owner import me

SCRIPT = "maggjob-python"
PR_SET_PDEATHSIG = 1
"""Operation of Linux's prctl: the signal that a process gets when its parent ends."""
MODULES = "MAGGJOB_PRELOAD"
"""Environment variable that names the modules to import, separated by blanks."""
CALL = "__LITHOPS_SESSION_ID"
"""Environment variable in which Lithops names the call that a worker has taken."""
CALLS = "maggjob-calls"
"""Folder of the notes about which process works on which call, below Lithops' folder of the run."""


def local_interpreter() -> str:
    """Return the path of ``maggjob-python`` beside this interpreter, or of this interpreter if it is not installed."""
    script = Path(sys.executable).with_name(SCRIPT)
    return str(script) if os.access(script, os.X_OK) else sys.executable


@contextmanager
def preloading(function: Callable[..., Any], modules: Sequence[str] = ()) -> Iterator[None]:
    """Have local jobs that start meanwhile import the module of a function.

    Parameters
    ----------
    function : callable
        What the calls run.
    modules : sequence of str
        Names of other modules, which the function imports while it runs.
    """
    before = os.environ.get(MODULES)
    os.environ[MODULES] = " ".join((function.__module__, *modules))
    try:
        yield
    finally:
        os.environ.pop(MODULES)
        if before is not None:
            os.environ[MODULES] = before


def preload(modules: Sequence[str]) -> None:
    """Import modules.

    One that cannot be imported here fails again in each call, whose outcome then says so.
    """
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as problem:
            # Lithops writes this to the log of its runner.
            sys.stderr.write(f"not preloaded: {name}: {problem}\n")


def watch_parent() -> None:
    """End this process and its group within two seconds after the process that started it has ended.

    A client that is killed cannot end its workers itself.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        # Lithops starts each job in a session of its own, so the group is the job.
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def die_with_parent() -> None:
    """Have Linux end this process when its parent ends; for processes that were forked.

    Nothing else is safe there: a thread may wait for a lock that was held when the process was forked.
    """
    if sys.platform == "linux":
        _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def note_call() -> None:
    """Note which call this process works on, for the client; before a fork, which Lithops does for each call.

    The process that forks reports how the call ended. If it is gone, nobody will.
    """
    call, folder = os.environ.get(CALL), os.environ.get("TMPDIR")
    if call and folder and (root := next(Path(folder).glob("lithops-*"), None)) is not None:
        (root / CALLS).mkdir(exist_ok=True)
        temporary = root / CALLS / f".{call}"
        temporary.write_bytes(me().to_json())
        temporary.rename(root / CALLS / call)


def main() -> None:
    """Preload, then run the script that the arguments name, as the interpreter itself would."""
    watch_parent()
    os.register_at_fork(before=note_call)
    if sys.platform == "linux":
        _libc()
        os.register_at_fork(after_in_child=die_with_parent)
    preload(os.environ.get(MODULES, "").split())
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
