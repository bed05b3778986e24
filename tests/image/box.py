"""A sandbox like Lambda's: runs a command in the files of an image, on an emulated aarch64, as a user without rights.

/ is read-only, only /tmp can be written to (512 MB), there is no /dev/shm, and the image does not know the user. The
environment is the image's own and what Lambda sets (AWS_*, LAMBDA_*, _HANDLER), nothing else of the caller's.

python -m tests.image.box QEMU BUNDLE COMMAND...     # BUNDLE: see tests.image.images
"""

import json
import os
import sys
from pathlib import Path

from tests.image.namespace import BIND, NODEV, NOSUID, RDONLY, REC, REMOUNT, NamespaceError, enter, mount

USER, GROUP = 993, 990  # Lambda's own: sbx_user1051
CPU = "neoverse-n1"  # Graviton2, which Lambda's ARM64 is
GIVEN = ("AWS_", "LAMBDA_", "_HANDLER", "_X_AMZN")
DEVICES = ("null", "zero", "full", "random", "urandom")
LOCKED = 2 | 4 | 8 | 1024  # nosuid, nodev, noexec, noatime: a namespace may not drop them from a mount of the machine


def furnish(root: Path) -> None:
    """Mount what is not in the image, and make the rest read-only."""
    for name in ("dev", "proc", "tmp"):
        (root / name).mkdir(exist_ok=True)
    mount(str(root), root, flags=BIND)
    mount("tmpfs", root / "dev", "tmpfs", NOSUID, "mode=755")
    for name in DEVICES:
        (root / "dev" / name).touch()
        mount(f"/dev/{name}", root / "dev" / name, flags=BIND)
    (root / "dev/fd").symlink_to("/proc/self/fd")
    mount("tmpfs", root / "tmp", "tmpfs", NOSUID | NODEV, "size=512m,mode=1777")
    mount("/proc", root / "proc", flags=BIND | REC)
    mount("none", root, flags=REMOUNT | BIND | RDONLY | (os.statvfs(root).f_flag & LOCKED))


def main(qemu: str, bundle: str, *command: str) -> None:
    """Run a command in the box, in the place of this process."""
    settings = json.loads(Path(bundle, "image.json").read_text())["config"]
    given = {name: value for name, value in os.environ.items() if name.startswith(GIVEN)}
    own = dict(word.split("=", 1) for word in settings["Env"])
    try:
        enter(Path(qemu))
        furnish(Path(bundle, "rootfs"))
    except (NamespaceError, OSError) as problem:
        sys.exit(f"{problem}")
    os.chroot(Path(bundle, "rootfs"))
    os.chdir(settings["WorkingDir"])
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(USER, USER, USER)
    # execvpe looks for the program in the image's PATH, not in the caller's.
    os.execvpe(command[0], command, {**own, **given, "LAMBDA_TASK_ROOT": "/var/task", "QEMU_CPU": CPU})


if __name__ == "__main__":
    main(*sys.argv[1:])
