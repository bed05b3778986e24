"""All granules of one cell, read and screened: one concurrent round of merged ranges over those that have an index.

What an index cannot serve is read without it, and that read decides: a granule that changed since, an index that is
missing or damaged, a chunk that does not inflate. So the result and the ledger of a cell are the same with and without
indexes.

Times are read of two granules per cell, the first and the last (by name) of which anything is kept: granules do not
overlap in time, so these hold the first and last time of the cell, and the times of all would add three fifths to the
bytes. A granule whose name has no time is read always.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import cache

from maggjob.errors import IndexFileError, NetworkError, StaleIndexError, StoreError
from maggjob.granules.granule import open_granule, read_granule, unindexed_read
from maggjob.granules.index import GranuleIndex
from maggjob.granules.index_format import decode, index_digest, index_key
from maggjob.granules.screening import ScreenedGranule, screen_with_times
from maggjob.granules.selection import BeamSelection, Buffers, Columns, UnindexedRead, join_paths
from maggjob.icesat2.names import GranuleName
from maggjob.model.recipe import Recipe
from maggjob.model.reports import INDEX_USES, GranuleReport
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive, RangeAnswer, Ranges
from maggjob.storage.folder import Folder

IN_FLIGHT = 24 << 20
"""Bytes asked for and not yet reduced: of some 60 granules, three times as many as are read at once."""
SIGN_OF_LIFE = (0, 64)
"""Range that is read when nothing else is, to see whether the granule is still the one of the index."""
PROBLEMS = 5
"""Problems with indexes that are told in full."""

Describe = Callable[[BaseException], tuple[str, str]]
"""Reason and message of whatever was raised; what ends a process goes on ending it."""


@dataclass
class ScreenedCell:
    """What all granules give to one cell."""

    granules: list[ScreenedGranule]
    """What each gives, in their order."""
    indexes: dict[str, int] = field(default_factory=dict)
    """Granules by what became of their index, as in `maggjob.model.reports.CellReport`."""
    index_bytes: int = 0
    """Bytes of indexes that were read."""
    problems: list[str] = field(default_factory=list)
    """Why indexes were not used: the first few."""


@dataclass(frozen=True)
class CellReader:
    """Reads the granules of one cell. A granule that cannot be read has a report that says so."""

    recipe: Recipe
    """What to read."""
    cell: int
    """Nested id."""
    archive: Archive
    """Where granules are."""
    indexes: Folder | None
    """Where indexes are; None to read without."""
    describe: Describe
    """For the report of a granule that failed."""
    reads: Executor
    """Runs single reads."""
    apart: Executor
    """Runs reads of whole granules; each holds the coordinates of one."""

    def read_all(self, granules: Sequence[Granule]) -> ScreenedCell:
        """Read and screen granules, with the times of the first and the last of which anything is kept.

        Nearly always those are the first and the last of all. Where they are others, these are read once more.
        """
        timed = ends(granules)
        found = self._screen_all(granules, timed)
        while True:
            kept = ends(g for g, one in zip(granules, found.granules, strict=True) if one.report.kept)
            left = [n for n, granule in enumerate(granules) if granule in kept - timed]
            if not left:
                return found
            again = self._screen_all([granules[n] for n in left], kept)
            found.index_bytes += again.index_bytes
            for n, one in zip(left, again.granules, strict=True):
                found.granules[n] = one
            timed |= kept

    def _screen_all(self, granules: Sequence[Granule], timed: Collection[Granule]) -> ScreenedCell:
        """Read and screen each granule once, with the times of those that are ``timed``."""
        if self.indexes is None:
            return ScreenedCell(list(self.apart.map(lambda g: self._without_index(g, g in timed), granules)))
        result = ScreenedCell([], dict.fromkeys(INDEX_USES, 0))
        screened: list[ScreenedGranule | Future[ScreenedGranule]] = []
        for granule, answer in zip(granules, self._by_index(granules, self.indexes, timed, result), strict=True):
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
        """Read a granule without an index; what fails is written down in its report, not raised."""
        try:
            return read_granule(granule, self.recipe, self.cell, self.archive, self.reads, timed=timed)
        except BaseException as problem:  # noqa: BLE001  # mortie's panics are no Exceptions
            reason, message = self.describe(problem)
        return ScreenedGranule(GranuleReport(granule.id, "failed", reason=reason, message=message))

    def _by_index(
        self, granules: Sequence[Granule], indexes: Folder, timed: Collection[Granule], result: ScreenedCell
    ) -> Iterator[ScreenedGranule | Exception | None]:
        """Read granules by index, in order: what each gives, why not, or None without an index.

        The bytes that wait to be reduced stay below `IN_FLIGHT`.
        """
        digest = index_digest(self.recipe)
        contents = [self.reads.submit(indexes.find, index_key(granule, digest)) for granule in granules]
        waiting: deque[_Pending] = deque()
        for granule, content in zip(granules, contents, strict=True):
            waiting.append(self._ask(granule, content, digest, granule in timed, result))
            while sum(one.size for one in waiting) > IN_FLIGHT:
                yield waiting.popleft().outcome()
        while waiting:
            yield waiting.popleft().outcome()

    def _ask(
        self, granule: Granule, fetched: Future[bytes | None], digest: str, timed: bool, result: ScreenedCell
    ) -> "_Pending":
        """Ask for the ranges of one granule."""
        recipe = self.recipe
        try:
            content = fetched.result()
            if content is None:
                return _Pending(0, lambda: None)
            result.index_bytes += len(content)
            index = decode(content, granule.id, digest)
            selection = index.select(self.cell, recipe.grid)
            # The runs of all cells: what waits for its ranges need not hold them.
            index = replace(index, beams=())
            times = selection.those_there(recipe.time_paths) if timed else {}
            wanted = join_paths(recipe.needed_paths, times)
            asked = selection.ranges(wanted) or [SIGN_OF_LIFE]
            answers = self.reads.submit(Ranges(granule.url, self.archive).get_all, asked)
        except Exception as problem:  # noqa: BLE001  # whatever it is, the read without an index decides
            return _Pending(0, lambda problem=problem: problem)  # type: ignore[misc]

        def finish() -> ScreenedGranule:
            contents = [_checked(index, one, *r) for one, r in zip(answers.result(), asked, strict=True)]
            buffers, unindexed = Buffers(asked, contents), self._unindexed_read(granule, index)
            return screen_with_times(recipe, lambda paths: selection.values(paths, buffers, unindexed), times)

        size = sum(stop - start for start, stop in asked)
        return _Pending(size, self.apart.submit(finish).result if selection.has_unindexed(wanted) else finish)

    def _unindexed_read(self, granule: Granule, index: GranuleIndex) -> UnindexedRead:
        """Return a reader of what ranges do not serve, which opens the granule when it is first used."""

        @cache
        def opened() -> UnindexedRead:
            one = open_granule(granule, self.archive)
            index.check(one.source.size, one.source.etag)
            return unindexed_read(one, self.reads)

        def read(beam: BeamSelection, paths: Sequence[str]) -> Columns:
            return opened()(beam, paths)

        return read


@dataclass(frozen=True)
class _Pending:
    """A granule whose ranges are under way."""

    size: int
    """Bytes of the ranges."""
    finish: Callable[[], ScreenedGranule | Exception | None]
    """Waits for them and screens the rows; None without an index."""

    def outcome(self) -> ScreenedGranule | Exception | None:
        try:
            return self.finish()
        except Exception as problem:  # noqa: BLE001  # as in CellReader._ask
            return problem


def _checked(index: GranuleIndex, answer: RangeAnswer, start: int, stop: int) -> memoryview:
    """The bytes of a range, if they are all there and of the granule that the index was made of."""
    index.check(answer.size, answer.etag)
    if len(answer.content) != stop - start:
        raise NetworkError(f"{index.granule}: {len(answer.content)} bytes of {stop - start} came")
    return answer.content


def _use(answer: ScreenedGranule | Exception | None) -> str:
    """What became of an index, one of `INDEX_USES`."""
    match answer:
        case None:
            return "missing"
        case ScreenedGranule():
            return "used"
        case StaleIndexError():
            return "stale"
        case IndexFileError() | StoreError():
            return "refused"
    return "unread"


def ends(granules: Iterable[Granule]) -> set[Granule]:
    """Return the first and the last of some granules by the start in their names, and those whose name has none."""
    names = {granule: GranuleName.parse(granule.id) for granule in granules}
    starts = {granule: name.start for granule, name in names.items() if name is not None}
    extremes = {min(starts.values()), max(starts.values())} if starts else set()
    return {granule for granule in names if starts.get(granule) in extremes or granule not in starts}
