"""How far a run is, seen from outside: what it says of itself, and the parts that lie in its folder.

A run writes ``run.json`` there as each of its stages begins, and once more if an error stops it: one object per stage,
none per part. With the start of the same run, ``summary.json`` says that it is done. A client that is killed writes
nothing: so it is never claimed that a run goes on, only said how long ago something came of it. Parts are counted from
one list, by the clock of the store: those older than the note of the map are an earlier run's. Without a note, as of
runs by hand, parts are told alone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from maggjob.errors import InputError, StoreError
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import OURS, PARTS, RUN, SUMMARY, run_folder
from maggjob.storage.stores import plain_message

QUIET = 600.0
"""Seconds of silence that are remarked on: a call that Lambda lost is tried again for six minutes."""
ALWAYS, NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
MAP = "map"
"""The stage in which parts are written."""
NAMED = ("started", "backend", "workers", "window", "totals", "digests")
"""What a summary says of its run under the names of a note."""
ENDED = ("not started", "done", "stopped", "unknown")
"""What is said in place of a stage when none goes on."""


@dataclass(frozen=True)
class RunNote:
    """What a run says of itself."""

    started: str
    """When it started, UTC, ISO 8601, by the client's clock; its summary says the same."""
    stage: str
    """The stage that began last, such as index, map or assembly; not started, or done."""
    backend: str
    """Where its calls run."""
    workers: int
    """Workers at once, at most."""
    window: str
    """Label of its time window."""
    totals: Mapping[str, int]
    """How much there is to do, by what it is; until the run is done, as planned. Parts are made for the first."""
    digests: Mapping[str, str]
    """What decides the result, by what it is."""
    pieces: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names of the pieces of each part that is made in several."""
    mapped: AwareDatetime | None = None
    """When its map began, by the store's clock, as soon as that is known: older parts are of another run."""
    stopped: str | None = None
    """The error that stopped it."""

    @classmethod
    def of(
        cls, backend: str, workers: int, window: str, totals: Mapping[str, int], digests: Mapping[str, str]
    ) -> "RunNote":
        """Return the note of a run that starts now."""
        # In milliseconds: no two runs of a store have the same.
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(started, "not started", backend, workers, window, dict(totals), dict(digests))

    @property
    def unit(self) -> str:
        """What a part is made for, such as cells."""
        return next(iter(self.totals), "parts")

    @property
    def parts(self) -> int:
        """Parts that there are to be."""
        return next(iter(self.totals.values()), 0)


class NoteWriter:
    """Writes the note of a run.

    Parameters
    ----------
    note : RunNote
    folder : str
        Path or URL of the run's folder.
    region : str, optional
        Region of the bucket.
    """

    def __init__(self, note: RunNote, folder: str, region: str | None = None) -> None:
        self.note = note
        self._where = (folder, region)

    def stage(self, name: str, pieces: Mapping[str, Sequence[str]]) -> None:
        """Say that a stage begins; StoreError if that cannot be written."""
        self._write(replace(self.note, stage=name, pieces={**self.note.pieces, **pieces}))
        if name == MAP:
            self.note = replace(self.note, mapped=Folder(*self._where).modified(RUN))

    def stopped(self, problem: BaseException) -> None:
        """Say that an error stopped the run, if any stage has begun."""
        if self.note.stage != "not started":
            # The store may be in the way here, too; the error is raised in any case.
            with suppress(StoreError):
                self._write(replace(self.note, stopped=f"{type(problem).__name__}: {plain_message(problem)}"))

    def _write(self, note: RunNote) -> None:
        self.note = note
        Folder(*self._where).put(RUN, TypeAdapter(RunNote).dump_json(note, indent=1))


@dataclass(frozen=True)
class Status:
    """How far a run is."""

    store: str
    """The result that it makes."""
    stage: str
    """The stage that goes on, such as index, map or assembly; done, with a result; stopped by an error; not started; or
    unknown: there are parts, and nothing says of what, as the run is one by hand or of an earlier maggjob."""
    run: RunNote | None
    """Which run it is; None where that is not known."""
    parts: int
    """Parts that are there; one that is made in pieces when all of them are. What fails leaves none."""
    silent_s: float | None
    """Age of the newest part, seconds; less if a stage began or the run was stopped since. None where there is neither.
    By this machine's clock and the store's."""
    parts_per_minute: float | None
    """From the beginning of the map to the newest part; None where that cannot be told."""
    left_s: float | None
    """Seconds until the last part, at this pace; rather less, as the longest tasks come first. None unless the map goes
    on and there are more parts than workers, whose first ones come together."""
    quiet: bool
    """Whether nothing came of a run for `QUIET` seconds that has not ended: its client may have stopped."""
    result: Mapping[str, Any] | None = None
    """The summary, but for its list of results; None until the run is done."""
    dollars: float | None = None
    """What its calls on Lambda cost; None elsewhere, and until the run is done."""


def status_of(
    store: str, note: RunNote | None, times: Mapping[str, datetime], summary: Mapping[str, Any] | None, now: datetime
) -> Status:
    """Work out how far a run is.

    Parameters
    ----------
    store : str
    note : RunNote or None
    times : mapping
        When each key in its folder was written.
    summary : mapping or None
        Its summary, or that of an earlier run.
    now : datetime
    """
    if note is not None and summary is not None and summary["started"] != note.started:
        summary = None
    run = note if summary is None else _done(summary, note)
    begun = ALWAYS if note is None else note.mapped or (times[RUN] if note.stage == MAP else NEVER)
    below = f"{PARTS}/{run.window}/" if run else f"{PARTS}/"
    found = {k: time for k, time in times.items() if k.startswith(below) and k.endswith(".npz") and time >= begun}
    parts = _count_parts(found, {} if run is None else run.pieces)
    signs = [*found.values(), *([times[RUN]] if note is not None else [])]
    # The clocks of two machines differ.
    silent = max(0.0, (now - max(signs)).total_seconds()) if signs else None
    stage = run.stage if run is not None else "unknown" if parts else "not started"
    stage = "stopped" if run is not None and run.stopped else stage
    quiet = stage not in ENDED and silent is not None and silent > QUIET
    took = (max(found.values()) - begun).total_seconds() if parts and note is not None else 0.0
    pace = parts / took if took > 0 else None
    sensible = stage == MAP and not quiet and note is not None and parts > note.workers
    left = max(0, note.parts - parts) / pace if note is not None and pace is not None and sensible else None
    result = None if summary is None else {key: value for key, value in summary.items() if key != "results"}
    dollars = sum(calls["dollars"] for calls in result["stages"]) if result and "stages" in result else None
    return Status(store, stage, run, parts, silent, pace and 60 * pace, left, quiet, result, dollars)


def _count_parts(keys: Iterable[str], pieces: Mapping[str, Sequence[str]]) -> int:
    """Parts that are there, by the names of their keys; a call may leave a tag in a name."""
    names = {key.rpartition("/")[2].split(".")[0] for key in keys}
    whole = names - {piece for some in pieces.values() for piece in some}
    return len(whole | {part for part, some in pieces.items() if names.issuperset(some)})


def _done(summary: Mapping[str, Any], note: RunNote | None) -> RunNote:
    """The note of a run that is done, of which only its summary may be left."""
    named = {key: summary[key] for key in NAMED}
    done = RunNote(stage="done", **named)
    return done if note is None else replace(done, pieces=note.pieces, mapped=note.mapped)


def read_status(store: str, region: str | None = None) -> Status:
    """Return how far the run of a store is, or what came of it. It reads only, and may be called while the run goes on.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the result that the run makes.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If no run has left anything there, or what it left is damaged.
    StoreError
        If the folder of the run cannot be read.
    """
    folder = run_folder(store)
    times = Folder(folder, region).times() if exists(folder, region) else {}
    if not any(key.startswith(OURS) for key in times):
        raise InputError(f"no run of maggjob at {folder}; give the path or URL of the Zarr that 'maggjob run' makes")
    content = Folder(folder, region).get(RUN) if RUN in times else None
    note = None if content is None else _read_note(content, f"{folder}/{RUN}")
    summary = read_summary(store, region) if SUMMARY in times else None
    return status_of(store, note, times, summary, datetime.now(UTC))


def _read_note(content: bytes, name: str) -> RunNote:
    try:
        return TypeAdapter(RunNote).validate_json(content)
    except ValidationError as problem:
        wrong = problem.errors(include_url=False)[0]
        where = ".".join(map(str, wrong["loc"])) or "content"
        raise InputError(f"{name} is damaged ({where}: {wrong['msg']}); delete it to be told of the parts") from problem


def read_summary(store: str, region: str | None = None) -> dict[str, Any]:
    """Return the summary that the run of a store left.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    folder = run_folder(store)
    if not (exists(folder, region) and Folder(folder, region).has(SUMMARY)):
        raise InputError(f"no summary at {folder}/{SUMMARY}; give the path of a Zarr that 'maggjob run' wrote")
    try:
        content: dict[str, Any] = json.loads(Folder(folder, region).get(SUMMARY))
    except ValueError as problem:
        raise InputError(f"{folder}/{SUMMARY} is damaged ({problem}); run again") from problem
    if not (
        isinstance(content, dict) and {"started", "backend", "workers", "window", "totals", "digests"} <= content.keys()
    ):
        raise InputError(f"{folder}/{SUMMARY} is no summary of a run; run again")
    return content
