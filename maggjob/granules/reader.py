"""All visits of one cell: one concurrent round of merged ranges over the granules that have an index.

What an index cannot serve is visited without it, and that visit decides: a granule that changed since,
an index that is missing or damaged, a chunk that does not inflate. So the result and the ledger of a
cell are the same with and without indexes.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import cache

from maggjob.errors import IndexFileError, NetworkError, StaleIndexError, StoreError
from maggjob.granules.granule import open_granule, slow_read, visit
from maggjob.granules.index import GranuleIndex
from maggjob.granules.index_format import decode, index_key, recipe_digest
from maggjob.granules.screening import Visit, make_visit
from maggjob.granules.selection import Buffers, Columns, Share, SlowRead, beam_rows, has_slow, ranges_needed
from maggjob.hdf5.chunks import GAP
from maggjob.icesat2.names import GranuleName
from maggjob.model.recipe import Recipe
from maggjob.model.reports import INDEX_USES, GranuleReport
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Access, Answer, Ranges
from maggjob.storage.folder import Place

IN_FLIGHT = 24 << 20  # bytes asked for and not yet reduced: some 60 visits, three times as many as are read at once
WIDE_GAP = 1 << 18
"""As `GAP`, for the two granules of a cell of which times are read, too, if these are two of `MANY`: what their times
cost in requests, half as many again, is saved by joining others, for a tenth more bytes of the cell."""
MANY = 16
SIGN_OF_LIFE = (0, 64)  # read when nothing else is: whether the granule is still the one of the index
PROBLEMS = 5  # told in full

Describe = Callable[[BaseException], tuple[str, str]]
"""Reason and message of whatever was raised; what ends a process goes on ending it."""
Outcome = Visit | Exception | None
"""What came of a visit by index; None when there is no index."""


@dataclass
class CellVisits:
    """What all granules give to one cell."""

    visits: list[Visit]
    """One a granule, in their order."""
    indexes: dict[str, int] = field(default_factory=dict)
    """Granules by what became of their index, as in `maggjob.model.reports.CellReport`."""
    index_bytes: int = 0
    """Bytes of indexes that were read."""
    problems: list[str] = field(default_factory=list)
    """Why indexes were not used: the first few."""


@dataclass(frozen=True)
class CellReader:
    """Visits the granules of one cell. A granule that cannot be read has a visit that says so."""

    recipe: Recipe
    """What to read."""
    cell: int
    """Nested id."""
    access: Access
    """Where granules are."""
    indexes: Place | None
    """Where indexes are; None to read without."""
    describe: Describe
    """For the report of a granule that failed."""
    reads: Executor
    """Runs single reads."""
    apart: Executor
    """Runs whole visits; each holds the coordinates of a granule."""

    def visit_all(self, granules: Sequence[Granule]) -> CellVisits:
        """Visit granules, with the times of the first and the last of which anything is kept.

        Granules do not overlap in time, so the first and the last hold the first and last time of the
        cell; times of all would add three fifths to what is read. Those two are known when all are visited, and
        then visited again, unless they are the first and the last of all.
        """
        gap = WIDE_GAP if len(granules) > MANY else GAP
        done = self.visit(granules, dict.fromkeys(ends(granules), gap))
        while True:
            kept = ends([g for g, one in zip(granules, done.visits, strict=True) if one.report.kept])
            late = [n for n, g in enumerate(granules) if g in kept and not done.visits[n].timed]
            if not late:
                return done
            again = self.visit([granules[n] for n in late], dict.fromkeys(kept, gap))
            done.index_bytes += again.index_bytes
            for n, one in zip(late, again.visits, strict=True):
                done.visits[n] = one

    def visit(self, granules: Sequence[Granule], timed: Mapping[Granule, int]) -> CellVisits:
        """Visit each granule once; the times of those that are ``timed`` are read, and ranges over that gap joined."""
        if self.indexes is None:
            return CellVisits(list(self.apart.map(lambda g: self._plain(g, g in timed), granules)))
        result = CellVisits([], dict.fromkeys(INDEX_USES, 0))
        visits: list[Visit | Future[Visit]] = []
        for granule, outcome in zip(granules, self._by_index(granules, timed, result), strict=True):
            result.indexes[_use(outcome)] += 1
            if isinstance(outcome, Visit):
                visits.append(outcome)
                continue
            if outcome is not None and len(result.problems) < PROBLEMS:
                result.problems.append(str(outcome))
            visits.append(self.apart.submit(self._plain, granule, granule in timed))
        result.visits = [one if isinstance(one, Visit) else one.result() for one in visits]
        return result

    def _plain(self, granule: Granule, timed: bool) -> Visit:
        """A visit without an index; what fails is written down in its report, not raised."""
        try:
            return visit(granule, self.recipe, self.cell, self.access, self.reads, timed=timed)
        except BaseException as problem:  # noqa: BLE001  # mortie's panics are no Exceptions
            reason, message = self.describe(problem)
        return Visit(GranuleReport(granule.id, "failed", reason=reason, message=message), timed=timed)

    def _by_index(
        self, granules: Sequence[Granule], timed: Mapping[Granule, int], result: CellVisits
    ) -> Iterator[Outcome]:
        """The outcome of each granule, in order; the bytes that wait to be reduced stay below `IN_FLIGHT`."""
        digest, place = recipe_digest(self.recipe), self.indexes
        if place is None:
            raise ValueError("no place of indexes")
        contents = [self.reads.submit(place.find, index_key(granule, digest)) for granule in granules]
        waiting: deque[_Pending] = deque()
        for granule, content in zip(granules, contents, strict=True):
            pending = self._start(granule, content, digest, timed, result)
            waiting.append(pending)
            while sum(one.size for one in waiting) > IN_FLIGHT:
                yield waiting.popleft().outcome()
        while waiting:
            yield waiting.popleft().outcome()

    def _start(
        self,
        granule: Granule,
        fetched: Future[bytes | None],
        digest: str,
        those_timed: Mapping[Granule, int],
        result: CellVisits,
    ) -> "_Pending":
        """Ask for the ranges of one granule."""
        timed, gap = granule in those_timed, those_timed.get(granule, GAP)
        try:
            content = fetched.result()
            if content is None:
                return _Pending(0, lambda: None)
            result.index_bytes += len(content)
            index = decode(content, granule.id, digest)
            source = Ranges(granule.url, self.access)
        except Exception as problem:  # noqa: BLE001  # whatever it is, the visit without an index decides
            return _Pending(0, lambda problem=problem: problem)  # type: ignore[misc]
        shares = index.shares(self.cell, self.recipe.grid)
        present, rows, invalid = [beam.group for beam in index.beams], index.rows, index.invalid
        index = replace(index, beams=())  # the runs of all cells: what waits for its ranges need not hold them
        ranges = ranges_needed(shares, self.recipe, timed=timed, gap=gap) or [SIGN_OF_LIFE]
        answers = self.reads.submit(source.get_all, ranges)

        def finish() -> Visit:
            contents = [_checked(index, one, *r) for one, r in zip(answers.result(), ranges, strict=True)]
            buffers = Buffers(ranges, contents)
            slow = self._slow_read(granule, index)
            return make_visit(
                granule.id,
                self.recipe,
                present=present,
                rows=rows,
                invalid=invalid,
                beams=[beam_rows(granule.id, self.recipe, share, buffers, slow) for share in shares],
                timed=timed,
            )

        size = sum(stop - start for start, stop in ranges)
        aside = has_slow(shares, self.recipe, timed=timed)
        return _Pending(size, self.apart.submit(finish).result if aside else finish)

    def _slow_read(self, granule: Granule, index: GranuleIndex) -> SlowRead:
        """A reader of what ranges do not serve, which opens the granule when it is first used."""

        @cache
        def opened() -> SlowRead:
            one = open_granule(granule, self.access)
            index.check(one.source.size, one.source.etag)
            return slow_read(one, self.reads)

        def read(share: Share, paths: Sequence[str]) -> Columns:
            return opened()(share, paths)

        return read


@dataclass(frozen=True)
class _Pending:
    """A granule whose ranges are under way."""

    size: int
    """Bytes of the ranges."""
    finish: Callable[[], Outcome]
    """Waits for them and screens the rows."""

    def outcome(self) -> Outcome:
        try:
            return self.finish()
        except Exception as problem:  # noqa: BLE001  # as in CellReader._start
            return problem


def _checked(index: GranuleIndex, answer: Answer, start: int, stop: int) -> memoryview:
    """The bytes of a range, if they are all there and of the granule that the index was made of."""
    index.check(answer.size, answer.etag)
    if len(answer.content) != stop - start:
        raise NetworkError(f"{index.granule}: {len(answer.content)} bytes of {stop - start} came")
    return answer.content


def _use(outcome: Outcome) -> str:
    """What became of an index, one of `INDEX_USES`."""
    match outcome:
        case None:
            return "missing"
        case Visit():
            return "used"
        case StaleIndexError():
            return "stale"
        case IndexFileError() | StoreError():
            return "refused"
    return "unread"


def ends(granules: Iterable[Granule]) -> set[Granule]:
    """The first and the last of some granules by the start in their names, and those whose name has none."""
    names = {granule: GranuleName.parse(granule.id) for granule in granules}
    starts = {granule: name.start for granule, name in names.items() if name is not None}
    extremes = {min(starts.values()), max(starts.values())} if starts else set()
    return {granule for granule in names if starts.get(granule) in extremes or granule not in starts}
