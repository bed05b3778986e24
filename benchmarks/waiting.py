"""What the estimate of a plan assumes about waiting, quarters and TLS, measured: ratios and numbers, not speeds.

python -m benchmarks.waiting [GRANULES ...]

- *at once*: requests of a cell times the latency, over the time that the latency adds. That many requests wait at the
  same time, on any machine.
- *quarter*: time of a quarter of a cell over that of the cell, both with 30 ms per request.
- *TLS*: CPU milliseconds of one connection over TLS more than of one without, and the same relative to the CPU time of
  a cell with indexes.
"""

import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import obstore
from obstore.store import HTTPStore

from benchmarks.cell_granules import links, make_granules
from benchmarks.object_server import server
from maggjob.config.load import load_config
from maggjob.granules.granule import open_granule
from maggjob.grid.healpix import format_cell
from maggjob.jobs.cells import map_cell
from maggjob.jobs.granule_index import index_granules
from maggjob.model.tasks import CellTask, Granule, IndexTask
from maggjob.pipeline.balance import quarters
from maggjob.storage.archive import Archive
from tests.servers import server as https_server

LATENCY = 0.03
COUNTS = (1, 4, 16, 58)
ROUNDS, CONNECTIONS = 3, 200


def timed(task: CellTask) -> tuple[float, float, int]:
    """Process a cell; return the median wall and CPU seconds, and the number of requests to the archive."""
    walls, cpus, requests = [], [], 0
    for _ in range(ROUNDS):
        start, cpu = time.monotonic(), time.process_time()
        report = map_cell(task)
        if report.state != "complete":
            raise SystemExit(f"{report.state}: {report.message}")
        walls.append(time.monotonic() - start)
        cpus.append(time.process_time() - cpu)
        requests = report.requests
    return statistics.median(walls), statistics.median(cpus), requests


def cell_task(root: str, paths: Sequence[Path], cell: int, indexes: str | None, folder: Path) -> CellTask:
    """Return the task of a cell whose granules are read from a server."""
    granules = tuple(Granule(p.stem, f"{root}/{p.name}", p.stat().st_size) for p in paths)
    # The versions are known, as in a run.
    found = [replace(g, etag=open_granule(g, Archive(), "h5coro").source.etag) for g in granules]
    recipe, name = load_config("atl06.yaml").recipe(), format_cell(cell, 6)
    parts = str(folder / "parts")
    return CellTask(f"all/{name}", name, "all", recipe, tuple(found), parts=parts, indexes=indexes)


def measure_waiting(folder: Path, paths: Sequence[Path], cell: int, counts: Sequence[int]) -> None:
    """Print how many requests of a cell wait at once, and what a quarter takes of its cell."""
    print(f"{'granules':>9}{'':>10}{'requests':>10}{'s':>8}{'at 30 ms':>10}{'at once':>9}{'quarter':>9}")
    with server(folder) as fast, server(folder, LATENCY) as slow:
        granules = tuple(Granule(p.stem, f"{fast}/{p.name}", p.stat().st_size) for p in paths)
        indexes = str(folder / "indexes")
        index_granules(IndexTask("all", load_config("atl06.yaml").recipe(), granules, indexes))
        for count in counts:
            for place in (None, indexes):
                near, far = (cell_task(root, paths[:count], cell, place, folder) for root in (fast, slow))
                quick, _, requests = timed(near)
                takes, _, _ = timed(far)
                each = [timed(one)[0] / takes for one in quarters(far)] if place and count >= 16 else []
                share = f"{statistics.mean(each):9.2f}" if each else ""
                print(
                    f"{count:9}{'index' if place else 'no index':>10}{requests:10,}{quick:8.2f}{takes:10.2f}"
                    f"{requests * LATENCY / max(1e-9, takes - quick):9.1f}{share}"
                )


def measure_indexing(folder: Path, paths: Sequence[Path]) -> None:
    """Print how many requests wait at once while a call indexes granules."""
    recipe, taken, requests = load_config("atl06.yaml").recipe(), {}, 0
    for latency in (0.0, LATENCY):
        with server(folder, latency) as root:
            granules = tuple(Granule(p.stem, f"{root}/{p.name}", p.stat().st_size) for p in paths)
            walls = []
            for number in range(ROUNDS):
                where = str(folder / f"indexed-{latency}-{number}")
                report = index_granules(IndexTask("all", recipe, granules, where))
                walls.append(report.seconds)
                requests = report.requests
            taken[latency] = statistics.median(walls)
    quick, slow = taken.values()
    print(
        f"{len(paths)} indexes: {requests:,} requests, {quick:.2f} s, {slow:.2f} s at 30 ms, "
        f"{requests * LATENCY / max(1e-9, slow - quick):.1f} at once"
    )


def _connection_seconds(root: str, options: dict[str, object]) -> float:
    """Return the CPU seconds of this process for a request over a connection of its own."""
    stores = [HTTPStore(root, client_options=options) for _ in range(CONNECTIONS)]
    obstore.get(stores[0], "x").bytes()
    start = time.process_time()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda store: len(obstore.get(store, "x").bytes()), stores[1:]))
    return (time.process_time() - start) / (CONNECTIONS - 1)


def measure_tls(folder: Path) -> None:
    """Print the CPU time of a connection over TLS, less than that of one without; both include the server's."""
    names = [str(folder / name) for name in ("key.pem", "certificate.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", names[0], "-out", names[1], "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(names[1], names[0])
    taken = {}
    for scheme, tls in (("http", None), ("https", context)):
        served: list[float] = []

        def answer(request: object, served: list[float] = served) -> None:
            start = time.thread_time()
            request.reply(200, b"x")  # type: ignore[attr-defined]
            served.append(time.thread_time() - start)

        with https_server(answer, tls) as door:
            options = {"allow_http": True, "allow_invalid_certificates": True}
            taken[scheme] = _connection_seconds(f"{scheme}://127.0.0.1:{door.port}", options)
    print(
        f"one connection, client and server: {1e3 * taken['http']:.2f} ms CPU, over TLS {1e3 * taken['https']:.2f} ms: "
        f"{1e3 * (taken['https'] - taken['http']) / 2:.2f} ms more on each side ({threading.active_count()} threads)"
    )


def main() -> None:
    """Print all figures."""
    counts = [int(word) for word in sys.argv[1:]] or list(COUNTS)
    folder = Path(tempfile.mkdtemp(prefix="maggjob-bench-"))
    try:
        measure_tls(folder)
        paths, cell = make_granules(folder, max(counts))
        measure_indexing(folder, links(paths, folder, max(counts))[:16])
        measure_waiting(folder, links(paths, folder, max(counts)), cell, counts)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
