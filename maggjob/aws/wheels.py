"""The wheels of a lock file: fetched by pip, checked by hash, kept in the cache, and laid out as pip installs them."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from maggjob.aws.elf import without_symbols
from maggjob.errors import BackendError, InputError

TASK = "var/task"
"""Folder of the image that Python imports from (PYTHONPATH of the Dockerfile)."""
PLATFORMS = ("manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 29)))
"""Platforms of the wheels, as pip names them; the locks are made for glibc 2.28."""
ENTRY = re.compile(
    r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)((?:\s*\\?\s*--hash=sha256:[0-9a-f]{64})+)", re.MULTILINE
)
LEFT_OUT = re.compile(r"(^|/)tests/|\.(pyi|pyx|pxd|c|h|a)$|\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)$")
"""Files of packages that no worker needs: tests, type stubs, sources in C, and pip's notes."""


@dataclass(frozen=True)
class Locked:
    """A package of a lock file."""

    name: str
    """Name."""
    version: str
    """Version."""
    hashes: frozenset[str]
    """SHA-256 of its files, in hexadecimal; any of them may be used."""

    def key(self, python: str) -> str:
        """Return the name of its folder in the cache.

        Parameters
        ----------
        python : str
            Minor version of Python, which decides which of the files is used.
        """
        parts = [self.name, self.version, python, *sorted(self.hashes)]
        return f"{self.name}-{self.version}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"

    def line(self) -> str:
        """Return it as a line of a lock file."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{one}" for one in sorted(self.hashes))])


def read_lock(path: Path) -> list[Locked]:
    """Return the packages of a lock file.

    Raises
    ------
    InputError
        If there is no such file, it is empty, or a package has no hash.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: there are no locked packages for this Python; try another one")
    text = path.read_text(encoding="utf-8")
    found = [
        Locked(name, number, frozenset(re.findall(r"[0-9a-f]{64}", rest))) for name, number, rest in ENTRY.findall(text)
    ]
    lines = [line for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    if len(found) != len(lines) or not found:
        raise InputError(f"{path}: {len(lines)} packages, of which {len(found)} have hashes; make the lock again")
    return found


def fetch_wheels(lock: Iterable[Locked], python: str, cache: Path) -> tuple[list[Path], int]:
    """Return the wheels of a lock, from the cache or from the package index that pip uses.

    Parameters
    ----------
    lock : iterable of Locked
    python : str
        Minor version of Python, such as 3.13.
    cache : Path
        Folder of the cache. Every wheel is checked against the lock, whether it was there or not.

    Returns
    -------
    wheels : list of Path
        In the order of the lock.
    fetched : int
        Bytes that were fetched.

    Raises
    ------
    BackendError
        If pip fails.
    """
    packages = list(lock)
    cache.mkdir(parents=True, exist_ok=True)
    missing = [package for package in packages if _kept(package, python, cache) is None]
    fetched = 0
    if missing:
        with tempfile.TemporaryDirectory(dir=cache, prefix="pip-") as name:
            _download(missing, python, Path(name))
            fetched = sum(_keep(path, missing, python, cache) for path in sorted(Path(name).glob("*.whl")))
    wheels = []
    for package in packages:
        wheel = _kept(package, python, cache)
        if wheel is None:
            raise BackendError(f"pip fetched no wheel of {package.name}=={package.version}; try again")
        wheels.append(wheel)
    return wheels, fetched


def _kept(package: Locked, python: str, cache: Path) -> Path | None:
    """Return the wheel of a package in the cache; delete it, and return None, if its hash is not in the lock."""
    folder = cache / package.key(python)
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) == 1 and _sha256(wheels[0]) in package.hashes:
        return wheels[0]
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _keep(wheel: Path, packages: Iterable[Locked], python: str, cache: Path) -> int:
    """Move a wheel into the cache; return its bytes."""
    digest, size = _sha256(wheel), wheel.stat().st_size
    (package,) = [one for one in packages if digest in one.hashes]
    folder = cache / package.key(python)
    folder.mkdir(exist_ok=True)
    wheel.replace(folder / wheel.name)
    return size


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(packages: Iterable[Locked], python: str, folder: Path) -> None:
    """Let pip fetch wheels for aarch64, with the index, proxy and certificates that pip is configured with."""
    lock = folder / "requirements.txt"
    lock.write_text("\n".join(package.line() for package in packages) + "\n", encoding="utf-8")
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    # Our own command, run without a shell.
    done = subprocess.run(  # noqa: S603
        [*command, *platforms, "--dest", str(folder), "--requirement", str(lock)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_NO_INPUT": "1"},
    )
    if done.returncode:
        raise BackendError(_explained(done.stderr))


def _explained(said: str) -> str:
    """Return what pip's error means, in one line."""
    if "No module named pip" in said:
        return "pip is not installed in this environment; type: python -m ensurepip"
    if "No space left on device" in said:
        return "pip could not write a wheel: No space left on device; free some space, or set MAGGJOB_CACHE and TMPDIR"
    if "DO NOT MATCH THE HASHES" in said:
        found = re.search(r"^\s*(\S+==\S+|\S+) from .*\n\s*Expected sha256 .*", said, re.MULTILINE)
        name = found[1] if found else "a package"
        return f"{name}: the package index has another file than the lock says; check the index that pip uses"
    last = next((line for line in reversed(said.splitlines()) if line.strip()), "it printed nothing")
    return f"pip download failed: {last.strip()[:300]}; check the network and the index that pip uses"


@contextmanager
def installed_files(wheels: Iterable[Path]) -> Iterator[dict[str, Callable[[], bytes]]]:
    """Return what pip would install from wheels, without programs, tests and what only pip and compilers read.

    Libraries come without symbols. The files can be read until the end of the block.

    Raises
    ------
    InputError
        If two wheels have different files of the same name.
    """
    files: dict[str, Callable[[], bytes]] = {}
    with ExitStack() as stack:
        for wheel in wheels:
            archive = stack.enter_context(zipfile.ZipFile(wheel))
            for entry in archive.infolist():
                name = _place(entry.filename)
                if entry.is_dir() or name is None:
                    continue
                read = partial(_read, archive, entry)
                if name in files and files[name]() != read():
                    raise InputError(f"{wheel.name} and another wheel have different {name}; lock other versions")
                files[name] = read
        yield files


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    content = archive.read(entry)
    return without_symbols(content) if ".so" in PurePosixPath(entry.filename).suffixes else content


def _place(name: str) -> str | None:
    """Return where a member of a wheel goes, or None for nowhere."""
    parts = name.split("/")
    if parts[0].endswith(".data"):
        if parts[1] not in ("purelib", "platlib"):
            return None
        parts = parts[2:]
    path = "/".join(parts)
    return None if LEFT_OUT.search(path) or ".." in parts else f"{TASK}/{path}"
