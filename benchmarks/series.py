"""CPU time of a granule of MUR25: the whole task of the series job, and h5py that only reads the variable.

python -m benchmarks.series
"""

import tempfile
import time
from pathlib import Path

import h5py

from maggjob.config.series import load_series_config
from maggjob.jobs.granule_mean import map_granule
from maggjob.model.means import MeanTask
from maggjob.simulator.sst import simulate_sst

ROUNDS = 5


def by_maggjob(paths: list[Path]) -> float:
    """Return the CPU seconds of the tasks of some granules."""
    recipe, began = load_series_config("mur25_sst.yaml").recipe, time.process_time()
    for path in paths:
        report = map_granule(MeanTask(path.stem, str(path), None, "2019-01-01", recipe))
        assert report.state == "used", report
    return time.process_time() - began


def by_h5py(paths: list[Path], names: tuple[str, ...]) -> float:
    """Return the CPU seconds that h5py takes to read variables of some granules."""
    began = time.process_time()
    for path in paths:
        with h5py.File(path) as file:
            for name in names:
                file[name][:]
    return time.process_time() - began


def main() -> None:
    """Measure chunkings in turns, and print medians of ratios."""
    with tempfile.TemporaryDirectory() as folder:
        for label, chunks in (("one chunk", None), ("chunks of 1 x 103 x 205", (1, 103, 205))):
            paths = simulate_sst(Path(folder, label), start="2019-01-01", end="2019-01-08", chunks=chunks)
            by_maggjob(paths), by_h5py(paths, ("analysed_sst",))
            ratios, ours = [], []
            for _ in range(ROUNDS):
                ours.append(by_maggjob(paths))
                ratios.append(
                    (ours[-1] / by_h5py(paths, ("analysed_sst",)), ours[-1] / by_h5py(paths, ("analysed_sst", "mask")))
                )
            alone, both = (sorted(one[k] for one in ratios)[ROUNDS // 2] for k in (0, 1))
            print(
                f"{label}: {1e3 * min(ours) / len(paths):.1f} ms a granule, {alone:.2f} times h5py on the variable, "
                f"{both:.2f} times h5py on the variable and its mask"
            )


if __name__ == "__main__":
    main()
