"""Growth of the client's work from 1 to 24 cycles: CPU time, peak memory and bytes of each of its steps.

    python -m benchmarks.catalog growth

The granules are those of 1,387 tracks and the 3 regions of Antarctica in each cycle, with the names, URLs and outlines
of an archive. Nothing is read from them: what the index calls and the cell calls answer is made up, and pickled as it
would be by workers. Each step runs in its own process, after the steps that it needs. Its CPU time is its own; the peak
memory is that of its process. The last step is the client as a whole, which keeps everything from the plan to the
ledger. No step may take more CPU time per pair of granule and cell for 24 cycles than for 1, but for noise.
"""

import hashlib
import json
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from maggjob.catalog.file import load_catalog
from maggjob.catalog.records import Record
from maggjob.catalog.search import Listing, to_catalog
from maggjob.config.load import load_config, make_search
from maggjob.granules.lists import load_granules
from maggjob.granules.pack_format import encode_pack
from maggjob.grid.areas import parse_area
from maggjob.grid.healpix import format_cell
from maggjob.icesat2.names import EPOCH
from maggjob.icesat2.orbit import Pass, region_angles, swath
from maggjob.model.invariants import Planned, check_reports
from maggjob.model.ledger import reduce_tally
from maggjob.model.reports import CellCounts, CellReport, GranuleReport, IndexedGranule
from maggjob.model.tasks import Granule
from maggjob.output.table import ledger_columns, put_table
from maggjob.pipeline.facts import facts_of
from maggjob.pipeline.index_stage import Indexed, exact_plan
from maggjob.pipeline.resume import keep_versions
from maggjob.planning.make import plan as make_plan
from maggjob.planning.packs import cut_packs, order_granules, pack_reads
from maggjob.planning.tasks import make_tasks
from maggjob.show.text import plan_text
from maggjob.storage.folder import Folder

CYCLES = (1, 24)
TRACKS, REGIONS = 1387, (10, 11, 12)
ARCHIVE = "nsidc-cumulus-prod-protected/ATLAS/ATL06/007"
BEAMS = {f"gt{beam}": "read" for beam in ("1l", "1r", "2l", "2r", "3l", "3r")}
INVALID, OUTSIDE = 3, 1000
WORKERS = 200
MB = 1e6


def records(cycles: int) -> list[Any]:
    """Return the granules of some cycles as CMR lists them."""
    found = []
    for rgt in range(1, TRACKS + 1):
        for region in REGIONS:
            ring = tuple(map(tuple, swath(rgt, *region_angles()[region], 6300.0, 24).round(5).tolist()))
            for cycle in range(1, cycles + 1):
                one = Pass(rgt, cycle, region)
                start = EPOCH + timedelta(seconds=float(one.times(one.angles(360.0))[0]))
                name = f"ATL06_{start:%Y%m%d%H%M%S}_{rgt:04d}{cycle:02d}{region:02d}_007_01"
                below = f"{ARCHIVE}/{start:%Y/%m/%d}/{name}.h5"
                urls = {"https": f"https://data.nsidc.earthdatacloud.nasa.gov/{below}", "s3": f"s3://{below}"}
                size, times = 119_000_000 + 1000 * rgt + cycle, [start, start + timedelta(minutes=6)]
                first, last = (f"{moment:%Y-%m-%dT%H:%M:%S.000Z}" for moment in times)
                found.append(Record(f"G{len(found)}", name, urls, size, float(size), first, last, (ring,)))
    return found


class Client:
    """The steps of a client, each made when it is first asked for."""

    def __init__(self, folder: Path, cycles: int) -> None:
        self.folder, self.cycles = folder, cycles
        self.path = folder / f"catalog{cycles}.json"
        self.bytes: int | None = None
        self.pairs: int | None = None
        self.answering = 0.0

    @cached_property
    def records(self) -> list[Any]:
        return records(self.cycles)

    @cached_property
    def find(self) -> Any:

        search = make_search({"cycles": (1, self.cycles), "aoi": "antarctica", "version": "007"})
        listing = Listing(tuple(self.records), "2026-01-01T00:00:00+00:00", {})
        found = to_catalog(listing, search, parse_area("antarctica"), load_config("atl06.yaml").grid)
        found.write(self.path)
        self.pairs = found.pairs
        return found

    @cached_property
    def write(self) -> Path:
        again = self.folder / f"again{self.cycles}.json"
        self.load.write(again)
        self.bytes = again.stat().st_size
        return again

    @cached_property
    def load(self) -> Any:

        return load_catalog(self.path, load_config("atl06.yaml").recipe())

    @cached_property
    def plan(self) -> Any:

        return make_plan("atl06.yaml", catalog=self.load, store=self.folder / f"map{self.cycles}.zarr")

    @cached_property
    def text(self) -> str:

        return plan_text(self.plan)

    @cached_property
    def seconds(self) -> list[float]:
        return self.plan.seconds(True)

    @cached_property
    def indexed(self) -> Any:
        """Answers of the index calls: the same number of segments in each cell of the catalog."""
        cells: dict[int, dict[int, int]] = {}
        for cell, positions in self.load.cells.items():
            for position in positions:
                cells.setdefault(position, {})[cell] = segments(position, cell)
        every = self.load.granules

        def answer(pack: Sequence[int]) -> tuple[IndexedGranule, ...]:
            key, _ = encode_pack([Granule(every[i].id, "") for i in pack], [b""] * len(pack), "0123456789abcdef")
            return tuple(
                IndexedGranule(
                    every[i].id,
                    "made",
                    sum(cells[i].values()) + INVALID + OUTSIDE,
                    INVALID,
                    BEAMS,
                    CellCounts(cells[i]),
                    index=key,
                    etag=etag(every[i].id),
                )
                for i in pack
            )

        calls = [answer(pack) for pack in cut_packs(self._ordered(), WORKERS)]
        answers = [pickle.loads(pickle.dumps(call)) for call in calls]
        return Indexed("indexes", {granule.id: granule for answer in answers for granule in answer})

    def _ordered(self) -> list[int]:
        return order_granules([g.id for g in self.load.granules], [self.load.cells])

    @cached_property
    def packs(self) -> int:
        """Number of requests by which all cells read their packs."""
        return pack_reads(cut_packs(self._ordered(), WORKERS), [self.load.cells])

    @cached_property
    def exact(self) -> Any:

        return exact_plan(self.plan, self.indexed).plan

    @cached_property
    def versions(self) -> int:

        now = self.exact
        listed = {now.task_id(cell): [g.id for g in now.granules(cell)] for cell in now.cells}
        return keep_versions(Folder(now.run_path, create=True), now.etags, listed)

    @cached_property
    def tasks(self) -> Any:

        made = make_tasks(self.exact, places=self.indexed.places)
        self.bytes = sum(task.granules.size for task in made)
        return made

    @cached_property
    def worker(self) -> Any:
        """One worker reads the longest list."""
        task = max(self.tasks, key=lambda task: task.granules.size)
        self.bytes = task.granules.size
        return load_granules(task)

    @cached_property
    def reports(self) -> Any:
        """Answers of the cell calls, unpickled one by one."""
        found = []
        for cell in self.exact.cells:
            sent = pickle.dumps(self._report(cell))
            started = time.process_time()
            found.append(pickle.loads(sent))
            self.answering += time.process_time() - started
        return found

    def _report(self, cell: int) -> Any:

        plan, granules = self.exact, []
        for granule, position in zip(plan.granules(cell), plan.catalog.cells[cell], strict=True):
            rows, inside = self.indexed.granules[granule.id].rows, segments(position, cell)
            kept = inside * 9 // 10
            states = {"fill": inside - kept, "kept": kept}
            granules.append(GranuleReport(granule.id, "used", dict(BEAMS), rows, INVALID, inside, kept, states))
        counts = {state: sum(g.segments[state] for g in granules) for state in ("fill", "kept")}
        text = format_cell(cell, plan.catalog.order)
        return CellReport(plan.task_id(cell), text, plan.window, "complete", counts, tuple(granules))

    @cached_property
    def check(self) -> None:

        plan = self.exact
        listed = {plan.task_id(cell): [g.id for g in plan.granules(cell)] for cell in plan.cells}
        check_reports(self.reports, Planned(listed, plan.catalog.order, facts_of(plan, self.indexed)))

    @cached_property
    def tally(self) -> Any:

        return reduce_tally(self.reports)

    @cached_property
    def ledger(self) -> int:

        put_table(ledger_columns(self.reports), Folder(self.exact.run_path, create=True))
        self.bytes = sum(path.stat().st_size for path in Path(self.exact.run_path).glob("ledger.*"))
        return self.bytes

    @cached_property
    def client(self) -> int:
        """Everything that a run keeps in the client, in its order."""
        for step in ("text", "versions", "tasks", "reports", "check", "tally", "ledger"):
            getattr(self, step)
        self.bytes = None
        return self.load.pairs


NEEDS = {
    "find": ("records",),
    "load": (),
    "write": ("load",),
    "plan": ("load",),
    "text": ("plan",),
    "seconds": ("plan",),
    "packs": ("load",),
    "exact": ("plan", "indexed"),
    "versions": ("exact",),
    "tasks": ("exact",),
    "worker": ("tasks",),
    "reports": ("exact",),
    "check": ("reports",),
    "tally": ("reports",),
    "ledger": ("reports",),
    "client": (),
}
"""Steps, and what each needs."""


def etag(name: str) -> str:
    """Return a made-up version of a granule, as a bucket gives it."""
    return f'"{hashlib.md5(name.encode()).hexdigest()}"'


def segments(position: int, cell: int) -> int:
    """Return the made-up number of a granule's segments in a cell.

    Parameters
    ----------
    position : int
        Position of the granule in the catalog.
    cell : int
        Nested id.
    """
    return 2000 + (31 * position + 7 * cell) % 1000


def measure(step: str, folder: Path, cycles: int) -> None:
    """Carry out a step after those that it needs, and print what it took as JSON.

    Parameters
    ----------
    step : str
        One of `NEEDS`.
    folder : Path
        Folder of the catalogs.
    cycles : int
        Number of cycles.
    """
    client = Client(folder, cycles)
    for needed in NEEDS[step]:
        getattr(client, needed)
    client.bytes = None
    started = time.process_time()
    getattr(client, step)
    took = client.answering if step == "reports" else time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"cpu": took, "peak": peak, "bytes": client.bytes, "pairs": client.pairs}))


def _alone(step: str, folder: Path, cycles: int) -> dict[str, Any]:
    code = f"import benchmarks.growth as g; g.measure({step!r}, g.Path({str(folder)!r}), {cycles})"
    found = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return answer


def _cells(took: dict[str, Any]) -> str:
    size = "" if took["bytes"] is None else f"{took['bytes'] / MB:.2f}"
    return f"{took['cpu']:10.2f} {took['peak'] / MB:8.0f} {size:>8}"


def main(say: Callable[[str], None] = print) -> None:
    """Print a table of all steps, and the ratio of the CPU time per pair for 24 cycles and for 1."""
    with tempfile.TemporaryDirectory() as name:
        folder, pairs = Path(name), dict[int, int]()
        head = "".join(f"{f'{cycles} cycles: CPU-s':>18} {'MB peak':>8} {'MB':>8}" for cycles in CYCLES)
        say(f"{'step':<9}{head}  CPU per pair, {CYCLES[1]} : {CYCLES[0]}")
        for step in NEEDS:
            took = {cycles: _alone(step, folder, cycles) for cycles in CYCLES}
            pairs = {c: one["pairs"] or pairs.get(c) for c, one in took.items()}
            first, last = (took[cycles]["cpu"] for cycles in CYCLES)
            per = pairs[CYCLES[1]] / pairs[CYCLES[0]]
            say(f"{step:<9}{''.join(f'{_cells(took[c]):>36}' for c in CYCLES)}  {last / max(first, 1e-3) / per:.2f}")
        say("; ".join(f"{pairs[cycles]:,} pairs for {cycles} cycles" for cycles in CYCLES))


if __name__ == "__main__":
    main()
