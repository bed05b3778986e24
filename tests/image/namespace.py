"""A user and mount namespace of one process, in which the kernel starts programs of aarch64 by qemu.

The process is root in it, and nothing of the machine changes: mounts and the registration of qemu end with it.

python -m tests.image.namespace QEMU COMMAND...     # runs a command in one
"""

import ctypes
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

NEW_NAMESPACES = 0x10000000 | 0x00020000  # CLONE_NEWUSER | CLONE_NEWNS
RDONLY, NOSUID, NODEV, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 32, 4096, 0x4000, 0x40000  # flags of mount(2)
IDS = 65536
BINFMT = Path("/proc/sys/fs/binfmt_misc")
# The first 20 bytes of a program: ELF, 64 bits, little-endian, of any system; executable or shared object; aarch64.
MAGIC = rb"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
MASK = rb"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


class NamespaceError(RuntimeError):
    """The machine has no such namespaces."""


def call(name: str, *arguments: object) -> None:
    """Call a function of the C library; Python has some of these only since 3.12, and no mount at all."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def mount(source: str, target: str | Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount a file system."""
    call("mount", source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode())


def identities(user: int, subordinate: str) -> list[tuple[int, int, int]]:
    """Return which ids of the namespace are which of the machine: (first inside, first outside, how many).

    Parameters
    ----------
    user : int
        Id of the user.
    subordinate : str
        Content of /etc/subuid or /etc/subgid. Root does not need it.

    Raises
    ------
    NamespaceError
        If the user owns no range of subordinate ids that is large enough.
    """
    if user == 0:
        return [(0, 0, IDS)]
    try:
        names = {str(user), pwd.getpwuid(user).pw_name}
    except KeyError:
        names = {str(user)}
    for name, first, count in re.findall(r"^([^:\n]+):(\d+):(\d+)$", subordinate, re.MULTILINE):
        if name in names and int(count) >= IDS - 1:
            return [(0, user, 1), (1, int(first), IDS - 1)]
    raise NamespaceError(
        f"user {user} has no {IDS} subordinate ids in /etc/subuid and /etc/subgid; be root, or add some"
    )


def _write_maps(process: int) -> None:
    """Write the maps of another process's namespace, which that process itself may not."""
    for name, own, program in (("uid", os.getuid(), "newuidmap"), ("gid", os.getgid(), "newgidmap")):
        path = Path(f"/etc/sub{name}")
        ranges = identities(os.getuid(), path.read_text() if path.is_file() else "")
        ranges = [(inside, own if inside == 0 else outside, count) for inside, outside, count in ranges]
        if os.getuid() == 0:
            text = "".join(f"{inside} {outside} {count}\n" for inside, outside, count in ranges)
            Path(f"/proc/{process}/{name}_map").write_text(text)
        else:
            subprocess.run([program, str(process), *(str(word) for words in ranges for word in words)], check=True)


def _register(qemu: Path) -> None:
    """Register qemu for programs of aarch64. It is opened now (F), so that it works in a chroot, too."""
    try:
        mount("binfmt_misc", BINFMT, "binfmt_misc")
    except PermissionError:
        if (BINFMT / "qemu-aarch64").is_file():  # the machine's own does as well
            return
        raise NamespaceError("a user's namespace has no binfmt_misc here; that needs Linux 6.7 or later") from None
    (BINFMT / "register").write_bytes(b":qemu-aarch64:M::" + MAGIC + b":" + MASK + b":" + os.fsencode(qemu) + b":OCF")


def enter(qemu: Path) -> None:
    """Move this process, which must have one thread, into namespaces of its own, as their root.

    Parameters
    ----------
    qemu : Path
        A statically linked qemu-aarch64.

    Raises
    ------
    NamespaceError
        If the machine does not allow it.
    """
    moved, mapped = os.pipe(), os.pipe()
    process = os.getpid()
    helper = os.fork()
    if helper == 0:
        try:
            os.close(moved[1])
            os.read(moved[0], 1)
            _write_maps(process)
            os.write(mapped[1], b"x")
            os._exit(0)
        except Exception as problem:
            sys.stderr.write(f"{problem}\n")
            os._exit(1)
    os.close(mapped[1])
    call("unshare", NEW_NAMESPACES)
    os.write(moved[1], b"x")
    done = os.read(mapped[0], 1)
    os.waitpid(helper, 0)
    if not done:
        raise NamespaceError("the ids of the namespace could not be set, see above")
    os.setgid(0)
    os.setuid(0)
    mount("none", "/", flags=REC | PRIVATE)
    _register(qemu)


def main(qemu: str, *command: str) -> None:
    """Run a command in new namespaces, in the place of this process."""
    try:
        enter(Path(qemu))
    except (NamespaceError, OSError) as problem:
        sys.exit(f"{problem}")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
