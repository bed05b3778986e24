"""A cell read through indexes is the cell read without: the same part to the last byte, the same ledger."""

import os
import pickle
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import maggjob
from maggjob import CellReport, CellTask, Granule, map_cell
from maggjob.granules.index_format import decode, encode, index_digest
from maggjob.granules.index_store import find_indexes
from maggjob.granules.lists import load_granules, write_lists
from maggjob.granules.reader import ends
from maggjob.granules.selection import Unindexed
from maggjob.jobs.granule_index import index_granules
from maggjob.model.reports import IndexReport
from maggjob.model.tasks import IndexTask
from maggjob.storage.folder import Folder
from tests.granule_files import BEAMS, FILL, SEGMENTS, beam, write_granule
from tests.hdf5.test_file import make_compact
from tests.jobs.test_cells import config, name, tasks_of
from tests.packs import change_index, packs, stored_indexes
from tests.servers import Request, archive, server

NONE = {"used": 0, "missing": 0, "stale": 0, "refused": 0, "unread": 0}


def granules_of(tasks: Sequence[CellTask]) -> tuple[Granule, ...]:
    return tuple({g.id: g for task in tasks for g in load_granules(task)}.values())


def without_sizes(task: CellTask) -> CellTask:
    """Return a task whose granules may change their size."""
    return replace(task, granules=tuple(replace(granule, size=None) for granule in load_granules(task)))


def make_indexes(tasks: Sequence[CellTask], folder: Path) -> IndexReport:
    return index_granules(IndexTask("all", tasks[0].recipe, granules_of(tasks), str(folder)))


def by_hand(task: CellTask, indexes: Path | None) -> CellTask:
    """Return a task that contains its granules, whose indexes are looked for."""
    return replace(task, granules=load_granules(task), indexes=None if indexes is None else str(indexes))


def outcome(report: CellReport) -> dict[str, Any]:
    """Return what must not depend on how a granule was read: the ledger without times and places."""
    ledger = [granule.ledger() for granule in report.granules]
    return {"state": report.state, "segments": report.segments, "granules": ledger, "time": report.time}


def both_ways(task: CellTask, folder: Path) -> tuple[CellReport, CellReport]:
    """The cell without and with indexes; the two are compared, parts byte for byte."""
    reports, contents = [], []
    for indexes in (None, folder):
        reports.append(map_cell(by_hand(task, indexes)))
        part = Path(str(task.part))
        contents.append(part.read_bytes() if part.exists() else b"")
        part.unlink(missing_ok=True)
    assert contents[0] == contents[1]
    assert outcome(reports[0]) == outcome(reports[1])
    return reports[0], reports[1]


def all_cells_both_ways(paths: Sequence[Path], tmp_path: Path, latitude: str = "authalic") -> list[CellReport]:
    tasks = tasks_of(paths, latitude, store=str(tmp_path / "map.zarr"))
    made = make_indexes(tasks, tmp_path / "indexes")
    assert {granule.state for granule in made.granules} == {"made"}
    assert sorted(c for g in made.granules for c in g.cells) == sorted(
        int(cell)
        for task in tasks
        for g in load_granules(task)
        for cell in [maggjob.grid.healpix.parse_cell(task.cell, 6)]
    )
    reports = []
    for task in tasks:
        without, with_indexes = both_ways(task, tmp_path / "indexes")
        assert without.indexes == {}
        assert with_indexes.indexes == NONE | {"used": len(with_indexes.granules)}
        assert with_indexes.index_problems == ()
        reports.append(with_indexes)
    inside = sum(g.in_cell for report in reports for g in report.granules)
    assert inside == sum(g.rows - g.invalid for g in made.granules)
    assert inside == sum(sum(g.cells.values()) for g in made.granules)
    return reports


@pytest.mark.dear("the other convention of latitudes has a test of its own", keep=("authalic",))
@pytest.mark.parametrize("latitude", ["authalic", "geodetic-spherical"])
def test_every_real_granule(real_granules: list[Path], tmp_path: Path, latitude: str) -> None:
    reports = all_cells_both_ways(real_granules, tmp_path, latitude)
    assert {report.state for report in reports} == {"complete", "empty"}
    assert sum(report.observations for report in reports) > 30_000


@pytest.mark.dear("a granule of full size")
def test_a_native_granule_of_full_size(tmp_path: Path) -> None:
    options = {"rgts": (858,), "regions": (11,), "area": (-120, -86, -60, -82), "absent": 0.0}
    (path,) = maggjob.simulate(tmp_path / "granules", **options)
    with h5py.File(path) as file:
        assert file["gt1l/land_ice_segments/h_li"].id.get_num_chunks() > 1
    reports = all_cells_both_ways([path], tmp_path)
    assert all(report.requests <= 18 for report in reports)  # with times of a single granule


def crafted(path: Path, **options: Any) -> Path:
    beams = {b: beam(900, seed=k, south=-74.6, west=-100 + 0.05 * k, step=2e-3) for k, b in enumerate(BEAMS[:3])}
    beams["gt1r"]["latitude"][3:6] = [np.nan, 95.0, FILL]
    beams["gt2l"]["h_li"][::7] = FILL
    beams["gt2l"]["h_li_sigma"][1:40:3] = [0.0, -1.0, np.inf, np.nan, FILL, 1e-30, 1, 2, 3, 4, 5, 6, 7]
    return write_granule(path / name(0), beams, **options)


GZIP = {"chunks": (256,), "compression": "gzip"}


def contiguous(file: h5py.File) -> None:
    for group in BEAMS[:2]:
        values = file[group][SEGMENTS]["h_li"][:]
        del file[group][SEGMENTS]["h_li"]
        file[group][SEGMENTS]["h_li"] = values


def compact(file: h5py.File) -> None:
    values = file["gt1l"][SEGMENTS]["atl06_quality_summary"][:]
    del file["gt1l"][SEGMENTS]["atl06_quality_summary"]
    make_compact(file["gt1l"][SEGMENTS], "atl06_quality_summary", values)


def fill_as_array(file: h5py.File) -> None:
    for group in BEAMS[:3]:
        file[group][SEGMENTS]["h_li"].attrs["_FillValue"] = np.array([FILL])


def other_types(file: h5py.File) -> None:
    segments = file["gt1r"][SEGMENTS]
    for dataset, dtype in (("h_li", "f8"), ("atl06_quality_summary", "i4")):
        values = segments[dataset][:].astype(dtype)
        del segments[dataset]
        segments.create_dataset(dataset, data=values, shuffle=True, **GZIP)


def no_time(file: h5py.File) -> None:
    del file["gt1l"][SEGMENTS]["delta_time"]


GOOD: dict[str, dict[str, Any]] = {
    "one chunk": {},
    "many chunks": {"chunk": 64},
    "superblock 2": {"chunk": 300, "libver": ("v108", "v108")},
    "deep table": {"chunk": 2},
    "contiguous": {"edit": contiguous},
    "compact": {"edit": compact},
    "fill as array": {"edit": fill_as_array},
    "other types": {"edit": other_types},
    "no time in a beam": {"edit": no_time},
    "not packed": {"options": {"h_li": {"chunks": (100,)}, "latitude": {}}},
}


@pytest.mark.parametrize("kind", GOOD)
def test_crafted_granules(tmp_path: Path, kind: str) -> None:
    path = crafted(tmp_path, **GOOD[kind])
    reports = all_cells_both_ways([path], tmp_path)
    assert sum(report.observations for report in reports) > 1000
    with h5py.File(path) as file:
        expected = sum(len(group[SEGMENTS]["latitude"]) for group in file.values())
    assert sum(g.in_cell for report in reports for g in report.granules) == expected - 3


def test_what_an_index_cannot_serve_it_says(tmp_path: Path) -> None:
    slow = {"deep table": "levels", "contiguous": "not stored in chunks", "compact": "not stored in chunks"}
    for kind, reason in slow.items():
        folder = tmp_path / kind
        folder.mkdir()
        tasks = tasks_of([crafted(folder, **GOOD[kind])])
        make_indexes(tasks, folder)
        (granule,), digest = granules_of(tasks), index_digest(tasks[0].recipe)
        index = decode(stored_indexes(folder)[granule.id], granule.id, digest)
        reasons = [d.reason for b in index.beams for d in b.datasets.values() if isinstance(d, Unindexed)]
        assert reasons
        assert all(reason in one for one in reasons)


# ---- what fails, fails alike


def damage_chunk(dataset: str, *, number: int = 0) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with h5py.File(path) as file:
            chunk = file[f"gt1r/{SEGMENTS}/{dataset}"].id.get_chunk_info(number)
        content = bytearray(path.read_bytes())
        content[chunk.byte_offset + chunk.size // 2] ^= 0xFF
        path.write_bytes(content)

    return damage


def recreate(dataset: str, **options: Any) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            segments = file["gt1r"][SEGMENTS]
            values = segments[dataset][:]
            del segments[dataset]
            segments.create_dataset(dataset, data=values, **options)

    return edit


def drop(dataset: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file["gt1r"][SEGMENTS][dataset]

    return edit


def hole(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        segments = file["gt1r"][SEGMENTS]
        values = segments["h_li"][:]
        del segments["h_li"]
        made = segments.create_dataset("h_li", (900,), "f4", **GZIP)
        made[:256], made[512:] = values[:256], values[512:]


def other_size(path: Path) -> None:
    """A chunk that is a good stream of the wrong number of bytes."""
    with h5py.File(path, "r+") as file:
        segments = file["gt1r"][SEGMENTS]
        segments["h_li"].id.write_direct_chunk((256,), zlib.compress(np.zeros(255, "f4").tobytes()))


def masked(path: Path) -> None:
    """A chunk that says that its filter was skipped."""
    with h5py.File(path, "r+") as file:
        file["gt1r"][SEGMENTS]["h_li"].id.write_direct_chunk((256,), np.zeros(256, "f4").tobytes(), filter_mask=1)


def short(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["gt1r"][SEGMENTS]["h_li_sigma"].resize((850,))


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "corrupt heights": (damage_chunk("h_li"), "corrupt"),
    "corrupt quality": (damage_chunk("atl06_quality_summary"), "corrupt"),
    "corrupt times": (damage_chunk("delta_time"), "corrupt"),
    "big-endian": (recreate("h_li", dtype=">f4", **GZIP), "unsupported"),
    "fletcher32": (recreate("h_li", fletcher32=True, **GZIP), "unsupported"),
    "lzf": (recreate("h_li", chunks=(256,), compression="lzf"), "unsupported"),
    "missing": (drop("h_li_sigma"), "missing_dataset"),
    "a hole": (hole, "corrupt"),
    "inflated size": (other_size, "corrupt"),
    "filter mask": (masked, "unsupported"),
    "fewer rows": (short, "corrupt"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_faulty_granule_fails_alike_and_whole(tmp_path: Path, kind: str) -> None:
    beams = {b: beam(900, seed=k, west=-100 + 0.01 * k, step=1e-4) for k, b in enumerate(BEAMS[:3])}
    good = [write_granule(tmp_path / name(i), beams, chunk=256) for i in range(3)]
    fault, reason = BAD[kind]
    tasks = [without_sizes(task) for task in tasks_of(good, store=str(tmp_path / "map.zarr"))]
    for path in (good[0], good[2]):
        fault(path)
    # h5py may read what h5coro cannot: see the next test.
    tasks = [replace(task, recipe=replace(task.recipe, reader="h5coro")) for task in tasks]
    made = make_indexes(tasks, tmp_path / "indexes")
    assert {granule.state for granule in made.granules} == {"made"}
    states = []
    for task in tasks:
        without, _ = both_ways(task, tmp_path / "indexes")
        states += [(g.state, g.reason) for g in without.granules]
        for granule in without.granules:
            assert granule.kept == 0 or granule.state == "used"
    assert ("failed", reason) in states
    assert {state for state in states if state[0] == "failed"} == {("failed", reason)}


@pytest.mark.parametrize("kind", BAD)
def test_h5py_reads_odd_granules_and_never_damaged_ones(tmp_path: Path, kind: str) -> None:
    beams = {b: beam(900, seed=k, west=-100 + 0.01 * k, step=1e-4) for k, b in enumerate(BEAMS[:3])}
    paths = [write_granule(tmp_path / name(i), beams, chunk=256) for i in range(3)]
    fault, reason = BAD[kind]
    fault(paths[0])
    tasks = [without_sizes(task) for task in tasks_of(paths, store=str(tmp_path / "map.zarr"))]
    made = make_indexes(tasks, tmp_path / "indexes")
    odd, used = reason == "unsupported", 0
    # Only the chunk that skips its filter is not noticed before it is read.
    assert [g.slow for g in made.granules] == [odd and kind != "filter mask", False, False]
    for task in tasks:
        without, indexed = both_ways(task, tmp_path / "indexes")
        states = {(g.state, g.reason) for g in without.granules}
        assert states <= {("used", None), ("no_overlap", None)} | (set() if odd else {("failed", reason)})
        used += without.granules[0].state == "used"
        assert without.by_h5py == indexed.by_h5py == (odd and without.granules[0].state == "used")
    assert bool(used) == odd


def test_a_granule_without_coordinates_has_no_index_and_fails_alike(tmp_path: Path) -> None:
    paths = [write_granule(tmp_path / name(i)) for i in range(2)]
    tasks = tasks_of(paths, store=str(tmp_path / "map.zarr"))
    with h5py.File(paths[0], "r+") as file:
        del file["gt2l"][SEGMENTS]["longitude"]
    made = make_indexes(tasks, tmp_path / "indexes")
    assert [(g.state, g.reason) for g in made.granules] == [("failed", "missing_dataset"), ("made", None)]
    assert "gt2l" in str(made.granules[0].message)
    _, report = both_ways(tasks[0], tmp_path / "indexes")
    assert report.indexes == NONE | {"used": 1, "missing": 1}
    assert [(g.state, g.reason) for g in report.granules] == [("failed", "missing_dataset"), ("used", None)]


# ---- indexes that are not what they should be


def one_task(tmp_path: Path) -> tuple[CellTask, Path]:
    """A cell of two granules with indexes, and the first granule's path."""
    beams = {b: beam(4000, seed=k, west=-100 + 0.01 * k, step=1e-5) for k, b in enumerate(BEAMS[:3])}
    paths = [write_granule(tmp_path / name(i), beams, chunk=2000) for i in range(2)]
    (task,) = tasks_of(paths, store=str(tmp_path / "map.zarr"))
    made = make_indexes([task], tmp_path / "indexes")
    assert [g.state for g in made.granules] == ["made", "made"]
    return task, Path(load_granules(task)[0].url)


def test_a_missing_index_is_no_failure(tmp_path: Path) -> None:
    task, _ = one_task(tmp_path)
    indexes = tmp_path / "indexes"
    first, *_ = found = find_indexes(load_granules(task), Folder(str(indexes)), index_digest(task.recipe))
    for pack in packs(indexes):
        pack.unlink()
    _, report = both_ways(task, indexes)
    assert report.indexes == NONE | {"missing": 2}
    assert (report.state, report.index_requests) == ("complete", 0)
    # The client found the pack, which is gone when the cell reads it; the other granule never had an index.
    some = (first, replace(found[1], index=None))
    (where,) = write_lists([some], str(tmp_path / "lists"))
    assert map_cell(replace(task, granules=where, indexes=str(indexes))).indexes == NONE | {"missing": 2}
    assert outcome(map_cell(replace(task, granules=where, indexes=str(indexes)))) == outcome(report)


def other_version(content: bytes) -> bytes:
    return content[:8] + b"\x07\0" + content[10:]


def other_granule(content: bytes) -> bytes:
    digest = index_digest(config().recipe())
    return encode(replace(decode(content, name(0)[:-3], digest), granule="ATL06_other"))


def other_digest(content: bytes) -> bytes:
    digest = index_digest(config().recipe())
    return encode(replace(decode(content, name(0)[:-3], digest), digest="0" * 64))


@pytest.mark.parametrize(
    "damage",
    [other_version, other_granule, other_digest, lambda c: c[:-1], lambda c: c[:40], lambda c: b""],
    ids=["version", "granule", "recipe", "short", "stub", "empty"],
)
def test_a_damaged_index_is_refused_and_read_without(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    task, _ = one_task(tmp_path)
    change_index(tmp_path / "indexes", name(0)[:-3], damage)
    _, report = both_ways(task, tmp_path / "indexes")
    assert report.indexes == NONE | {"used": 1, "refused": 1}
    assert name(0)[:-3] in report.index_problems[0]
    again = make_indexes([task], tmp_path / "indexes")
    assert sorted(g.state for g in again.granules) == ["made", "there"]
    assert map_cell(by_hand(task, tmp_path / "indexes")).indexes == NONE | {"used": 2}


def test_a_granule_that_changed_is_noticed(tmp_path: Path) -> None:
    task, path = one_task(tmp_path)
    changed = beam(4000, seed=77, west=-100.02, step=1e-5)
    write_granule(path, {"gt1l": changed, "gt2r": changed}, chunk=2000)
    task = without_sizes(task)
    made = make_indexes([task], tmp_path / "other")
    write_granule(path, {"gt1l": changed, "gt3r": changed}, chunk=2000)
    size = path.stat().st_size
    _, report = both_ways(task, tmp_path / "other")
    assert report.indexes == NONE | {"used": 1, "stale": 1}
    assert "make the index anew" in report.index_problems[0]
    assert report.granules[0].beams["gt3r"] == "read"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)  # the same size, another file
    assert path.stat().st_size == size
    again = make_indexes([task], tmp_path / "other")
    assert [g.state for g in (*made.granules, *again.granules)] == ["made", "made", "made", "there"]
    assert [g.state for g in make_indexes([task], tmp_path / "other").granules] == ["there", "there"]


def test_a_granule_that_is_gone_fails(tmp_path: Path) -> None:
    task, path = one_task(tmp_path)
    path.unlink()
    _, report = both_ways(task, tmp_path / "indexes")
    assert report.state == "partial"
    assert [(g.state, g.reason) for g in report.granules] == [("failed", "missing"), ("used", None)]
    assert report.indexes == NONE | {"used": 1, "unread": 1}


def test_indexing_never_raises(tmp_path: Path) -> None:
    recipe = config().recipe()
    (tmp_path / "file").write_bytes(b"")
    report = index_granules(IndexTask("x", recipe, (), str(tmp_path / "file" / "below")))
    assert (report.granules, report.reason) == ((), "store")
    nothing = Granule("ATL06_x", str(tmp_path / "nothing.h5"))
    text = tmp_path / "text.h5"
    text.write_bytes(b"hello" * 100)
    report = index_granules(IndexTask("x", recipe, (nothing, Granule("text", str(text))), str(tmp_path / "i")))
    assert [(g.state, g.reason) for g in report.granules] == [("failed", "missing"), ("failed", "not_hdf5")]


# ---- the round of reads


def test_one_round_of_few_requests(tmp_path: Path) -> None:
    task, path = one_task(tmp_path)
    files = {f"/{p.name}": p.read_bytes() for p in sorted(tmp_path.glob("*.h5"))}
    with server(archive(files)) as one:
        granules = tuple(replace(g, url=one.url(f"/{Path(g.url).name}")) for g in load_granules(task))
        remote = replace(task, granules=granules)
        make_indexes([remote], tmp_path / "remote")
        one.seen.clear()
        report = map_cell(replace(remote, indexes=str(tmp_path / "remote")))
        assert report.indexes == NONE | {"used": 2}
        ranges = [tuple(map(int, s.headers["range"][6:].split("-"))) for s in one.seen]
        assert len(ranges) == report.requests
        assert sum(last - first + 1 for first, last in ranges) == report.bytes_read
        with h5py.File(path) as file:
            gt1l = file[f"gt1l/{SEGMENTS}"]
            for coordinate in ("latitude", "longitude"):
                chunk = gt1l[coordinate].id.get_chunk_info(0)
                inside = [r for r in ranges if r[0] <= chunk.byte_offset and chunk.byte_offset + chunk.size <= r[1]]
                assert all(last - first > chunk.size for first, last in inside)  # only in a gap
    without, _ = both_ways(task, tmp_path / "indexes")
    assert report.observations == without.observations
    assert report.bytes_read < without.bytes_read


def test_a_granule_that_is_replaced_while_a_cell_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first ranges come of one object, the last of another: none is used, the visit without index decides."""
    monkeypatch.setattr("maggjob.hdf5.chunks.GAP", 1)  # so that it takes several
    task, path = one_task(tmp_path)
    granules, etags = load_granules(without_sizes(task)), {path.name: ['"old"']}
    files = {Path(g.url).name: Path(g.url).read_bytes() for g in granules}
    lock = threading.Lock()

    def answer(request: Request) -> None:
        name = request.key.lstrip("/")
        with lock:
            left = etags.get(name, ['"same"'])
            etag = left.pop(0) if len(left) > 1 else left[0]
        content = files[name]
        start, stop = request.range(len(content))
        where = f"bytes {start}-{stop - 1}/{len(content)}"
        request.reply(206, content[start:stop], Content_Range=where, ETag=etag)

    with server(answer) as one:
        remote = replace(task, granules=tuple(replace(g, url=one.url(f"/{Path(g.url).name}")) for g in granules))
        make_indexes([remote], tmp_path / "remote")
        expected = map_cell(replace(remote, indexes=str(tmp_path / "remote")))
        assert expected.indexes == NONE | {"used": 2}
        etags[path.name] = ['"old"', '"new"']
        report = map_cell(replace(remote, indexes=str(tmp_path / "remote")))
    assert report.indexes == NONE | {"used": 1, "stale": 1}
    assert outcome(report) == outcome(expected)


def test_bytes_in_flight_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = one_task(tmp_path)
    monkeypatch.setattr("maggjob.granules.reader.IN_FLIGHT", 1)  # one granule at a time
    _, report = both_ways(task, tmp_path / "indexes")
    assert report.indexes == NONE | {"used": 2}


def test_times_are_read_of_the_first_and_the_last_granule(tmp_path: Path) -> None:
    paths = []
    for i in range(4):
        track = beam(4000, seed=i, step=1e-5)
        track["delta_time"] += 1e6 * i
        if i in (0, 3):
            track["atl06_quality_summary"][:] = 1  # nothing kept of the first and the last by name
        paths.append(write_granule(tmp_path / name(i), {"gt1l": track}, chunk=4000))
    (task,) = tasks_of(paths, store=str(tmp_path / "map.zarr"))
    make_indexes([task], tmp_path / "indexes")
    _, report = both_ways(task, tmp_path / "indexes")
    expected = []
    for path in paths[1:3]:
        with h5py.File(path) as file:
            d = file[f"gt1l/{SEGMENTS}"]
            expected += d["delta_time"][:][d["atl06_quality_summary"][:] == 0].tolist()
    assert report.time == (min(expected), max(expected))


def test_the_ends_of_some_granules() -> None:
    def granules(*ids: str) -> list[Granule]:
        return [Granule(i, "x") for i in ids]

    some = granules(name(2), name(0), "other", name(1), name(3))
    assert {g.id for g in ends(some)} == {name(0), name(3), "other"}
    assert ends([]) == set()
    assert {g.id for g in ends(granules("a", "b"))} == {"a", "b"}


# ---- a light worker

HEAVY = "pydantic yaml click healpy pandas zarr astropy shapely matplotlib earthaccess boto3 lithops mortie h5coro"
WORKER = """
import pickle, sys
import maggjob.jobs.cells
found = [m for m in sys.argv[2].split() if m in sys.modules]
report = maggjob.jobs.cells.map_cell(pickle.loads(open(sys.argv[1], "rb").read()))
found += [m for m in sys.argv[2].split() if m in sys.modules]
print(report.state, report.indexes["used"], report.observations > 0, found)
"""


def test_a_worker_with_indexes_imports_little(tmp_path: Path) -> None:
    task, _ = one_task(tmp_path)
    (tmp_path / "task").write_bytes(pickle.dumps(by_hand(task, tmp_path / "indexes")))
    command = [sys.executable, "-c", WORKER, str(tmp_path / "task"), HEAVY]
    environment = os.environ | {"PYTHONPATH": str(Path(maggjob.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "complete 2 True []"
