"""The statistics of a million observations, and a whole cell with as many in 40 local granules.

Prints CPU time, wall time and peak memory, compared with h5py reading the same slices:

    python -m benchmarks.statistics_and_cell
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

import maggjob
from maggjob.config.load import load_config
from maggjob.grid.healpix import locate
from maggjob.statistics.compute import compute
from tests.granule_files import BEAMS, beam, write_granule

GRANULES, ROWS = 40, 22_000
CENTRE = (-75.0, -100.0)


def make(folder: Path) -> int:
    """Write granules whose tracks cross one cell, each beam in three chunks; return the cell."""
    (cell,) = locate(np.array([CENTRE[0]]), np.array([CENTRE[1]]), 6, "authalic").tolist()
    for number in range(GRANULES):
        beams = {
            name: beam(
                ROWS, seed=10 * number + i, south=CENTRE[0] + 2.0, west=CENTRE[1] - 1.0 + 0.02 * number, step=1.8e-4
            )
            for i, name in enumerate(BEAMS)
        }
        write_granule(folder / f"ATL06_20190222031203_{number + 1:04d}0211_006_01.h5", beams)
    return cell


def statistics() -> None:
    """Measure the nine statistics alone."""
    rng = np.random.default_rng(0)
    rows, recipe = 1_000_000, load_config("atl06.yaml").recipe()
    child = rng.integers(0, 4096, rows)
    columns = {"h_li": rng.normal(0, 300, rows).astype("f4"), "s_li": rng.uniform(0.01, 0.3, rows).astype("f4")}
    compute(recipe.statistics, columns, child, 4096)
    times = []
    for _ in range(9):
        start = time.process_time()
        compute(recipe.statistics, columns, child, 4096)
        times.append(time.process_time() - start)
    print(f"nine statistics of 1e6 observations: {np.median(times):.3f} CPU-s (limit 0.08)")


def _usage(start: float) -> str:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    return f"{cpu:.2f} CPU-s, {time.monotonic() - start:.2f} s, {peak:.0f} MB peak"


def cell_by_maggjob(folder: Path, cell: int) -> None:
    """Process the cell as a worker does.

    Parameters
    ----------
    folder : Path
        Folder of the granules.
    cell : int
        Nested id.
    """
    start = time.monotonic()
    task = maggjob.task((6, cell), granules=sorted(folder.glob("*.h5")), store=str(folder / "out.zarr"))
    report = maggjob.map_cell(task)
    print(f"map_cell, with imports and writing:  {_usage(start)}; {report.observations:,} observations, {report.state}")


def cell_by_h5py(folder: Path, cell: int) -> None:
    """Read the same slices with h5py, and discard them.

    Parameters
    ----------
    folder : Path
        Folder of the granules.
    cell : int
        Nested id.
    """
    start, rows = time.monotonic(), 0
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            for name in BEAMS:
                segments = file[f"{name}/land_ice_segments"]
                ids = locate(segments["latitude"][:], segments["longitude"][:], 6, "authalic")
                inside = np.flatnonzero(ids == cell)
                if len(inside):
                    some = slice(inside[0], inside[-1] + 1)
                    for dataset in ("h_li", "h_li_sigma", "atl06_quality_summary", "delta_time"):
                        rows += len(segments[dataset][some])
    print(f"h5py reading the same slices:        {_usage(start)}; {rows // 4:,} segments")


def main() -> None:
    """Print all figures."""
    statistics()
    with tempfile.TemporaryDirectory() as name:
        cell = make(Path(name))
        for what in ("cell_by_maggjob", "cell_by_h5py"):
            code = f"import benchmarks.statistics_and_cell as b; b.{what}(b.Path({name!r}), {cell})"
            subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    main()
