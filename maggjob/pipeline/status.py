"""The progress of a run, read from its folder: from the note that the run writes about itself, and from its parts.

A run writes its note, ``run.json``, when a stage begins, and once more if an error stops the run; it writes nothing
per part. The run is done if there is a ``summary.json`` with the same start time. A client that is killed can write
nothing, so the status never claims that a run is alive; it only tells how long ago the run last wrote something.
Parts are counted from one listing of the folder, by the store's clock: parts older than the start of the map belong to
an earlier run. If there is no note, as after a run by hand, only the number of parts is known.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from maggjob.errors import InputError, MaggjobError
from maggjob.inputs.places import store_place
from maggjob.inputs.plain_json import load_json
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import OURS, PARTS, RUN, SUMMARY, run_folder
from maggjob.storage.stores import plain_message

QUIET = 600.0
"""Seconds of silence after which a run is "quiet"; longer than the six minutes for which lost calls are retried."""
ALWAYS, NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
MAP = "map"
"""The stage in which parts are written."""
NAMED = ("started", "backend", "workers", "window", "totals", "digests")
"""Fields of the note that a summary holds under the same names."""
ENDED = ("not started", "done", "stopped", "unknown")
"""Stages of a status that mean that no stage is in progress."""


@dataclass(frozen=True)
class RunNote:
    """Note that a run writes about itself."""

    started: str
    """Start of the run, UTC, ISO 8601, by the client's clock; the same as in its summary."""
    stage: str
    """Stage that began last, such as index, map or assembly; or "not started", or "done"."""
    backend: str
    """Backend of the calls."""
    workers: int
    """Largest number of concurrent workers."""
    window: str
    """Label of the time window."""
    totals: Mapping[str, int]
    """Amount of work by unit: as planned, or as in the summary once the run is done. Each item of the first unit has
    one part."""
    digests: Mapping[str, str]
    """Digests of what determines the result, by name."""
    pieces: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names of the pieces of each part that several tasks write."""
    mapped: AwareDatetime | None = None
    """Start of the map by the store's clock; None until it is known. Older parts belong to an earlier run."""
    taken: int = 0
    """Number of parts that an earlier attempt at the same run left, and that are used."""
    stopped: str | None = None
    """The error that stopped the run; None if no error did."""

    @classmethod
    def of(
        cls, backend: str, workers: int, window: str, totals: Mapping[str, int], digests: Mapping[str, str]
    ) -> "RunNote":
        """Return the note of a run that starts now.

        Parameters
        ----------
        backend, workers, window, totals, digests
            See the fields of the note.
        """
        # The start identifies the run; milliseconds make sure that no two runs of a store share it.
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
    """Writes the note of a run.

    Parameters
    ----------
    note : RunNote
        The first note.
    folder : str
        Path or URL of the run's folder.
    region : str, optional
        Region of the bucket.
    """

    def __init__(self, note: RunNote, folder: str, region: str | None = None) -> None:
        self.note = note
        self._where = (folder, region)

    def stage(self, name: str, pieces: Mapping[str, Sequence[str]], taken: int = 0) -> None:
        """Write that a stage begins.

        Parameters
        ----------
        name : str
            Name of the stage.
        pieces : mapping
            Names of the pieces of each part that several tasks write in this stage.
        taken : int
            Number of parts that an earlier attempt left, and that are used.

        Raises
        ------
        StoreError
            If the note cannot be written.
        """
        taken = taken or self.note.taken
        self._write(replace(self.note, stage=name, pieces={**self.note.pieces, **pieces}, taken=taken))
        if name == MAP:
            self.note = replace(self.note, mapped=Folder(*self._where).modified(RUN))

    def stopped(self, problem: BaseException) -> None:
        """Write that an error stopped the run, if a stage has begun."""
        if self.note.stage != "not started":
            # Writing may fail for the same reason as the run did. The caller raises the run's error in any case.
            with suppress(MaggjobError):
                self._write(replace(self.note, stopped=f"{type(problem).__name__}: {plain_message(problem)}"))

    def _write(self, note: RunNote) -> None:
        self.note = note
        Folder(*self._where).put(RUN, TypeAdapter(RunNote).dump_json(note, indent=1))


@dataclass(frozen=True)
class Status:
    """Progress of a run."""

    store: str
    """Path or URL of the result."""
    stage: str
    """Stage in progress, such as index, map or assembly; or "done" (there is a result), "stopped" (by an error), "not
    started", or "unknown" (there are parts but no note, as after a run by hand or by an earlier version of maggjob)."""
    run: RunNote | None
    """The run's note, or one made from its summary; None if there is neither."""
    parts: int
    """Number of finished parts. A part in several pieces counts once all of them exist; failed tasks leave no part."""
    silent_s: float | None
    """Seconds since the run last wrote a part or its note; None if it wrote neither. Compares this machine's clock with
    the store's."""
    parts_per_minute: float | None
    """Mean rate from the start of the map to the newest part; None if unknown."""
    left_s: float | None
    """Estimated seconds until the last part, at the mean rate. Probably too long, because the longest tasks come first.
    None outside the map, and until there are more parts than workers, because the first parts arrive together."""
    quiet: bool
    """True if the run has not ended, but wrote nothing for more than `QUIET` seconds: its client may have stopped."""
    result: Mapping[str, Any] | None = None
    """The summary without its list of results; None until the run is done."""
    dollars: float | None = None
    """Cost on Lambda in US dollars; None on other backends, and until the run is done."""


def status_of(
    store: str, note: RunNote | None, times: Mapping[str, datetime], summary: Mapping[str, Any] | None, now: datetime
) -> Status:
    """Return the progress of a run, given what its folder holds.

    Parameters
    ----------
    store : str
        Path or URL of the result.
    note : RunNote or None
        The run's note, if there is one.
    times : mapping
        Time at which each key in the run's folder was written.
    summary : mapping or None
        The summary in the folder, if there is one; it may be that of an earlier run.
    now : datetime
        The current time, with a time zone.
    """
    if note is not None and summary is not None and summary["started"] != note.started:
        summary = None
    run = note if summary is None else _done(summary, note)
    begun = ALWAYS if note is None or note.taken else note.mapped or (times[RUN] if note.stage == MAP else NEVER)
    below = f"{PARTS}/{run.window}/" if run else f"{PARTS}/"
    # With a time axis, each window has a folder of its own.
    below = below if any(key.startswith(below) for key in times) else f"{PARTS}/"
    found = {
        k: time for k, time in times.items() if k.startswith(below) and k.endswith((".npz", ".json")) and time >= begun
    }
    parts = _count_parts(found, {} if run is None else run.pieces)
    signs = [*found.values(), *([times[RUN]] if note is not None else [])]
    # The age can be negative, because the clocks of this machine and the store differ.
    silent = max(0.0, (now - max(signs)).total_seconds()) if signs else None
    stage = run.stage if run is not None else "unknown" if parts else "not started"
    stage = "stopped" if run is not None and run.stopped else stage
    quiet = stage not in ENDED and silent is not None and silent > QUIET
    mapped = (note.mapped or times[RUN]) if note is not None else ALWAYS
    taken = note.taken if note is not None else 0
    took = (max(found.values()) - mapped).total_seconds() if parts and note is not None else 0.0
    pace = (parts - taken) / took if took > 0 else None
    sensible = stage == MAP and not quiet and note is not None and parts - taken > note.workers
    left = max(0, note.parts - parts) / pace if note is not None and pace is not None and sensible else None
    result = None if summary is None else {key: value for key, value in summary.items() if key != "results"}
    dollars = _dollars(result) if result and "stages" in result else None
    return Status(store, stage, run, parts, silent, pace and 60 * pace, left, quiet, result, dollars)


def _dollars(result: Mapping[str, Any]) -> float:
    """Return what a run has cost; summaries of earlier versions tell it of the calls only."""
    known = result.get("dollars")
    return sum(calls["dollars"] for calls in result["stages"]) if known is None else float(known)


def _count_parts(keys: Iterable[str], pieces: Mapping[str, Sequence[str]]) -> int:
    """Return the number of finished parts, given their keys; the name in a key may be followed by a tag of the call."""
    names = {"/".join(key.split("/")[-2:]).split(".")[0] for key in keys}
    whole = names - {piece for some in pieces.values() for piece in some}
    return len(whole | {part for part, some in pieces.items() if names.issuperset(some)})


def _done(summary: Mapping[str, Any], note: RunNote | None) -> RunNote:
    """Return the note of a run that is done; its summary is enough, because `clean` deletes the note."""
    named = {key: summary[key] for key in NAMED}
    done = RunNote(stage="done", **named)
    return done if note is None else replace(done, pieces=note.pieces, mapped=note.mapped)


def read_status(store: str, region: str | None = None) -> Status:
    """Return the progress of a run, or its result. This only reads, so it may be called while the run is in progress.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the run's result.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If there is nothing from a run, or its note or summary is damaged.
    StoreError
        If the folder of the run cannot be read.
    """
    store = store_place(store)
    folder = run_folder(store)
    times = Folder(folder, region).times() if exists(folder, region) else {}
    if not any(key.startswith(OURS) for key in times):
        raise InputError(f"no run of maggjob at {folder}; give the path or URL of the Zarr that 'maggjob run' writes")
    content = Folder(folder, region).get(RUN) if RUN in times else None
    note = None if content is None else read_note(content, f"{folder}/{RUN}")
    summary = read_summary(store, region) if SUMMARY in times else None
    return status_of(store, note, times, summary, datetime.now(UTC))


def read_note(content: bytes, name: str) -> RunNote:
    """Return the note of a run.

    Parameters
    ----------
    content : bytes
        The bytes of ``run.json``.
    name : str
        Its path or URL, for messages.

    Raises
    ------
    InputError
        If the note is damaged.
    """
    try:
        return TypeAdapter(RunNote).validate_json(content)
    except ValidationError as problem:
        wrong = problem.errors(include_url=False)[0]
        where = ".".join(map(str, wrong["loc"])) or "content"
        raise InputError(f"{name} is damaged ({where}: {wrong['msg']}); delete it to see the parts alone") from problem


@contextmanager
def damage_told(store: str) -> Iterator[None]:
    """Raise InputError in place of an error by a summary that lacks something, or has it in another form.

    Parameters
    ----------
    store : str
        Path or URL of the result.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as problem:
        raise InputError(
            f"{run_folder(store)}/{SUMMARY} is damaged, or of another version of maggjob ({type(problem).__name__}: "
            f"{problem}); 'maggjob verify {store}' checks the result itself"
        ) from problem


def read_summary(store: str, region: str | None = None) -> dict[str, Any]:
    """Return the summary of the last finished run of a store.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the run's result.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If there is no summary, or it is damaged.
    """
    folder = run_folder(store_place(store))
    if not (exists(folder, region) and Folder(folder, region).has(SUMMARY)):
        raise InputError(f"no summary at {folder}/{SUMMARY}; give the path of a Zarr that 'maggjob run' wrote")
    try:
        content: dict[str, Any] = load_json(Folder(folder, region).get(SUMMARY), finite=False)
    except ValueError as problem:
        raise InputError(f"{folder}/{SUMMARY} is damaged ({problem}); run again") from problem
    whole = isinstance(content, dict) and {"backend", "workers", "window"} <= content.keys()
    if not (
        whole
        and isinstance(content.get("started"), str)
        and all(isinstance(content.get(key), dict) for key in ("totals", "digests"))
    ):
        raise InputError(f"{folder}/{SUMMARY} is damaged, or of another version of maggjob; run again")
    return content
