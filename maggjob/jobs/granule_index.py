"""The index stage: make an index of each granule, so that cells need not read coordinates and HDF5 structure.

A call writes all indexes that it makes as one pack. Nothing that is stored is changed: a call that is killed leaves
nothing, or a whole pack, and another attempt writes the same bytes under the same key.
"""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from maggjob.errors import IndexFileError, MaggjobError, StoreError
from maggjob.granules.granule import OpenGranule, open_granule
from maggjob.granules.index import GranuleIndex, make_index
from maggjob.granules.index_format import decode, encode, index_digest
from maggjob.granules.index_store import AskedIndex, ask_indexes, is_pack, load_indexed
from maggjob.granules.lists import load_granules, write_lists
from maggjob.granules.pack_format import MOST, encode_pack
from maggjob.granules.screening import ABSENT, READ
from maggjob.jobs.cells import READS_AT_ONCE
from maggjob.jobs.wire import WireTask, read_shared, wire_tasks
from maggjob.jobs.worker import peak_memory, reason_and_message
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellCounts, IndexedGranule, IndexReport
from maggjob.model.tasks import Granule, GranuleList, IndexTask
from maggjob.storage.archive import Archive
from maggjob.storage.folder import Folder
from maggjob.storage.urls import join_url

INDEXED_AT_ONCE = 8
"""Granules indexed concurrently, to hide some fifteen consecutive waits for the archive; each takes 15 MB of memory."""


def index_granules(batch: IndexTask) -> IndexReport:
    """Make the indexes of some granules, and write them as one pack. Valid existing indexes are kept.

    Parameters
    ----------
    batch : IndexTask
        Any number of granules; each takes some 60 ms of CPU time and 6 MB of reads. `MOST` of them share a pack.

    Returns
    -------
    IndexReport
        Failures are not raised, but reported: a granule that cannot be indexed is listed with its reason.

    Examples
    --------
    >>> import maggjob
    >>> from maggjob.job import index_granules
    >>> from maggjob.model.tasks import IndexTask
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> task = maggjob.tasks("atl06.yaml", catalog=maggjob.make_catalog("granules"))[0]
    >>> report = index_granules(IndexTask("all", task.recipe, task.granules, "indexes"))
    >>> {granule.state for granule in report.granules}
    {'made'}
    """
    started = time.monotonic()
    archive = Archive(batch.credentials, batch.region)
    try:
        folder = Folder(batch.indexes, batch.region, create=True)
        granules, recipe = load_indexed(batch, folder, index_digest(batch.recipe)), batch.recipe
        with ThreadPoolExecutor(READS_AT_ONCE) as reads, ThreadPoolExecutor(INDEXED_AT_ONCE) as apart:
            stored = ask_indexes(granules, folder, reads).each
            done = list(apart.map(lambda one: _index(one, stored[one.id], recipe, archive, reads), granules))
        report = IndexReport(batch.id, _packed(done, folder, index_digest(recipe)))
    # As in map_cell.
    except BaseException as problem:  # noqa: BLE001
        reason, message = reason_and_message(problem)
        report = IndexReport(batch.id, (), reason, message)
    return replace(
        report,
        seconds=time.monotonic() - started,
        bytes_read=archive.bytes_read,
        requests=archive.requests,
        peak_memory=peak_memory(),
    )


@dataclass(frozen=True)
class _Outcome:
    """Outcome of one granule, before its index is packed."""

    granule: Granule
    """The granule."""
    report: IndexedGranule
    """Its report."""
    content: bytes | memoryview | None = None
    """The encoded index, if it is to be written."""

    def not_written(self, problem: StoreError) -> IndexedGranule:
        """Return the report of an index that could not be written; one of an earlier version stays where it is."""
        if self.report.state == "there":
            return self.report
        return IndexedGranule(self.granule.id, "failed", reason=problem.reason, message=str(problem))


def _index(
    granule: Granule, stored: AskedIndex, recipe: Recipe, archive: Archive, reads: ThreadPoolExecutor
) -> _Outcome:
    """Index one granule unless a valid index exists. A failure is reported, not raised."""
    digest = index_digest(recipe)
    try:
        opened = open_granule(granule, archive, recipe.reader)
        there = _there(stored, opened, digest)
        if there is None:
            index = make_index(opened, recipe, digest, reads)
            content: bytes | memoryview = encode(index)
            return _Outcome(granule, _report(granule, index, recipe, "made", len(content)), content)
        index, old = there
        report = replace(_report(granule, index, recipe, "there", len(old)), index=granule.index)
        # Cells read packs with fewer requests, so an index that is an object of its own is packed.
        return _Outcome(granule, report, None if is_pack(str(granule.index)) else old)
    # As in map_cell.
    except BaseException as problem:  # noqa: BLE001
        reason, message = reason_and_message(problem)
    return _Outcome(granule, IndexedGranule(granule.id, "failed", reason=reason, message=message))


def _report(granule: Granule, index: GranuleIndex, recipe: Recipe, state: str, size: int) -> IndexedGranule:
    """Return the report of a granule that has an index of some bytes."""
    rows = index.cells(recipe.grid)
    present = {beam.group for beam in index.beams}
    beams = {group: READ if group in present else ABSENT for group in recipe.groups}
    found = IndexedGranule(granule.id, state, index.rows, index.invalid, beams, CellCounts(rows), size)
    lacking = recipe.lacking({beam.group: {*beam.datasets, *index.constants}.__contains__ for beam in index.beams})
    return replace(found, size=index.size, etag=index.etag, slow=index.slow, lacking=lacking)


def _there(stored: AskedIndex, granule: OpenGranule, digest: str) -> tuple[GranuleIndex, memoryview] | None:
    """Return the stored index, and its bytes.

    None is returned if there is no index, it is damaged, or its granule has changed or may have changed.
    """
    try:
        found = stored()
        if found is None:
            return None
        index = decode(found, granule.id, digest)
        index.check(granule.source.size, granule.source.etag)
    except IndexFileError:
        return None
    return index, found


def _packed(outcomes: Sequence[_Outcome], folder: Folder, digest: str) -> tuple[IndexedGranule, ...]:
    """Write the indexes that are to be written, and return the reports of all granules."""
    waiting = [(number, one) for number, one in enumerate(outcomes) if one.content is not None]
    found = [one.report for one in outcomes]
    for first in range(0, len(waiting), MOST):
        some = waiting[first : first + MOST]
        contents = [one.content or b"" for _, one in some]
        key, content = encode_pack([one.granule for _, one in some], contents, digest)
        try:
            folder.put(key, content)
            written = [replace(one.report, index=key) for _, one in some]
        except StoreError as problem:
            written = [one.not_written(problem) for _, one in some]
        for (number, _), report in zip(some, written, strict=True):
            found[number] = report
    return tuple(found)


def index_calls(tasks: Sequence[IndexTask], folder: str, region: str | None = None) -> list[WireTask]:
    """Write the lists of granules of some index tasks of one run, and return the calls.

    Parameters
    ----------
    tasks : sequence of IndexTask
        Tasks that contain their granules.
    folder : str
        Path or URL of the run's folder.
    region : str, optional
        Region of the bucket.
    """
    if not tasks:
        return []
    lists = write_lists([load_granules(task) for task in tasks], folder, region)
    shared = {
        "recipe": tasks[0].recipe.to_dict(),
        "lists": lists[0].url.rsplit("/", 1)[-1],
        "indexes": tasks[0].indexes,
        "credentials": tasks[0].credentials,
    }
    own = [[task.id, where.start, where.size, where.digest] for task, where in zip(tasks, lists, strict=True)]
    return wire_tasks(shared, own, folder, region)


def index_call(task: WireTask) -> IndexReport:
    """Make the indexes of a call (`index_granules`). It fails if the values shared by its stage cannot be read."""
    name, *where = task.own
    try:
        shared = read_shared(task)
    except MaggjobError as problem:
        return IndexReport(name, (), problem.reason, str(problem))
    granules = GranuleList(join_url(task.folder, shared["lists"]), *where)
    recipe = Recipe.from_dict(shared["recipe"])
    return index_granules(IndexTask(name, recipe, granules, shared["indexes"], shared["credentials"], task.region))
