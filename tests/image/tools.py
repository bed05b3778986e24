"""What the tests of the image need of the machine, and the folder where they keep userlands."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from tests.arm64.userland import ROOT, UserlandError, fetch_emulator, run
from tests.aws.wheels import RUNTIME

MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"
RELEASES = {"3.11": "bookworm", "3.13": "trixie"}
"""Releases of Debian by their Python: the image's Python is the client's."""
PROGRAMS = {
    "buildah": "buildah",
    "docker-registry": "docker-registry",
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "skopeo": "skopeo",
    "umoci": "umoci",
}
"""Packages of Debian by the program that is used of them."""


def cache_folder() -> Path:
    """Return the folder of what is kept between runs: qemu, bases and wheels. 'make clean' leaves it alone."""
    given = os.environ.get("MAGGJOB_TEST_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(given) if given else home / "maggjob-test-image"


def reason_to_skip(minor: str = MINOR, machine: str = "") -> str:
    """Return why the image cannot be tested on this machine, and what to do about it; empty if it can.

    Parameters
    ----------
    minor : str
        Minor version of the client's Python.
    machine : str
        As ``uname -sm`` says it.
    """
    if (machine or f"{platform.system()} {platform.machine()}") != "Linux x86_64":
        return "the image is tested on Debian on x86-64"
    if minor not in RELEASES:
        known = " or ".join(f"PYTHON=python{name}" for name in RELEASES)
        return f"no release of Debian has Python {minor} for the base's stand-in: make test-image {known}"
    if not (RUNTIME / f"worker-{minor}.txt").is_file():
        return f"no lock for Python {minor}: make test-image PYTHON=python3.13"
    if missing := [package for program, package in PROGRAMS.items() if shutil.which(program) is None]:
        return f"install what is missing: apt-get install --no-install-recommends {' '.join(missing)}"
    return ""


class Emulation:
    """A qemu for aarch64, and user namespaces in which the kernel starts programs by it.

    Parameters
    ----------
    cache : Path
        Folder where qemu is kept.

    Raises
    ------
    UserlandError
        If the machine has no such namespaces, or qemu cannot be fetched.
    """

    def __init__(self, cache: Path) -> None:
        self.qemu = cache / "qemu" / "usr/bin/qemu-aarch64"
        if not self.qemu.is_file():
            shutil.rmtree(cache / "qemu", ignore_errors=True)
            (cache / "qemu").mkdir(parents=True)
            fetch_emulator(cache / "qemu")
        self.run("true")

    def program(self, module: str) -> list[str]:
        """Return the first words of a command that runs one of our programs: ``namespace`` or ``box``."""
        return [sys.executable, "-m", f"tests.image.{module}", str(self.qemu)]

    def run(self, *command: str | Path, given: str = "", environment: Mapping[str, str] | None = None) -> str:
        """Run a command as root of a namespace, and return its output."""
        # As 'buildah unshare' tells buildah that its root is nobody on the machine.
        rootless = {"_CONTAINERS_ROOTLESS_UID": str(os.getuid()), "_CONTAINERS_USERNS_CONFIGURED": "done"}
        variables = {**os.environ, **(rootless if os.getuid() else {}), "PYTHONPATH": str(ROOT), **(environment or {})}
        return run([*self.program("namespace"), *map(str, command)], variables, given)

    @contextmanager
    def folder(self, parent: Path) -> Iterator[Path]:
        """Make a folder, and delete it at the end with whatever the namespace's users own in it."""
        parent.mkdir(parents=True, exist_ok=True)
        for old in parent.glob("work-*"):  # of a process that was killed
            if not Path("/proc", old.name.split("-")[1]).is_dir():
                self._delete(old)
        made = Path(mkdtemp(prefix=f"work-{os.getpid()}-", dir=parent))
        try:
            yield made
        finally:
            self._delete(made)

    def _delete(self, folder: Path) -> None:
        self.run("rm", "-rf", "--one-file-system", folder)


__all__ = ["MINOR", "RELEASES", "ROOT", "Emulation", "UserlandError", "cache_folder", "reason_to_skip", "run"]
