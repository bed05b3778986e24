"""The locks of the image in runtime/."""

import re
from pathlib import Path

RUNTIME = Path(__file__).resolve().parents[2] / "runtime"
LOCKS = sorted(path.stem for path in RUNTIME.glob("worker*-3.*.txt"))


def locked(lock: str) -> dict[str, str]:
    """Name and version of each package of a lock."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (RUNTIME / f"{lock}.txt").read_text(), re.MULTILINE))
