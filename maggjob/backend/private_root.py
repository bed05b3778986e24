"""A root of their own for the local processes of one run.

Lithops keeps its package, its runner, its logs and the data of all jobs of a user in one folder, which every client
replaces when it starts: a worker of another run that starts meanwhile finds no module. Here each run has a folder of
its own for all of that and for temporary files, which is deleted at its end.

Lithops decides on the folder when it is imported, and has no setting for it. So the paths that its modules hold are
changed while a run lasts; the processes that it starts take the folder from TMPDIR.
"""

import json
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maggjob.storage.owner import private_folder

LAST = 20
"""Lines of the log of local processes that an error shows."""
_LOCK = threading.RLock()
_open: list[Path] = []


@contextmanager
def private_root() -> Iterator[Path]:
    """Give Lithops' local processes a root of their own while the block runs; blocks may lie in each other.

    What is changed belongs to the whole process, so blocks in other threads wait for their turn.

    Yields
    ------
    Path
        The folder.
    """
    with _LOCK:
        if _open:
            yield _open[-1]
        else:
            with _new_root() as root:
                yield root


@contextmanager
def _new_root() -> Iterator[Path]:
    from lithops import constants  # 1 s

    before, temporary = constants.LITHOPS_TEMP_DIR, os.environ.get("TMPDIR")
    with private_folder() as folder:
        # A worker computes the same path from TMPDIR.
        root = os.path.realpath(folder / Path(before).name)
        _open.append(Path(root))
        _move(before, root)
        os.environ["TMPDIR"] = str(folder)
        try:
            yield Path(root)
        finally:
            _open.pop()
            if temporary is None:
                os.environ.pop("TMPDIR", None)
            else:
                os.environ["TMPDIR"] = temporary
            _move(root, before)


def write_whole() -> None:
    """Make Lithops write its cache of runtimes, in the user's home, as whole files, and pass a damaged one over.

    Lithops writes them in place, so that a client that starts meanwhile, or after one that was killed, reads half a
    file and fails.
    """
    from lithops.storage.storage import InternalStorage

    if getattr(InternalStorage, "writes_whole", False):
        return
    read = InternalStorage._cached_runtime_meta  # noqa: SLF001

    def write(self: Any, path: str, meta: Any) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        half = Path(f"{path}.{os.getpid()}.{secrets.token_hex(4)}")
        half.write_text(json.dumps(meta), encoding="utf-8")
        half.replace(path)

    def cached(self: Any, key: str, path: str) -> Any:
        try:
            return read(self, key, path)
        except (OSError, ValueError):
            return None

    InternalStorage._write_runtime_meta_file = write  # noqa: SLF001
    InternalStorage._cached_runtime_meta = cached  # noqa: SLF001
    InternalStorage.writes_whole = True


def _move(old: str, new: str) -> None:
    """Change all paths below a folder that Lithops' modules hold."""
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] != "lithops" or module is None:
            continue
        for attribute, value in list(vars(module).items()):
            if isinstance(value, str) and (value == old or value.startswith(old + os.sep)):
                setattr(module, attribute, new + value[len(old) :])


def last_words(root: Path | None) -> str:
    """Return the last lines that local processes wrote to their log; empty if there are none."""
    if root is None:
        return ""
    try:
        lines = (root / "localhost-runner.log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(line for line in lines[-LAST:] if line.strip())
