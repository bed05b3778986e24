"""Batches of cells: each cell is in one call, in order; calls take about equally long; each cell has an outcome."""

import math
from itertools import pairwise

from hypothesis import given, strategies as st

from maggjob.backend.executor import run_tasks
from maggjob.backend.outcome import Outcome
from maggjob.config.load import load_config
from maggjob.jobs.cells import map_cells
from maggjob.model.ledger import reduce_tally
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellBatch, CellTask, Granule
from maggjob.pipeline.balance import batches, report_of, spread, watch_cells
from maggjob.planning.division import CALLS_A_WORKER, MOST
from tests.strategies import many

RECIPE = load_config("atl06.yaml").recipe()
SHARE = 1 + 1e-9  # sums of floats


def tasks_of(count: int) -> list[CellTask]:
    return [CellTask(f"all/{i}", str(i), "all", RECIPE, (Granule(f"g{i}", f"/g{i}.h5"),)) for i in range(count)]


def done(task: CellTask) -> CellReport:
    return CellReport(task.id, task.cell, task.window, "complete")


times = st.one_of(st.floats(0, 1000), st.sampled_from((0.0, 1e-300, 1.0, 1e300)))


@many
@given(st.lists(times, max_size=200), st.integers(1, 50), st.booleans())
def test_every_cell_is_in_one_call_and_in_order(seconds: list[float], workers: int, sort: bool) -> None:
    seconds = sorted(seconds, reverse=True) if sort else seconds
    tasks = tasks_of(len(seconds))
    made = batches(tasks, seconds, workers)
    assert [task for batch in made for task in batch.tasks] == tasks
    share = math.fsum(seconds) / (CALLS_A_WORKER * workers)
    took = dict(zip((task.id for task in tasks), seconds, strict=True))
    for batch in made:
        assert 1 <= len(batch.tasks) <= MOST
        assert len(batch.tasks) == 1 or math.fsum(took[task.id] for task in batch.tasks) <= share * SHARE
    for one, other in pairwise(made):  # nothing is a call by itself for no reason
        joined = math.fsum(took[task.id] for task in (*one.tasks, other.tasks[0]))
        assert len(one.tasks) == MOST or joined >= share / SHARE


@many
@given(st.integers(1, 300), st.integers(1, 8))
def test_cells_alike_make_enough_calls_for_all_workers(count: int, workers: int) -> None:
    made = batches(tasks_of(count), [0.5] * count, workers)
    assert len(made) >= min(count, CALLS_A_WORKER * workers)
    assert len(made) <= max(2 * CALLS_A_WORKER * workers, 2 * -(-count // MOST), 1)


def test_nothing_to_do_is_no_call() -> None:
    assert batches([], [], 3) == []
    assert spread([], []) == []


def test_a_long_cell_is_a_call_and_small_ones_go_together() -> None:
    tasks = tasks_of(41)
    made = batches(tasks, [100.0] + [0.1] * 40, 1)
    assert [len(batch.tasks) for batch in made] == [1, 16, 16, 8]


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[CellTask], list[CellBatch], list[Outcome[tuple[CellReport, ...]]]]:
    sizes = draw(st.lists(st.integers(1, MOST), max_size=8))
    tasks = tasks_of(sum(sizes))
    left = iter(tasks)
    made = [CellBatch(tuple(next(left) for _ in range(size))) for size in sizes]
    outcomes: list[Outcome[tuple[CellReport, ...]]] = []
    for batch in made:
        reason = draw(st.sampled_from((None, "died", "deadline", "refused", "worker")))
        good = Outcome(value=tuple(done(task) for task in batch.tasks))
        outcomes.append(good if reason is None else Outcome(reason=reason, message=f"call of {batch.tasks[0].id}"))
    return tasks, made, outcomes


@many
@given(answers(), st.randoms())
def test_each_cell_has_an_outcome_of_its_own(
    of: tuple[list[CellTask], list[CellBatch], list[Outcome[tuple[CellReport, ...]]]], order: object
) -> None:
    tasks, made, outcomes = of
    found = spread(made, outcomes)
    assert len(found) == len(tasks)
    call = {task.id: n for n, batch in enumerate(made) for task in batch.tasks}
    for task, outcome in zip(tasks, found, strict=True):
        whole = outcomes[call[task.id]]
        if whole.value is None:
            assert outcome == Outcome(reason=whole.reason, message=whole.message)
        else:
            assert outcome == Outcome(value=done(task))
    seen: dict[int, Outcome[CellReport]] = {}
    tell = watch_cells(made, seen.__setitem__)
    assert tell is not None
    numbers = list(range(len(made)))
    order.shuffle(numbers)  # type: ignore[attr-defined]  # calls end in any order
    for n in numbers:
        before = len(seen)
        tell(n, outcomes[n])
        assert len(seen) == before + len(made[n].tasks)
    assert [seen[i] for i in range(len(tasks))] == found
    reports = [report_of(task, outcome) for task, outcome in zip(tasks, found, strict=True)]
    tally = reduce_tally(reports)
    dead = [outcome for outcome in found if outcome.value is None]
    assert tally.cells == {
        "planned": len(tasks),
        "complete": len(tasks) - len(dead),
        "empty": 0,
        "partial": 0,
        "failed": len(dead),
    }
    reasons = {reason: sum(outcome.reason == reason for outcome in dead) for reason in {o.reason for o in dead}}
    assert {reason: error["count"] for reason, error in tally.errors.items()} == reasons


def test_cells_of_one_call_do_not_spoil_each_other() -> None:
    """The second names no cell, the third's granule is not there: each says so for itself."""
    tasks = tasks_of(3)
    tasks[0] = CellTask("all/a", "-6134114", "all", RECIPE, ())
    tasks[1] = CellTask("all/b", "nowhere", "all", RECIPE, ())
    tasks[2] = CellTask("all/c", "-6134113", "all", RECIPE, (Granule("g", "/not/there.h5"),))
    reports = map_cells(CellBatch(tuple(tasks)))
    assert [(r.id, r.state) for r in reports] == [("all/a", "empty"), ("all/b", "failed"), ("all/c", "failed")]
    tally = reduce_tally(reports)
    assert (tally.cells["empty"], tally.cells["failed"]) == (1, 2)
    assert sum(error["count"] for error in tally.errors.values()) == 2


def explodes(batch: CellBatch) -> tuple[CellReport, ...]:
    """Raise in the call that holds the first cell."""
    if batch.tasks[0].id == "all/0":
        raise MemoryError(batch.tasks[0].id)
    return tuple(done(task) for task in batch.tasks)


def test_a_call_that_raises_fails_its_cells_alone() -> None:
    tasks = tasks_of(20)
    made = batches(tasks, [0.0] * 20, 1)
    seen: list[tuple[int, bool]] = []
    tell = watch_cells(made, lambda number, outcome: seen.append((number, outcome.value is None)))
    found = spread(made, run_tasks(explodes, made, backend="serial", watch=tell))
    assert [outcome.reason for outcome in found] == ["memory"] * MOST + [None] * 4
    assert seen == [(i, i < MOST) for i in range(20)]
    tally = reduce_tally(report_of(t, o) for t, o in zip(tasks, found, strict=True))
    assert (tally.cells["failed"], tally.cells["complete"]) == (16, 4)
    assert tally.errors["memory"]["count"] == 16
