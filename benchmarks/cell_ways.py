"""Ways of processing one cell, each run in its own process.

(a) naive: h5coro reads all segments, with one client per granule, and a loop over the children computes the statistics.
(b) maggjob without indexes.
(c) maggjob with indexes.
(d) floor: decompress the chunks and reduce the rows, and nothing else.
(e) requests: send the requests of (c) and discard the answers.

CPU time and memory are those of the whole process including imports; for (d) and (e), CPU time excludes imports. (d)
and (e) together are the least that (c) has to do.
"""

import json
import os
import pickle
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

BYTE_CODE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Environment in which Python keeps compiled modules, as the image of a worker does."""
WAYS = {"a": "naive", "b": "maggjob, no index", "c": "maggjob, index", "d": "floor", "e": "requests of (c)"}


def naive(name: str) -> dict[str, Any]:
    """Run (a): read all segments of every granule in turn, and select each of the 4,096 children from all of them."""
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
    """Run (b) or (c): process the cell as a worker does, and write its part."""
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
    """Run (d): decompress the chunks, which are in memory, and reduce the rows in the cell."""
    from maggjob.statistics.compute import compute

    given = pickle.loads(Path(name).read_bytes())
    recipe, beams = given["task"].recipe, pickle.loads(Path(given["chunks"]).read_bytes())
    start_cpu, start = time.process_time(), time.monotonic()
    columns: dict[str, list[np.ndarray]] = {"child": [], "h_li": [], "s_li": []}
    for first, last, chosen, child, tables in beams:
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
    """Run (e): request the ranges of (c), with as many granules at once, and discard the answers."""
    from maggjob.jobs.cells import GRANULES_BY_INDEX_AT_ONCE
    from maggjob.storage.archive import Archive, Ranges

    given = pickle.loads(Path(name).read_bytes())
    archive, asked = Archive(), pickle.loads(Path(given["ranges"]).read_bytes())
    start_cpu, start = time.process_time(), time.monotonic()
    with ThreadPoolExecutor(GRANULES_BY_INDEX_AT_ONCE) as pool:
        for _ in pool.map(lambda one: len(Ranges(one[0].url, archive).get_all(one[1])), asked):
            pass
    own = {"cpu": time.process_time() - start_cpu, "wall": time.monotonic() - start}
    return own | {"requests": archive.requests, "bytes": archive.bytes_read}


def contender(way: str, name: str) -> None:
    """Run one way in this process, and print its cost as JSON.

    Parameters
    ----------
    way : str
        Key of `WAYS`.
    name : str
        Path of the pickled task.
    """
    start = time.monotonic()
    found = {"a": naive, "b": by_maggjob, "c": by_maggjob, "d": floor, "e": requests}[way](name)
    used = resource.getrusage(resource.RUSAGE_SELF)
    own = {"cpu": used.ru_utime + used.ru_stime, "wall": time.monotonic() - start, "peak": peak_memory() / 1e6}
    print(json.dumps(own | found))


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes; getrusage would include its parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def measure(way: str, name: Path) -> dict[str, Any]:
    """Run one way in its own process, and return its cost.

    Parameters
    ----------
    way : str
        Key of `WAYS`.
    name : Path
        Path of the pickled task.
    """
    # Import maggjob first, as in a worker: see its __init__.
    code = f"import maggjob; from benchmarks.cell_ways import contender; contender({way!r}, {str(name)!r})"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], env=BYTE_CODE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"({way}) {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found | ({} if way in "de" else {"wall": time.monotonic() - start})
