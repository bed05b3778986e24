"""The wheels of the image: fetched for aarch64 by the locks in runtime/, and added up.

python -m tests.aws.wheels        # needs a package index
"""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
GLIBC = ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 29))]
LOCKS = sorted(path.stem for path in RUNTIME.glob("worker*-3.*.txt"))


def locked(lock: str) -> dict[str, str]:
    """Name and version of each package of a lock."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (RUNTIME / f"{lock}.txt").read_text(), re.MULTILINE))


def download(lock: str, folder: Path) -> None:
    """Fetch all wheels of a lock for aarch64 and its Python, checking their hashes."""
    version = lock.rsplit("-", 1)[1]
    platforms = [word for name in GLIBC for word in ("--platform", name)]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--retries=1", "--disable-pip-version-check", "--no-deps"]
        + ["--require-hashes", "--only-binary=:all:", "--implementation", "cp", "--python-version", version]
        + [*platforms, "--dest", str(folder), "-r", str(RUNTIME / f"{lock}.txt")],
        check=True,
        capture_output=True,
        text=True,
    )


def installed_bytes(folder: Path) -> int:
    """Bytes of all wheels unzipped, without the folders named tests, which the Dockerfile deletes."""
    return sum(
        entry.file_size
        for wheel in folder.glob("*.whl")
        for entry in zipfile.ZipFile(wheel).infolist()
        if "tests" not in entry.filename.split("/")[:-1]
    )


def main() -> None:
    """Print the size of each lock's wheels."""
    for lock in LOCKS:
        with tempfile.TemporaryDirectory() as name:
            download(lock, Path(name))
            megabytes = installed_bytes(Path(name)) / 1e6
        print(f"{lock}: {len(locked(lock))} wheels, {megabytes:.0f} MB unzipped")  # noqa: T201


if __name__ == "__main__":
    main()
