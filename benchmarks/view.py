"""Pictures and pages of results: CPU time, peak memory and size, of one cell and of all of Antarctica.

python -m benchmarks.view

Each file is written by a process of its own; the import of matplotlib is included. The results are synthetic: heights
with a noise of 6 m, so that pages compress as those of real heights, and numbers of segments as of one cycle.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from maggjob.grid.coverage import area_cells
from maggjob.grid.healpix import Grid
from tests.show.synthetic_store import height, write_store

AREAS = {"20 cells": "-108,-76.5,-98,-73.6", "Antarctica": "grounded"}
"""Areas by what they are called."""
FILES = ("map.png", "map.pdf", "view.html")


def rough(latitude: np.ndarray, longitude: np.ndarray, time: int) -> np.ndarray:
    return height(latitude, longitude, time) + np.random.default_rng(time).normal(0, 6, len(latitude))


def measure(store: str, out: str) -> None:
    """Write one file, and print what it cost."""
    if out.endswith(".html"):
        from maggjob.show.page import write_page as write
    else:
        from maggjob.show.maps import draw_map as write
    start = time.process_time()
    path = write(store, out)
    # Unlike ru_maxrss, this does not begin with the peak of the process that started this one.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = float(status["VmHWM"].split()[0]) / 1024
    print(json.dumps([time.process_time() - start, peak, path.stat().st_size / 1e6]))


def main() -> None:
    print(f"{'result':12} {'cells':>10} {'file':10} {'CPU s':>7} {'peak MB':>8} {'MB':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for name, area in AREAS.items():
            parents, grid = area_cells(area), Grid()
            store = write_store(
                Path(folder) / f"{len(parents)}.zarr", parents, grid, {"h_mean": (rough, {"units": "meters"})}
            )
            for file in FILES:
                asked = [sys.executable, "-m", "benchmarks.view", str(store), str(Path(folder) / file)]
                done = subprocess.run(asked, check=True, capture_output=True, text=True)
                cpu, peak, size = json.loads(done.stdout)
                cells = len(parents) * grid.children
                print(f"{name:12} {cells:10,} {file:10} {cpu:7.1f} {peak:8.0f} {size:6.1f}", flush=True)


if __name__ == "__main__":
    measure(*sys.argv[1:]) if len(sys.argv) > 1 else main()
