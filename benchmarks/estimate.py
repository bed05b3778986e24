"""Fit the coefficients of ``maggjob.planning.cost`` to cells run on this machine, and measure the estimates' error.

    python -m benchmarks.estimate

Half of the cells are used for the fit. The other half is estimated with the fitted coefficients and with those in the
code.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import maggjob
from maggjob.jobs.granule_index import index_granules
from maggjob.pipeline.index_stage import index_tasks
from maggjob.planning.cost import WITH_INDEX, WITHOUT_INDEX, IndexWork, Load, Work, bytes_read, seconds
from maggjob.planning.plan import Plan
from maggjob.planning.tasks import make_tasks

# Whole granules, granules cut to an area, and thinned granules.
SCENES: tuple[dict[str, Any], ...] = (
    {"rgts": (850, 858, 900, 911, 1000), "regions": (11,)},
    {"area": (-106.0, -76.0, -101.0, -74.5), "most": 16},
    {"area": (-106.0, -76.0, -101.0, -74.5), "every": 5, "most": 40},
    {"area": (-125.0, -78.0, -95.0, -73.0), "every": 50, "most": 40},
)
Row = tuple[Load, float, int, int]
"""Load, CPU seconds, bytes read and requests of a cell."""


def measure(plan: Plan, indexes: str | None) -> list[Row]:
    """Process each cell of a plan, and return its cost.

    Parameters
    ----------
    plan : Plan
    indexes : str, optional
        Folder of the indexes; None to read without.
    """
    found = []
    for task, cell in zip(make_tasks(plan, indexes=indexes), plan.cells, strict=True):
        start = time.process_time()
        report = maggjob.map_cell(task)
        found.append((plan.load(cell), time.process_time() - start, report.bytes_read, report.requests))
    return found


def measure_index(plan: Plan, indexes: str) -> list[tuple[int, float, int, int]]:
    """Index each granule of a plan; return its number of segments, CPU seconds, bytes read and requests.

    Parameters
    ----------
    plan : Plan
    indexes : str
        Folder for the indexes.
    """
    found = []
    (whole, *_) = index_tasks(plan, indexes, workers=1)
    for one in plan.used_granules:
        start = time.process_time()
        report = index_granules(replace(whole, granules=(one,)))
        (granule,) = report.granules
        found.append((granule.rows, time.process_time() - start, report.bytes_read, report.requests))
    return found


def fit(table: Sequence[Sequence[float]], values: Sequence[float]) -> list[float]:
    """Fit non-negative coefficients by least squares, with residuals divided by the root of the measured value.

    Parameters
    ----------
    table : sequence, shape (n, terms)
        Terms of each measurement.
    values : sequence, shape (n,)
        Measured values.

    Returns
    -------
    list of float, shape (terms,)
        Coefficients; 0 for terms that would be negative.
    """
    columns, weight = np.array(table, np.float64), 1 / np.sqrt(np.array(values))[:, None]
    kept = list(range(columns.shape[1]))
    while True:
        found = np.linalg.lstsq(columns[:, kept] * weight, np.sqrt(values), rcond=None)[0]
        if (found >= 0).all():
            return [float(found[kept.index(i)]) if i in kept else 0.0 for i in range(columns.shape[1])]
        kept.pop(int(np.argmin(found * columns[:, kept].mean(axis=0))))


def fit_work(rows: Sequence[Row], known: Work) -> Work:
    """Return the coefficients fitted to some cells.

    Parameters
    ----------
    rows : sequence of Row
        Measured cells.
    known : Work
        Coefficients in the code; those that are not fitted are taken from here.
    """
    terms = [(1.0, load.visits, load.granule_rows, load.rows) for load, *_ in rows]
    cell_s, visit_s, scan_s, keep_s = fit(terms, [cpu for _, cpu, *_ in rows])
    read = [(load.visits, min(load.granule_rows, known.rows_most * load.visits)) for load, *_ in rows]
    visit_b, scan_b = fit(read, [float(b) for *_, b, _ in rows])
    return replace(
        known,
        cell_s=cell_s,
        visit_s=visit_s,
        scan_s=scan_s,
        keep_s=keep_s,
        visit_bytes=visit_b,
        scan_bytes=scan_b,
        line=sum(b for *_, b, _ in rows) / sum(n for *_, n in rows),
    )


def compare(title: str, rows: Sequence[Row], known: Work) -> None:
    """Print the coefficients in the code and those fitted now, and the error of both for cells not used in the fit.

    Parameters
    ----------
    title : str
    rows : sequence of Row
        Measured cells; every other one is used for the fit.
    known : Work
        Coefficients in the code.
    """
    fitted, other = fit_work(rows[::2], known), rows[1::2]
    print(f"\n{title}: {len(rows)} cells, {sum(load.visits for load, *_ in rows)} visits")
    print(f"{'':<14}{'in the code':>14}{'fitted now':>14}")
    for name in ("cell_s", "visit_s", "scan_s", "keep_s", "visit_bytes", "scan_bytes", "line"):
        print(f"{name:<14}{getattr(known, name):>14.3g}{getattr(fitted, name):>14.3g}")
    print("estimate / measured over the half that was not fitted:")
    for name, work in (("in the code", known), ("fitted now", fitted)):
        cpu = sum(seconds(load, work, 0.0) for load, *_ in other) / sum(cpu for _, cpu, *_ in other)
        read = sum(bytes_read(load, work) for load, *_ in other) / sum(b for *_, b, _ in other)
        print(f"{name:<14}{cpu:>9.2f} CPU-s{read:>9.2f} bytes")


def main() -> None:
    """Measure, fit, and print the comparison."""
    without: list[Row] = []
    with_index: list[Row] = []
    made: list[tuple[int, float, int, int]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, scene in enumerate(SCENES):
            where, indexes = Path(folder) / str(number), f"{folder}/indexes-{number}"
            maggjob.simulate(where, **scene)
            plan = maggjob.plan("atl06.yaml", catalog=maggjob.make_catalog(where))
            # Import modules and fill caches before measuring.
            measure(maggjob.plan("atl06.yaml", catalog=plan.catalog, max_cells=1), None)
            without += measure(plan, None)
            made += measure_index(plan, indexes)
            with_index += measure(plan, indexes)
    compare("without indexes", without, WITHOUT_INDEX)
    compare("with indexes", with_index, WITH_INDEX)
    granule_s, row_s = fit([(1.0, rows) for rows, *_ in made], [cpu for _, cpu, *_ in made])
    granule_b, row_b = fit([(1.0, rows) for rows, *_ in made], [float(b) for *_, b, _ in made])
    line = sum(b for *_, b, _ in made) / sum(n for *_, n in made)
    now, known = IndexWork(granule_s, row_s, granule_b, row_b, line), IndexWork()
    print(f"\nmaking {len(made)} indexes\n{'':<14}{'in the code':>14}{'fitted now':>14}")
    for name in ("granule_s", "row_s", "granule_bytes", "row_bytes", "line"):
        print(f"{name:<14}{getattr(known, name):>14.3g}{getattr(now, name):>14.3g}")


if __name__ == "__main__":
    main()
