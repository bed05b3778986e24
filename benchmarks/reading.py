"""One cell of some million segments read in several ways, and how that grows; what a cycle would cost.

python -m benchmarks.reading [GRANULES]

Rows: (a) naive: h5coro reads everything, a client and a pass a granule, statistics by a loop over the
children; (b) maggjob without indexes; (c) with; (d) the floor: nothing but inflating the chunks and
reducing the rows; (e) the requests of (c), nothing made of their answers. Each runs in a process of its own, on
simulated granules of full size, from a server on this machine in another process, without and with a latency of
30 ms, at 90 MB/s a connection. CPU seconds and memory are those of the whole process, imports included, of (d) and
(e) without: together they are what (c) cannot do without.
"""

import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.backend.bill import Prices

CELL_AT = (-80.5, -100.0)
LATENCY, BANDWIDTH = 0.03, 90e6
GROWTH = (1, 4, 16, 64, 396)
BYTE_CODE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""An environment in which modules are compiled once, as they are in the image of a worker."""
WAYS = {"a": "naive", "b": "maggjob, no index", "c": "maggjob, index", "d": "floor", "e": "requests of (c)"}


# ---- what is measured


def naive(name: str) -> dict[str, Any]:
    """(a): everything of every granule, one after the other; 4,096 selections of the whole."""
    import obstore
    from h5coro.h5coro import H5Coro
    from obstore.store import HTTPStore

    from maggjob.grid.healpix import child_index

    task = pickle.loads(Path(name).read_bytes())
    fetched = {"requests": 0, "bytes": 0}

    class Driver:
        def __init__(self, resource: Any, credentials: Any) -> None:
            root, self.key = resource.rsplit("/", 1)
            self.store = HTTPStore(root, client_options={"allow_http": True})

        def read(self, position: int, size: int) -> bytes:
            content = bytes(obstore.get_range(self.store, self.key, start=position, length=size))
            fetched["requests"] += 1
            fetched["bytes"] += len(content)
            return content

        def close(self) -> None:
            pass

    nested, grid, pieces = task["nested"], task["task"].recipe.grid, []
    names = ("latitude", "longitude", "h_li", "h_li_sigma", "atl06_quality_summary")
    for granule in task["task"].granules:
        file = H5Coro(granule.url, Driver)
        for beam in task["task"].recipe.groups:
            paths = [f"{beam}/land_ice_segments/{name}" for name in names]
            read = file.readDatasets(paths, block=True)
            latitude, longitude, height, sigma, quality = (read[path] for path in paths)
            if latitude is None:
                continue
            child = child_index(latitude, longitude, nested, grid)
            good = (child >= 0) & (quality == 0) & (height < 3e38)
            pieces.append((child[good], height[good], sigma[good]))
    child, height, sigma = (np.concatenate([piece[i] for piece in pieces]) for i in range(3))
    rows = []
    for number in range(grid.children):
        some = child == number
        h, w = height[some], 1.0 / sigma[some].astype("f8") ** 2
        if len(h):
            rows.append((len(h), h.min(), h.max(), np.average(h, weights=w), w.sum() ** -0.5, h.var()))
            rows[-1] += tuple(np.quantile(h, (0.25, 0.5, 0.75)))
    return fetched | {"observations": int(sum(row[0] for row in rows))}


def by_maggjob(name: str) -> dict[str, Any]:
    """(b) and (c): what a worker does, with writing its part."""
    from maggjob.jobs.cells import map_cell

    cpu = time.process_time()
    report = map_cell(pickle.loads(Path(name).read_bytes())["task"])
    if report.state != "complete":
        raise SystemExit(f"{report.state}: {report.message}")
    used = report.indexes.get("used", 0)
    return {
        "requests": report.requests,
        "bytes": report.bytes_read,
        "index_bytes": report.index_bytes,
        "indexes": used,
        "observations": report.observations,
        "work": time.process_time() - cpu,
    }


def floor(name: str) -> dict[str, Any]:
    """(d): inflate the chunks, which are in memory, and reduce the rows that are in the cell."""
    from maggjob.statistics.compute import compute

    given = pickle.loads(Path(name).read_bytes())
    recipe, shares = given["task"].recipe, pickle.loads(Path(given["chunks"]).read_bytes())
    start_cpu, start = time.process_time(), time.monotonic()
    columns: dict[str, list[np.ndarray]] = {"child": [], "h_li": [], "s_li": []}
    for first, last, chosen, child, tables in shares:
        values = [table.values(first, last, stored) for table, stored in tables]
        height, sigma, quality = values if chosen is None else [v[chosen] for v in values]
        good = (quality == 0) & (height < np.float32(3.4e38))
        for column, values in zip(columns.values(), (child, height, sigma), strict=True):
            column.append(values[good])
    joined = {key: np.concatenate(values) for key, values in columns.items()}
    compute(recipe.statistics, joined, joined["child"], recipe.grid.children)
    return {
        "observations": len(joined["child"]),
        "cpu": time.process_time() - start_cpu,
        "wall": time.monotonic() - start,
    }


def requests(name: str) -> dict[str, Any]:
    """(e): ask for the ranges of (c), as many granules at once, and drop what comes."""
    from maggjob.jobs.cells import VISITS_AT_ONCE
    from maggjob.storage.archive import Archive, Ranges

    given = pickle.loads(Path(name).read_bytes())
    access, asked = Archive(), pickle.loads(Path(given["ranges"]).read_bytes())
    start_cpu, start = time.process_time(), time.monotonic()
    with ThreadPoolExecutor(VISITS_AT_ONCE) as pool:
        for _ in pool.map(lambda one: len(Ranges(one[0].url, access).get_all(one[1])), asked):
            pass
    own = {"cpu": time.process_time() - start_cpu, "wall": time.monotonic() - start}
    return own | {"requests": access.requests, "bytes": access.bytes_read}


def contender(way: str, name: str) -> None:
    """Run one way in this process and print what it took."""
    start = time.monotonic()
    found = {"a": naive, "b": by_maggjob, "c": by_maggjob, "d": floor, "e": requests}[way](name)
    used = resource.getrusage(resource.RUSAGE_SELF)
    own = {"cpu": used.ru_utime + used.ru_stime, "wall": time.monotonic() - start, "peak": peak_memory() / 1e6}
    print(json.dumps(own | found))


def peak_memory() -> int:
    """Largest resident memory of this process, in bytes; getrusage tells that of the one it was forked from, too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def measure(way: str, name: Path) -> dict[str, Any]:
    """Run one way in a process of its own."""
    # maggjob first, as in a worker: see its __init__
    code = f"import maggjob; from benchmarks.reading import contender; contender({way!r}, {str(name)!r})"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=BYTE_CODE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"({way}) {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found | ({} if way in "de" else {"wall": time.monotonic() - start})


# ---- data


def make_granules(folder: Path, count: int) -> tuple[list[Path], int]:
    """Granules of full size whose tracks cross one cell, and the cell's nested id."""
    from maggjob.grid.healpix import locate
    from maggjob.simulator.scene import Scene, passes, simulate

    south, west = CELL_AT
    (cell,) = locate(np.array([south]), np.array([west]), 6, "authalic").tolist()
    around = (west - 1.0, south - 0.15, west + 1.0, south + 0.15)
    crossing = passes(Scene(regions=(10, 11, 12), area=around, most=count))
    paths: list[Path] = []
    for one in crossing:
        paths += simulate(folder, Scene(rgts=(one.rgt,), regions=(one.region,), absent=0.0, everything=True))
    return paths, cell


def links(paths: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """As many granules as wanted: links to those that were made, under the names of other years and cycles."""
    found = []
    for number in range(count):
        path, more = paths[number % len(paths)], number // len(paths)
        year, cycle = int(path.name[6:10]) + more, 22 + 4 * more
        found.append(folder / f"{path.name[:6]}{year}{path.name[10:25]}{cycle:02d}{path.name[27:]}")
        if not found[-1].exists():
            found[-1].symlink_to(path)
    return found


def write_tasks(folder: Path, root: str, fast: str, paths: Sequence[Path], cell: int) -> dict[str, Path]:
    """Index the granules at a fast server, and write the task of each way, which reads from another."""
    from maggjob.config.load import load_config
    from maggjob.granules.granule import open_granule
    from maggjob.granules.index_format import decode, index_digest, index_key
    from maggjob.granules.selection import Buffers, ranges_needed
    from maggjob.grid.healpix import format_cell
    from maggjob.jobs.granule_index import index_granules
    from maggjob.model.tasks import CellTask, Granule, IndexTask
    from maggjob.storage.archive import Archive

    recipe = load_config("atl06.yaml").recipe()
    granules = tuple(Granule(p.stem, f"{root}/{p.name}", p.stat().st_size) for p in paths)
    indexes = folder / "indexes"
    near = tuple(replace(granule, url=f"{fast}/{p.name}") for granule, p in zip(granules, paths, strict=True))
    report = index_granules(IndexTask("all", recipe, near, str(indexes)))
    failed = [g.message for g in report.granules if g.state == "failed"]
    if report.message or failed:
        raise SystemExit(report.message or failed[0])
    name = format_cell(cell, 6)
    plain = CellTask(f"cycle22/{name}", name, "cycle22", recipe, granules, parts=str(folder / "parts"))
    chunks, asked, access, digest = [], [], Archive(), index_digest(recipe)
    for granule, far in zip(near, granules, strict=True):
        index = decode((indexes / index_key(granule, digest)).read_bytes(), granule.id, digest)
        shares = index.shares(cell, recipe.grid)
        ranges = ranges_needed(shares, recipe, timed=False)
        asked.append((far, ranges))
        buffers = Buffers(ranges, open_granule(granule, access).source.views(ranges))
        for share in shares:
            tables = []
            for path in recipe.needed_paths[share.group]:
                table = share.datasets[path]
                stored = [
                    table.inline.get(n) or bytes(buffers.cut(*table.range_of(n)))
                    for n in table.numbers(share.start, share.stop)
                ]
                tables.append((replace(table, inline={}), stored))
            chunks.append((share.start, share.stop, share.chosen, share.child, tables))
    (folder / "chunks").write_bytes(pickle.dumps(chunks))
    (folder / "ranges").write_bytes(pickle.dumps(asked))
    content = {"nested": cell, "chunks": str(folder / "chunks"), "ranges": str(folder / "ranges")}
    tasks = {way: plain if way != "c" else replace(plain, indexes=str(indexes)) for way in WAYS}
    for way, task in tasks.items():
        (folder / way).write_bytes(pickle.dumps(content | {"task": task}))
    return {way: folder / way for way in WAYS}


# ---- what is printed


def compare(folder: Path, paths: Sequence[Path], cell: int) -> dict[str, dict[str, Any]]:
    """The table of all ways."""
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
    visits, millions = len(paths), found["c"]["observations"] / 1e6
    print(f"one cell, {visits} granules, {found['c']['observations']:,} observations; right: a visit, and CPU s of 1e6")
    titles = ("CPU s", "wall s", "at 30 ms", "GETs", "MB", "peak MB", "ms CPU", "GETs", "MB", "CPU s")
    print(" " * 22 + "".join(f"{title:>9}" for title in titles))
    for way, title in WAYS.items():
        row = {"slow": float("nan"), "requests": 0, "bytes": 0} | found[way]
        whole = (row["cpu"], row["wall"], row["slow"], row["requests"], row["bytes"] / 1e6, row["peak"])
        one = (row["cpu"] / visits * 1e3, row["requests"] / visits, row["bytes"] / visits / 1e6, row["cpu"] / millions)
        print(f"({way}) {title:18}" + "".join(f"{number:9.2f}" for number in (*whole, *one)))
    a, b, c, d, e = (found[way] for way in WAYS)
    keys = {"CPU": "cpu", "wall": "wall", "wall at 30 ms": "slow", "bytes": "bytes"}
    print("(a) / (c): " + ", ".join(f"{name} {a[key] / c[key]:.0f}" for name, key in keys.items()))
    print(f"(b) / (c): CPU {b['cpu'] / c['cpu']:.1f}")
    over, all_over = c["work"] / d["cpu"], c["work"] / (d["cpu"] + e["cpu"])
    print(f"(c) without imports / (d): CPU {over:.1f}; / ((d) + (e)): CPU {all_over:.1f}")
    print(f"(c) read {c['indexes']} indexes, {c['index_bytes'] / 1e6:.1f} MB, besides")
    return found


def growth(folder: Path, paths: Sequence[Path], cell: int) -> None:
    """How a visit by index grows with the granules of a cell, and the memory that `predicted_memory` says."""
    from benchmarks.object_server import server
    from maggjob.config.load import load_config
    from maggjob.jobs.cells import predicted_memory

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


@dataclass(frozen=True)
class Cycle:
    """An Antarctic cycle: numbers of cycle 22 of ATL06 version 007; workers and their start are assumptions."""

    granules: int = 4153
    """That touch Antarctica."""
    cells: int = 1344
    """Of order 6, grounded."""
    visits: int = 77_400
    """Pairs of granule and cell: 57.6 a cell."""
    observations: float = 1.37e9
    """Of good quality."""
    memory: float = 1.769
    """GB of a worker: one processor."""
    workers: int = 500
    """At once, each of which starts once."""
    start: float = 1.5
    """Seconds of INIT: the image is there, the interpreter starts, modules are imported."""
    objects: int = 4
    """Objects of Lithops a call: its data, its state, its result, its log."""


def cost(cell: dict[str, Any], index: dict[str, Any], prices: Prices, cycle: Cycle) -> None:
    """Print what a cycle would cost, each term on a line.

    The measured cell is scaled by observations; it is billed by its wall time at 30 ms a request, imports
    included, as is the making of indexes, sixteen granules a call.
    """
    calls, index_calls = cycle.cells, -(-cycle.granules // 16)
    map_seconds = cell["slow"] / cell["observations"] * cycle.observations
    index_seconds = index["wall"] * cycle.granules
    of_map = map_seconds * cycle.memory * prices.gb_second
    of_index = index_seconds * cycle.memory * prices.gb_second
    of_init = cycle.workers * cycle.start * cycle.memory * prices.gb_second
    of_calls = (calls + index_calls) * prices.call
    of_puts = ((calls + index_calls) * cycle.objects + calls + cycle.granules) * prices.put
    of_gets = (cycle.visits + 2 * calls + (calls + index_calls) * cycle.objects) * prices.get
    gb = f"GB x ${prices.gb_second * 1e6:.2f}/1e6"
    print("projected cost of an Antarctic cycle, prices and workers as assumed")
    print(f"  cells     {map_seconds:8.0f} s x {cycle.memory} {gb} = ${of_map:.3f}")
    print(f"  indexes   {index_seconds:8.0f} s x {cycle.memory} {gb} = ${of_index:.3f}, once for all runs")
    print(f"  INIT      {cycle.workers} x {cycle.start} s x {cycle.memory} {gb} = ${of_init:.3f}")
    print(f"  calls     {calls + index_calls} = ${of_calls:.4f}")
    print(f"  PUTs      {of_puts / prices.put:,.0f} = ${of_puts:.3f}")
    print(f"  GETs      {of_gets / prices.get:,.0f} of our own = ${of_gets:.3f}")
    compute = of_map + of_index
    print(f"  compute without INIT ${compute:.3f}, all ${compute + of_init + of_calls + of_puts + of_gets:.3f}")


def indexing(folder: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """CPU, wall at 30 ms and bytes of making indexes, a granule; without the imports."""
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
        f"an index: {each['cpu'] * 1e3:.0f} ms CPU, {each['wall'] * 1e3:.0f} ms at 30 ms a request, "
        f"{each['bytes'] / 1e6:.1f} MB read, {size / 1e3:.0f} KB, of a granule of {rows:,.0f} segments"
    )
    return each


def main() -> None:
    """Print all figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 58
    folder = Path(tempfile.mkdtemp(prefix="maggjob-bench-"))
    subprocess.run(
        [sys.executable, "-c", "import maggjob.jobs.cells, maggjob.hdf5.file, benchmarks.reading"],
        env=BYTE_CODE,
        check=True,
    )
    try:
        paths, cell = make_granules(folder, count)
        found = compare(folder, links(paths, folder, count), cell)
        made = indexing(folder, paths)
        growth(folder, paths, cell)
        cost(found["c"], made, Prices(), Cycle())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
