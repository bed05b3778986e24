"""Cost of simulating granules: one of full size, and thinned ones (1 in 50 segments).

python -m benchmarks.simulation
"""

import statistics
import tempfile
import time
from pathlib import Path

from maggjob.simulator.scene import Scene, simulate


def seconds(folder: Path, scene: Scene) -> tuple[float, int, float]:
    """Simulate a scene three times.

    Parameters
    ----------
    folder : Path
        Folder for the granules.
    scene : Scene

    Returns
    -------
    tuple of (float, int, float)
        Median seconds per granule, number of granules, and their mean size in MB.
    """
    simulate(folder, scene)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        paths = simulate(folder, scene)
        times.append((time.perf_counter() - start) / len(paths))
    return statistics.median(times), len(paths), sum(path.stat().st_size for path in paths) / len(paths) / 1e6


def main() -> None:
    """Print all figures."""
    scenes = {
        "full size, main datasets (limit 3 s)": Scene(rgts=(858,), regions=(11,), absent=0.0),
        "full size, all datasets (limit 3 s)": Scene(rgts=(858,), regions=(11,), absent=0.0, everything=True),
        "1 in 50 segments (limit 0.06 s)": Scene(rgts=tuple(range(100, 120)), regions=(11,), every=50),
    }
    with tempfile.TemporaryDirectory() as name:
        for what, scene in scenes.items():
            took, count, size = seconds(Path(name) / str(len(what)), scene)
            print(f"{what}: {took:.3f} s per granule of {size:.1f} MB, {count} granules")


if __name__ == "__main__":
    main()
