"""The reduce stage, from the parts of many cells to one Zarr: CPU time, wall time and peak memory.

python -m benchmarks.reduce [CELLS ...]

Each number of cells runs in its own process. All 4,096 children of each cell have values, the worst case. The whole
sphere has 49,152 cells of order 6. The values of 64 parts are reused for all cells.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

CELLS = (10, 100, 1344)
DIFFERENT = 64
"""Number of different parts; further cells reuse their values, with a ledger of their own."""


def make_parts(folder: Path, count: int) -> None:
    """Write the parts of some cells as workers do, with random values.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    count : int
        Number of cells.
    """
    from maggjob.config.load import load_config
    from maggjob.grid.healpix import format_cell
    from maggjob.jobs.parts import Level, ledger_of, pack
    from maggjob.model.tasks import CellTask
    from maggjob.storage.folder import Folder

    recipe, rng = load_config("atl06.yaml").recipe(), np.random.default_rng(0)
    place, child = Folder(str(folder / "parts"), create=True), np.arange(4096)
    counts = np.full(4096, 7, "i4")
    values = [
        {s.name: counts if s.function == "len" else rng.normal(0, 300, 4096).astype("f4") for s in recipe.statistics}
        for _ in range(DIFFERENT)
    ]
    for number in range(count):
        cell = format_cell(number * 49152 // count, 6)
        task = CellTask(f"all/{cell}", cell, "all", recipe, (), "run", str(folder / "parts"))
        levels = [Level(12, child, values[number % DIFFERENT])]
        content = pack(ledger_of(task, report_of(task), {"h_li": {"units": "meters"}}), levels)
        place.put(f"{task.id}.npz", content)


def report_of(task: Any) -> Any:
    """Return a worker's report on a cell of 58 granules, with seven segments in each child."""
    from maggjob.model.reports import CellReport, GranuleReport

    names = [f"ATL06_20240212133044_{number:04d}2211_006_01" for number in range(58)]
    first, *others = (GranuleReport(name, "used", rows=2 * 7 * 4096) for name in names)
    granules = (replace(first, in_cell=7 * 4096, kept=7 * 4096), *others)
    return CellReport(task.id, task.cell, "all", "complete", {"kept": 7 * 4096}, granules, part=task.part)


def reduce(folder: Path, count: int) -> None:
    """Read the parts of some cells, write the Zarr, and print the cost as JSON.

    Parameters
    ----------
    folder : Path
        Folder of the run.
    count : int
        Number of cells.
    """
    from maggjob.config.load import load_config
    from maggjob.grid.healpix import format_cell
    from maggjob.model.ledger import reduce_tally
    from maggjob.model.tasks import CellTask
    from maggjob.output.zarr_store import assemble

    config = load_config("atl06.yaml")
    recipe = config.recipe()
    names = [format_cell(number * 49152 // count, 6) for number in range(count)]
    tasks = [CellTask(f"all/{c}", c, "all", recipe, (), "run", str(folder / "parts")) for c in names]
    reports = [report_of(task) for task in tasks]
    start, cpu = time.monotonic(), time.process_time()
    assemble(config, tasks, reports, reduce_tally(reports), str(folder / "map.zarr"))
    took = {"wall": time.monotonic() - start, "cpu": time.process_time() - cpu}
    print(json.dumps(took | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def main() -> None:
    """Print all figures."""
    for count in [int(word) for word in sys.argv[1:]] or CELLS:
        with tempfile.TemporaryDirectory(prefix="maggjob-bench-") as name:
            for what in ("make_parts", "reduce"):
                code = f"import benchmarks.reduce as b; b.{what}(b.Path({name!r}), {count})"
                done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
            took = json.loads(done.stdout)
            shards = sum(len(files) for at, _, files in os.walk(Path(name) / "map.zarr" / "12" / "h_mean" / "c"))
        print(
            f"{count:6,} cells x 4,096 children x 9 variables: {took['wall']:.1f} s, {took['cpu']:.1f} CPU-s, "
            f"{took['peak']:.0f} MB peak, {shards} shards per variable"
        )


if __name__ == "__main__":
    main()
