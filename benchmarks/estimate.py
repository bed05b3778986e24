"""The coefficients of ``maggjob.cost.Work``, fitted to cells that are run here, and how far estimates are off.

    python -m benchmarks.estimate

Half of the cells are fitted, the other half is estimated with what came out, and with what stands in the code.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import maggjob
from maggjob.cost import Load, Work, bytes_read, seconds
from maggjob.planning import Plan
from maggjob.tasking import make_tasks

SCENES = (  # area (west, south, east, north), every how many segments, granules
    ((-106.0, -76.0, -101.0, -74.5), 1, 16),
    ((-106.0, -76.0, -101.0, -74.5), 5, 40),
    ((-125.0, -78.0, -95.0, -73.0), 50, 60),
)


def measure(plan: Plan) -> list[tuple[Load, float, int, int]]:
    """Load, CPU seconds, bytes and requests of each cell of a plan."""
    found = []
    for task, cell in zip(make_tasks(plan), plan.cells, strict=True):
        start = time.process_time()
        report = maggjob.map_cell(task)
        found.append((plan.load(cell), time.process_time() - start, report.bytes_read, report.requests))
    return found


def fit(loads: list[Load], values: list[float], *names: str) -> np.ndarray:
    """Least squares of what cells took, each weighted by its inverse, on the named fields."""
    table = np.array([[1.0 if name == "one" else getattr(load, name) for name in names] for load in loads])
    weight = 1 / np.array(values)[:, None]
    return np.linalg.lstsq(table * weight, np.ones(len(values)), rcond=None)[0]


def main() -> None:
    """Measure, fit, compare."""
    rows: list[tuple[Load, float, int, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (area, every, most) in enumerate(SCENES):
            where = Path(folder) / str(number)
            maggjob.simulate(where, area=area, every=every, most=most)
            plan = maggjob.plan("atl06.yaml", catalog=maggjob.make_catalog(where))
            measure(maggjob.plan("atl06.yaml", catalog=plan.catalog, max_cells=1))  # imports and caches
            rows += measure(plan)
    half, other = rows[::2], rows[1::2]
    loads = [load for load, *_ in half]
    cell_s, visit_s, scan_s, keep_s = fit(loads, [cpu for _, cpu, *_ in half], "one", "visits", "granule_rows", "rows")
    visit_b, scan_b, keep_b = fit(loads, [float(b) for *_, b, _ in half], "visits", "granule_rows", "rows")
    line = sum(b for *_, b, _ in half) / sum(n for *_, n in half)
    fitted = replace(
        Work(),
        cell_s=cell_s,
        visit_s=visit_s,
        scan_s=scan_s,
        keep_s=keep_s,
        visit_bytes=visit_b,
        scan_bytes=scan_b,
        keep_bytes=keep_b,
        line=line,
    )
    print(f"{len(rows)} cells, {sum(load.visits for load, *_ in rows)} visits")
    print(f"{'':<14}{'in the code':>14}{'fitted now':>14}")
    for name in ("cell_s", "visit_s", "scan_s", "keep_s", "visit_bytes", "scan_bytes", "keep_bytes", "line"):
        print(f"{name:<14}{getattr(Work(), name):>14.3g}{getattr(fitted, name):>14.3g}")
    print("estimate / measured over the other half:")
    for name, work in (("in the code", Work()), ("fitted now", fitted)):
        cpu = sum(seconds(load, work, 0.0) for load, *_ in other) / sum(cpu for _, cpu, *_ in other)
        read = sum(bytes_read(load, work) for load, *_ in other) / sum(b for *_, b, _ in other)
        print(f"{name:<14}{cpu:>9.2f} CPU-s{read:>9.2f} bytes")


if __name__ == "__main__":
    main()
