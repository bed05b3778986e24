"""Reading and screening of all granules of one cell.

Granules with an index are read concurrently, in one round of merged ranges. A granule is read without its index if the
index cannot be used: it is missing or damaged, the granule has changed, or a chunk does not inflate. The outcome of
that read counts, so the result and the ledger of a cell are the same with and without indexes.

Times are read from two granules per cell only: the first and the last, by name, with segments that are kept. Granules
do not overlap in time, so these two contain the first and last time of the cell. Reading the times of all granules
would add 60 % to the bytes. The times of a granule whose name does not give its start are always read.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain

from maggjob.errors import (
    ChangedError,
    IndexFileError,
    MissingDatasetError,
    NetworkError,
    StaleIndexError,
    StoreError,
)
from maggjob.granules.granule import OpenGranule, open_granule, read_granule, unindexed_read
from maggjob.granules.index import GranuleIndex
from maggjob.granules.index_format import decode, index_digest
from maggjob.granules.index_store import AskedIndex, AskedIndexes, ask_indexes
from maggjob.granules.memory import IN_FLIGHT
from maggjob.granules.screening import ScreenedGranule, screen_with_times
from maggjob.granules.selection import BeamSelection, Buffers, Columns, UnindexedRead, join_paths
from maggjob.icesat2.names import GranuleName
from maggjob.model.recipe import Recipe
from maggjob.model.reports import INDEX_USES, GranuleReport
from maggjob.model.tasks import Granule
from maggjob.storage.archive import ENDS, Archive, RangeAnswer, Ranges, Source
from maggjob.storage.folder import Folder

SIGN_OF_LIFE = (0, 64)
"""Range that is read if no other is needed, to check that the granule has not changed since it was indexed."""
PROBLEMS = 5
"""Largest number of index problems that a cell reports in full."""

Describe = Callable[[BaseException], tuple[str, str]]
"""Function from an exception to its reason and message; it re-raises exceptions that end the process."""


@dataclass
class ScreenedCell:
    """The screened segments of all granules in one cell."""

    granules: list[ScreenedGranule]
    """Screened segments of each granule, in the order of the granules."""
    indexes: dict[str, int] = field(default_factory=dict)
    """Number of granules by use of their index, as in `maggjob.model.reports.CellReport`."""
    index_bytes: int = 0
    """Bytes that were read of stored indexes."""
    index_requests: int = 0
    """Number of requests for them."""
    problems: list[str] = field(default_factory=list)
    """Reasons why indexes were not used, at most `PROBLEMS`."""


@dataclass(frozen=True)
class CellReader:
    """Reader of the granules of one cell. A granule that cannot be read is reported as failed."""

    recipe: Recipe
    """Datasets, filters and statistics."""
    cell: int
    """Nested id."""
    archive: Archive
    """Where granules are read from."""
    indexes: Folder | None
    """Folder of the indexes; None to read without indexes."""
    describe: Describe
    """Reason and message for the report of a failed granule."""
    reads: Executor
    """Executor for single reads."""
    apart: Executor
    """Executor for reads without an index; each keeps the coordinates of a whole granule in memory."""

    def read_all(self, granules: Sequence[Granule]) -> ScreenedCell:
        """Read and screen granules, with the times of the first and the last granule that has segments kept.

        These are nearly always the first and the last of all granules. If they are not, they are read again.
        """
        timed = ends(granules)
        stored = None if self.indexes is None else ask_indexes(granules, self.indexes, self.reads)
        found = self._screen_all(granules, timed, stored)
        while True:
            kept = ends(g for g, one in zip(granules, found.granules, strict=True) if one.report.kept)
            left = [n for n, granule in enumerate(granules) if granule in kept - timed]
            if not left:
                break
            again = self._screen_all([granules[n] for n in left], kept, stored)
            for n, one in zip(left, again.granules, strict=True):
                found.granules[n] = one
            timed |= kept
        if stored is not None:
            found.index_bytes, found.index_requests = sum(stored.sizes), len(stored.sizes)
        return found

    def _screen_all(
        self, granules: Sequence[Granule], timed: Collection[Granule], stored: AskedIndexes | None
    ) -> ScreenedCell:
        """Read and screen each granule once, with the times of the granules in ``timed``."""
        if stored is None:
            return ScreenedCell(list(self.apart.map(lambda g: self._without_index(g, g in timed), granules)))
        result = ScreenedCell([], dict.fromkeys(INDEX_USES, 0))
        screened: list[ScreenedGranule | Future[ScreenedGranule]] = []
        for granule, answer in zip(granules, self._by_index(granules, stored, timed), strict=True):
            result.indexes[_use(answer)] += 1
            if isinstance(answer, ScreenedGranule):
                screened.append(answer)
                continue
            if answer is not None and len(result.problems) < PROBLEMS:
                result.problems.append(str(answer))
            screened.append(self.apart.submit(self._without_index, granule, granule in timed))
        result.granules = [one if isinstance(one, ScreenedGranule) else one.result() for one in screened]
        return result

    def _without_index(self, granule: Granule, timed: bool) -> ScreenedGranule:
        """Read a granule without an index; a failure is reported, not raised."""
        try:
            return read_granule(granule, self.recipe, self.cell, self.archive, self.reads, timed=timed)
        # Panics of mortie are not subclasses of Exception.
        except BaseException as problem:  # noqa: BLE001
            reason, message = self.describe(problem)
        return ScreenedGranule(GranuleReport(granule.id, "failed", reason=reason, message=message))

    def _by_index(
        self, granules: Sequence[Granule], stored: AskedIndexes, timed: Collection[Granule]
    ) -> Iterator[ScreenedGranule | Exception | None]:
        """Read granules by index, in order.

        Yields the screened granule, the exception that prevented it, or None if it has no index. The bytes that wait
        to be screened stay below `IN_FLIGHT`.
        """
        digest = index_digest(self.recipe)
        waiting: deque[_Pending] = deque()
        for granule in granules:
            waiting.append(self._ask(granule, stored.each[granule.id], digest, timed=granule in timed))
            while sum(one.size for one in waiting) > IN_FLIGHT:
                yield waiting.popleft().outcome()
        while waiting:
            yield waiting.popleft().outcome()

    def _ask(self, granule: Granule, stored: AskedIndex, digest: str, *, timed: bool) -> "_Pending":
        """Request the ranges of one granule."""
        recipe = self.recipe
        try:
            found = stored()
            if found is None:
                return _Pending(0, lambda: None)
            index = decode(found, granule.id, digest)
            self._check_version(index, granule)
            selection = index.select(self.cell, recipe.grid)
            for path in chain.from_iterable(recipe.constant_paths[beam.group] for beam in selection.beams):
                if path not in index.constants:
                    raise MissingDatasetError(f"{granule.id}: its index has no value of {path}")  # noqa: TRY301
            # Drop the runs of all cells: they are not needed while the ranges are read.
            index = replace(index, beams=())
            times = selection.those_there(recipe.time_paths) if timed else {}
            wanted = join_paths(recipe.needed_paths, times)
            asked = selection.ranges(wanted) or [SIGN_OF_LIFE]
            answers = self.reads.submit(Ranges(granule.url, self.archive).get_all, asked)
        # After any error, the granule is read again without its index.
        except Exception as problem:  # noqa: BLE001
            return _Pending(0, lambda problem=problem: problem)  # type: ignore[misc]

        def finish() -> ScreenedGranule:
            contents = [_checked(index, one, *r) for one, r in zip(answers.result(), asked, strict=True)]
            slow: list[bool] = []
            buffers = Buffers(asked, contents)
            unindexed = self._unindexed_read(granule, index, slow)
            screened = screen_with_times(recipe, lambda paths: selection.values(paths, buffers, unindexed), times)
            return replace(screened, by_h5py=any(slow))

        size = sum(stop - start for start, stop in asked)
        return _Pending(size, self.apart.submit(finish).result if selection.has_unindexed(wanted) else finish)

    def _check_version(self, index: GranuleIndex, granule: Granule) -> None:
        """Check that an index was made from the version of the granule that the run began with."""
        if granule.etag is not None:
            index.check(index.size, granule.etag)
        if index.etag is not None and index.etag.startswith(ENDS):
            Source(granule.url, self.archive, index.size, index.etag)

    def _unindexed_read(self, granule: Granule, index: GranuleIndex, slow: list[bool]) -> UnindexedRead:
        """Return a reader of datasets without a chunk table; it opens the granule on first use.

        After each read it adds to ``slow`` whether h5py has read anything of the granule.
        """

        @cache
        def opened() -> OpenGranule:
            one = open_granule(granule, self.archive, self.recipe.reader)
            index.check(one.source.size, one.source.etag)
            return one

        def read(beam: BeamSelection, paths: Sequence[str]) -> Columns:
            found = unindexed_read(opened(), self.reads)(beam, paths)
            slow.append(opened().file.slow)
            return found

        return read


@dataclass(frozen=True)
class _Pending:
    """A granule whose ranges have been requested."""

    size: int
    """Bytes of the ranges."""
    finish: Callable[[], ScreenedGranule | Exception | None]
    """Function that waits for the ranges and screens the rows; it returns None if there is no index."""

    def outcome(self) -> ScreenedGranule | Exception | None:
        try:
            return self.finish()
        # As in CellReader._ask.
        except Exception as problem:  # noqa: BLE001
            return problem


def _checked(index: GranuleIndex, answer: RangeAnswer, start: int, stop: int) -> memoryview:
    """Return the bytes of a range after checking that they are complete and the granule is unchanged."""
    index.check(answer.size, answer.etag)
    if len(answer.content) != stop - start:
        raise NetworkError(f"{index.granule}: {len(answer.content)} of {stop - start} bytes received")
    return answer.content


def _use(answer: ScreenedGranule | Exception | None) -> str:
    """Return how an index was used: one of `INDEX_USES`."""
    match answer:
        case None:
            return "missing"
        case ScreenedGranule():
            return "used"
        case StaleIndexError() | ChangedError():
            return "stale"
        case IndexFileError() | StoreError():
            return "refused"
    return "unread"


def ends(granules: Iterable[Granule]) -> set[Granule]:
    """Return the first and the last granule by the start time in their names, and all granules without one."""
    names = {granule: GranuleName.parse(granule.id) for granule in granules}
    starts = {granule: name.start for granule, name in names.items() if name is not None}
    extremes = {min(starts.values()), max(starts.values())} if starts else set()
    return {granule for granule in names if starts.get(granule) in extremes or granule not in starts}
