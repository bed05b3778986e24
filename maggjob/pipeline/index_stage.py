"""The first map of a run: build the indexes of its granules, and derive the exact plan from them.

The catalog pairs a granule with a cell if their outlines overlap. The index of a granule tells which cells really hold
segments of it. Wrong pairs are removed from the plan, and missing ones are added.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from maggjob.backend.outcome import Outcome
from maggjob.errors import LedgerError, MaggjobError
from maggjob.granules.granule import READING_IMPORTS
from maggjob.granules.index_format import index_digest
from maggjob.granules.index_store import find_indexes, is_pack
from maggjob.granules.pack_format import MOST
from maggjob.icesat2.windows import window_number, window_text
from maggjob.jobs.granule_index import index_call, index_calls
from maggjob.model.reports import GranuleReport, IndexedGranule, IndexReport
from maggjob.model.tasks import Granule, IndexTask
from maggjob.pipeline.session import Session
from maggjob.planning.packs import cut_packs, order_granules
from maggjob.planning.plan import Plan
from maggjob.planning.windows import joined, window_digest
from maggjob.storage.folder import Folder
from maggjob.storage.run_folder import INDEXES, cache_folder
from maggjob.storage.urls import is_remote, join_url, local_path


@dataclass(frozen=True)
class Indexed:
    """Results of the index stage."""

    place: str
    """Folder or prefix of the indexes."""
    granules: Mapping[str, IndexedGranule]
    """Result for each granule, by id."""
    wall_time_s: float = 0.0
    """Seconds from the first call to the last answer."""
    worker_time_s: float = 0.0
    """Seconds that all workers took together."""
    bytes_read: int = 0
    """Number of bytes read from the archive."""
    requests: int = 0
    """Number of requests to the archive."""
    peak_memory: int = 0
    """Largest memory use of a worker, in bytes."""
    added: int = 0
    """Number of pairs of a granule and a cell that the catalog lacked, because the granule's outline was too narrow."""
    unlisted: str | None = None
    """Why it is not known which indexes existed before, so that all were made."""

    @property
    def places(self) -> dict[str, str]:
        """Key of the object that holds the index of each granule, by id of the granule."""
        return {name: granule.index for name, granule in self.granules.items() if granule.index is not None}

    @property
    def states(self) -> dict[str, int]:
        """Number of granules by state: made, there, failed."""
        found = [granule.state for granule in self.granules.values()]
        return {state: found.count(state) for state in sorted(set(found))}

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain values, without those of single granules."""
        slow = sum(granule.slow for granule in self.granules.values())
        plain = asdict(replace(self, granules={})) | {"states": self.states, "slow": slow, "problems": self.problems}
        del plain["granules"]
        return plain

    @property
    def problems(self) -> list[str]:
        """Messages on the folder, and about the first granules, at most five, whose index could not be built."""
        failed = [f"{g.id}: {g.message}" for g in self.granules.values() if g.state == "failed"][:5]
        return failed if self.unlisted is None else [self.unlisted, *failed]


@dataclass(frozen=True)
class ExactPlan:
    """A plan that pairs a cell only with granules that have segments in it."""

    plan: Plan
    """The exact plan; cells with the most segments come first."""
    listed: Plan
    """The original plan and the pairs that its catalog lacked; the ledger accounts for all of these pairs."""
    no_overlap: Mapping[str, tuple[GranuleReport, ...]] = field(default_factory=dict)
    """Reports of the granules that the catalog lists for a cell, but that have no segment in it, by id of its task."""
    added: int = 0
    """Number of pairs that the catalog lacked, because the granule's outline was too narrow."""

    @property
    def whole(self) -> Plan:
        """The exact plan with all pairs that are listed, which the totals of the ledger are about."""
        if self.plan.windows is not None:
            return replace(self.listed.with_etags(self.plan.etags), origin=self.plan.digest)
        return replace(self.plan, catalog=self.listed.catalog)


def default_indexes(plan: Plan) -> str:
    """Return the default place of indexes: beside the store if that is in a bucket, else in the user's cache."""
    if plan.store_path is not None and is_remote(plan.store_path):
        above, _, name = plan.store_path.rstrip("/").rpartition("/")
        # If the store is a whole bucket, nothing can lie beside it: the indexes go into the bucket.
        return join_url(f"s3://{name}" if above == "s3:/" else above, INDEXES)
    return str(cache_folder() / "index")


def known_indexes(plan: Plan, place: str, region: str | None = None) -> tuple[Granule, ...]:
    """Return the granules of a plan, with the stored object that holds the index of each.

    Parameters
    ----------
    plan : Plan
        The plan whose used granules are indexed.
    place : str
        Folder or prefix of the indexes.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    MaggjobError
        If the folder cannot be listed.
    """
    # The calls make the folder: a run that cannot start must leave nothing.
    if not is_remote(place) and not local_path(place).exists():
        return plan.used_granules
    return find_indexes(plan.used_granules, Folder(place, region, create=True), index_digest(plan.config.recipe()))


def index_tasks(
    plan: Plan,
    place: str,
    workers: int,
    credentials: str | None = None,
    region: str | None = None,
    known: Sequence[Granule] | None = None,
) -> list[IndexTask]:
    """Return tasks that build the missing indexes of the granules of a plan, one pack per task.

    Parameters
    ----------
    plan : Plan
        The plan whose used granules are indexed.
    place : str
        Folder or prefix of the indexes.
    workers : int
        Number of concurrent workers.
    credentials : str, optional
        Path or URL of the archive's credentials.
    region : str, optional
        Region of the bucket.
    known : sequence of Granule, optional
        The granules with their stored indexes (`known_indexes`); by default no index is known.
    """
    granules = dict(zip(plan.positions, plan.used_granules if known is None else known, strict=True))
    names = [entry.id for entry in plan.catalog.granules]
    ordered = order_granules(names, [{cell: one.catalog.cells[cell] for cell in one.cells} for one in plan.each])
    packs: dict[str, list[int]] = {}
    loose: list[int] = []
    for position in ordered:
        index = granules[position].index
        # Single indexes of earlier versions are packed as if they were made.
        (packs.setdefault(index, []) if index is not None and is_pack(index) else loose).append(position)
    recipe, calls = plan.config.recipe(), [*_joined(list(packs.values())), *cut_packs(loose, workers)]
    return [
        IndexTask(f"{plan.window}/index/{i}", recipe, tuple(granules[p] for p in call), place, credentials, region)
        for i, call in enumerate(calls)
    ]


def _joined(packs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Join the granules of packs that are there already into calls of as many granules as a pack may have."""
    calls: list[list[int]] = []
    for pack in packs:
        if calls and len(calls[-1]) + len(pack) <= MOST:
            calls[-1] += pack
        else:
            calls.append(list(pack))
    return calls


def collect(place: str, tasks: Sequence[IndexTask], outcomes: Sequence[Outcome[IndexReport]]) -> Indexed:
    """Collect the answers of all calls.

    If a call failed, its granules count as failed; they will be read without an index.

    Parameters
    ----------
    place : str
        Folder or prefix of the indexes.
    tasks : sequence of IndexTask
        The tasks of the calls.
    outcomes : sequence of Outcome
        One per task.
    """
    granules: dict[str, IndexedGranule] = {}
    reports: list[IndexReport] = []
    for task, outcome in zip(tasks, outcomes, strict=True):
        report = outcome.value or IndexReport(task.id, (), outcome.reason, outcome.message)
        reports.append(report)
        known = {granule.id: granule for granule in report.granules}
        for granule in _granules(task):
            lost = IndexedGranule(granule, "failed", reason=report.reason, message=report.message)
            granules[granule] = known.get(granule, lost)
    return Indexed(
        place,
        granules,
        worker_time_s=sum(report.seconds for report in reports),
        bytes_read=sum(report.bytes_read for report in reports),
        requests=sum(report.requests for report in reports),
        peak_memory=max((report.peak_memory for report in reports), default=0),
    )


def _granules(task: IndexTask) -> Iterable[str]:
    if not isinstance(task.granules, tuple):
        raise LedgerError(f"{task.id}: the task does not hold its granules, but refers to an object that lists them")
    return (granule.id for granule in task.granules)


def exact_plan(plan: Plan, indexed: Indexed) -> ExactPlan:
    """Return the plan with exact pairs: from the index of a granule, or from the catalog if it has no index.

    The exact plan keeps the digest of the original plan, because both compute the same result. Only if the catalog
    lacked a pair does the digest change.

    Parameters
    ----------
    plan : Plan
        The original plan.
    indexed : Indexed
        Results of the index stage.
    """
    positions = {entry.id: i for i, entry in enumerate(plan.catalog.granules)}
    known = {positions[name]: granule for name, granule in indexed.granules.items() if granule.state != "failed"}
    etags = {name: granule.etag for name, granule in indexed.granules.items() if granule.etag is not None}
    if plan.windows is None:
        return _exact(plan, known, etags)
    kind = plan.config.output.time
    number = {i: window_text(window_number(plan.catalog.granules[i].id, kind), kind) for i in known}
    windows = [
        _exact(one, {i: g for i, g in known.items() if number[i] == one.window}, etags, plan.cells)
        for one in plan.windows
    ]
    # Digests of the whole plans are those of what their catalogs list.
    listed = joined(plan, [one.listed for one in windows])
    if not any(one.added for one in windows):
        listed = plan
    exact = replace(joined(plan, [one.plan for one in windows]), origin=listed.digest, etags=etags)
    no_overlap = {name: reports for one in windows for name, reports in one.no_overlap.items()}
    return ExactPlan(exact, listed, no_overlap, sum(one.added for one in windows))


def _exact(
    plan: Plan, known: Mapping[int, IndexedGranule], etags: Mapping[str, str], rows: tuple[int, ...] | None = None
) -> ExactPlan:
    """Return the exact plan of one window.

    Parameters
    ----------
    plan : Plan
    known : mapping
        Indexes of its granules, by position in the catalog.
    etags : mapping
        Version of each granule, by id.
    rows : tuple of int, optional
        Cells of the result, if the plan is one of several windows; its own cells by default.
    """
    if rows is not None:
        # A footprint that is too narrow may have hidden a cell of the area from the window.
        plan = replace(
            plan, catalog=replace(plan.catalog, cells={**dict.fromkeys(rows, ()), **plan.catalog.cells}), cells=rows
        )
    pairs: dict[int, tuple[int, ...]] = {}
    no_overlap: dict[str, tuple[GranuleReport, ...]] = {}
    counts, added = {}, 0
    inside: dict[int, set[int]] = {cell: set() for cell in plan.cells}
    for position, granule in known.items():
        for cell in granule.cells:
            if cell in inside:
                inside[cell].add(position)
    for cell in plan.cells:
        listed = set(plan.catalog.cells[cell])
        false = sorted((listed & known.keys()) - inside[cell])
        added += len(inside[cell] - listed)
        pairs[cell] = tuple(sorted((listed - set(false)) | inside[cell]))
        counts[cell] = sum(known[i].cells.get(cell, 0) for i in pairs[cell] if i in known)
        no_overlap[plan.task_id(cell)] = tuple(outside(known[i]) for i in false)
    whole = {
        **plan.catalog.cells,
        **{cell: tuple(sorted({*plan.catalog.cells[cell], *inside[cell]})) for cell in pairs},
    }
    whole_plan = plan if not added else replace(plan, catalog=replace(plan.catalog, cells=whole))
    if rows is not None:
        whole_plan = _listed(whole_plan, rows, added)
        plan = replace(plan, cells=whole_plan.cells)
        pairs = {cell: pairs[cell] for cell in plan.cells}
    cells = tuple(sorted(plan.cells, key=lambda cell: (-counts[cell], cell)))
    catalog = replace(plan.catalog, cells=pairs if rows is not None else {**plan.catalog.cells, **pairs})
    exact = replace(plan, catalog=catalog, cells=cells, origin=whole_plan.digest, rows=counts, etags=etags)
    return ExactPlan(exact, whole_plan, {name: lost for name, lost in no_overlap.items() if lost}, added)


def _listed(plan: Plan, rows: tuple[int, ...], added: int) -> Plan:
    """Return the plan of a window without the cells that no granule lies in."""
    pairs = {cell: positions for cell, positions in plan.catalog.cells.items() if positions}
    cells = tuple(sorted(pairs, key=lambda cell: (-len(pairs[cell]), cell)))
    found = replace(plan, catalog=replace(plan.catalog, cells=pairs), cells=cells)
    origin = window_digest(plan.config, plan.catalog, pairs, rows, plan.window) if added else plan.origin
    return replace(found, origin=origin)


def outside(granule: IndexedGranule) -> GranuleReport:
    """Return the report of a granule on a cell that holds none of its segments."""
    return GranuleReport(
        granule.id, "no_overlap", beams=granule.beams, rows=granule.rows, invalid_coordinate=granule.invalid
    )


@dataclass(frozen=True)
class IndexStage:
    """The plan by which cells are mapped, and where the indexes are."""

    exact: ExactPlan
    """The plan, exact for every granule that has an index."""
    place: str | None = None
    """Folder or prefix of the indexes; None to read granules without indexes."""
    indexed: Indexed | None = None
    """Results of the index stage; None if it was skipped."""

    @property
    def places(self) -> Mapping[str, str]:
        """Key of the object that holds the index of each granule, by id of the granule."""
        return {} if self.indexed is None else self.indexed.places


def run_index_stage(session: Session, plan: Plan, place: str | None) -> IndexStage:
    """Index the granules of a plan, and derive the exact plan.

    Parameters
    ----------
    session : Session
        The run.
    plan : Plan
        The original plan.
    place : str or None
        Folder or prefix of the indexes; None to skip the stage.
    """
    # Without cells there is nothing to index: only metadata of a result change.
    if place is None or not plan.units:
        return IndexStage(ExactPlan(plan, plan))
    known, unlisted = None, None
    try:
        known = known_indexes(plan, place, session.region)
    except MaggjobError as problem:
        # All indexes are made, and the summary says why; if they cannot be written either, each call says so.
        unlisted = str(problem)
    tasks = index_tasks(plan, place, session.settings.workers, session.credentials, session.region, known)
    sent, began = index_calls(tasks, session.folder, session.region), time.monotonic()
    indexed = collect(place, tasks, session.map("index", index_call, sent, preload=READING_IMPORTS))
    indexed = replace(indexed, wall_time_s=time.monotonic() - began, unlisted=unlisted)
    exact = exact_plan(plan, indexed)
    # If all granules failed, the folder of the indexes may not exist, and the tasks of cells could not open it.
    usable = set(indexed.states) != {"failed"}
    return IndexStage(exact, place if usable else None, replace(indexed, added=exact.added))
