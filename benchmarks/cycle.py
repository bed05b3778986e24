"""A whole simulated cycle over Antarctica on this machine, and how the cost of a run grows with its cells.

python -m benchmarks.cycle [EVERY [CELLS ...]]

The granules are all 4,161 of cycle 22, as local files with one in EVERY segments (default: 200). Their catalog is made
from records like CMR's. Each run has its own process, two workers, and its own indexes. The cells with most granules
come first: a run of few cells has up to 400 granules per cell, a run of many about 55. Each run is checked before its
figures are printed: every segment of every granule is in one state, and the Zarr contains the segments kept.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

EVERY, CELLS = 200, (10, 100, 1344)

RUN = """
import json, resource, sys
import maggjob, xarray
folder, cells = sys.argv[1], int(sys.argv[2])
result = maggjob.run(
    "atl06.yaml", catalog=f"{folder}/catalog.json", store=f"{folder}/{cells}.zarr", indexes=f"{folder}/{cells}.idx",
    index=True, max_cells=cells, max_workers=2,
)
segments = result.tally.segments
assert result.complete and segments["rows"] == sum(n for state, n in segments.items() if state != "rows")
kept = int(xarray.open_zarr(result.store_path, group=result.group)["count"].sum())
assert kept == result.tally.observations
own = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "wall": result.wall_time_s, "client": own.ru_utime + own.ru_stime, "peak": own.ru_maxrss / 1024,
    "worker_peak": max(report.peak_memory for report in result.reports) / 2**20, "pairs": result.plan.pairs,
    "granules": len(result.plan.used_granules), "rows": segments["rows"], "kept": kept, "calls": result.calls,
    "index": result.indexed.wall_time_s, "work": sum(report.seconds for report in result.reports),
}))
"""


def make_data(folder: Path, every: int) -> None:
    """Simulate the cycle, and write its catalog, with local files and with cells from footprints.

    Parameters
    ----------
    folder : Path
        Folder for granules and catalog.
    every : int
        Keep every n-th segment.
    """
    from maggjob import find_catalog, simulate
    from maggjob.simulator.scene import cmr_records

    start = time.monotonic()
    paths = simulate(folder / "granules", every=every)
    took = time.monotonic() - start
    size = sum(path.stat().st_size for path in paths) / 1e6
    print(f"simulated {len(paths):,} granules, {size:,.0f} MB, in {took:.0f} s")
    records = folder / "records.json"
    records.write_text(json.dumps(cmr_records(paths)))
    found = find_catalog(records=[records], cycle=22, aoi="grounded")
    where = {path.stem: {"file": str(path)} for path in paths}
    catalog = replace(found, granules=tuple(replace(g, urls=where[g.id]) for g in found.granules))
    catalog.write(folder / "catalog.json")
    print(f"catalog: {len(catalog.granules):,} granules, {len(catalog.cells):,} cells, {catalog.pairs:,} pairs")


def main() -> None:
    """Print all figures."""
    words = [int(word) for word in sys.argv[1:]]
    every, cells = (words[0] if words else EVERY), tuple(words[1:]) or CELLS
    with tempfile.TemporaryDirectory(prefix="maggjob-bench-") as name:
        make_data(Path(name), every)
        titles = ("granules", "pairs", "segments", "kept", "wall s", "indexes", "work", "ms/pair", "client", "MB", "MB")
        print(f"{'cells':>6}" + "".join(f"{title:>11}" for title in titles))
        for count in cells:
            done = subprocess.run(
                [sys.executable, "-c", RUN, name, str(count)], check=False, capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(done.stderr[-2000:])
            got = json.loads(done.stdout.splitlines()[-1])
            row = (got["granules"], got["pairs"], got["rows"], got["kept"])
            times = (got["wall"], got["index"], got["work"], 1e3 * got["work"] / got["pairs"], got["client"])
            print(
                f"{count:6,}"
                + "".join(f"{number:11,}" for number in row)
                + "".join(f"{number:11.1f}" for number in (*times, got["peak"], got["worker_peak"]))
            )


if __name__ == "__main__":
    main()
