"""What a run of the cells job did, as far as its requests to buckets depend on it."""

from collections.abc import Sequence

from maggjob.backend.bill import Stage
from maggjob.pipeline.balance import MappedCells
from maggjob.pipeline.index_stage import IndexStage
from maggjob.planning.plan import Plan
from maggjob.planning.requests import RunSize


def size_of(plan: Plan, index: IndexStage, cells: MappedCells, stages: Sequence[Stage], *, resumed: bool) -> RunSize:
    """Return what a run did.

    Parameters
    ----------
    plan : Plan
        The original plan.
    index : IndexStage
        Results of the index stage.
    cells : MappedCells
        The cells, and how they were divided into calls.
    stages : sequence of Stage
        The calls by stage, after the last one.
    resumed : bool
        Whether an earlier attempt was continued.
    """
    calls: dict[str, int] = {}
    for stage in stages:
        calls[stage.name] = calls.get(stage.name, 0) + stage.submitted
    reports = [outcome.value for outcome in cells.outcomes if outcome.value is not None and outcome.value.attempts]
    arrays, orders = plan.arrays, len(plan.config.recipe().orders)
    passes = ("assembly" in calls) + ("check" in calls)
    return RunSize(
        index_calls=calls.get("index", 0),
        lookups=_objects(index, "there"),
        indexes=_objects(index, "made"),
        map_calls=calls.get("map", 0) + calls.get("map again", 0),
        tasks=len(cells.pieces) - cells.taken,
        split=cells.in_quarters,
        pieces=len(cells.pieces) - len(cells.tasks) + cells.in_quarters,
        saved=cells.taken,
        resumed=resumed,
        index_reads=sum(report.index_requests for report in reports),
        shards=calls.get("assembly", 0) + calls.get("check", 0),
        rows=passes * orders * len(cells.tasks),
        arrays=arrays * orders,
        shard_arrays=arrays * calls.get("assembly", 0),
        orders=orders,
    )


def _objects(index: IndexStage, state: str) -> int:
    """Return the number of index objects whose granules are in some state."""
    granules = () if index.indexed is None else index.indexed.granules.values()
    return len({granule.index for granule in granules if granule.state == state and granule.index is not None})
