"""Cold import of the worker's handler as it was, and as it is.

python -m benchmarks.cold_import [PAIRS]

As it was: official images of Python have no byte code of the standard library, and pika was imported. Both have byte
code of the packages. Only packages of the lock can be imported. The order within a pair alternates.
"""

import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from tests.aws.wheels import locked
from tests.aws.world import ROOT

PAIRS = 15
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
CODE = "import awslambdaric.bootstrap, maggjob.aws.handler"
UNCHECKED = ("--invalidation-mode", "unchecked-hash")
BEFORE = f"import pika; {CODE}"
SKIPPED = r"[/\\](tests?|idlelib|turtledemo|tkinter|lib2to3|ensurepip|pydoc_data|site-packages)[/\\]"


def link_packages(folder: Path) -> None:
    """Make a folder of the locked packages of this environment, and maggjob: folders with links to the files."""
    for name in locked(f"worker-{HERE}"):
        for file in distribution(name).files or []:
            if file.parts[0] not in ("..", "tests") and file.suffix != ".pyc":
                link(Path(str(file.locate())), folder / file)
    for path in (ROOT / "maggjob").rglob("*.py"):
        link(path, folder / path.relative_to(ROOT))


def link(path: Path, target: Path) -> None:
    """Make a symbolic link, and its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        target.symlink_to(path.resolve())


def compile_to(cache: Path, *folders: Path) -> None:
    """Write byte code of some folders into a cache."""
    for folder in folders:
        subprocess.run(
            [*(sys.executable, "-m", "compileall", "-q", "-j", "2", "-x", SKIPPED), *UNCHECKED, str(folder)],
            env={**os.environ, "PYTHONPYCACHEPREFIX": str(cache)},
            check=False,
            capture_output=True,
        )


def import_seconds(code: str, cache: Path, packages: Path) -> tuple[float, float]:
    """Return CPU and wall seconds of a new interpreter that imports the handler, with the byte code of a cache."""
    before, began = os.times(), os.times().elapsed
    # -S: the packages of this environment cannot be imported.
    subprocess.run(
        [sys.executable, "-S", "-X", f"pycache_prefix={cache}", "-c", code],
        env={"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/tmp"},
        check=True,
    )
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return cpu, after.elapsed - began


def main() -> None:
    """Print the medians and their ratio."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS
    with tempfile.TemporaryDirectory() as name:
        packages, without, with_library = (Path(name) / word for word in ("task", "without", "with"))
        packages.mkdir()
        link_packages(packages)
        compile_to(without, packages)
        compile_to(with_library, packages, Path(sysconfig.get_path("stdlib")))
        times: dict[Path, list[tuple[float, float]]] = {without: [], with_library: []}
        for number in range(pairs + 1):
            for cache in (without, with_library)[:: -1 if number % 2 else 1]:
                taken = import_seconds(BEFORE if cache == without else CODE, cache, packages)
                # The first pair only reads the files into memory.
                if number:
                    times[cache].append(taken)
    for what, column in (("CPU", 0), ("wall", 1)):
        old, new = ([one[column] for one in times[cache]] for cache in (without, with_library))
        ratio = statistics.median(b / a for a, b in zip(old, new, strict=True))
        print(
            f"cold import, {what}: {statistics.median(old):.2f} s as it was, {statistics.median(new):.2f} s as it is; "
            f"ratio {ratio:.2f} (limit 0.5), median of {pairs} pairs"
        )


if __name__ == "__main__":
    main()
