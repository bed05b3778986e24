"""How far a run is, seen from outside: what it says of itself, and the parts that lie in its folder.

A run writes ``run.json`` there as each of its stages begins, and once more if an error stops it. A client that is
killed writes nothing: so it is never claimed that a run goes on, only said how long ago something came of it. Times
are those of the files, by the clock of the store.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from maggjob.errors import InputError, StoreError
from maggjob.grid.healpix import order_of
from maggjob.pipeline.result import read_summary
from maggjob.planning.plan import Plan
from maggjob.storage.folder import Place, exists
from maggjob.storage.run_folder import OURS, PARTS, RUN, SUMMARY, run_folder
from maggjob.storage.stores import plain_message

QUIET = 600.0  # seconds; a call that Lambda lost is tried again for six minutes
ALWAYS, NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class RunNote:
    """What a run says of itself."""

    started: str
    """When it started, UTC, ISO 8601, by the client's clock; its summary says the same."""
    stage: str
    """The stage that began last: index, map or assembly; not started, or done."""
    backend: str
    """Where its calls run."""
    workers: int
    """Workers at once, at most."""
    window: str
    """Label of its time window."""
    cells: int
    """Cells to work on."""
    granules: int
    """Granules of these, each once."""
    pairs: int
    """Pairs of a granule and a cell; until it is done, as planned."""
    run_digest: str
    """Of everything that decides the result; until it is done, as planned."""
    order: int | None = None
    """Order of its cells; None where only a summary is left."""
    config_digest: str | None = None
    """Of the configuration; None where only a summary is left."""
    mapped: AwareDatetime | None = None
    """When its map began, by the store's clock, as soon as that is known: older parts are of another run."""
    stopped: str | None = None
    """The error that stopped it."""


class RunFile:
    """Writes the note of a run, in the folder of its plan; a context that writes down what is raised in it, too."""

    def __init__(self, made: Plan, backend: str, workers: int, region: str | None = None) -> None:
        started = datetime.now(UTC).isoformat(timespec="milliseconds")  # no two runs of a store have the same
        totals = (made.window, len(made.cells), len(made.positions), made.pairs)
        of = (made.digest, made.catalog.order, made.config.digest)
        self.note = RunNote(started, "not started", backend, workers, *totals, *of)
        self._where = (str(made.run_path), region)

    def stage(self, name: str) -> None:
        """Say that a stage begins; StoreError if that cannot be written."""
        self._write(replace(self.note, stage=name))
        if name == "map":
            self.note = replace(self.note, mapped=Place(*self._where).modified(RUN))

    def _write(self, note: RunNote) -> None:
        self.note = note
        Place(*self._where).put(RUN, TypeAdapter(RunNote).dump_json(note, indent=1))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if problem is not None and self.note.stage != "not started":
            with suppress(StoreError):  # it may be in the way here, too, and is raised in any case
                self._write(replace(self.note, stopped=f"{type(problem).__name__}: {plain_message(problem)}"))


@dataclass(frozen=True)
class Status:
    """How far a run is."""

    store: str
    """The Zarr that it makes."""
    stage: str
    """index, map, assembly; done, with a result; stopped by an error; not started; or unknown: there are parts, and
    nothing says of what, as the run is one by hand or of an earlier maggjob."""
    run: RunNote | None
    """Which run it is; None where that is not known."""
    parts: int
    """Cells whose parts are there, all four of one that is worked on in quarters. Cells that fail leave none."""
    silent_s: float | None
    """Age of the newest part, seconds; less if a stage began or the run was stopped since. None where there is neither.
    By this machine's clock and the store's."""
    cells_per_minute: float | None
    """From the beginning of the map to the newest part; None where that cannot be told."""
    left_s: float | None
    """Seconds until the last part, at this pace; rather less, as the longest cells come first. None unless the map goes
    on and there are more parts than workers, whose first ones come together."""
    quiet: bool
    """Whether nothing came of a run for `QUIET` seconds that has not ended: its client may have stopped."""
    result: Mapping[str, Any] | None = None
    """The summary, but for its list of cells; None until the run is done."""
    dollars: float | None = None
    """What its calls on Lambda cost; None elsewhere, and until the run is done."""


def status_of(
    store: str, note: RunNote | None, times: Mapping[str, datetime], summary: Mapping[str, Any] | None, now: datetime
) -> Status:
    """How far a run is: from its note, when each key in its folder was written, and its summary or an earlier run's."""
    if note is not None and summary is not None and summary["started"] != note.started:
        summary = None
    run = note if summary is None else _note_of(summary, note)
    begun = ALWAYS if note is None else note.mapped or (times[RUN] if note.stage == "map" else NEVER)
    below = f"{PARTS}/{run.window}/" if run else f"{PARTS}/"
    found = {
        key: time for key, time in times.items() if key.startswith(below) and key.endswith(".npz") and time >= begun
    }
    parts = _cells_of(found, None if run is None else run.order)
    signs = [*found.values(), *([times[RUN]] if note is not None else [])]
    silent = max(0.0, (now - max(signs)).total_seconds()) if signs else None  # the clocks of two machines differ
    stage = run.stage if run is not None else "unknown" if parts else "not started"
    stage = "stopped" if run is not None and run.stopped else stage
    quiet = stage in ("index", "map", "assembly") and silent is not None and silent > QUIET
    took = (max(found.values()) - begun).total_seconds() if parts and note is not None else 0.0
    pace = parts / took if took > 0 else None
    sensible = stage == "map" and not quiet and note is not None and parts > note.workers
    left = max(0, note.cells - parts) / pace if note is not None and pace is not None and sensible else None
    result = None if summary is None else {key: value for key, value in summary.items() if key != "results"}
    dollars = sum(calls["dollars"] for calls in result["stages"]) if result and "stages" in result else None
    return Status(store, stage, run, parts, silent, pace and 60 * pace, left, quiet, result, dollars)


def _cells_of(keys: Iterable[str], order: int | None) -> int:
    """Cells that have a part; a quarter is named as its cell, with one figure more, and a call may leave a tag."""
    names = {folder + slash + cell.split(".")[0] for folder, slash, cell in (key.rpartition("/") for key in keys)}
    whole = {name for name in names if order is None or order_of(name.rpartition("/")[2]) == order}
    quarters = Counter(name[:-1] for name in names - whole)
    return len(whole | {cell for cell, there in quarters.items() if there == 4})


def _note_of(summary: Mapping[str, Any], note: RunNote | None) -> RunNote:
    """Of a run that is done: indexes may have added pairs to those that were planned."""
    names = ("backend", "workers", "window", "total_cells", "total_granules", "total_pairs", "run_digest")
    done = RunNote(summary["started"], "done", *(summary[name] for name in names))
    own = {} if note is None else {name: getattr(note, name) for name in ("order", "config_digest", "mapped")}
    return replace(done, **own)


def read_status(store: str, region: str | None = None) -> Status:
    """How far the run of a store is, or what came of it. It reads only, and may be called while the run goes on.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr that the run makes.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        No run has left anything there, or what it left is damaged.
    StoreError
        The folder of the run cannot be read.
    """
    folder = run_folder(store)
    times = Place(folder, region).times() if exists(folder, region) else {}
    if not any(key.startswith(OURS) for key in times):
        raise InputError(f"no run of maggjob at {folder}; give the path or URL of the Zarr that 'maggjob run' makes")
    content = Place(folder, region).get(RUN) if RUN in times else None
    note = None if content is None else _read_note(content, f"{folder}/{RUN}")
    summary = read_summary(store, region) if SUMMARY in times else None
    return status_of(store, note, times, summary, datetime.now(UTC))


def _read_note(content: bytes, name: str) -> RunNote:
    try:
        return TypeAdapter(RunNote).validate_json(content)
    except ValidationError as problem:
        said = problem.errors(include_url=False)[0]
        where = ".".join(map(str, said["loc"])) or "content"
        raise InputError(f"{name} is damaged ({where}: {said['msg']}); delete it to be told of the parts") from problem
