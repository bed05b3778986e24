"""One cell of some million segments read in four ways, and how that grows; what a cycle would cost.

python -m benchmarks.reading [GRANULES]

Rows: (a) naive: h5coro reads everything, a client and a pass a granule, statistics by a loop over the
children; (b) maggjob without indexes; (c) with; (d) the floor: nothing but inflating the chunks and
reducing the rows. Each runs in a process of its own, on simulated granules of full size, from a server on this
machine in another process, without and with a latency of 30 ms, at 90 MB/s a connection. CPU seconds
and memory are those of the whole process, imports included; the floor has none.
"""

import json
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

CELL_AT = (-80.5, -100.0)
LATENCY, BANDWIDTH = 0.03, 90e6
GROWTH = (1, 4, 16, 64, 396)
WAYS = {"a": "naive", "b": "maggjob, no index", "c": "maggjob, index", "d": "floor"}


# ---- what is measured


def naive(name: str) -> dict[str, Any]:
    """(a): everything of every granule, one after the other; 4,096 selections of the whole."""
    import obstore
    from h5coro.h5coro import H5Coro
    from obstore.store import HTTPStore

    from maggjob.cells import child_index

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
    from maggjob.job import map_cell

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
    }


def floor(name: str) -> dict[str, Any]:
    """(d): inflate the chunks, which are in memory, and reduce the rows that are in the cell."""
    from maggjob.statistics import compute

    given = pickle.loads(Path(name).read_bytes())
    recipe, shares = given["task"].recipe, pickle.loads(Path(given["chunks"]).read_bytes())
    start_cpu, start = time.process_time(), time.monotonic()
    columns: dict[str, list[np.ndarray]] = {"child": [], "h_li": [], "s_li": []}
    for inside, first, child, tables in shares:
        height, sigma, quality = (t.values(first, int(inside[-1]) + 1, stored)[inside - first] for t, stored in tables)
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


def contender(way: str, name: str) -> None:
    """Run one way in this process and print what it took."""
    start = time.monotonic()
    found = {"a": naive, "b": by_maggjob, "c": by_maggjob, "d": floor}[way](name)
    used = resource.getrusage(resource.RUSAGE_SELF)
    own = {"cpu": used.ru_utime + used.ru_stime, "wall": time.monotonic() - start, "peak": used.ru_maxrss / 1024}
    print(json.dumps(own | found))


def measure(way: str, name: Path) -> dict[str, Any]:
    """Run one way in a process of its own."""
    command = [sys.executable, "-c", f"from benchmarks.reading import contender; contender({way!r}, {str(name)!r})"]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"({way}) {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found | ({} if way == "d" else {"wall": time.monotonic() - start})


# ---- data


def make_granules(folder: Path, count: int) -> tuple[list[Path], int]:
    """Granules of full size whose tracks cross one cell, and the cell's nested id."""
    from maggjob.cells import locate
    from maggjob.simulator import Scene, passes, simulate

    south, west = CELL_AT
    (cell,) = locate(np.array([south]), np.array([west]), 6, "authalic").tolist()
    around = (west - 1.0, south - 0.15, west + 1.0, south + 0.15)
    crossing = passes(Scene(regions=(10, 11, 12), area=around, most=count))
    paths: list[Path] = []
    for one in crossing:
        paths += simulate(folder, Scene(rgts=(one.rgt,), regions=(one.region,), absent=0.0))
    return paths, cell


def links(paths: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """As many granules as wanted: links to those that were made, under the names of other cycles."""
    found = []
    for number in range(count):
        path = paths[number % len(paths)]
        cycle = 22 + number // len(paths)
        found.append(folder / f"{path.name[:25]}{cycle:02d}{path.name[27:]}")
        if not found[-1].exists():
            found[-1].symlink_to(path)
    return found


def write_tasks(folder: Path, root: str, paths: Sequence[Path], cell: int) -> dict[str, Path]:
    """Index the granules at a server, and write the task of each way."""
    from concurrent.futures import ThreadPoolExecutor

    from maggjob.cells import format_cell
    from maggjob.config_file import load_config
    from maggjob.granule import open_granule, read_ranges
    from maggjob.index_file import decode, index_key, recipe_digest
    from maggjob.job import index_granules
    from maggjob.model import CellTask, Granule, IndexTask
    from maggjob.shares import ranges_needed
    from maggjob.storage import Access
    from maggjob.visits import needed_paths

    recipe = load_config("atl06.yaml").recipe()
    granules = tuple(Granule(p.stem, f"{root}/{p.name}", p.stat().st_size) for p in paths)
    indexes = folder / "indexes"
    report = index_granules(IndexTask("all", recipe, granules, str(indexes)))
    failed = [g.message for g in report.granules if g.state == "failed"]
    if report.message or failed:
        raise SystemExit(report.message or failed[0])
    name = format_cell(cell, 6)
    plain = CellTask(f"cycle22/{name}", name, "cycle22", recipe, granules, parts=str(folder / "parts"))
    chunks, access, digest = [], Access(), recipe_digest(recipe)
    with ThreadPoolExecutor(8) as pool:
        for granule in granules:
            index = decode((indexes / index_key(granule, digest)).read_bytes(), granule.id, digest)
            shares = index.shares(cell, recipe.grid)
            buffers = read_ranges(
                open_granule(granule, access).source, ranges_needed(shares, recipe, timed=False), pool
            )
            for share in shares:
                tables = []
                for path in needed_paths(recipe, share.group):
                    table = share.datasets[path]
                    stored = [
                        table.inline.get(n) or bytes(buffers.cut(*table.range_of(n)))
                        for n in table.numbers(*share.span)
                    ]
                    tables.append((replace(table, inline={}), stored))
                chunks.append((share.inside, share.span[0], share.child, tables))
    (folder / "chunks").write_bytes(pickle.dumps(chunks))
    content = {"nested": cell, "chunks": str(folder / "chunks")}
    tasks = {way: plain if way != "c" else replace(plain, indexes=str(indexes)) for way in WAYS}
    for way, task in tasks.items():
        (folder / way).write_bytes(pickle.dumps(content | {"task": task}))
    return {way: folder / way for way in WAYS}


# ---- what is printed


def compare(folder: Path, paths: Sequence[Path], cell: int) -> dict[str, dict[str, Any]]:
    """The table of the four ways."""
    from benchmarks.object_server import server

    found: dict[str, dict[str, Any]] = {way: {} for way in WAYS}
    for key, latency in (("wall", 0.0), ("slow", LATENCY)):
        run = folder / f"run-{key}"
        run.mkdir()
        with server(folder, latency, BANDWIDTH) as root:
            tasks = write_tasks(run, root, paths, cell)
            for way in WAYS if key == "wall" else "abc":
                got = measure(way, tasks[way])
                found[way] |= got if key == "wall" else {"slow": got["wall"]}
    visits, millions = len(paths), found["c"]["observations"] / 1e6
    print(f"one cell, {visits} granules, {found['c']['observations']:,} observations")
    print(
        f"{'':20}{'CPU s':>8}{'wall s':>8}{'30 ms':>8}{'GETs':>8}{'MB':>9}{'peak MB':>9}  a visit: ms  GETs   MB  1e6 obs: CPU s"
    )
    for way, title in WAYS.items():
        row = {"slow": float("nan"), "requests": 0, "bytes": 0} | found[way]
        print(
            f"({way}) {title:16}{row['cpu']:8.2f}{row['wall']:8.2f}{row['slow']:8.2f}{row['requests']:8,}"
            f"{row['bytes'] / 1e6:9.1f}{row['peak']:9.0f}  {row['cpu'] / visits * 1e3:11.1f}{row['requests'] / visits:6.1f}"
            f"{row['bytes'] / visits / 1e6:5.2f}{row['cpu'] / millions:16.2f}"
        )
    a, c = found["a"], found["c"]
    print(
        f"(a) / (c): CPU {a['cpu'] / c['cpu']:.0f}, wall {a['wall'] / c['wall']:.0f}, wall at 30 ms "
        f"{a['slow'] / c['slow']:.0f}, GETs {a['requests'] / c['requests']:.0f}, bytes {a['bytes'] / c['bytes']:.0f}; "
        f"(b) / (c): CPU {found['b']['cpu'] / c['cpu']:.1f}; indexes: {c['indexes']} GETs, {c['index_bytes'] / 1e6:.1f} MB"
    )
    return found


def main() -> None:
    """Print all figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 48
    folder = Path(tempfile.mkdtemp(prefix="maggjob-bench-"))
    try:
        paths, cell = make_granules(folder, count)
        compare(folder, paths, cell)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
