"""Runs with faults drawn at random, each judged by an independent count: ``make faults``, ``make soak``.

One line of figures comes out: faults injected, runs, cells, segments, and what must be 0: lost, wrong, broken stores,
hangs. With ``--minutes`` it goes on for so long, and reports what grows: memory, files, processes, sockets, threads.
"""

import argparse
import contextlib
import cProfile
import io
import os
import pstats
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

import maggjob
from maggjob.errors import LedgerError, MaggjobError, StoreError
from maggjob.pipeline.result import RunResult
from maggjob.planning.tasks import make_tasks
from maggjob.storage import archive, patience, stores
from tests.faults.proxy import DAMAGE, REFUSALS, TEMPORARY, Proxy
from tests.faults.world import Score, World, judge, make_world
from tests.runs import files
from tests.servers import server

ALLOWED = {"MB": 300, "files": 20, "children": 0, "sockets": 20, "threads": 20, "temporary": 0}
"""How much may be held in the end more than after the first round."""
LONGEST = 600.0
"""Seconds after which a run counts as hung."""


@dataclass
class Figures:
    """What a campaign found."""

    faults: int = 0
    runs: int = 0
    cells: int = 0
    segments: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    hangs: int = 0

    def add(self, score: Score, faults: int) -> None:
        """Add a run."""
        self.runs += 1
        self.faults += faults
        self.cells += score.cells
        self.segments += score.segments
        self.lost += score.lost
        self.wrong += score.wrong
        self.broken += score.broken

    def text(self) -> str:
        """Return the figures on one line."""
        return (
            f"faults {self.faults:,}, runs {self.runs:,}, cells {self.cells:,}, segments {self.segments:,}; lost "
            f"{len(self.lost)}, wrong {len(self.wrong)}, broken stores {len(self.broken)}, hangs {self.hangs}"
        )


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """Wait only milliseconds between attempts in this process."""
    quick: Any = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=2), "base": 2}
    # Both modules have the name.
    stored, read = vars(stores), vars(archive)
    kept = (stored["RETRY"], read["RETRY"], patience.FIRST_PAUSE, patience.LONGEST_PAUSE)
    stored["RETRY"] = read["RETRY"] = {"max_retries": 1, "backoff": quick}
    patience.FIRST_PAUSE, patience.LONGEST_PAUSE = 0.001, 0.02
    os.environ["MAGGJOB_PATIENCE"] = "1"
    try:
        yield
    finally:
        stored["RETRY"], read["RETRY"], patience.FIRST_PAUSE, patience.LONGEST_PAUSE = kept
        del os.environ["MAGGJOB_PATIENCE"]


def reads(world: World, draw: random.Random) -> tuple[Score, int]:
    """An archive with any mix of faults that pass, damage and refusals."""
    proxy, broken = Proxy.of(world.paths), set()
    for path in draw.sample(world.paths, draw.randrange(len(world.paths))):
        kind = draw.choice([*TEMPORARY, *TEMPORARY, *DAMAGE, *REFUSALS])
        if kind in TEMPORARY:
            proxy.fail_sometimes(f"/{path.name}", {kind: draw.randrange(1, 6)})
            continue
        broken.add(path.stem)
        if kind in DAMAGE:
            proxy.files[f"/{path.name}"] = DAMAGE[kind](proxy.files[f"/{path.name}"], draw)
        else:
            proxy.always[f"/{path.name}"] = REFUSALS[kind]
    with server(proxy) as there, hurried():
        how = {"backend": "serial", "index": draw.random() < 0.5, "indexes": f"indexes-{draw.random()}"}
        result = maggjob.run("atl06.yaml", catalog=world.at(there.url()), store="map.zarr", **how)
    assert isinstance(result, RunResult)
    return judge(world, result, broken), proxy.injected + len(broken)


def outage(world: World, draw: random.Random) -> tuple[Score, int]:
    """An archive that answers nothing for a while, in the middle."""
    proxy = Proxy.of(world.paths)
    begin, length = draw.randrange(5, 60), draw.randrange(1, 200)
    kind = TEMPORARY[draw.choice(["503", "500", "reset"])](b"")
    proxy.during = lambda number: kind if begin <= number < begin + length else None
    with server(proxy) as there, hurried():
        os.environ["MAGGJOB_PATIENCE"] = "60"
        result = maggjob.run(
            "atl06.yaml", catalog=world.at(there.url()), store="map.zarr", backend="serial", index=draw.random() < 0.5
        )
    assert isinstance(result, RunResult)
    return judge(world, result), proxy.injected


def workers_below(folder: str) -> list[psutil.Process]:
    """Return the processes whose temporary files go below a folder, but for this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR", "").startswith(folder) and process.pid != os.getpid():
                found.append(process)
    return found


def workers(world: World, draw: random.Random) -> tuple[Score, int]:
    """Workers that are killed at any moment."""
    stop, killed = threading.Event(), []

    def kill() -> None:
        while not stop.wait(draw.uniform(0.1, 0.6)) and len(killed) < 2:
            some = workers_below(tempfile.gettempdir())
            with contextlib.suppress(psutil.Error, IndexError):
                draw.choice(some).kill()
                killed.append(1)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        result = maggjob.run(
            "atl06.yaml",
            catalog=world.catalog,
            store="map.zarr",
            backend="localhost",
            max_workers=2,
            index=draw.random() < 0.5,
            indexes="indexes",
        )
    finally:
        stop.set()
        thread.join()
    assert isinstance(result, RunResult)
    return judge(world, result), len(killed)


def clients(world: World, draw: random.Random) -> tuple[Score, int]:
    """A client that is killed at any moment, once or twice, and run again."""
    world.catalog.write("catalog.json")
    run = ["run", "--config", "atl06.yaml", "--catalog", "catalog.json", "--store", "map.zarr", "--max-workers", "2"]
    command = [sys.executable, "-m", "maggjob", *run, *draw.choice([["--no-index"], ["--index", "--indexes", "ind"]])]
    kills = draw.choice((1, 1, 2))
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.2, 2.5))
        process.send_signal(draw.choice((2, 9, 9, 15, 1)))
        process.wait(LONGEST)
    score = Score()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST)
    # A client that had finished before it was killed has left a complete result, which is refused.
    if done.returncode != 0 and "already exists" not in done.stderr:
        score.lost.append(f"exit code {done.returncode}: {done.stderr[-300:]}")
    elif files("map.zarr") != dict(world.calm):
        score.broken.append("map.zarr after a killed client")
    elif not maggjob.verify_result("map.zarr", deep=True).good:
        score.broken.append("map.zarr cannot be verified")
    score.cells, score.segments = len(world.catalog.cells), sum(one for one, _ in world.truth.values())
    return score, kills


def records(world: World, draw: random.Random) -> tuple[Score, int]:
    """A part, or a list, in which a bit is flipped between the map and the reduce."""
    plan = maggjob.plan("atl06.yaml", catalog=world.catalog, store="map.zarr")
    tasks = make_tasks(plan)
    reports = [maggjob.map_cell(task) for task in tasks]
    path = draw.choice([Path(str(report.part)) for report in reports])
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    score = Score(cells=len(tasks), segments=sum(one for one, _ in world.truth.values()))
    try:
        maggjob.assemble_run(plan, tasks, reports)
    except (StoreError, LedgerError):
        return score, 1
    # A bit that no number depends on.
    if files("map.zarr") != dict(world.calm):
        score.wrong.append(f"a flipped bit in {path} was not noticed")
    return score, 1


def shards(world: World, draw: random.Random) -> tuple[Score, int]:
    """An object of a store that is changed, cut or deleted."""
    maggjob.run("atl06.yaml", catalog=world.catalog, store="map.zarr", backend="serial", index=False)
    path = draw.choice([path for path in Path("map.zarr").rglob("*") if path.is_file()])
    content = bytearray(path.read_bytes())
    match draw.choice(["flip", "cut", "delete"]):
        case "flip":
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[: draw.randrange(len(content))])
        case _:
            path.unlink()
    score = Score(cells=len(world.catalog.cells), segments=sum(one for one, _ in world.truth.values()))
    with contextlib.suppress(MaggjobError):
        if maggjob.verify_result("map.zarr", deep=True).good:
            score.wrong.append(f"what happened to {path} was not noticed")
    return score, 1


SCENARIOS: dict[str, Callable[[World, random.Random], tuple[Score, int]]] = {
    "reads": reads,
    "outage": outage,
    "workers": workers,
    "clients": clients,
    "records": records,
    "shards": shards,
}


def one(world: World, name: str, seed: int, figures: Figures) -> None:
    """Carry out one scenario in a folder of its own."""
    before, folder = Path.cwd(), tempfile.mkdtemp(prefix="fault-")
    os.chdir(folder)
    began = time.monotonic()
    try:
        score, faults = SCENARIOS[name](world, random.Random(seed))
        figures.add(score, faults)
    except subprocess.TimeoutExpired:
        figures.hangs += 1
        score = Score()
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)
    if time.monotonic() - began > LONGEST:
        figures.hangs += 1
    for problem in (*score.lost, *score.wrong, *score.broken):
        print(f"{name}, seed {seed}: {problem}", flush=True)


def overhead(world: World) -> tuple[float, float]:
    """Return the shares of ledger and digests in the CPU time of a run, and in its bytes."""
    profile = cProfile.Profile()
    folder = tempfile.mkdtemp(prefix="overhead-")
    store = f"{folder}/map.zarr"
    with contextlib.redirect_stdout(io.StringIO()):
        maggjob.run("atl06.yaml", catalog=world.catalog, store=f"{folder}/warm.zarr", backend="serial", index=False)
        profile.enable()
        result = maggjob.run("atl06.yaml", catalog=world.catalog, store=store, backend="serial", index=False)
        profile.disable()
    every: Any = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in every.values())
    ours = ("model/ledger.py", "model/invariants.py", "output/manifest.py", "output/table.py", "storage/lock.py")
    mine = sum(own for (file, _, name), (_, _, own, _, _) in every.items() if file.endswith(ours) or "sha256" in name)
    run = Path(f"{store}.run")
    written = sum((run / name).stat().st_size for name in ("manifest.json", "ledger.parquet", "ledger.csv"))
    shutil.rmtree(folder)
    assert isinstance(result, RunResult)
    return mine / total, written / result.to_dict()["bytes_read"]


def held() -> dict[str, int]:
    """Return what this process holds: memory, open files, child processes, sockets, threads."""
    process = psutil.Process()
    return {
        "MB": process.memory_info().rss >> 20,
        "files": process.num_fds(),
        "children": len(process.children(recursive=True)),
        "sockets": len(process.net_connections()),
        "threads": threading.active_count(),
        "temporary": len(list(Path(tempfile.gettempdir()).iterdir())),
    }


def main() -> None:
    """Carry out a campaign, and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="rounds of all scenarios")
    parser.add_argument("--minutes", type=float, help="go on for so long instead, and report what grows")
    parser.add_argument("--only", choices=SCENARIOS, help="one scenario only")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round")
    given = parser.parse_args()
    home = tempfile.mkdtemp(prefix="maggjob-campaign-")
    tempfile.tempdir = os.environ["TMPDIR"] = f"{home}/tmp"
    os.environ["MAGGJOB_CACHE"] = f"{home}/cache"
    Path(home, "tmp").mkdir()
    os.chdir(home)
    try:
        world = make_world(Path(home) / "world")
        figures, began, number = Figures(), time.monotonic(), 0
        names = [given.only] if given.only else list(SCENARIOS)
        first: dict[str, int] = {}
        while time.monotonic() - began < given.minutes * 60 if given.minutes else number < given.rounds:
            for name in names:
                one(world, name, given.seed + number, figures)
            number += 1
            if given.minutes and not first:
                # After a first round, everything is imported and warm.
                first = held()
        print(figures.text())
        now = held()
        if first:
            print("held: " + ", ".join(f"{what} {first[what]} -> {now[what]}" for what in now))
        cpu, size = overhead(world)
        print(
            f"overhead of ledger and digests: {100 * cpu:.1f} % of the CPU time, {100 * size:.2f} % of the bytes read"
        )
        grown = [what for what, before in first.items() if now[what] > before + ALLOWED[what]] if first else []
        if grown:
            left = sorted(path.name for path in Path(tempfile.gettempdir()).iterdir())
            print(f"grown: {', '.join(grown)}; temporary files: {', '.join(left[:20])}")
        bad = grown or figures.lost or figures.wrong or figures.broken or figures.hangs
    finally:
        os.chdir("/")
        shutil.rmtree(home, ignore_errors=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
