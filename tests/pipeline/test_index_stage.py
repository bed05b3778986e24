"""A run with indexes gives the pairs, the bytes and the ledger of one without, whatever happens to an index."""

import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, strategies as st
from werkzeug.serving import WSGIRequestHandler

import maggjob
from maggjob import Plan
from maggjob.backend.outcome import Outcome
from maggjob.catalog.catalog import Catalog, Entry
from maggjob.cli.commands import main
from maggjob.errors import LedgerError, StoreError
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.jobs.cells import map_call, map_cells
from maggjob.jobs.granule_index import index_call, index_granules
from maggjob.jobs.wire import WireTask
from maggjob.model.reports import CellReport, IndexedGranule, IndexReport
from maggjob.model.tasks import CellBatch, GranuleList, IndexTask
from maggjob.pipeline.index_stage import Indexed, collect, default_indexes, exact_plan, index_tasks
from maggjob.pipeline.result import RunResult
from maggjob.planning.packs import LEAST, cut_packs, order_granules, pack_reads, pack_size
from maggjob.planning.plan import INDEX_PAYS
from maggjob.planning.tasks import make_tasks
from maggjob.show.text import plan_text, summary
from maggjob.simulator.scene import cmr_records
from maggjob.storage.folder import Folder
from tests.granule_files import BEAMS, SEGMENTS, beam, write_granule
from tests.oracle import differences, nested, reference
from tests.packs import change_index, packs, stored_indexes
from tests.runs import config, do, files, ledger
from tests.servers import Request, s3_server, server
from tests.strategies import many

CONVENTIONS = ("authalic", "geodetic-spherical")
AREA = (-105.0, -76.0, -100.0, -75.0)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache is this test's, and there is nobody to log in as."""
    monkeypatch.setenv("MAGGJOB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # workers import functions of this module
    return tmp_path / "cache" / "index"


@dataclass(frozen=True)
class World:
    """Simulated granules, some of whose segments cannot be binned, and catalogs of them."""

    paths: list[Path]
    exact: Mapping[str, Catalog]
    """From the files, by latitude convention."""
    wide: Mapping[str, Catalog]
    """From footprints: many pairs are none."""


def with_files(catalog: Catalog, paths: Sequence[Path]) -> Catalog:
    """The catalog with granules read from files."""
    where = {path.stem: str(path) for path in paths}
    return replace(catalog, granules=tuple(replace(g, urls={"file": where[g.id]}) for g in catalog.granules))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world") / "granules"
    paths = sorted(maggjob.simulate(folder, area=AREA, every=40, most=6, seed=3))
    with h5py.File(paths[1], "r+") as file:
        name = next(group for group in BEAMS if group in file)
        file[name][SEGMENTS]["latitude"][3:40] = 3.4028234663852886e38
        file[name][SEGMENTS]["longitude"][50:52] = np.nan
    records = folder.parent / "records.json"
    records.write_text(json.dumps(cmr_records(paths)))
    exact, wide = {}, {}
    for latitude in CONVENTIONS:
        exact[latitude] = maggjob.make_catalog(str(folder), config(latitude))
        box = (AREA[0] + 0.5, AREA[1] - 1.0, AREA[2] + 2.0, AREA[3] + 1.0)
        found = maggjob.find_catalog(config(latitude), records=[records], cycle=22, aoi=box)
        wide[latitude] = with_files(found, paths)
    return World(paths, exact, wide)


@dataclass(frozen=True)
class Truth:
    """The segments of a granule, according to h5py and the oracle."""

    rows: int
    invalid: int
    cells: dict[int, int]


def truth(path: Path, latitude: str) -> Truth:
    rows = invalid = 0
    cells: dict[int, int] = {}
    with h5py.File(path) as file:
        for group in BEAMS:
            if f"{group}/{SEGMENTS}" in file:
                lat, lon = (file[group][SEGMENTS][name][:] for name in ("latitude", "longitude"))
                good = (np.abs(lat) <= 90) & (np.abs(lon) <= 720)
                rows, invalid = rows + len(lat), invalid + int((~good).sum())
                ids, counts = np.unique(nested(lat[good], lon[good], 6, latitude), return_counts=True)
                for cell, count in zip(ids.tolist(), counts.tolist(), strict=True):
                    cells[cell] = cells.get(cell, 0) + count
    return Truth(rows, invalid, cells)


def planned(catalog: Catalog, **options: Any) -> Plan:
    return maggjob.plan(config(catalog.latitude), catalog=catalog, **({"store": "map.zarr"} | options))


def index_all(made: Plan, place: str = "indexes") -> Indexed:
    tasks = index_tasks(made, place, 1)
    return collect(place, tasks, [Outcome(value=index_granules(task)) for task in tasks])


def assert_same(catalog: Catalog, **options: Any) -> tuple[RunResult, RunResult]:
    """Run with indexes and without: the same Zarr, the same parts, the same ledger."""
    plain = do(catalog, "plain.zarr", index=False, **options)
    indexed = do(catalog, "indexed.zarr", index=True, **options)
    assert indexed.indexed is not None
    assert plain.indexed is None
    assert ledger(indexed) == ledger(plain)
    assert files("indexed.zarr") == files("plain.zarr")
    assert files("indexed.zarr.run/parts") == files("plain.zarr.run/parts")
    return plain, indexed


# ---- the same bytes either way


@pytest.mark.parametrize(
    "kind", [pytest.param("exact", marks=pytest.mark.dear("as wide, on a way of its own")), "wide"]
)
@pytest.mark.parametrize(
    "latitude",
    [CONVENTIONS[0], *(pytest.param(c, marks=pytest.mark.dear("the other convention")) for c in CONVENTIONS[1:])],
)
def test_the_same_bytes_with_and_without(world: World, latitude: str, kind: str) -> None:
    catalog = getattr(world, kind)[latitude]
    plain, indexed = assert_same(catalog)
    assert plain.complete
    assert indexed.indexed is not None
    assert indexed.indexed.states == {"made": len(plain.plan.used_granules)}
    used = sum(report.indexes["used"] for report in indexed.reports)
    pairs = sum(cell in catalog.cells for path in world.paths for cell in truth(path, latitude).cells)
    assert used == pairs
    assert (pairs < catalog.pairs) == (kind == "wide")
    expected = reference(world.paths, 12, latitude)
    inside = {child: values for child, values in expected.items() if child >> 12 in catalog.cells}
    values = xr.open_zarr("indexed.zarr", group="12").load()
    columns = {name: values[name].values for name in values.data_vars}
    assert differences(columns, values["cell_ids"].values.astype(np.int64), inside) == []


@pytest.mark.dear("as in this process")
def test_the_same_bytes_on_workers(world: World) -> None:
    catalog = world.wide["authalic"]
    plain = do(catalog, "plain.zarr", index=False)
    spread = do(catalog, "spread.zarr", index=True, backend="localhost", max_workers=2)
    assert spread.indexed is not None
    assert spread.indexed.states == {"made": len(world.paths)}
    assert ledger(spread) == ledger(plain)
    assert files("spread.zarr") == files("plain.zarr")


def test_the_ledger_of_a_run_says_what_h5py_says(world: World) -> None:
    catalog = world.wide["authalic"]
    some = sorted(catalog.cells)[::2]  # the others are outside
    catalog = replace(catalog, cells={cell: catalog.cells[cell] for cell in some})
    result = do(catalog, "map.zarr", index=True)
    said = {path.stem: truth(path, "authalic") for path in world.paths}
    used = [said[granule.id] for granule in planned(catalog).used_granules]
    tally = result.tally
    inside = sum(t.cells.get(cell, 0) for t in used for cell in some)
    assert tally.segments["rows"] == sum(t.rows for t in used)
    assert tally.segments["invalid_coordinate"] == sum(t.invalid for t in used)
    assert tally.segments["outside"] == sum(t.rows - t.invalid for t in used) - inside
    empty = sum(not any(cell in t.cells for t in used) for cell in some)
    assert (tally.cells["empty"], tally.cells["complete"]) == (empty, len(some) - empty)
    assert empty > 0
    assert tally.granules["no_overlap"] == sum(not t.cells.keys() & set(some) for t in used)


# ---- the exact plan


@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_the_exact_plan_is_what_h5py_says(world: World, latitude: str) -> None:
    catalog = world.wide[latitude]
    made = planned(catalog)
    indexed = index_all(made)
    exact = exact_plan(made, indexed)
    said = [truth(world.paths[i], latitude) for i in range(len(world.paths))]
    assert [g.id for g in catalog.granules] == [path.stem for path in world.paths]
    for cell in made.cells:
        true = [i for i in catalog.cells[cell] if cell in said[i].cells]
        assert list(exact.plan.catalog.cells[cell]) == true
        assert exact.plan.rows is not None
        assert exact.plan.rows[cell] == sum(said[i].cells[cell] for i in true)
        assert exact.plan.load(cell).rows == exact.plan.rows[cell]
        lost = [catalog.granules[i].id for i in catalog.cells[cell] if i not in true]
        assert [report.id for report in exact.no_overlap.get(made.task_id(cell), ())] == lost
    assert sum(map(len, exact.no_overlap.values())) == made.pairs - exact.plan.pairs > 0
    for path, t in zip(world.paths, said, strict=True):
        granule = indexed.granules[path.stem]
        assert (granule.rows, granule.invalid, granule.cells) == (t.rows, t.invalid, t.cells)
        reports = [r for lost in exact.no_overlap.values() for r in lost if r.id == path.stem]
        assert {(r.state, r.rows, r.invalid_coordinate, r.in_cell) for r in reports} <= {
            ("no_overlap", t.rows, t.invalid, 0)
        }
    assert exact.added == 0
    assert exact.plan.digest == made.digest
    rows = exact.plan.rows
    assert list(exact.plan.cells) == sorted(made.cells, key=lambda cell: (-rows[cell], cell))


@pytest.mark.dear("a whole run")
def test_a_pair_that_the_catalog_lacks_is_added(world: World) -> None:
    catalog = world.exact["authalic"]
    cell = max(catalog.cells, key=lambda c: len(catalog.cells[c]))
    gone = next(i for i in catalog.cells[cell] if sum(i in g for g in catalog.cells.values()) > 1)
    fewer = tuple(i for i in catalog.cells[cell] if i != gone)
    lacking = replace(catalog, cells={**catalog.cells, cell: fewer})
    rows = truth(world.paths[gone], "authalic").cells[cell]
    whole = do(catalog, "whole.zarr", index=False)
    plain = do(lacking, "plain.zarr", index=False)
    indexed = do(lacking, "indexed.zarr", index=True)
    assert plain.tally.segments["outside"] == whole.tally.segments["outside"] + rows
    assert ledger(indexed) == ledger(whole)
    made = planned(lacking)
    exact = exact_plan(made, index_all(made))
    assert exact.added == 1
    assert exact.plan.digest == planned(catalog).digest != made.digest
    assert files("indexed.zarr") == files("whole.zarr")


@st.composite
def plans(draw: st.DrawFn) -> tuple[Plan, Indexed]:
    """A catalog of a few granules and cells, and what was found in each granule."""
    count = draw(st.integers(1, 5))
    names = [f"granule{i}" for i in range(count)]
    some = draw(st.lists(st.integers(0, 49151), min_size=1, max_size=6, unique=True))
    listed = st.lists(st.integers(0, count - 1), max_size=count, unique=True).map(lambda found: tuple(sorted(found)))
    cells = {cell: draw(listed) for cell in some}
    if not any(cells.values()):
        cells[some[0]] = (0,)
    entries = tuple(Entry(name, {"file": f"/{name}.h5"}, rows=draw(st.one_of(st.none(), st.just(9)))) for name in names)
    catalog = Catalog(entries, cells, 6, "authalic")
    chosen = draw(st.lists(st.sampled_from(some), min_size=1, unique=True))
    made = Plan(config(), catalog, tuple(chosen), "file", "all", "map.zarr")
    everywhere = st.dictionaries(st.sampled_from([*some, 49153]), st.integers(1, 1000))
    granules = {}
    for granule in made.used_granules:
        inside = draw(everywhere)
        state = draw(st.sampled_from(("made", "there", "failed")))
        invalid = draw(st.integers(0, 3))
        good = IndexedGranule(granule.id, state, sum(inside.values()) + invalid, invalid, {"gt1l": "read"}, inside)
        granules[granule.id] = good if state != "failed" else IndexedGranule(granule.id, state, reason="truncated")
    return made, Indexed("indexes", granules)


@many
@given(plans())
def test_any_exact_plan_has_all_true_pairs_and_no_other(of: tuple[Plan, Indexed]) -> None:
    made, indexed = of
    exact = exact_plan(made, indexed)
    names = [g.id for g in made.catalog.granules]
    known = {name: g for name, g in indexed.granules.items() if g.state != "failed"}
    before = {(names[i], cell) for cell in made.cells for i in made.catalog.cells[cell]}
    after = {(names[i], cell) for cell in exact.plan.cells for i in exact.plan.catalog.cells[cell]}
    true = {(name, cell) for name, g in known.items() for cell in g.cells if cell in made.cells}
    assert after == true | {(name, cell) for name, cell in before if name not in known}
    cell_of = {exact.plan.task_id(cell): cell for cell in exact.plan.cells}
    lost = [(report.id, cell_of[name]) for name, reports in exact.no_overlap.items() for report in reports]
    assert len(lost) == len(set(lost))
    assert set(lost) == before - after
    assert {report.state for reports in exact.no_overlap.values() for report in reports} <= {"no_overlap"}
    assert exact.added == len(after - before)
    assert sorted(exact.plan.cells) == sorted(made.cells)
    rows = {cell: sum(g.cells.get(cell, 0) for g in known.values()) for cell in made.cells}
    assert exact.plan.rows == rows
    assert list(exact.plan.cells) == sorted(made.cells, key=lambda cell: (-rows[cell], cell))
    assert (exact.plan.digest == made.digest) == (not exact.added)
    for name, granule in known.items():  # each segment is somewhere, once
        inside = sum(granule.cells[cell] for other, cell in after if other == name)
        outside = sum(count for cell, count in granule.cells.items() if cell not in made.cells)
        assert inside + outside + granule.invalid == granule.rows
    assert all(list(positions) == sorted(set(positions)) for positions in exact.plan.catalog.cells.values())
    untouched = made.catalog.cells.keys() - set(made.cells)
    assert all(exact.plan.catalog.cells[cell] == made.catalog.cells[cell] for cell in untouched)


@pytest.mark.dear("a whole run")
def test_a_cell_of_false_pairs_alone_ends_empty(world: World) -> None:
    """This holds for the last cell of the list of granules, and if no cell has any."""
    catalog = world.exact["authalic"]
    for cells in ({**catalog.cells, 30000: (0, 2)}, {30000: (0, 2), 30001: (1,)}):
        plain, indexed = assert_same(replace(catalog, cells=cells), overwrite=True)
        states = {r.cell: r.state for r in indexed.reports}
        assert states[format_cell(30000, 6)] == "empty"
        assert indexed.complete
        assert plain.tally.granules["no_overlap"] == (0 if len(cells) > 2 else 3)


def test_the_totals_of_a_run_are_those_of_its_ledger(world: World) -> None:
    """A granule that lies in no planned cell was planned, and is in the ledger: it is not gone from the totals."""
    catalog = world.exact["authalic"]
    cell, away = next((c, i) for c, g in catalog.cells.items() for i in range(len(world.paths)) if i not in g)
    catalog = replace(catalog, cells={cell: tuple(sorted({*catalog.cells[cell], away}))})
    for index in (False, True):
        plain = do(catalog, f"{index}.zarr", index=index).to_dict()
        assert plain["granules"]["no_overlap"] == 1
        assert plain["total_granules"] == sum(plain["granules"].values()) == len(catalog.cells[cell])
        assert plain["total_pairs"] == catalog.pairs


# ---- tasks and answers of the first map


@pytest.mark.parametrize(("granules", "workers"), [(1, 1), (3, 8), (64, 1), (500, 2), (4000, 2)])
def test_every_granule_is_in_one_index_task(granules: int, workers: int) -> None:
    entries = tuple(Entry(f"granule{i:04d}", {"file": f"/{i}.h5"}, 100 + i) for i in range(granules + 1))
    catalog = Catalog(entries, {5: tuple(range(1, granules + 1)), 6: (1,), 7: (0,)}, 6, "authalic")
    made = Plan(config(), catalog, (5, 6), "file", "all", "map.zarr")
    tasks = index_tasks(made, "place", workers, "private", "us-west-2")
    order = order_granules([entry.id for entry in entries], [{5: catalog.cells[5], 6: catalog.cells[6]}])
    assert [g for task in tasks for g in task.granules] == [entries[i].granule("file") for i in order]
    assert sorted(order) == list(range(1, granules + 1))
    assert len({task.id for task in tasks}) == len(tasks)
    sizes = [len(task.granules) for task in tasks]
    assert max(sizes) <= pack_size(granules, workers)
    assert max(sizes) - min(sizes) <= 1
    assert granules < LEAST * workers or len(tasks) >= workers
    assert {(t.indexes, t.credentials, t.region) for t in tasks} == {("place", "private", "us-west-2")}


def test_a_call_that_comes_to_nothing_fails_its_granules() -> None:
    granules = tuple(maggjob.Granule(name, f"/{name}.h5") for name in "abcd")
    tasks = [IndexTask(str(i), config().recipe(), granules[2 * i : 2 * i + 2], "place") for i in range(2)]
    answer = IndexReport(
        "0", (IndexedGranule("a", "made"), IndexedGranule("b", "failed", reason="x")), None, None, 2.0, 10, 3, 7
    )
    found = collect("place", tasks, [Outcome(value=answer), Outcome(reason="died", message="it is gone")])
    assert found.states == {"failed": 3, "made": 1}
    assert [found.granules[n].reason for n in "abcd"] == [None, "x", "died", "died"]
    assert found.granules["c"].message == "it is gone"
    assert (found.worker_time_s, found.bytes_read, found.requests, found.peak_memory) == (2.0, 10, 3, 7)
    refused = IndexReport("1", (), "store", "cannot open place")
    found = collect("place", tasks, [Outcome(value=answer), Outcome(value=refused)])
    assert [found.granules[n].reason for n in "cd"] == ["store", "store"]
    elsewhere = replace(tasks[0], granules=GranuleList("list", 0, 1))
    with pytest.raises(LedgerError, match="does not hold its granules"):
        collect("place", [elsewhere], [Outcome(reason="died")])


# ---- indexes are kept, and made anew when they must be


@pytest.fixture
def copies(world: World, tmp_path: Path) -> list[Path]:
    """The granules, to be damaged."""
    (tmp_path / "granules").mkdir()
    return [Path(shutil.copy2(path, tmp_path / "granules" / path.name)) for path in world.paths]


def listed(paths: Sequence[Path], world: World) -> Catalog:
    """Return the catalog from footprints, with URLs of the copies."""
    return with_files(world.wide["authalic"], paths)


def test_a_second_run_uses_the_indexes_of_the_first(world: World) -> None:
    catalog = world.wide["authalic"]
    first, second = (do(catalog, f"{n}.zarr", index=True) for n in (1, 2))
    assert first.indexed is not None
    assert second.indexed is not None
    before = files("indexes")
    count = len(world.paths)
    assert len(stored_indexes("indexes")) == count
    assert (first.indexed.states, second.indexed.states) == ({"made": count}, {"there": count})
    assert second.indexed.requests == count  # the first bytes of each, which tell its ETag
    assert second.indexed.bytes_read <= count * 65536 < first.indexed.bytes_read
    assert files("1.zarr") == files("2.zarr")
    assert files("indexes") == before
    assert len(before) == len(packs("indexes")) == 1
    fewer = do(catalog, "3.zarr", index=True, max_cells=2)
    assert fewer.indexed is not None
    assert set(fewer.indexed.states) == {"there"}


@dataclass
class Versions:
    """A server of one file, which changes."""

    content: bytes
    etag: str | None

    def answer(self, request: Request) -> None:
        start, stop = request.range(len(self.content))
        headers = {"Content_Range": f"bytes {start}-{stop - 1}/{len(self.content)}"}
        request.reply(206, self.content[start:stop], **headers | ({"ETag": self.etag} if self.etag else {}))


def two_versions(folder: Path) -> list[bytes]:
    """A granule twice, of one size, with other heights and other places."""
    made = []
    options = {
        name: {"chunks": (20,)}
        for name in ("latitude", "longitude", "h_li", "h_li_sigma", "atl06_quality_summary", "delta_time")
    }
    for seed, south in ((1, -75.0), (2, -76.1)):
        values = {"gt1l": beam(120, seed=seed, south=south, step=1.6e-2)}
        path = write_granule(folder / "ATL06_20190222031203_08500211_006_01.h5", values, options=options)
        made.append(path.read_bytes())
    assert len(made[0]) == len(made[1])
    assert made[0] != made[1]
    return made


@pytest.mark.dear("a whole run per case", keep=("etags0",))
@pytest.mark.parametrize("etags", [('"one"', '"two"'), (None, None), (None, '"two"')])
def test_a_granule_of_a_server_that_changed_is_noticed(tmp_path: Path, etags: tuple[str | None, str | None]) -> None:
    """A server that gives no ETag cannot tell: what has only its size to go by is not taken for the same."""
    old, new = two_versions(tmp_path)
    path = tmp_path / "ATL06_20190222031203_08500211_006_01.h5"
    path.write_bytes(new)
    catalog = maggjob.make_catalog(str(path), config())
    catalog = replace(catalog, cells=dict.fromkeys(catalog.cells, (0,)))
    versions = Versions(old, etags[0])
    with server(versions.answer) as there:
        url = {"https": there.url(f"/{path.name}")}
        catalog = replace(catalog, granules=(replace(catalog.granules[0], urls=url),))
        first = do(catalog, "first.zarr", index=True)
        versions.content, versions.etag = new, etags[1]
        plain, indexed = assert_same(catalog)
    assert plain.tally.observations != first.tally.observations or files("first.zarr") != files("plain.zarr")
    assert indexed.indexed is not None
    assert indexed.indexed.states == {"made": 1}


@pytest.mark.dear("whole runs")
def test_a_file_that_was_rewritten_is_noticed(tmp_path: Path) -> None:
    old, new = two_versions(tmp_path)
    path = tmp_path / "ATL06_20190222031203_08500211_006_01.h5"
    path.write_bytes(old)
    catalog = maggjob.make_catalog(str(path), config())
    do(catalog, "first.zarr", index=True)
    path.write_bytes(new)  # of the same name and size
    fresh = maggjob.make_catalog(str(path), config())
    assert fresh.granules == replace(catalog, granules=fresh.granules).granules
    _, indexed = assert_same(fresh)
    assert indexed.indexed is not None
    assert indexed.indexed.states == {"made": 1}
    assert indexed.complete
    assert files("first.zarr") != files("indexed.zarr")
    longer = {"gt1l": beam(300, seed=3, step=1.6e-2), "gt3r": beam(40)}
    write_granule(path, longer)
    _, again = assert_same(maggjob.make_catalog(str(path), config()), overwrite=True)
    assert again.indexed is not None
    assert again.indexed.states == {"made": 1}


@pytest.mark.dear("whole runs")
def test_damaged_indexes_are_made_anew(world: World) -> None:
    catalog = world.wide["authalic"]
    good = do(catalog, "good.zarr", index=True)
    stored = stored_indexes("indexes")
    names = list(stored)
    changes: list[Callable[[bytes], bytes]] = [
        lambda c: c[: len(c) // 2] + bytes([c[len(c) // 2] ^ 4]) + c[len(c) // 2 + 1 :],
        lambda c: c[:-9],
        lambda c: b"",
        lambda c: stored[names[4]],  # of another granule
    ]
    for name, change in zip(names, changes, strict=False):
        change_index("indexes", name, change)
    assert len(packs("indexes")) == 1
    again = do(catalog, "again.zarr", index=True)
    assert again.indexed is not None
    assert again.indexed.states == {"made": 4, "there": len(names) - 4}
    assert (files("again.zarr"), ledger(again)) == (files("good.zarr"), ledger(good))
    # What was made is in a second pack, which later runs prefer; the first is left as it is.
    assert len(packs("indexes")) == 2
    third = do(catalog, "third.zarr", index=True)
    assert third.indexed is not None
    assert third.indexed.states == {"there": len(names)}
    assert [report.indexes for report in third.reports] == [report.indexes for report in good.reports]
    assert files("third.zarr") == files("good.zarr")
    assert len(packs("indexes")) == 2


@pytest.mark.dear("a whole run per kind of damage", keep=("<lambda>0",))
@pytest.mark.parametrize("damage", [lambda c: c[:30], lambda c: b"", lambda c: c[:20] + b"?" + c[21:]])
def test_a_pack_whose_directory_is_damaged_is_written_again(world: World, damage: Callable[[bytes], bytes]) -> None:
    catalog = world.wide["authalic"]
    good = do(catalog, "good.zarr", index=True)
    before = files("indexes")
    (pack,) = packs("indexes")
    pack.write_bytes(damage(pack.read_bytes()))
    again = do(catalog, "again.zarr", index=True)
    assert again.indexed is not None
    assert again.indexed.states == {"made": len(world.paths)}
    assert files("indexes") == before  # the same indexes are the same pack
    assert (files("again.zarr"), ledger(again)) == (files("good.zarr"), ledger(good))


def single_indexes(folder: str) -> None:
    """Store each index as an object of its own, as maggjob did before it packed them; the packs go."""
    sizes = {path.name.removesuffix(".h5"): path.stat().st_size for path in Path(folder).parent.rglob("*.h5")}
    for name, content in stored_indexes(folder).items():
        (pack, *_) = packs(folder)
        (pack.parent / f"{name}.{sizes[name]}.idx").write_bytes(content)
    for pack in packs(folder):
        pack.unlink()


@pytest.mark.dear("whole runs")
def test_indexes_that_are_objects_of_their_own_are_used_and_packed(world: World, copies: list[Path]) -> None:
    """Earlier versions stored them so."""
    catalog = listed(copies, world)
    good = do(catalog, "good.zarr", index=True)
    before = files("indexes")
    single_indexes("indexes")
    singles = files("indexes")
    assert len(singles) == len(copies)
    damaged = Path("indexes") / min(singles)
    damaged.write_bytes(damaged.read_bytes()[:100])
    again = do(catalog, "again.zarr", index=True)
    assert again.indexed is not None
    assert again.indexed.states == {"made": 1, "there": len(copies) - 1}
    assert again.indexed.bytes_read < good.to_dict()["bytes_read"]
    assert (files("again.zarr"), ledger(again)) == (files("good.zarr"), ledger(good))
    assert before.items() <= files("indexes").items()
    third = do(catalog, "third.zarr", index=True)
    assert third.indexed is not None
    assert third.indexed.states == {"there": len(copies)}
    assert set(third.indexed.places.values()) == set(before)


def test_single_indexes_serve_where_no_pack_can_be_written(
    world: World, copies: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = listed(copies, world)
    good = do(catalog, "good.zarr", index=True)
    single_indexes("indexes")
    before = files("indexes")
    put = Folder.put

    def refuse(folder: Folder, key: str, content: bytes) -> None:
        if key.endswith(".pack"):
            raise StoreError(f"cannot write {key}: denied")
        put(folder, key, content)

    monkeypatch.setattr(Folder, "put", refuse)
    again = do(catalog, "again.zarr", index=True)
    assert again.indexed is not None
    assert again.indexed.states == {"there": len(copies)}
    used = [report.indexes for report in again.reports]
    assert used == [report.indexes for report in good.reports]
    assert [report.index_requests for report in again.reports] == [one["used"] for one in used]
    assert (files("again.zarr"), files("indexes")) == (files("good.zarr"), before)


@pytest.mark.dear("two whole runs")
def test_a_run_over_more_granules_makes_only_the_missing_indexes(world: World) -> None:
    whole = world.exact["authalic"]
    cell = min(whole.cells, key=lambda c: (len(whole.cells[c]), c))
    few = do(whole, "few.zarr", index=True, morton_cell=format_cell(cell, 6))
    before = files("indexes")
    count = len(few.plan.used_granules)
    assert 0 < count < len(world.paths)
    result = do(whole, "whole.zarr", index=True)
    assert result.indexed is not None
    assert result.indexed.states == {"made": len(world.paths) - count, "there": count}
    assert before.items() <= files("indexes").items()
    assert len(packs("indexes")) == 2
    assert files("whole.zarr") == files(do(whole, "plain.zarr", index=False).store_path)


def test_the_summary_says_why_no_stored_index_is_known(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = world.exact["authalic"]
    do(catalog, "first.zarr", index=True)

    times = Folder.times

    def refuse(folder: Folder, prefix: str = "") -> Any:
        if folder.url == "indexes":
            raise StoreError(f"cannot list indexes/{prefix}: denied")
        return times(folder, prefix)

    monkeypatch.setattr(Folder, "times", refuse)
    again = do(catalog, "again.zarr", index=True)
    assert again.indexed is not None
    assert again.indexed.states == {"made": len(world.paths)}
    assert "cannot list indexes/" in summary(again.to_dict())
    assert files("again.zarr") == files("first.zarr")


def test_an_index_that_is_damaged_between_the_maps_is_refused(world: World) -> None:
    """Its granule is read without the index, and the cell says so."""
    catalog = world.exact["authalic"]
    good = do(catalog, "good.zarr", index=True)
    for name in stored_indexes("indexes"):
        change_index("indexes", name, lambda content: content[:100])
    assert good.indexed is not None
    made = make_tasks(planned(catalog), indexes="indexes", places=good.indexed.places)
    reports = {r.cell: r for t in made for r in map_cells(CellBatch((t,)))}
    for report in good.reports:
        other = reports[report.cell]
        assert other.indexes["refused"] == len(other.granules) == report.indexes["used"]
        assert (other.segments, other.granules) == (report.segments, report.granules)
        assert "cut short" in other.index_problems[0]


# ---- what goes wrong


@pytest.mark.dear("a whole run per case", keep=("file",))
@pytest.mark.parametrize("where", ["file", "file/below"])
def test_indexes_that_cannot_be_written_are_done_without(world: World, where: str) -> None:
    """The run is as complete as it is without indexes, and says why it has none."""
    Path("file").write_text("in the way")
    catalog = world.exact["authalic"]
    plain = do(catalog, "plain.zarr", index=False)
    result = do(catalog, "map.zarr", index=True, indexes=where)
    assert result.tally.cells == plain.tally.cells
    assert result.complete
    assert ledger(result) == ledger(plain)
    assert files("map.zarr") == files("plain.zarr")
    assert result.indexed is not None
    assert result.indexed.states == {"failed": len(world.paths)}
    assert {g.reason for g in result.indexed.granules.values()} == {"store"}
    assert f"{len(world.paths)} failed" in summary(result.to_dict())
    assert f"cannot open {where}" in summary(result.to_dict())  # it is not kept from the user


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def gone(path: Path) -> None:
    path.unlink()


def no_hdf5(path: Path) -> None:
    path.write_bytes(b"<html>" + path.read_bytes()[6:])


def without(name: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            group = next(group for group in BEAMS if group in file)
            del file[group][SEGMENTS][name]

    return edit


def poisoned(name: str) -> Callable[[Path], None]:
    """Overwrite the chunks of a dataset in every beam; the file keeps its size."""

    def edit(path: Path) -> None:
        with h5py.File(path) as file:
            tables = [file[group][SEGMENTS][name].id for group in BEAMS if group in file]
            places = [table.get_chunk_info(n) for table in tables for n in range(table.get_num_chunks())]
        content = bytearray(path.read_bytes())
        for place in places:
            content[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
        path.write_bytes(content)

    return edit


DAMAGE = {
    "truncated": truncated,
    "gone": gone,
    "no HDF5": no_hdf5,
    "no latitude": without("latitude"),
    "no heights": without("h_li"),
    "latitude poisoned": poisoned("latitude"),
    "heights poisoned": poisoned("h_li"),
    "quality poisoned": poisoned("atl06_quality_summary"),
    "times poisoned": poisoned("delta_time"),
    "no times": without("delta_time"),
}


SOME_BETWEEN = ("gone", "truncated", "latitude poisoned", "heights poisoned", "no times")
every_damage = pytest.mark.dear("each damage at both moments; make test has each of them before, five of them between")


@pytest.mark.dear("fifteen kinds of damage; tests of the reader have them, too")
@pytest.mark.parametrize(
    ("when", "damage"),
    [
        *(("before", damage) for damage in DAMAGE),
        *(pytest.param("between", damage, marks=[] if damage in SOME_BETWEEN else [every_damage]) for damage in DAMAGE),
    ],
)
def test_a_damaged_granule_is_the_same_in_the_ledger(world: World, copies: list[Path], damage: str, when: str) -> None:
    """This holds whether its index was made before the damage, or could not be made after it."""
    catalog = listed(copies, world)
    said = [truth(path, "authalic").cells for path in copies]
    true = max(said[0], key=lambda c: sum(c in cells for cells in said))
    false = next(c for c, g in catalog.cells.items() if 0 in g and c not in said[0])
    cells = {true: catalog.cells[true], false: catalog.cells[false], 30000: (0,)}
    catalog = replace(catalog, cells=cells)
    if when == "between":
        do(catalog, "before.zarr", index=True)
    size = copies[0].stat().st_size
    DAMAGE[damage](copies[0])
    if copies[0].exists() and copies[0].stat().st_size != size and damage.startswith("no "):
        entries = [replace(g, size=copies[i].stat().st_size) for i, g in enumerate(catalog.granules)]
        catalog = replace(catalog, granules=tuple(entries))
    plain, indexed = assert_same(catalog)
    good = damage == "no times"
    assert plain.complete == good
    assert plain.tally.granules["failed"] == (0 if good else 1)
    if not good:
        (known,) = plain.tally.errors.values()
        (other,) = indexed.tally.errors.values()
        assert [e["what"].split()[0] for e in known["examples"]] == [copies[0].stem] * len(known["examples"])
        if known["count"] <= 5:
            assert {e["message"] for e in known["examples"]} == {e["message"] for e in other["examples"]}


def test_a_cell_of_one_damaged_granule_and_false_pairs_has_one_state(world: World, copies: list[Path]) -> None:
    """It is failed or partial, but the same with and without indexes: the pair that is none was not read."""
    catalog = listed(copies, world)
    said = [truth(path, "authalic") for path in copies]
    cell, one = next(
        (c, i) for i, t in enumerate(said) for c in t.cells if sum(c in other.cells for other in said) == 1
    )
    other = next(i for i in range(len(said)) if i != one)
    catalog = replace(catalog, cells={**catalog.cells, cell: tuple(sorted((one, other)))})
    poisoned("h_li")(copies[one])
    _, indexed = assert_same(catalog)
    (report,) = [r for r in indexed.reports if r.cell == format_cell(cell, 6)]
    assert {g.id: g.state for g in report.granules} == {copies[one].stem: "failed", copies[other].stem: "no_overlap"}


def raises(batch: WireTask) -> IndexReport:
    """A call that fails before there is a folder for the indexes."""
    raise RuntimeError(batch.own[0])


@pytest.mark.dear("a whole run")
def test_without_any_answer_of_the_first_map_the_second_is_complete(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = world.wide["authalic"]
    plain = do(catalog, "plain.zarr", index=False)
    monkeypatch.setattr("maggjob.pipeline.index_stage.index_call", raises)
    result = do(catalog, "map.zarr", index=True)
    assert result.indexed is not None
    assert result.indexed.states == {"failed": len(world.paths)}
    assert {g.reason for g in result.indexed.granules.values()} == {"worker"}
    assert result.complete
    assert ledger(result) == ledger(plain)
    assert files("map.zarr") == files("plain.zarr")


def fail() -> None:
    """Die, or raise: as the environment says."""
    if os.environ["FAULT"] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError("a fault")


def index_or_fail(batch: WireTask) -> IndexReport:
    """Fail in the call that the environment names."""
    if batch.own[0] == os.environ["FAILS_INDEXING"]:
        fail()
    return index_call(batch)


def map_or_fail(batch: WireTask) -> tuple[CellReport, ...]:
    """Fail with the call that holds the cell which the environment names."""
    # The id of a quarter begins with that of its cell.
    if any(cell.startswith(os.environ["FAILS"]) for _, cells in batch.own for cell, *_ in cells):
        fail()
    return map_call(batch)


@pytest.mark.parametrize(
    ("fault", "backend"),
    [
        ("raises", "serial"),
        pytest.param(
            "dies",
            "localhost",
            marks=pytest.mark.dear("workers die in both maps, with fresh processes; make test lets the calls raise"),
        ),
    ],
)
def test_calls_that_fail(world: World, monkeypatch: pytest.MonkeyPatch, fault: str, backend: str) -> None:
    """If an index call fails, its granules are read without index; if a call of the map fails, all of its cells do."""
    exact, wide = world.exact["authalic"].cells, world.wide["authalic"].cells
    some = [*sorted(exact.keys() & wide.keys())[:3], max(wide)]
    catalog = replace(world.wide["authalic"], cells={cell: wide[cell] for cell in some})
    plain = {r.cell: r for r in do(catalog, "plain.zarr", index=False).reports}
    made = planned(catalog)
    monkeypatch.setattr("maggjob.planning.packs.pack_size", lambda *_: 2)
    last = index_tasks(made, "indexes", 2)[-1]
    for name, value in (("FAULT", fault), ("FAILS_INDEXING", last.id), ("FAILS", format_cell(max(catalog.cells), 6))):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("maggjob.pipeline.index_stage.index_call", index_or_fail)
    monkeypatch.setattr("maggjob.pipeline.map_stage.map_call", map_or_fail)
    seen: dict[int, Outcome[CellReport]] = {}
    result = do(catalog, "map.zarr", index=True, backend=backend, max_workers=2, watch=seen.__setitem__)
    assert result.indexed is not None
    failed = {granule.id for granule in last.granules}
    assert 0 < len(failed) < len(made.used_granules)
    assert {name for name, granule in result.indexed.granules.items() if granule.state == "failed"} == failed
    assert result.indexed.states == {"failed": len(failed), "made": len(made.used_granules) - len(failed)}
    dead = [r for r in result.reports if r.state == "failed"]
    assert os.environ["FAILS"] in {r.cell for r in dead}
    assert 1 <= len(dead) < len(result.reports)
    reason = "memory" if fault == "dies" else "worker"
    assert all(r.reason == reason and r.message for r in dead)
    assert sorted(seen) == list(range(len(result.reports)))
    assert result.tally.cells["failed"] == len(dead) == sum(o.value is None for o in seen.values())
    assert {reason: error["count"] for reason, error in result.tally.errors.items()} == {reason: len(dead)}
    for report in result.reports:
        names = {catalog.granules[i].id for i in catalog.cells[parse_cell(report.cell, 6)]}
        assert {g.id for g in report.granules} == names
        if report not in dead:
            other = plain[report.cell]
            assert (report.state, report.segments, report.time) == (other.state, other.segments, other.time)
    tally = result.tally
    assert tally.segments["rows"] == sum(n for state, n in tally.segments.items() if state != "rows")


# ---- when, and where


def test_indexes_are_made_when_they_pay(world: World, apart: Path) -> None:
    entries = tuple(Entry(f"granule{i}", {"file": f"/{i}.h5"}) for i in range(3))
    for pairs, pays in ((5, False), (6, True), (7, True)):
        cells = {cell: tuple(range(min(3, pairs - 3 * cell))) for cell in range(-(-pairs // 3))}
        made = Plan(config(), Catalog(entries, cells, 6, "authalic"), tuple(cells), "file", "all", "map.zarr")
        assert (made.pairs, made.worth_index) == (pairs, pays) == (pairs, pairs >= INDEX_PAYS * 3)
        assert made.to_dict()["index"] is pays
        assert f"indexes       {'built' if pays else 'none'}: {pairs / 3:.1f} cells per granule" in plan_text(made)
        assert made.estimate == made.expected(indexed=pays)
        assert made.expected(indexed=True).index_time_s > 0
        assert made.expected(indexed=False).index_time_s == 0
    catalog = world.exact["authalic"]
    cell = max(catalog.cells, key=lambda c: len(catalog.cells[c]))
    one = do(catalog, "one.zarr", indexes=None, morton_cell=format_cell(cell, 6))
    assert one.indexed is None
    assert not apart.exists()
    every = do(catalog, "every.zarr", indexes=None)
    assert planned(catalog).worth_index
    assert every.indexed is not None
    assert every.indexed.place == str(apart)
    assert len(stored_indexes(apart)) == len(world.paths)
    assert do(catalog, "forced.zarr", indexes=None, index=True, max_cells=1).indexed is not None


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["maggjob", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.dear("a whole run")
def test_the_command_line_has_the_last_word(
    world: World, apart: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.exact["authalic"].write("catalog.json")
    common = ("run", "--config", "atl06.yaml", "--backend", "serial", "--store")
    assert typed(monkeypatch, *common, "plain.zarr", "--no-index") == 0
    assert "\nindexes " not in capsys.readouterr().out
    assert not apart.exists()
    assert typed(monkeypatch, *common, "here.zarr", "--indexes", "mine") == 0
    assert f"indexes       {len(world.paths)} made, in " in (said := capsys.readouterr().out)
    assert ", at mine\n" in said
    assert not apart.exists()
    assert typed(monkeypatch, *common, "cache.zarr", "--index") == 0
    assert f"at {apart}" in capsys.readouterr().out
    assert files("plain.zarr") == files("here.zarr") == files("cache.zarr")


def test_the_place_of_indexes() -> None:
    def place(store: str | None) -> str:
        made = Plan(config(), Catalog((), {}, 6, "authalic"), (), "file", "all", store)
        return default_indexes(made)

    assert place("s3://bucket/some/map.zarr") == "s3://bucket/some/maggjob-index"
    assert place("s3://bucket/map.zarr/") == "s3://bucket/maggjob-index"
    assert place("map.zarr") == place(None) == place("/else/where.zarr") == os.environ["MAGGJOB_CACHE"] + "/index"


@pytest.mark.dear("runs into a bucket, as in tests/aws")
def test_in_a_bucket_indexes_lie_beside_the_store(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = world.wide["authalic"]
    cells = {**catalog.cells, 30000: (0, 1)}  # of false pairs alone
    catalog = replace(catalog, cells=cells)
    plain = do(catalog, "plain.zarr", index=False)
    with s3_server("ours") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        first = do(catalog, "s3://ours/below/map.zarr", indexes=None, index=True)
        again = do(catalog, "s3://ours/below/map.zarr", indexes=None, index=True, overwrite=True)
        place = Folder("s3://ours/below")
        stored = {k.removeprefix("map.zarr/"): place.get(k) for k in place.keys("map.zarr")}
        indexes = place.keys("maggjob-index")
    assert len(indexes) == 1
    assert all(key.endswith(".pack") for key in indexes)
    count = len(world.paths)
    assert first.indexed is not None
    assert again.indexed is not None
    assert (first.indexed.states, again.indexed.states) == ({"made": count}, {"there": count})
    assert first.indexed.place == "s3://ours/below/maggjob-index"
    assert first.complete
    assert ledger(first) == ledger(again) == ledger(plain)
    assert stored == files("plain.zarr")


@pytest.mark.dear("several whole runs whose requests are counted")
def test_requests_for_indexes_are_those_of_the_plan(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each cell, and each quarter of a cell, reads each of its packs once; each pack is written once."""
    seen: list[tuple[str, str]] = []

    def log(handler: WSGIRequestHandler, code: Any = "-", size: Any = "-") -> None:
        if "maggjob-index" in handler.path:
            seen.append((handler.command, handler.path.partition("?")[0]))

    catalog = world.wide["authalic"]
    some = sorted(world.exact["authalic"].cells.keys() & catalog.cells.keys(), key=lambda c: -len(catalog.cells[c]))[:4]
    catalog = replace(catalog, cells={cell: catalog.cells[cell] for cell in some})
    monkeypatch.setattr(WSGIRequestHandler, "log_request", log)
    monkeypatch.setattr("maggjob.planning.packs.pack_size", lambda *_: 2)
    monkeypatch.setattr("maggjob.planning.division.is_hot", lambda takes, total, workers: takes > total / 4)
    with s3_server("ours") as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        result = do(catalog, "s3://ours/map.zarr", indexes=None, index=True)
        first, asked = Counter(seen), list(seen)
        seen.clear()
        again = do(catalog, "s3://ours/map.zarr", indexes=None, index=True, overwrite=True)
    assert result.indexed is not None
    made = planned(catalog)
    exact = exact_plan(made, result.indexed).plan
    names = [entry.id for entry in catalog.granules]
    packed = cut_packs(order_granules(names, [catalog.cells]), 1)
    assert len(packed) == 3
    seconds = exact.seconds(indexed=True)
    pieces = [4 if takes > sum(seconds) / 4 else 1 for takes in seconds]
    assert 0 < pieces.count(4) == result.cells_in_quarters < len(pieces)
    reads = pack_reads(packed, [{cell: exact.catalog.cells[cell] for cell in exact.cells}], pieces)
    assert sum(report.index_requests for report in result.reports) == reads
    gets = {path: count for (command, path), count in first.items() if command == "GET" and path.endswith(".pack")}
    puts = {path: count for (command, path), count in first.items() if command == "PUT"}
    assert (len(gets), sum(gets.values())) == (3, reads)
    assert puts == dict.fromkeys(gets, 1)
    # Nothing else is asked for, but which indexes there are.
    assert len(asked) == reads + 3 + 1
    # The second run finds the packs by one list, and the index stage reads each of them once.
    assert again.indexed is not None
    assert again.indexed.states == {"there": len(world.paths)}
    assert {command for command, _ in seen} == {"GET"}
    assert len(seen) == reads + 3 + 1


@pytest.mark.dear("two runs over https")
def test_granules_over_https_are_read_less_with_indexes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over loopback and with false pairs the bytes are the same, and with indexes no coordinate is read."""
    contents = {f"/{path.name}": path.read_bytes() for path in world.paths}

    def answer(request: Request) -> None:
        content = contents[request.key]
        start, stop = request.range(len(content))
        headers = {"Content_Range": f"bytes {start}-{stop - 1}/{len(content)}", "ETag": f'"{len(content)}"'}
        request.reply(206, content[start:stop], **headers)

    with server(answer) as there:
        catalog = world.wide["authalic"]
        entries = [replace(g, urls={"https": there.url(f"/{g.id}.h5")}) for g in catalog.granules]
        exact = world.exact["authalic"].cells
        most = sorted(exact, key=lambda c: -len(exact[c]))[:2]
        cells = {cell: exact[cell][:3] for cell in most} | {30000: exact[most[0]][:3]}
        catalog = replace(catalog, granules=tuple(entries), cells=cells)
        count = len({i for listed_here in cells.values() for i in listed_here})
        plain, first = assert_same(catalog)
        before = len(there.seen)
        second = do(catalog, "second.zarr", index=True)
        asked = there.seen[before:]
    assert second.indexed is not None
    assert second.indexed.states == {"there": count}
    assert second.to_dict()["requests"] == len(asked) < first.to_dict()["requests"] < plain.to_dict()["requests"]
    wanted = {}
    for path in world.paths:
        with h5py.File(path) as file:
            tables = [file[g][SEGMENTS][n].id for g in BEAMS if g in file for n in ("latitude", "longitude")]
            chunks = [t.get_chunk_info(i) for t in tables for i in range(t.get_num_chunks())]
            wanted[f"/{path.name}"] = [c.byte_offset for c in chunks]
    for seen in asked:  # but for the first bytes, which tell whether the file has changed
        start, stop = (int(n) for n in seen.headers["range"].removeprefix("bytes=").split("-"))
        assert start == 0 or not any(start == offset for offset in wanted[seen.path]), (start, stop)
