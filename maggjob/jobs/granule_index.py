"""The index stage: make an index of each granule, so that cells need not read coordinates and HDF5 structure."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from maggjob.errors import IndexFileError, MaggjobError
from maggjob.granules.granule import OpenGranule, open_granule
from maggjob.granules.index import GranuleIndex, make_index
from maggjob.granules.index_format import decode, encode, index_digest, index_key
from maggjob.granules.lists import load_granules, write_lists
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
    """Make and write the indexes of some granules. Valid existing indexes are kept.

    Parameters
    ----------
    batch : IndexTask
        Any number of granules; each takes some 60 ms of CPU time and 6 MB of reads.

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
        granules = load_granules(batch)
        with ThreadPoolExecutor(READS_AT_ONCE) as reads, ThreadPoolExecutor(INDEXED_AT_ONCE) as apart:
            done = tuple(apart.map(lambda granule: _index(granule, batch.recipe, folder, archive, reads), granules))
        report = IndexReport(batch.id, done)
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


def _index(
    granule: Granule, recipe: Recipe, folder: Folder, archive: Archive, reads: ThreadPoolExecutor
) -> IndexedGranule:
    """Index one granule unless a valid index exists. A failure is reported, not raised."""
    digest = index_digest(recipe)
    key = index_key(granule, digest)
    try:
        opened = open_granule(granule, archive, recipe.reader)
        content = folder.find(key)
        index = None if content is None else _good(content, opened, digest)
        state = "there"
        if index is None:
            index, state = make_index(opened, recipe, digest, reads), "made"
            content = encode(index)
            folder.put(key, content)
        rows = index.cells(recipe.grid)
        present = {beam.group for beam in index.beams}
        beams = {group: READ if group in present else ABSENT for group in recipe.groups}
        found = IndexedGranule(
            granule.id, state, index.rows, index.invalid, beams, CellCounts(rows), len(content or b"")
        )
        lacking = recipe.lacking({beam.group: {*beam.datasets, *index.constants}.__contains__ for beam in index.beams})
        return replace(found, size=index.size, etag=index.etag, slow=index.slow, lacking=lacking)
    # As in map_cell.
    except BaseException as problem:  # noqa: BLE001
        reason, message = reason_and_message(problem)
    return IndexedGranule(granule.id, "failed", reason=reason, message=message)


def _good(content: bytes, granule: OpenGranule, digest: str) -> GranuleIndex | None:
    """Return the decoded index; None if it is damaged, or if its granule has changed or may have changed."""
    try:
        index = decode(content, granule.id, digest)
        index.check(granule.source.size, granule.source.etag)
    except IndexFileError:
        return None
    return index


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
