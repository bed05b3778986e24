"""A cell processed in quarters gives the same result as one processed whole, whatever fails."""

import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import h5py
import pytest
from hypothesis import given, strategies as st

import maggjob
from maggjob.backend.outcome import Outcome
from maggjob.catalog.catalog import Catalog
from maggjob.errors import LedgerError, StoreError
from maggjob.grid.healpix import nested_children, parse_cell
from maggjob.jobs.cells import map_call
from maggjob.jobs.wire import WireTask
from maggjob.model.ledger import join_quarters, reduce_tally
from maggjob.model.reports import CellReport, GranuleReport
from maggjob.model.tasks import CellTask, Granule
from maggjob.pipeline.balance import Piece, batches, join, pieces_of, quarters, spread, watch_cells, watch_owners
from maggjob.planning.cost import QUARTER, SPLIT_FROM
from maggjob.planning.tasks import make_tasks
from maggjob.show.text import plan_dict, plan_text, summary
from tests.granule_files import BEAMS, SEGMENTS, beam, write_granule
from tests.runs import config, do, files, ledger
from tests.strategies import many

RECIPE = config().recipe()
ROOT = Path(__file__).resolve().parents[2]
CELL = "-4111121"


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cache is this test's, and workers import functions of this module."""
    monkeypatch.setenv("MAGGJOB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def hot(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Every cell is hot."""
    with monkeypatch.context() as patch:
        patch.setattr("maggjob.planning.division.is_hot", lambda *_: True)
        yield patch


def granules(folder: Path, *, latitude: str = "authalic") -> Catalog:
    """Three tracks through several cells, one of which fills quarters of its own."""
    folder.mkdir(exist_ok=True)
    for number in range(3):
        name = f"ATL06_2019022203120{number}_0850{number}211_006_01.h5"
        tracks = {
            g: beam(1500, seed=9 * number + i, west=-100.0 + number + 0.01 * i, step=1.2e-3)
            for i, g in enumerate(BEAMS)
        }
        for track in tracks.values():
            track["delta_time"] += 1e6 * number  # granules do not overlap in time
        write_granule(folder / name, tracks)
    return maggjob.make_catalog(str(folder), config(latitude))


def both_ways(catalog: Catalog, patch: pytest.MonkeyPatch) -> tuple[maggjob.RunResult, maggjob.RunResult]:
    """A run with all cells in quarters, and one with none: same parts, same Zarr, same ledger."""
    split = do(catalog, "split.zarr", index=True)
    with patch.context() as none:
        none.setattr("maggjob.planning.division.is_hot", lambda *_: False)
        whole = do(catalog, "whole.zarr", index=True)
    assert (split.cells_in_quarters, whole.cells_in_quarters) == (len(catalog.cells), 0)
    assert ledger(split) == ledger(whole)
    assert files("split.zarr.run/parts") == files("whole.zarr.run/parts")
    assert files("split.zarr") == files("whole.zarr")
    return split, whole


@pytest.mark.dear("whole runs; one convention stands for both", keep=("authalic",))
@pytest.mark.parametrize("latitude", ["authalic", "geodetic-spherical"])
def test_the_same_bytes_in_quarters(tmp_path: Path, hot: pytest.MonkeyPatch, latitude: str) -> None:
    catalog = granules(tmp_path / "granules", latitude=latitude)
    split, whole = both_ways(catalog, hot)
    assert split.complete
    assert split.tally.observations > 20_000
    assert "cells in quarters" in summary(split.to_dict())
    assert "cells in quarters" not in summary(whole.to_dict())
    requests = [sum(report.requests for report in result.reports) for result in (split, whole)]
    assert requests[0] > requests[1]


@pytest.mark.parametrize("orders", [(6, 7), (9, 10), (3, 8)])
@pytest.mark.dear("other orders")
def test_quarters_of_other_orders(tmp_path: Path, hot: pytest.MonkeyPatch, orders: tuple[int, int]) -> None:
    granules(tmp_path / "granules")
    plain = config().model_dump(mode="json", exclude_none=True)
    plain["output"]["grid"] |= {"parent_order": orders[0], "child_order": orders[1]}
    catalog = maggjob.make_catalog(str(tmp_path / "granules"), plain)
    for store, hot_ones in (("split.zarr", True), ("whole.zarr", False)):
        hot.setattr("maggjob.planning.division.is_hot", lambda *_, hot_ones=hot_ones: hot_ones)
        result = maggjob.run(plain, catalog=catalog, store=store, backend="serial", index=True, indexes="indexes")
        assert isinstance(result, maggjob.RunResult)
        assert result.complete
    assert files("split.zarr") == files("whole.zarr")


def test_a_cell_that_is_its_own_child_is_not_split(hot: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, grid=replace(RECIPE.grid, parent_order=6, child_order=6))
    (piece,) = pieces_of([replace(task_of(CELL), recipe=recipe)], [99.0], 1, split=True)
    assert piece.task.cell == CELL


def test_without_indexes_nothing_is_split(tmp_path: Path, hot: pytest.MonkeyPatch) -> None:
    catalog = granules(tmp_path / "granules")
    result = do(catalog, "map.zarr", index=False)
    assert result.cells_in_quarters == 0
    assert result.complete


# ---- what fails


def damage(path: Path, dataset: str, row: int) -> None:
    """Turn one chunk of a dataset into noise."""
    with h5py.File(path) as file:
        (chunk,) = file[dataset].chunks
        info = file[dataset].id.get_chunk_info_by_coord((row // chunk * chunk,))
    with path.open("r+b") as file:
        file.seek(info.byte_offset)
        file.write(b"\xff" * min(64, info.size))


@pytest.mark.dear("a whole run")
def test_a_granule_that_is_gone_fails_in_all_quarters(tmp_path: Path, hot: pytest.MonkeyPatch) -> None:
    catalog = granules(tmp_path / "granules")
    first = min((tmp_path / "granules").iterdir())
    first.write_bytes(first.read_bytes()[:50_000])
    split, _ = both_ways(catalog, hot)
    assert split.tally.granules["failed"] == 1
    assert {report.state for report in split.reports} <= {"partial", "complete", "failed"}
    assert split.tally.cells["partial"] > 0
    have = {Path(report.part).name for report in split.reports if report.part is not None}
    assert {path.name for path in Path("split.zarr.run/parts").rglob("*.npz")} == have


@pytest.mark.dear("a whole run")
def test_a_chunk_that_one_quarter_needs(tmp_path: Path, hot: pytest.MonkeyPatch) -> None:
    """The granule has failed in the cell; what the other quarters kept of it is counted, and nothing twice."""
    folder = tmp_path / "granules"
    folder.mkdir()
    track = {g: beam(30_000, seed=i, west=-100.0 + 0.01 * i, step=3e-5) for i, g in enumerate(BEAMS)}
    path = write_granule(folder / "ATL06_20190222031203_08500211_006_01.h5", track, chunk=1000)
    catalog = maggjob.make_catalog(str(folder), config())
    damage(path, f"gt2l/{SEGMENTS}/h_li", 29_999)
    result = do(catalog, "map.zarr", index=True)
    assert result.tally.cells["partial"] >= 1
    (report,) = [report for report in result.reports if report.state == "partial"]
    (granule,) = report.granules
    assert (granule.state, granule.reason) == ("failed", "corrupt")
    assert 0 < granule.kept == report.observations
    assert sum(report.segments.values()) == granule.in_cell < 180_000
    segments = result.tally.segments
    assert segments["rows"] == 180_000 == sum(n for state, n in segments.items() if state != "rows")
    assert segments["unread"] > 0
    assert result.tally.errors["corrupt"]["count"] >= 1


def map_or_fail(batch: WireTask) -> tuple[CellReport, ...]:
    """Die, or raise, with a call that holds the quarter which the environment names, or a piece of it."""
    if any(cell.startswith(os.environ["FAILS"]) for _, cells in batch.own for cell, *_ in cells):
        if os.environ["FAULT"] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("a fault")
    return map_call(batch)


@pytest.mark.parametrize(
    ("fault", "backend"),
    [
        ("raises", "serial"),
        pytest.param(
            "dies",
            "localhost",
            marks=pytest.mark.dear("a worker dies, with a fresh process for each try; make test lets the call raise"),
        ),
    ],
)
def test_a_call_that_fails_with_its_quarter(tmp_path: Path, hot: pytest.MonkeyPatch, fault: str, backend: str) -> None:
    catalog = granules(tmp_path / "granules")
    tasks = make_tasks(maggjob.plan(config(), catalog=catalog, store="map.zarr"))
    whole = do(catalog, "whole.zarr", index=True)
    fullest = max(whole.reports, key=lambda report: report.observations)
    task = next(task for task in tasks if task.cell == fullest.cell)
    hot.setenv("FAULT", fault)
    hot.setenv("FAILS", quarters(task)[2].cell)
    hot.setattr("maggjob.pipeline.map_stage.map_call", map_or_fail)
    hot.setattr(
        "maggjob.pipeline.map_stage.batches", lambda some, *_: batches(some, [1.0] * len(some), 10**6)
    )  # one a call
    seen: dict[int, Outcome[CellReport]] = {}
    result = do(catalog, "map.zarr", index=True, backend=backend, max_workers=2, watch=seen.__setitem__)
    (report,) = [report for report in result.reports if report.state != "complete"]
    reason = "memory" if fault == "dies" else "worker"
    assert (report.cell, report.state, report.reason) == (fullest.cell, "partial", reason)
    assert {granule.state for granule in report.granules} == {"failed"}
    assert 0 < report.observations < fullest.observations
    assert result.tally.granules["failed"] == len(report.granules)
    segments = result.tally.segments
    assert segments["rows"] == sum(n for state, n in segments.items() if state != "rows")
    assert segments["unread"] == sum(fullest.segments.values()) - sum(report.segments.values())
    assert sorted(seen) == list(range(len(catalog.cells)))
    told = {outcome.value.cell: outcome.value.state for outcome in seen.values() if outcome.value is not None}
    assert told == {report.cell: report.state for report in result.reports}
    assert {reason: error["count"] for reason, error in result.tally.errors.items()} == {reason: 1}
    assert result.tally.errors[reason]["examples"][0]["message"]
    left = {path.resolve() for path in Path("map.zarr.run/parts").rglob("*.npz")}
    assert left == {Path(str(report.part)).resolve() for report in result.reports}  # and none of a quarter


def test_a_quarter_whose_part_is_gone_or_another(tmp_path: Path, hot: pytest.MonkeyPatch) -> None:
    catalog = granules(tmp_path / "granules")
    plan = maggjob.plan(config(), catalog=catalog, store="map.zarr", max_cells=1)
    (task,) = make_tasks(plan)
    pieces = pieces_of([task], [9.0], 1, split=True)
    reports = [maggjob.map_cell(piece.task) for piece in pieces]
    said = next(report for report in reports if report.observations)
    other = replace(said, segments={**said.segments, "kept": said.observations - 1})
    with pytest.raises(LedgerError, match=f"{said.id}: its report and its part"):
        join([task], pieces, [other if report is said else report for report in reports])
    path = Path(str(said.part))
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(StoreError, match=said.cell):
        join([task], pieces, reports)
    path.write_bytes(content)
    (joined,) = join([task], pieces, reports)
    assert joined.state == "complete"
    assert [p.name for p in Path("map.zarr.run/parts").rglob("*.npz")] == [f"{task.cell}.npz"]


# ---- the pieces


def task_of(cell: str) -> CellTask:
    return CellTask(f"all/{cell}", cell, "all", RECIPE, (Granule("g", "/g.h5"),))


times = st.lists(st.floats(0.0, 1000.0), max_size=60)


@many
@given(times, st.integers(1, 2000))
def test_what_is_split_and_in_which_order(seconds: list[float], workers: int) -> None:
    tasks = [replace(task_of(CELL), id=f"all/{n}") for n in range(len(seconds))]
    pieces = pieces_of(tasks, seconds, workers, split=True)
    counts = Counter(piece.owner for piece in pieces)
    share = sum(seconds) / workers
    assert counts == {n: 4 if s > max(SPLIT_FROM, share) else 1 for n, s in enumerate(seconds)}
    assert all(a.seconds >= b.seconds for a, b in pairwise(pieces))
    for piece in pieces:
        assert piece.seconds == seconds[piece.owner] * (QUARTER if counts[piece.owner] == 4 else 1)
    whole = [piece.task for piece in pieces if counts[piece.owner] == 1]
    assert all(task in tasks for task in whole)


@many
@given(st.integers(0, (12 << 12) - 1))
def test_quarters_have_the_children_of_their_cell(cell: int) -> None:
    task = task_of(maggjob.grid.healpix.format_cell(cell, 6))
    children = []
    for quarter in quarters(task):
        grid = quarter.recipe.grid
        assert (grid.parent_order, grid.child_order) == (7, 12)
        children += nested_children([parse_cell(quarter.cell, 7)], grid)[0].tolist()
    assert children == nested_children([cell], RECIPE.grid)[0].tolist()


# ---- reports put together

states = st.sampled_from(("no_overlap", "used", "failed"))


@st.composite
def quarter_reports(draw: st.DrawFn) -> list[CellReport]:
    names = [f"g{n}" for n in range(draw(st.integers(1, 4)))]
    reports = []
    for number in range(4):
        found = []
        for name in names:
            state, low, kept = draw(states), draw(st.integers(0, 5)), draw(st.integers(1, 5))
            low, kept = (low, kept) if state == "used" else (0, 0)
            reason = "network" if state == "failed" else None
            found.append(GranuleReport(name, state, rows=100, in_cell=low + kept, kept=kept, reason=reason))
        lost = draw(st.booleans()) and draw(st.booleans())
        if lost:
            reports.append(CellReport(f"all/{number}", str(number), "all", "failed", reason="worker"))
            continue
        kept, inside = sum(g.kept for g in found), sum(g.in_cell for g in found)
        used = any(g.state == "used" for g in found)
        bad = any(g.state == "failed" for g in found)
        state = ("partial" if used else "failed") if bad else "complete" if kept else "empty"
        segments = {"low": inside - kept, "kept": kept}
        reason = "network" if bad else None
        reports.append(CellReport(f"all/{number}", str(number), "all", state, segments, tuple(found), reason))
    return reports


@many
@given(quarter_reports())
def test_a_joined_report_counts_everything_once(reports: list[CellReport]) -> None:
    joined = join_quarters("all/x", "x", reports)
    told = [report for report in reports if report.granules]
    assert joined.observations == sum(report.observations for report in told)
    assert sum(joined.segments.values()) == sum(granule.in_cell for granule in joined.granules)
    assert joined.observations == sum(granule.kept for granule in joined.granules)
    every = {g.id for report in told for g in report.granules}
    assert {granule.id for granule in joined.granules} == every
    for granule in joined.granules:
        of = {g.state for report in told for g in report.granules if g.id == granule.id}
        of |= {"failed"} if len(told) < 4 else set()
        assert granule.state == ("failed" if "failed" in of else "used" if "used" in of else "no_overlap")
    bad = any(report.state in ("failed", "partial") for report in reports)
    used = any(g.state == "used" for report in told for g in report.granules)
    expected = ("partial" if used else "failed") if bad else "complete" if joined.observations else "empty"
    assert joined.state == expected
    assert (joined.reason is None) == (not bad)
    segments = reduce_tally([joined]).segments
    assert segments["rows"] == sum(n for state, n in segments.items() if state != "rows")


@pytest.mark.dear("a whole run")
def test_attributes_are_those_of_the_first_granule(tmp_path: Path, hot: pytest.MonkeyPatch) -> None:
    """The first granule lies in one quarter only, and not in the first."""
    granules(tmp_path / "granules")
    for number, path in enumerate(sorted((tmp_path / "granules").iterdir())):
        with h5py.File(path, "r+") as file:
            for group in BEAMS:
                file[f"{group}/{SEGMENTS}/h_li"].attrs["units"] = f"of granule {number}".encode()
    catalog = maggjob.make_catalog(str(tmp_path / "granules"), config())
    both_ways(catalog, hot)


@given(st.permutations(range(8)))
def test_the_watcher_hears_of_a_cell_when_all_its_quarters_have_ended(order: Sequence[int]) -> None:
    owners = (0, 0, 0, 0, 1, 2, 2, 2)  # the last three and one more are quarters of cell 2
    pieces = [Piece(task_of(CELL), owner, 1.0) for owner in (*owners, 2)]
    heard: list[tuple[int, int]] = []

    def watch(owner: int, outcome: Outcome[CellReport]) -> None:
        assert outcome.value is not None
        assert outcome.value.state == ("failed" if owner == 2 else "complete")
        heard.append((owner, outcome.value.observations))

    tell = watch_owners([task_of(CELL), task_of("-4111122"), task_of("-4111123")], pieces, watch)
    assert tell is not None
    left = Counter(piece.owner for piece in pieces)
    for number in (*order, 8):
        report = CellReport(f"all/{number}", CELL, "all", "complete", {"kept": 10**number})
        tell(number, Outcome(value=report) if number != 5 else Outcome(reason="worker", message="died"))
        left[pieces[number].owner] -= 1
        assert {owner for owner, _ in heard} == {owner for owner, count in left.items() if not count}
    assert dict(heard) == {0: 1111, 1: 10_000, 2: 101_000_000 + 1_000_000 * 10}
    assert len(heard) == 3


def test_calls_of_pieces_are_told_by_cell() -> None:
    pieces = pieces_of([task_of(CELL), task_of("-4111122")], [100.0, 1.0], 10, split=True)
    calls = batches([p.task for p in pieces], [p.seconds for p in pieces], 10)
    heard: list[int] = []
    watch = watch_cells(
        calls, watch_owners([task_of(CELL), task_of("-4111122")], pieces, lambda owner, _: heard.append(owner))
    )
    assert watch is not None
    outcomes = []
    for number, call in enumerate(calls):
        done = tuple(CellReport(t.id, t.cell, t.window, "empty") for t in call.tasks)
        outcomes.append(Outcome(value=done))
        watch(number, outcomes[-1])
    assert heard == [0, 1]
    assert [outcome.value.id for outcome in spread(calls, outcomes) if outcome.value] == [p.task.id for p in pieces]


# ---- what the plan says


def test_the_plan_tells_of_quarters(tmp_path: Path) -> None:
    catalog = granules(tmp_path / "granules")
    large = tuple(replace(g, rows=60_000_000, cells=6) for g in catalog.granules)
    plan = maggjob.plan(config(), catalog=replace(catalog, granules=large), store="map.zarr")
    seconds = plan.seconds(indexed=True)
    for workers in (1, 4, 1700):
        hot = [s for s in replace(plan, driver="s3").seconds(True) if s > max(SPLIT_FROM, sum(seconds) / workers)]
        told = plan_dict(plan, workers)["lambda"]
        assert told["cells_in_quarters"] == len(hot)
        assert told["calls"] == next(line["quantity"] for line in told["bill"] if line["what"] == "requests")
        # A call that indexes, one that writes the shard, and at most one per cell or quarter.
        assert 2 < told["calls"] <= len(plan.cells) + 3 * len(hot) + 2
        assert ("in quarters" in plan_text(plan, workers)) == bool(hot)
    assert hot
    estimate = plan.estimate
    assert estimate.wall_s(1700) < estimate.longest[0][1]
