"""What a userland does: it imports what the image's entry point imports, makes indexes, maps cells, and bins points.

python worker.py GIVEN OUT      # everything that comes of it is written below OUT

GIVEN is a pickle of a dict, whose keys are

jobs     by name: cell tasks, and the index task that goes before them, or None for granules that are read as they are
points   by name: latitudes and longitudes to be binned, degrees, shape (n,) each
values   by name of a function of expressions: what it is taken of, float64
"""

import json
import pickle
import platform
import resource
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the entry point is to be the first that is imported
    from maggjob.model.tasks import CellTask, IndexTask

ORDERS = 6, 12, 18  # that points are binned at
WHERE_AND_WHEN = ("seconds", "peak_memory", "part", "bytes_read", "requests")
"""What a report says of its worker: without an index the threads of a read share what they read as it happens."""


def mapped_files() -> list[str]:
    """Programs and libraries that this process runs code of."""
    lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    return sorted({line[5] for line in lines if len(line) == 6 and "x" in line[1] and line[5].startswith("/")})


def map_job(cells: "list[CellTask]", index: "IndexTask | None", out: Path) -> list[dict[str, Any]]:
    """Make the indexes and parts of a job; what the reports say of the data."""
    from maggjob.jobs.cells import map_cell
    from maggjob.jobs.granule_index import index_granules

    indexes, reports = None, []
    if index is not None:
        indexes = str(out / "indexes")
        reports += [asdict(granule) for granule in index_granules(replace(index, indexes=indexes)).granules]
    for cell in cells:
        reports.append(map_cell(replace(cell, parts=str(out / "parts"), indexes=indexes)).to_dict())
    return [{name: value for name, value in report.items() if name not in WHERE_AND_WHEN} for report in reports]


def write_numbers(work: dict[str, Any], out: Path) -> None:
    """Write the cells of points, and the values of functions, a folder each."""
    import numpy as np

    from maggjob.grid.healpix import LATITUDES, locate
    from maggjob.statistics.expression import ELEMENTWISE

    for name, (latitude, longitude) in work["points"].items():
        for convention in LATITUDES:
            folder = out / f"{name}, {convention} cells"
            folder.mkdir(parents=True)
            for order in ORDERS:
                np.save(folder / f"{order}.npy", locate(latitude, longitude, order, convention))
    for name, values in work["values"].items():
        (out / f"np.{name}").mkdir()
        np.save(out / f"np.{name}/values.npy", ELEMENTWISE[name](values))


def main(given: Path, out: Path) -> None:
    """Do the work, and write down what is to be compared, and remarks on how it went."""
    begun = time.perf_counter()
    import awslambdaric.bootstrap  # noqa: F401

    import maggjob.aws.handler  # noqa: F401

    seconds = {"import": time.perf_counter() - begun}
    work = pickle.loads(given.read_bytes())
    reports = {}
    for name, (cells, index) in work["jobs"].items():
        begun = time.perf_counter()
        reports[name] = map_job(cells, index, out / name)
        seconds[name] = time.perf_counter() - begun
    begun = time.perf_counter()
    write_numbers(work, out / "numbers")
    seconds["numbers"] = time.perf_counter() - begun
    # Counts by cell are a mapping, but no dict.
    (out / "reports.json").write_text(json.dumps(reports, indent=1, sort_keys=True, default=dict))
    remarks = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "glibc": platform.libc_ver()[1],
        "seconds": seconds,
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "mapped": mapped_files(),
    }
    (out / "remarks.json").write_text(json.dumps(remarks))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
