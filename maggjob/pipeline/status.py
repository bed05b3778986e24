"""The status of a run as seen from outside, from its note and the parts in its folder.

A run writes its note, ``run.json``, when a stage begins and again if an error stops it. This is one write per stage,
and none per part. The run is done if ``summary.json`` has the same start time as the note. A client that is killed
writes nothing, so the status never claims that a run is alive; it reports the time since its last sign of activity.
Parts are counted from one listing, by the store's clock: parts older than the start of the map stage belong to an
earlier run. Runs by hand have no note; then only the parts are reported.
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
"""Seconds without activity after which a run is reported as quiet; lost calls on Lambda are retried for six minutes."""
ALWAYS, NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
MAP = "map"
"""Name of the stage that writes parts."""
NAMED = ("started", "backend", "workers", "window", "totals", "digests")
"""Keys that a summary shares with a note."""
ENDED = ("not started", "done", "stopped", "unknown")
"""Values of ``stage`` that mean that no stage is running."""


@dataclass(frozen=True)
class RunNote:
    """The note that a run writes about itself."""

    started: str
    """Start of the run, UTC, ISO 8601, by the client's clock; the same as in its summary."""
    stage: str
    """Latest stage, such as index, map or assembly; or not started, or done."""
    backend: str
    """Backend of the run."""
    workers: int
    """Maximum number of concurrent workers."""
    window: str
    """Label of the time window."""
    totals: Mapping[str, int]
    """Amount of work per unit, such as cells; as planned, until the run is done. Each item of the first has a part."""
    digests: Mapping[str, str]
    """Digests of the inputs that determine the result, by name."""
    pieces: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names of the pieces of each part that is made in pieces."""
    mapped: AwareDatetime | None = None
    """Start of the map stage by the store's clock, once known; older parts belong to another run."""
    stopped: str | None = None
    """Error that stopped the run."""

    @classmethod
    def of(
        cls, backend: str, workers: int, window: str, totals: Mapping[str, int], digests: Mapping[str, str]
    ) -> "RunNote":
        """Return the note of a run that starts now.

        Parameters
        ----------
        backend, workers, window, totals, digests
            See the fields of the same names.
        """
        # Milliseconds tell two runs of the same store apart.
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(started, "not started", backend, workers, window, dict(totals), dict(digests))

    @property
    def unit(self) -> str:
        """Unit that has one part per item, such as cells."""
        return next(iter(self.totals), "parts")

    @property
    def parts(self) -> int:
        """Number of parts that the run will write."""
        return next(iter(self.totals.values()), 0)


class NoteWriter:
    """A writer of the note of a run.

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
        """Record the start of a stage.

        Parameters
        ----------
        name : str
            Name of the stage.
        pieces : mapping
            Names of the pieces of each part that is made in pieces.

        Raises
        ------
        StoreError
            If the note cannot be written.
        """
        self._write(replace(self.note, stage=name, pieces={**self.note.pieces, **pieces}))
        if name == MAP:
            self.note = replace(self.note, mapped=Folder(*self._where).modified(RUN))

    def stopped(self, problem: BaseException) -> None:
        """Record the error that stopped the run, if a stage had begun."""
        if self.note.stage != "not started":
            # The store itself may be what failed; the original error is raised in any case.
            with suppress(StoreError):
                self._write(replace(self.note, stopped=f"{type(problem).__name__}: {plain_message(problem)}"))

    def _write(self, note: RunNote) -> None:
        self.note = note
        Folder(*self._where).put(RUN, TypeAdapter(RunNote).dump_json(note, indent=1))


@dataclass(frozen=True)
class Status:
    """The status of a run."""

    store: str
    """Path or URL of the result."""
    stage: str
    """Current stage, such as index, map or assembly; or done (with a result), stopped (by an error), not started, or
    unknown (parts exist without a note, from a run by hand or an earlier version of maggjob)."""
    run: RunNote | None
    """Note of the run; None if unknown."""
    parts: int
    """Number of parts written; a part made in pieces counts once all its pieces exist. Failed tasks leave no part."""
    silent_s: float | None
    """Seconds since the last activity: the newest part, or the last change of the note. None if there was none.
    Compares this machine's clock with the store's."""
    parts_per_minute: float | None
    """Mean rate from the start of the map stage to the newest part; None if unknown."""
    left_s: float | None
    """Seconds until the last part at this rate; an upper estimate, because the longest tasks come first. None outside
    the map stage, and until there are more parts than workers, because the first parts arrive together."""
    quiet: bool
    """True if an unfinished run showed no activity for `QUIET` seconds: its client may have stopped."""
    result: Mapping[str, Any] | None = None
    """Summary without its list of results; None until the run is done."""
    dollars: float | None = None
    """Cost of the calls on Lambda (US dollars); None on other backends and until the run is done."""


def status_of(
    store: str, note: RunNote | None, times: Mapping[str, datetime], summary: Mapping[str, Any] | None, now: datetime
) -> Status:
    """Derive the status of a run.

    Parameters
    ----------
    store : str
        Path or URL of the result.
    note : RunNote or None
        Note of the run.
    times : mapping
        Time at which each key in the run's folder was written.
    summary : mapping or None
        Summary of this run or of an earlier one.
    now : datetime
        Current time, with time zone.
    """
    if note is not None and summary is not None and summary["started"] != note.started:
        summary = None
    run = note if summary is None else _done(summary, note)
    begun = ALWAYS if note is None else note.mapped or (times[RUN] if note.stage == MAP else NEVER)
    below = f"{PARTS}/{run.window}/" if run else f"{PARTS}/"
    found = {k: time for k, time in times.items() if k.startswith(below) and k.endswith(".npz") and time >= begun}
    parts = _count_parts(found, {} if run is None else run.pieces)
    signs = [*found.values(), *([times[RUN]] if note is not None else [])]
    # The clocks of the two machines may differ, so the difference may be negative.
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
    """Count parts by the names of their keys, without the tags that calls add to a name."""
    names = {key.rpartition("/")[2].split(".")[0] for key in keys}
    whole = names - {piece for some in pieces.values() for piece in some}
    return len(whole | {part for part, some in pieces.items() if names.issuperset(some)})


def _done(summary: Mapping[str, Any], note: RunNote | None) -> RunNote:
    """Return the note of a finished run, from its summary and, if it still exists, its note."""
    named = {key: summary[key] for key in NAMED}
    done = RunNote(stage="done", **named)
    return done if note is None else replace(done, pieces=note.pieces, mapped=note.mapped)


def read_status(store: str, region: str | None = None) -> Status:
    """Return the status of the run of a store; safe to call during the run, because it only reads.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the result.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If no run has written there, or its note or summary is damaged.
    StoreError
        If the folder of the run cannot be read.
    """
    folder = run_folder(store)
    times = Folder(folder, region).times() if exists(folder, region) else {}
    if not any(key.startswith(OURS) for key in times):
        raise InputError(f"no run of maggjob at {folder}; give the path or URL of the Zarr that 'maggjob run' writes")
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
        raise InputError(
            f"{name} is damaged ({where}: {wrong['msg']}); delete it to see the status of the parts only"
        ) from problem


def read_summary(store: str, region: str | None = None) -> dict[str, Any]:
    """Return the summary of the run of a store.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the result.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If the summary does not exist or is damaged.
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
        raise InputError(f"{folder}/{SUMMARY} is not the summary of a run; run again")
    return content
