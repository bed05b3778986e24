"""Who owns something that must not outlive its process: a credential, a temporary folder, the lock of a run.

A process is known by its host, its id and the time at which it started, because ids are used again. Whether a process
of another host still runs cannot be known here.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from maggjob.inputs.plain_json import load_json

OWNER = "owner.json"
"""Name of the file, in a private folder, that says who owns it."""
PREFIX = "maggjob-"
"""Beginning of the name of a private folder."""
NAME = re.compile(rf"{PREFIX}(?P<host>[0-9a-f]{{8}})-(?P<pid>\d+)-(?P<started>\d*)-\w+")
"""Name of a private folder: a digest of the host, id and start of the process, and random letters."""


@dataclass(frozen=True)
class Owner:
    """A process."""

    host: str
    """Name of the host; on Linux with its boot and the namespace in which the process id counts."""
    pid: int
    """Id of the process."""
    started: str
    """Start of the process: clock ticks since the host's boot; empty if the system does not tell."""
    token: str
    """Random word, which distinguishes several things of one process."""

    def to_json(self) -> bytes:
        """Return the owner as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Owner":
        """Return the owner that `to_json` wrote.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            plain = load_json(content)
            return cls(str(plain["host"]), int(plain["pid"]), str(plain["started"]), str(plain["token"]))
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not an owner: {problem}") from problem


@cache
def this_host() -> str:
    """Return the name of this host, its boot, and the namespace of its process ids."""
    boot = space = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:13]
        space = str(Path("/proc/self/ns/pid").readlink())
    return " ".join(filter(None, (socket.gethostname(), boot, space)))


def start_of(pid: int) -> str | None:
    """Return when a process started; empty if the system does not tell; None if there is no such process."""
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            return ""
        return ""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
    except OSError:
        return None
    # A zombie does nothing any more.
    return None if fields[0] in "ZX" else fields[19]


def me() -> Owner:
    """Return this process as an owner, with a new token."""
    return Owner(this_host(), os.getpid(), start_of(os.getpid()) or "", secrets.token_hex(8))


def is_gone(owner: Owner) -> bool:
    """Return True if it is certain that a process has ended: only a process of this host can be known to have."""
    return owner.host == this_host() and start_of(owner.pid) != owner.started


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder that only this user can read, and delete it at the end of the block.

    What killed processes left is deleted first.
    """
    sweep()
    mine = me()
    # The name says it, too: a process may be killed before the note is written, or while all of it is deleted.
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{_short(mine.host)}-{mine.pid}-{mine.started}-"))
    (folder / OWNER).write_bytes(mine.to_json())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> int:
    """Delete the private folders of processes that have ended; return their number."""
    count = 0
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError):
            owner = _owner_of(folder)
            if owner is not None and is_gone(owner):
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
    return count


def _owner_of(folder: Path) -> Owner | None:
    """Return the owner of a private folder by its note, else by its name; None if neither tells."""
    note = folder / OWNER
    if note.is_file():
        return Owner.from_json(note.read_bytes())
    named = NAME.fullmatch(folder.name)
    if named is None or named["host"] != _short(this_host()):
        return None
    return Owner(this_host(), int(named["pid"]), named["started"], "")


def _short(host: str) -> str:
    return hashlib.sha256(host.encode()).hexdigest()[:8]
