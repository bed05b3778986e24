"""Resuming a run: what an earlier attempt left is used if it is valid, and nothing is computed twice.

A run is resumed if the last run of the same store has the same digest and did not end with a complete result. Parts of
complete and empty cells are taken, after their checksums, ledgers and run digests have been checked; cells that failed
or are partial are mapped again. A part is taken only if none of the granules of its cell has changed since: the
versions of all granules are recorded in the run's folder before the first part is written.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from maggjob.errors import ExistsError, MaggjobError, StoreError
from maggjob.inputs.plain_json import load_json
from maggjob.jobs.parts import check_part, part_key, report_in
from maggjob.model.reports import CellReport, GranuleReport
from maggjob.model.tasks import CellTask, Granule
from maggjob.pipeline.status import read_note, read_summary
from maggjob.pipeline.target import is_published, result_attributes
from maggjob.storage.archive import Archive, Ranges
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import PARTS, RUN, SUMMARY, VERSIONS, run_folder

READERS = 32
"""Parts, or versions of granules, that are read concurrently."""


@dataclass(frozen=True)
class EarlierRun:
    """The last run of a store, as far as its folder tells."""

    digest: str
    """Digest of what determines its result."""
    finished: bool
    """Whether it wrote its summary."""
    complete: bool
    """Whether it published a complete result."""
    published: bool
    """Whether the store holds its result."""


def earlier_run(store: str, region: str | None = None) -> EarlierRun | None:
    """Return the last run of a store; None if there was none.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the result.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If its note or summary is damaged.
    """
    folder = run_folder(store)
    if not exists(folder, region):
        return None
    there = Folder(folder, region)
    content = there.find(RUN)
    note = None if content is None else read_note(content, f"{folder}/{RUN}")
    summary = read_summary(store, region) if there.has(SUMMARY) else None
    if summary is not None and (note is None or note.started == summary["started"]):
        published = bool(summary.get("published", True))
        complete = bool(summary["complete"]) and published
        return EarlierRun(summary["digests"].get("run", ""), True, complete, published)
    return None if note is None else EarlierRun(note.digests.get("run", ""), False, False, False)


def may_resume(earlier: EarlierRun | None, digest: str, *, restart: bool) -> bool:
    """Return True if a run goes on where an earlier one stopped.

    Parameters
    ----------
    earlier : EarlierRun or None
        The last run of the store.
    digest : str
        Digest of this run.
    restart : bool
        Whether the user asks for a new start.
    """
    return earlier is not None and not restart and not earlier.complete and earlier.digest == digest


def check_same_run(earlier: EarlierRun | None, digest: str, store: str, *, restart: bool) -> None:
    """Check that no unfinished work of another run would be lost.

    Parameters
    ----------
    earlier : EarlierRun or None
        The last run of the store.
    digest : str
        Digest of this run.
    store : str
        Path or URL of the result, for the message.
    restart : bool
        Whether the user asks for a new start.

    Raises
    ------
    ExistsError
        If the earlier run is unfinished and has another configuration or catalog.
    """
    if earlier is None or restart or earlier.finished or earlier.digest == digest:
        return
    raise ExistsError(
        f"{store} has an unfinished run with another configuration or catalog (digest {earlier.digest[:12]}, this run "
        f"has {digest[:12]}); run it again as it was, give --restart to drop its parts, or another --store"
    )


def holds_unrecorded(earlier: EarlierRun | None, store: str, digest: str, region: str | None = None) -> bool:
    """Return True if a run published its result in a store, and was ended before it had written the manifest.

    Parameters
    ----------
    earlier : EarlierRun or None
        The last run of the store.
    store : str
        Path or s3:// URL of the Zarr.
    digest : str
        Digest of the run.
    region : str, optional
        Region of the bucket.
    """
    if earlier is None or earlier.finished or earlier.digest != digest:
        return False
    there = exists(store, region) and is_published(store, region)
    return there and result_attributes(store, region).get("run_digest") == digest


def holds_incomplete(store: str, digest: str, region: str | None = None) -> bool:
    """Return True if a store holds an incomplete result of a run.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    digest : str
        Digest of the run.
    region : str, optional
        Region of the bucket.
    """
    cells = _cells_of(store, digest, region)
    return bool(cells.get("partial") or cells.get("failed"))


def improves(cells: Mapping[str, int], store: str, digest: str, region: str | None = None) -> bool:
    """Return True if a store holds an incomplete result of a run, and another one of the run is no worse.

    Parameters
    ----------
    cells : mapping
        Number of cells of the other result by state, see `maggjob.model.reports.Tally`.
    store, digest, region
        See `holds_incomplete`.
    """
    there = _cells_of(store, digest, region)
    incomplete = bool(there.get("partial") or there.get("failed"))
    return incomplete and cells["complete"] >= there.get("complete", 0) and cells["failed"] <= there.get("failed", 0)


def _cells_of(store: str, digest: str, region: str | None) -> dict[str, int]:
    """Return the number of cells by state of the result of a run in a store; empty if there is none."""
    if not (exists(store, region) and is_published(store, region)):
        return {}
    attributes = result_attributes(store, region)
    tally = attributes.get("tally", {})
    cells: dict[str, int] = (json.loads(tally) if isinstance(tally, str) else tally).get("cells", {})
    return cells if attributes.get("run_digest") == digest else {}


def forget(folder: Folder) -> None:
    """Delete what an earlier run computed, for a new start: its parts, and the versions of its granules."""
    folder.delete([VERSIONS, *folder.keys(PARTS)])


def ask_versions(granules: Sequence[Granule], archive: Archive) -> dict[str, str]:
    """Return the version of each granule, by id; granules that cannot be reached, or have none, are left out.

    Parameters
    ----------
    granules : sequence of Granule
    archive : Archive
        Where granules are read from.
    """

    def ask(granule: Granule) -> str | None:
        try:
            return Ranges(granule.url, archive).get(0, 1).etag
        # The workers will report why it cannot be reached.
        except MaggjobError:
            return None

    with ThreadPoolExecutor(READERS) as pool:
        found = zip(granules, pool.map(ask, granules), strict=True)
        return {granule.id: etag for granule, etag in found if etag is not None}


def keep_versions(folder: Folder, etags: Mapping[str, str], cells: Mapping[str, Iterable[str]]) -> int:
    """Record the versions of all granules, after deleting the parts of cells with a granule that has changed.

    Parameters
    ----------
    folder : Folder
        Folder of the run.
    etags : mapping
        Version of each granule as it is now, by id.
    cells : mapping
        Ids of the granules of each task, by its id.

    Returns
    -------
    int
        Number of granules that have changed, or whose versions are not known.
    """
    content = folder.find(VERSIONS)
    before: dict[str, str] = {} if content is None else _versions(content)
    every = {name for names in cells.values() for name in names}
    changed = {name for name in every if name not in etags or etags[name] != before.get(name)}
    stale = {task for task, names in cells.items() if not changed.isdisjoint(names)}
    folder.delete(key for key in folder.keys(PARTS) if _task_in(key) in stale)
    folder.put(VERSIONS, json.dumps(etags, sort_keys=True, separators=(",", ":")).encode())
    return len(changed) if before else 0


def _versions(content: bytes) -> dict[str, Any]:
    """Return the recorded versions; none if the record is damaged, so that no part is taken."""
    try:
        plain = load_json(content)
    except ValueError:
        return {}
    return plain if isinstance(plain, dict) else {}


def _task_in(key: str) -> str:
    """Return the id of the task in the key of a part: window and cell."""
    window, name = key.split("/")[-2:]
    return f"{window}/{name.split('.')[0]}"


def completed(
    saved: Mapping[str, CellReport],
    listed: Mapping[str, Sequence[str]],
    known: Mapping[str, GranuleReport],
) -> dict[str, CellReport]:
    """Return the saved reports with the granules that have no segment in their cell, which parts do not list.

    The number of segments of such a granule is known from its index, or if another cell uses it. A report with a
    granule whose number is not known is left out: its cell must be mapped again.

    Parameters
    ----------
    saved : mapping
        Reports from parts, by id of the task.
    listed : mapping
        Ids of the planned granules, by id of the task.
    known : mapping
        Reports that indexes give of granules outside a cell, by id of the granule.
    """
    known = dict(known) | {granule.id: granule for report in saved.values() for granule in report.granules}
    found = {}
    for name, report in saved.items():
        reported = {granule.id for granule in report.granules}
        missing = [granule for granule in listed[name] if granule not in reported]
        if all(granule in known for granule in missing):
            found[name] = replace(report, granules=(*report.granules, *(_outside(known[g]) for g in missing)))
    return found


def _outside(granule: GranuleReport) -> GranuleReport:
    return GranuleReport(
        granule.id,
        "no_overlap",
        beams=granule.beams,
        rows=granule.rows,
        invalid_coordinate=granule.invalid_coordinate,
    )


def saved_reports(tasks: Sequence[CellTask], region: str | None = None) -> dict[str, CellReport]:
    """Return the reports of tasks whose parts are there and valid, by id of the task.

    Only parts of cells that were read completely are taken. A damaged part is left out, and written anew.

    Parameters
    ----------
    tasks : sequence of CellTask
        Tasks of one run, whose ``parts`` is set.
    region : str, optional
        Region of the bucket.
    """
    parts = next((str(task.parts) for task in tasks), None)
    if parts is None or not exists(parts, region):
        return {}
    folder = Folder(parts, region)
    there = set(folder.keys())
    found = [task for task in tasks if part_key(task.id, "") in there]

    def load(task: CellTask) -> CellReport | None:
        try:
            content = folder.get(part_key(task.id, ""))
            return replace(report_in(check_part(task, content, ""), task, content), attempts=0)
        except StoreError:
            return None

    with ThreadPoolExecutor(READERS) as pool:
        return {report.id: report for report in pool.map(load, found) if report is not None}
