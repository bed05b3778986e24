"""One cell of about a million segments, read in several ways; growth with the number of granules; cost of a cycle.

python -m benchmarks.reading [GRANULES]

The ways are those of `benchmarks.cell_ways`. They read simulated full-size granules from a server in another process on
this machine, first without latency, then with 30 ms per request and 90 MB/s per connection.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cell_granules import links, make_granules, write_tasks
from benchmarks.cell_ways import BYTE_CODE, WAYS, measure
from benchmarks.cycle_cost import Cycle, cost
from maggjob.backend.bill import Prices

LATENCY, BANDWIDTH = 0.03, 90e6
GROWTH = (1, 4, 16, 64, 396)


def compare(folder: Path, paths: Sequence[Path], cell: int) -> dict[str, dict[str, Any]]:
    """Measure all ways, print a table, and return the measurements by way.

    Parameters
    ----------
    folder : Path
        Folder that contains the granules.
    paths : sequence of Path
        The granules.
    cell : int
        Nested id.
    """
    from benchmarks.object_server import server

    found: dict[str, dict[str, Any]] = {way: {} for way in WAYS}
    for key, latency in (("wall", 0.0), ("slow", LATENCY)):
        run = folder / f"run-{key}"
        run.mkdir()
        with server(folder) as fast, server(folder, latency, BANDWIDTH) as root:
            tasks = write_tasks(run, root, fast, paths, cell)
            for way in WAYS if key == "wall" else "abce":
                got = measure(way, tasks[way])
                found[way] |= got if key == "wall" else {"slow": got["wall"]}
    granules, millions = len(paths), found["c"]["observations"] / 1e6
    print(
        f"one cell, {granules} granules, {found['c']['observations']:,} observations; right: per granule, CPU s per 1e6"
    )
    titles = ("CPU s", "wall s", "at 30 ms", "GETs", "MB", "peak MB", "ms CPU", "GETs", "MB", "CPU s")
    print(" " * 22 + "".join(f"{title:>9}" for title in titles))
    for way, title in WAYS.items():
        row = {"slow": float("nan"), "requests": 0, "bytes": 0} | found[way]
        whole = (row["cpu"], row["wall"], row["slow"], row["requests"], row["bytes"] / 1e6, row["peak"])
        one = (
            row["cpu"] / granules * 1e3,
            row["requests"] / granules,
            row["bytes"] / granules / 1e6,
            row["cpu"] / millions,
        )
        print(f"({way}) {title:18}" + "".join(f"{number:9.2f}" for number in (*whole, *one)))
    a, b, c, d, e = (found[way] for way in WAYS)
    keys = {"CPU": "cpu", "wall": "wall", "wall at 30 ms": "slow", "bytes": "bytes"}
    print("(a) / (c): " + ", ".join(f"{name} {a[key] / c[key]:.0f}" for name, key in keys.items()))
    print(f"(b) / (c): CPU {b['cpu'] / c['cpu']:.1f}")
    over, all_over = c["work"] / d["cpu"], c["work"] / (d["cpu"] + e["cpu"])
    print(f"(c) without imports / (d): CPU {over:.1f}; / ((d) + (e)): CPU {all_over:.1f}")
    print(f"(c) also read {c['indexes']} indexes, {c['index_bytes'] / 1e6:.1f} MB")
    return found


def growth(folder: Path, paths: Sequence[Path], cell: int) -> None:
    """Print how the cost of reading with indexes grows with the granules of a cell, and the predicted memory.

    Parameters
    ----------
    folder : Path
        Folder that contains the granules.
    paths : sequence of Path
        The granules.
    cell : int
        Nested id.
    """
    from benchmarks.object_server import server
    from maggjob.config.load import load_config
    from maggjob.granules.memory import predicted_memory

    recipe = load_config("atl06.yaml").recipe()
    print(f"{'granules':>9}{'observations':>14}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}{'predicted':>11}")
    for count in GROWTH:
        run = folder / f"growth-{count}"
        run.mkdir()
        with server(folder) as fast, server(folder, LATENCY, BANDWIDTH) as root:
            got = measure("c", write_tasks(run, root, fast, links(paths, folder, count), cell)["c"])
        predicted = predicted_memory(got["observations"], recipe) / 1e6
        print(
            f"{count:9}{got['observations']:14,}{got['cpu']:8.2f}{got['wall']:8.2f}{got['peak']:9.0f}{predicted:11.0f}"
        )


def indexing(folder: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """Measure the making of indexes; return CPU seconds, wall seconds at 30 ms and bytes, per granule, without imports.

    Parameters
    ----------
    folder : Path
        Folder that contains the granules.
    paths : sequence of Path
        The granules, of which sixteen are indexed.
    """
    from benchmarks.object_server import server
    from maggjob.config.load import load_config
    from maggjob.jobs.granule_index import index_granules
    from maggjob.model.tasks import Granule, IndexTask

    recipe = load_config("atl06.yaml").recipe()
    with server(folder, LATENCY, BANDWIDTH) as root:
        granules = tuple(Granule(p.stem, f"{root}/{p.name}", p.stat().st_size) for p in paths[:16])
        index_granules(IndexTask("warm", recipe, granules[:1], str(folder / "warm")))
        start, cpu = time.monotonic(), time.process_time()
        report = index_granules(IndexTask("all", recipe, granules, str(folder / "measured")))
        took = {"wall": time.monotonic() - start, "cpu": time.process_time() - cpu, "bytes": report.bytes_read}
    each = {key: value / len(granules) for key, value in took.items()}
    rows, size = (sum(getattr(g, key) for g in report.granules) / len(granules) for key in ("rows", "index_bytes"))
    print(
        f"one index: {each['cpu'] * 1e3:.0f} ms CPU, {each['wall'] * 1e3:.0f} ms at 30 ms per request, "
        f"{each['bytes'] / 1e6:.1f} MB read, {size / 1e3:.0f} KB written, for a granule of {rows:,.0f} segments"
    )
    return each


def main() -> None:
    """Print all figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 58
    folder = Path(tempfile.mkdtemp(prefix="maggjob-bench-"))
    subprocess.run(
        [sys.executable, "-c", "import maggjob.jobs.cells, maggjob.hdf5.file, benchmarks.cell_ways"],
        env=BYTE_CODE,
        check=True,
    )
    try:
        paths, cell = make_granules(folder, count)
        found = compare(folder, links(paths, folder, count), cell)
        index = indexing(folder, paths)
        growth(folder, paths, cell)
        cost(found["c"], index, Prices(), Cycle())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
