"""TODO jobs.granule_index."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from maggjob.errors import IndexFileError
from maggjob.granules.granule import OpenGranule, open_granule
from maggjob.granules.index import GranuleIndex, make_index
from maggjob.granules.index_format import decode, encode, index_key, recipe_digest
from maggjob.granules.lists import load_granules
from maggjob.granules.screening import ABSENT, READ
from maggjob.jobs.cells import READS_AT_ONCE
from maggjob.jobs.worker import _described, peak_memory
from maggjob.model.recipe import Recipe
from maggjob.model.reports import IndexedGranule, IndexReport
from maggjob.model.tasks import Granule, IndexTask
from maggjob.storage.archive import Access
from maggjob.storage.folder import Place

INDEXED_AT_ONCE = 8  # hides some fifteen waits for the archive in a row; each holds 15 MB


def index_granules(batch: IndexTask) -> IndexReport:
    """Make the indexes of some granules, and write them down; good ones that are there are kept.

    Parameters
    ----------
    batch : IndexTask
        Any number of granules, each of which takes some 60 ms and 6 MB.

    Returns
    -------
    IndexReport
        Always, whatever happened: a granule that cannot be indexed is in it with its reason.

    Examples
    --------
    >>> import maggjob
    >>> from maggjob.jobs.cells import index_granules
    >>> from maggjob.model.reports import IndexTask
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> task = maggjob.tasks("atl06.yaml", catalog=maggjob.make_catalog("granules"))[0]
    >>> report = index_granules(IndexTask("all", task.recipe, task.granules, "indexes"))
    >>> {granule.state for granule in report.granules}
    {'made'}
    """
    started = time.monotonic()
    access = Access(batch.credentials, batch.region)
    try:
        place = Place(batch.indexes, batch.region, create=True)
        granules = load_granules(batch)
        with ThreadPoolExecutor(READS_AT_ONCE) as reads, ThreadPoolExecutor(INDEXED_AT_ONCE) as apart:
            done = tuple(apart.map(lambda granule: _index(granule, batch.recipe, place, access, reads), granules))
        report = IndexReport(batch.id, done)
    except BaseException as problem:  # noqa: BLE001  # as in map_cell
        reason, message = _described(problem)
        report = IndexReport(batch.id, (), reason, message)
    return replace(
        report,
        seconds=time.monotonic() - started,
        bytes_read=access.bytes_read,
        requests=access.requests,
        peak_memory=peak_memory(),
    )


def _index(granule: Granule, recipe: Recipe, place: Place, access: Access, reads: ThreadPoolExecutor) -> IndexedGranule:
    """Index one granule, unless that was done; what fails is written down in its report."""
    digest = recipe_digest(recipe)
    key = index_key(granule, digest)
    try:
        opened = open_granule(granule, access)
        content = place.find(key)
        index = None if content is None else _good(content, opened, digest)
        state = "there"
        if index is None:
            index, state = make_index(opened, recipe, digest, reads), "made"
            content = encode(index)
            place.put(key, content)
        rows = index.cells(recipe.grid)
        present = {beam.group for beam in index.beams}
        beams = {group: READ if group in present else ABSENT for group in recipe.groups}
        return IndexedGranule(granule.id, state, index.rows, index.invalid, beams, rows, len(content or b""))
    except BaseException as problem:  # noqa: BLE001  # as in map_cell
        reason, message = _described(problem)
    return IndexedGranule(granule.id, "failed", reason=reason, message=message)


def _good(content: bytes, granule: OpenGranule, digest: str) -> GranuleIndex | None:
    """The index in some bytes; None when it must be made anew: damaged, or the granule has changed, or may have."""
    try:
        index = decode(content, granule.id, digest)
        index.check(granule.source.size, granule.source.etag)
    except IndexFileError:
        return None
    return None if None in (index.etag, granule.source.etag) else index  # size alone does not tell a change
