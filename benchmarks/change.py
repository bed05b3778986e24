"""Rates of change: their cost beside that of heights, their errors, and the cost of an update.

``python -m benchmarks.change`` prints, in one run:

- CPU of a cell of each trend configuration over that of the same cell of ``atl06.yaml``, with indexes, in pairs;
- how far the rates are from those that the simulator planted, and from how many of them by more than two errors;
- CPU of an update that adds a cycle over that of a run of this cycle alone, in pairs;
- requests for a map of one cycle, and for a time series of one cell;
- expected cost and time of a plan of 24 cycles over Antarctica's grounded ice.

With ``--every 1`` granules have all their segments: the sampling noise is then that of real ones.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import maggjob
from maggjob.grid.centers import centers
from maggjob.jobs.cells import map_cell
from maggjob.planning.plan import Plan
from maggjob.planning.tasks import make_tasks
from maggjob.simulator.scene import Scene, simulate
from maggjob.simulator.surface import planted_rate, years

AREA = (-106.0, -76.0, -102.0, -74.8)
CYCLES = tuple(range(14, 22))
TRENDS = ("atl06_trend.yaml", "atl06_trend_dem.yaml")


def cpu_of(do: Callable[[], object]) -> float:
    """Return the CPU seconds that a function takes in this process."""
    before = time.process_time()
    do()
    return time.process_time() - before


def pairs(one: Callable[[], object], two: Callable[[], object], number: int) -> float:
    """Return the median ratio of the CPU times of two functions, called in turns."""
    return statistics.median(cpu_of(one) / cpu_of(two) for _ in range(number))


def cells(granules: Path, number: int) -> None:
    """Print the cost of the fullest cell of each trend configuration."""
    tasks: dict[str, Any] = {}
    for name in ("atl06.yaml", *TRENDS):
        catalog = maggjob.make_catalog(granules, name)
        store = granules.parent / f"{name}.zarr"
        maggjob.run(name, catalog=catalog, store=str(store), backend="serial", index=True, indexes="indexes")
        plan = replace(maggjob.plan(name, catalog=catalog, max_cells=1), store_path=None)
        tasks[name] = make_tasks(plan, indexes="indexes")[0]
    for name in TRENDS:
        ratio = pairs(lambda name=name: map_cell(tasks[name]), lambda: map_cell(tasks["atl06.yaml"]), number)
        print(f"CPU of a cell of {name} / of atl06.yaml: {ratio:.2f} (limit 4)")


def rates(granules: Path, scene: Scene) -> None:
    """Print how far rates are from the planted ones."""
    for name in TRENDS:
        store = str(granules.parent / f"{name}.zarr")
        with maggjob.open_result(store) as ds:
            latitude, longitude = centers(ds.cell_ids.values.astype(np.int64), 12, "authalic")
            span = [float((t - np.datetime64("2018-01-01")) / np.timedelta64(1, "s")) for t in times(ds)]
            planted = planted_rate(latitude, longitude, scene.planted, years(np.linspace(*span, 50)))
            good = np.isfinite(ds.dh_dt.values) & (ds.cycles.values >= 5)
            off = (ds.dh_dt.values - planted)[good]
            z, formal = off / ds.dh_dt_error.values[good], off / ds.dh_dt_formal_error.values[good]
        print(
            f"{name}: {good.sum():,} cells of 5 cycles or more, {np.sqrt((off**2).mean()):.4f} m/yr rms; "
            f"|z| rms {np.sqrt((z**2).mean()):.2f}, below 2 in {np.mean(np.abs(z) < 2):.1%}; "
            f"formal error {np.sqrt((formal**2).mean()):.1f} times too small"
        )


def times(ds: Any) -> list[np.datetime64]:
    """Return the first and the last time of a result."""
    return [np.datetime64(ds.attrs[f"time_coverage_{end}"].rstrip("Z")) for end in ("start", "end")]


def update(granules: Path, number: int) -> None:
    """Print the cost of an update that adds a cycle."""
    name, last = "atl06_cycles.yaml", CYCLES[-1]
    every = sorted(map(str, granules.glob("*.h5")))
    alone = [path for path in every if int(Path(path).name[25:27]) == last]
    catalogs = {
        what: maggjob.make_catalog(some, name, aoi=AREA)
        for what, some in (("old", [path for path in every if path not in alone]), ("all", every), ("alone", alone))
    }
    own = {"backend": "serial", "index": True, "overwrite": True}
    count = iter(range(1000))

    def fresh() -> dict[str, Any]:
        return own | {"indexes": f"indexes-{next(count)}"}

    ratios = []
    for turn in range(number):
        store = str(granules.parent / f"cycles-{turn}.zarr")
        maggjob.run(name, catalog=catalogs["old"], store=store, **fresh())
        added = cpu_of(lambda store=store: maggjob.update(store, catalog=catalogs["all"], **fresh()))
        one = str(granules.parent / f"alone-{turn}.zarr")
        ratios.append(
            added / cpu_of(lambda one=one: maggjob.run(name, catalog=catalogs["alone"], store=one, **fresh()))
        )
    print(f"CPU of an update by one cycle / of a run of this cycle alone: {statistics.median(ratios):.2f} (limit 1.2)")


def requests(granules: Path) -> None:
    """Print the requests for a map and for a time series."""
    import zarr
    from zarr.storage import LocalStore

    seen: list[str] = []

    class Counting(LocalStore):
        async def get(self, key: str, *given: Any, **options: Any) -> Any:
            seen.append(key)
            return await super().get(key, *given, **options)

    array: Any = zarr.open_array(Counting(granules.parent / "cycles-0.zarr" / "12" / "dh"), mode="r")
    for what, place in (("a map of one cycle", (0, slice(None))), ("a time series of one cell", (slice(None), 0))):
        seen.clear()
        array[place]
        shape, shards = array.shape, -(-array.shape[1] // array.shards[1])
        print(f"{what}: {len(seen)} requests ({shape[0]} cycles, {shards} shards per cycle)")


def large(cycles: int) -> None:
    """Print the plan of a trend over many cycles."""
    from benchmarks.growth import Client

    with tempfile.TemporaryDirectory(prefix="maggjob-bench-") as name:
        catalog = Client(Path(name), cycles).find
    plan = maggjob.plan("atl06_trend.yaml", catalog=catalog, check=False)
    told: Plan = replace(plan, driver="s3")
    chosen = told.choice.chosen
    depths = told.split_depths(2 * 2**30)
    print(
        f"plan of {cycles} cycles: {len(told.positions):,} granules, {told.pairs:,} pairs, ${chosen.dollars:.2f}, "
        f"{chosen.wall_s:.0f} s with {chosen.workers:,} workers; cells divided to fit in 2 GB: "
        f"{sum(depth > 0 for depth in depths)} of {len(depths)}"
    )


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=4, help="keep every n-th segment")
    parser.add_argument("--pairs", type=int, default=5, help="number of pairs")
    parser.add_argument("--cycles", type=int, default=24, help="cycles of the large plan; 0 for none")
    asked = parser.parse_args()
    scene = Scene(cycles=CYCLES, area=AREA, every=asked.every, pass_bias=0.05, dem_error=0.1, flips=True)
    with tempfile.TemporaryDirectory(prefix="maggjob-bench-") as name:
        os.chdir(name)
        granules = Path(name) / "granules"
        print(f"{len(simulate(granules, scene))} granules, every {asked.every}. segment, 5 cm of bias per pass")
        cells(granules, asked.pairs)
        rates(granules, scene)
        update(granules, asked.pairs)
        requests(granules)
    if asked.cycles:
        large(asked.cycles)


if __name__ == "__main__":
    main()
