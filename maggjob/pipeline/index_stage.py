"""The first map of a run: indexes of its granules, and the exact plan that follows from them."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from maggjob.backend.outcome import Outcome
from maggjob.errors import LedgerError
from maggjob.granules.granule import READING_IMPORTS
from maggjob.jobs.granule_index import index_call, index_calls
from maggjob.model.reports import GranuleReport, IndexedGranule, IndexReport
from maggjob.model.tasks import IndexTask
from maggjob.pipeline.session import Session
from maggjob.planning.cost import granules_a_call
from maggjob.planning.plan import Plan
from maggjob.storage.run_folder import INDEXES, cache_folder
from maggjob.storage.urls import is_remote, join_url


@dataclass(frozen=True)
class Indexed:
    """What the first map gave."""

    place: str
    """Folder or prefix of the indexes."""
    granules: Mapping[str, IndexedGranule]
    """What became of each granule, by id."""
    wall_time_s: float = 0.0
    """From the first call to the last answer."""
    worker_time_s: float = 0.0
    """Seconds of all workers."""
    bytes_read: int = 0
    """From the archive."""
    requests: int = 0
    """To the archive."""
    peak_memory: int = 0
    """Of the worker that took most, bytes."""
    added: int = 0
    """Pairs of a granule and a cell that the catalog lacked: footprints were too narrow."""

    @property
    def states(self) -> dict[str, int]:
        """Granules by state: made, there, failed."""
        found = [granule.state for granule in self.granules.values()]
        return {state: found.count(state) for state in sorted(set(found))}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without the single granules."""
        plain = asdict(replace(self, granules={})) | {"states": self.states, "problems": self.problems}
        del plain["granules"]
        return plain

    @property
    def problems(self) -> list[str]:
        """Why granules have no index, for people: the first few."""
        return [f"{g.id}: {g.message}" for g in self.granules.values() if g.state == "failed"][:5]


@dataclass(frozen=True)
class ExactPlan:
    """A plan without false pairs."""

    plan: Plan
    """Cells with the granules that have segments in them, those with most segments first."""
    listed: Plan
    """The plan that was made, with the pairs that its catalog lacked: what the ledger accounts for."""
    no_overlap: Mapping[int, tuple[GranuleReport, ...]] = field(default_factory=dict)
    """Pairs of the catalog that are none, by cell: the ledger keeps them."""
    added: int = 0
    """Pairs that the catalog lacked: footprints were too narrow."""


def default_indexes(plan: Plan) -> str:
    """Where indexes are kept when nothing else is said: beside a store in a bucket, else in the user's cache."""
    if plan.store_path is not None and is_remote(plan.store_path):
        above, _, name = plan.store_path.rstrip("/").rpartition("/")
        return join_url(f"s3://{name}" if above == "s3:/" else above, INDEXES)  # a bucket has nothing beside it
    return str(cache_folder() / "index")


def index_tasks(
    plan: Plan, place: str, workers: int, credentials: str | None = None, region: str | None = None
) -> list[IndexTask]:
    """Tasks that see to the index of every granule of a plan, several granules a call."""
    granules = plan.used_granules
    size = granules_a_call(len(granules), workers)
    recipe = plan.config.recipe()
    return [
        IndexTask(f"{plan.window}/index/{i}", recipe, granules[i : i + size], place, credentials, region)
        for i in range(0, len(granules), size)
    ]


def collect(place: str, tasks: Sequence[IndexTask], outcomes: Sequence[Outcome[IndexReport]]) -> Indexed:
    """The answers of all calls; a granule whose call came to nothing has failed, and is read without an index."""
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
        raise LedgerError(f"{task.id}: its granules are written down elsewhere")
    return (granule.id for granule in task.granules)


def exact_plan(plan: Plan, indexed: Indexed) -> ExactPlan:
    """The plan with true pairs only: those of an index, and those of the catalog where there is none.

    The digest stays that of the plan that was made, unless the catalog lacked a pair: what is computed is the same.
    """
    positions = {entry.id: i for i, entry in enumerate(plan.catalog.granules)}
    known = {positions[name]: granule for name, granule in indexed.granules.items() if granule.state != "failed"}
    pairs: dict[int, tuple[int, ...]] = {}
    no_overlap: dict[int, tuple[GranuleReport, ...]] = {}
    rows, added = {}, 0
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
        rows[cell] = sum(known[i].cells.get(cell, 0) for i in pairs[cell] if i in known)
        no_overlap[cell] = tuple(_no_overlap(known[i]) for i in false)
    whole = {
        **plan.catalog.cells,
        **{cell: tuple(sorted({*plan.catalog.cells[cell], *inside[cell]})) for cell in pairs},
    }
    whole_plan = plan if not added else replace(plan, catalog=replace(plan.catalog, cells=whole))
    cells = tuple(sorted(plan.cells, key=lambda cell: (-rows[cell], cell)))
    catalog = replace(plan.catalog, cells={**plan.catalog.cells, **pairs})
    exact = replace(plan, catalog=catalog, cells=cells, origin=whole_plan.digest, rows=rows)
    return ExactPlan(exact, whole_plan, {cell: lost for cell, lost in no_overlap.items() if lost}, added)


def _no_overlap(granule: IndexedGranule) -> GranuleReport:
    return GranuleReport(
        granule.id, "no_overlap", beams=granule.beams, rows=granule.rows, invalid_coordinate=granule.invalid
    )


@dataclass(frozen=True)
class IndexStage:
    """What the cells are mapped with."""

    exact: ExactPlan
    """The plan, without false pairs where indexes tell."""
    place: str | None = None
    """Folder or prefix that holds indexes; None to read without."""
    indexed: Indexed | None = None
    """What became of the indexes; None without that stage."""


def run_index_stage(session: Session, plan: Plan, place: str | None) -> IndexStage:
    """Index the granules of a plan, and work out the exact plan that follows.

    Parameters
    ----------
    session : Session
    plan : Plan
    place : str or None
        Folder or prefix to keep the indexes in; None to make none.
    """
    if place is None:
        return IndexStage(ExactPlan(plan, plan))
    tasks = index_tasks(plan, place, session.settings.workers, session.credentials, session.region)
    sent, began = index_calls(tasks, session.folder, session.region), time.monotonic()
    indexed = collect(place, tasks, session.map("index", index_call, sent, preload=READING_IMPORTS))
    indexed = replace(indexed, wall_time_s=time.monotonic() - began)
    exact = exact_plan(plan, indexed)
    # Where all failed, nobody may have made the folder that cells would open.
    usable = set(indexed.states) != {"failed"}
    return IndexStage(exact, place if usable else None, replace(indexed, added=exact.added))
