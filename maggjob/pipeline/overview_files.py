"""Read what a finished run left in its folder, for a report."""

from collections.abc import Mapping
from typing import Any

from maggjob.backend.call_times import StageCalls
from maggjob.errors import InputError
from maggjob.inputs.places import store_place
from maggjob.inputs.plain_json import load_json
from maggjob.output.manifest import Manifest, read_manifest
from maggjob.pipeline.overview import RunOverview, overview_of
from maggjob.pipeline.record import parse_calls
from maggjob.pipeline.status import RunNote, damage_told, read_note, read_summary
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import CALLS, MANIFEST, PLAN, RUN, SUMMARY, run_folder


def read_overview(store: str, region: str | None = None) -> RunOverview:
    """Read what is known of the last finished run of a store.

    What is damaged beside the summary is left out, and a note of the overview says so.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the run's result.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If no run has finished, or the summary is damaged.
    StoreError
        If the folder of the run cannot be read.
    """
    store = store_place(store)
    note = _note(store, region)
    # A result may have been moved since.
    summary = {**read_summary(store, region), "store_path": str(store)}
    notes: list[str] = []
    folder = Folder(run_folder(store), region)
    with damage_told(store):
        started, digest = summary["started"], summary["digests"].get("run")
        if note is not None and note.started != started:
            begun = f"a newer run began at {note.started} and has not finished"
            notes.append(f"{begun}; this is the report of the one before")
        calls = _calls(folder, started, notes)
        configuration = _configuration(folder, digest, notes)
        manifest = _manifest(store, folder, started, region, notes)
        return overview_of(summary, calls, configuration, manifest, notes)


def _note(store: str, region: str | None) -> RunNote | None:
    """Return the note of the last run of a store; None if there is none, as after 'maggjob clean'.

    Raises
    ------
    InputError
        If the run has not finished, and there is no summary of an earlier one.
    """
    name = run_folder(store)
    folder = Folder(name, region) if exists(name, region) else None
    content = None if folder is None else folder.find(RUN)
    if folder is None or content is None:
        return None
    note = read_note(content, f"{name}/{RUN}")
    if not folder.has(SUMMARY):
        how = f"was stopped in the stage {note.stage}" if note.stopped else f"has not finished (stage {note.stage})"
        raise InputError(
            f"the run of {store} {how} and has no report yet; 'maggjob status {store}' shows how far it is, and the "
            "same command again goes on"
        )
    return note


def _calls(folder: Folder, started: str, notes: list[str]) -> list[StageCalls]:
    content = folder.find(CALLS)
    if content is None:
        return []
    try:
        return parse_calls(content, started)
    except ValueError as problem:
        notes.append(f"{folder.url}/{CALLS} is damaged ({problem})")
        return []


def _configuration(folder: Folder, digest: str | None, notes: list[str]) -> Mapping[str, Any] | None:
    """Return the configuration of a run; None if the plan was not kept, or is that of another run."""
    content = folder.find(PLAN)
    if content is None:
        return None
    try:
        plan: Any = load_json(content, finite=False)
        own = plan["run_digest"] == digest
        return dict(plan["config"]) if own else None
    except (ValueError, KeyError, TypeError) as problem:
        notes.append(f"{folder.url}/{PLAN} is damaged ({problem})")
        return None


def _manifest(store: str, folder: Folder, started: str, region: str | None, notes: list[str]) -> Manifest | None:
    """Return the manifest of a run; None if there is none, or it is that of another run."""
    if not folder.has(MANIFEST):
        return None
    try:
        found = read_manifest(store, region)
    except InputError as problem:
        notes.append(str(problem))
        return None
    return found if found.started == started else None
