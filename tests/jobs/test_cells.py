"""The job of one cell against the oracle, its ledger to the last segment, and whatever can go wrong in it."""

import pickle
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml

import maggjob
from maggjob import CellReport, CellTask, Config, Granule, map_cell, reduce_tally
from maggjob.catalog.local import from_files
from maggjob.config.load import builtin_configs
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.model.reports import GranuleReport
from maggjob.model.tasks import GranuleList
from maggjob.statistics.functions import Statistic
from tests.granule_files import FILL, NAME, SEGMENTS, beam, cells_of, write_granule
from tests.oracle import differences, nested, reference

CONVENTIONS = ("authalic", "geodetic-spherical")
STATES = ("quality", "fill", "bad_weight", "not_finite", "kept")


def config(latitude: str = "authalic") -> Config:
    plain = yaml.safe_load(builtin_configs()["atl06.yaml"].read_text())
    plain["output"]["grid"]["latitude"] = latitude
    return maggjob.load_config(plain)


def tasks_of(paths: Sequence[Path], latitude: str = "authalic", **options: Any) -> list[CellTask]:
    recipe = config(latitude).recipe()
    return maggjob.tasks(config(latitude), catalog=from_files([str(p) for p in paths], recipe), **options)


def columns_of(reports: Sequence[CellReport]) -> dict[str, np.ndarray]:
    arrays = [report.arrays for report in reports if report.arrays is not None]
    return {name: np.concatenate([a[name] for a in arrays]) for name in arrays[0]}


def science(report: CellReport) -> dict[str, Any]:
    """Return the part of a report that must be the same when a cell is worked on again."""
    return {key: value for key, value in report.to_dict().items() if key not in ("seconds", "peak_memory")}


def name(i: int) -> str:
    return f"ATL06_2019022203120{i}_085{i}0211_006_01.h5"


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three granules of two beams, in five cells, some shared; of several chunks."""
    starts = ((-74.6, -100.0), (-75.2, -101.0), (-75.0, -99.0))
    return [
        write_granule(
            tmp_path / name(i),
            {
                b: beam(250, seed=9 * i + k, south=s, west=w + 0.05 * k, step=4e-3)
                for k, b in enumerate(("gt1l", "gt2r"))
            },
            chunk=64,
        )
        for i, (s, w) in enumerate(starts)
    ]


def hold_against_oracle(paths: Sequence[Path], latitude: str) -> list[CellReport]:
    """Map every cell of some granules, compare every child, and check the ledger of each cell."""
    tasks = tasks_of(paths, latitude)
    assert sorted(parse_cell(t.cell, 6) for t in tasks) == cells_of(paths, 6, latitude)
    reports = [map_cell(task) for task in tasks]
    expected = reference(paths, 12, latitude)
    columns = columns_of(reports)
    assert differences(columns, columns["cell_ids"], expected) == []
    for report in reports:
        assert report.state in ("complete", "empty")
        assert set(report.segments) <= set(STATES)
        assert sum(report.segments.values()) == sum(g.in_cell for g in report.granules)
        assert report.observations == sum(g.kept for g in report.granules)
        assert report.arrays is not None
        assert report.observations == report.arrays["count"].sum()
    tally = reduce_tally(reports)
    assert tally.observations == sum(child["count"] for child in expected.values())
    assert tally.segments["outside"] == 0
    assert tally.segments["unread"] == 0
    assert tally.segments["rows"] == sum(n for state, n in tally.segments.items() if state != "rows")
    return reports


@pytest.mark.dear("the other convention of latitudes has a test of its own", keep=("geodetic-spherical",))
@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_pine_island_is_what_the_oracle_says(pine_island: list[Path], latitude: str) -> None:
    reports = hold_against_oracle(pine_island, latitude)
    tally = reduce_tally(reports)
    assert tally.cells["empty"] > 0  # one granule fails the quality flag everywhere
    assert tally.granules == {"used": 3, "no_overlap": 0, "failed": 0}
    assert tally.errors == {}


@pytest.mark.dear("the other convention of latitudes has a test of its own", keep=("authalic",))
@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_every_real_granule_is_what_the_oracle_says(real_granules: list[Path], latitude: str) -> None:
    reports = hold_against_oracle(real_granules, latitude)
    assert reduce_tally(reports).granules == {"used": len(real_granules), "no_overlap": 0, "failed": 0}
    beams = {g.id: g.beams for report in reports for g in report.granules}
    native = beams["ATL06_20230816234629_08822013_006_01"]
    assert native == {b: "read" if b in ("gt1l", "gt1r") else "absent" for b in native}
    assert len(native) == 6


@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_crafted_granules_are_what_the_oracle_says(three: list[Path], latitude: str) -> None:
    hold_against_oracle(three, latitude)


def test_each_segment_has_one_state(tmp_path: Path) -> None:
    track = beam(200, step=1e-3)
    track["atl06_quality_summary"][:] = 0
    track["atl06_quality_summary"][:7] = 1
    track["h_li"][5:10] = FILL  # two of them fail the quality filter before
    track["h_li"][10] = np.nan
    track["h_li_sigma"][10:13] = FILL  # one of them has no height anyway
    track["h_li_sigma"][20:24] = [0.0, -0.1, np.inf, np.nan]
    path = write_granule(tmp_path / name(0), {"gt1l": track}, chunk=30)
    (report,) = hold_against_oracle([path], "authalic")
    assert report.segments == {"quality": 7, "fill": 3 + 3 + 2, "bad_weight": 2, "not_finite": 0, "kept": 200 - 17}


def test_tasks_and_reports_pickle(three: list[Path]) -> None:
    task = tasks_of(three)[0]
    assert repr(pickle.loads(pickle.dumps(task))) == repr(task)  # not ==: fill values are NaN
    assert pickle.loads(pickle.dumps(map_cell)) is map_cell
    assert pickle.loads(pickle.dumps(reduce_tally)) is reduce_tally
    report = map_cell(task)
    again = pickle.loads(pickle.dumps(report))
    assert again.to_dict() == report.to_dict()
    assert again.arrays.keys() == report.arrays.keys()  # type: ignore[union-attr]


def test_the_same_cell_twice_and_twice_at_once_gives_the_same_part(three: list[Path], tmp_path: Path) -> None:
    task = tasks_of(three, store=str(tmp_path / "map.zarr"))[0]
    part = Path(str(task.part))
    first = map_cell(task)
    content = part.read_bytes()
    assert first.part_bytes == len(content)
    part.unlink()
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(map_cell, [task] * 4))
    assert part.read_bytes() == content
    assert [science(report) for report in reports] == [science(first)] * 4
    assert [p.name for p in part.parent.iterdir()] == [part.name]


def test_without_a_store_the_report_carries_all_children(three: list[Path]) -> None:
    task = tasks_of(three)[0]
    report = map_cell(task)
    assert report.part is None
    assert report.arrays is not None
    assert {len(values) for values in report.arrays.values()} == {4096}
    first = parse_cell(task.cell, 6) << 12
    assert report.arrays["cell_ids"].tolist() == list(range(first, first + 4096))
    decimals = [format_cell(i, 12) for i in range(first, first + 4096, 511)]
    assert report.arrays["morton"][::511].astype(str).tolist() == decimals
    empty = report.arrays["count"] == 0
    assert empty.any()
    assert np.isnan(report.arrays["h_mean"][empty]).all()


def test_it_tells_how_much_it_read_and_when(three: list[Path]) -> None:
    with h5py.File(three[0]) as file:
        good = [file[b][SEGMENTS]["delta_time"][:] for b in ("gt1l", "gt2r")]
    report = map_cell(tasks_of(three)[0])
    assert report.requests >= len(report.granules)
    assert report.bytes_read > 0
    assert report.seconds > 0
    assert report.time is not None
    assert good[0].min() <= report.time[0] < report.time[1] <= good[0].max()


# ---- the tally


def expected_segments(paths: Sequence[Path], planned: Sequence[int]) -> dict[str, int]:
    """Rows, and those inside and outside planned cells, by h5py."""
    inside = rows = 0
    for path in paths:
        with h5py.File(path) as file:
            for group in file.values():
                data = group[SEGMENTS]
                latitude, longitude = data["latitude"][:], data["longitude"][:]
                rows += len(latitude)
                inside += int(np.isin(nested(latitude, longitude, 6, "authalic"), planned).sum())
    return {"rows": rows, "inside": inside}


@pytest.mark.parametrize("first", range(4))
def test_a_selection_of_cells_leaves_the_others_outside(three: list[Path], first: int) -> None:
    tasks = tasks_of(three)[first:]
    reports = [map_cell(task) for task in tasks]
    tally = reduce_tally(reports)
    read = [p for p in three if p.stem in {g.id for report in reports for g in report.granules}]
    truth = expected_segments(read, [parse_cell(task.cell, 6) for task in tasks])
    assert tally.segments["rows"] == truth["rows"]
    assert sum(tally.segments[state] for state in STATES) == truth["inside"]
    assert tally.segments["outside"] == truth["rows"] - truth["inside"]
    assert (tally.segments["outside"] > 0) == (first > 0)
    assert tally.cells == {"planned": 5 - first, "complete": 5 - first, "empty": 0, "partial": 0, "failed": 0}


def flip_in_chunk(path: Path, dataset: str, row: int) -> None:
    """Damage the chunk that holds a row."""
    with h5py.File(path) as file:
        data = file[dataset]
        chunk = data.id.get_chunk_info(row // data.chunks[0])
    content = bytearray(path.read_bytes())
    for position in range(chunk.byte_offset + 2, chunk.byte_offset + min(chunk.size, 40)):
        content[position] ^= 0xFF
    path.write_bytes(content)


def test_a_granule_that_fails_in_one_cell_is_counted_there_as_unread(three: list[Path]) -> None:
    whole = {report.cell: report for report in map(map_cell, tasks_of(three))}
    flip_in_chunk(three[2], f"gt1l/{SEGMENTS}/h_li", 0)  # its northern end: not in its southern cells
    reports = [map_cell(task) for task in tasks_of(three)]
    failed = [r for r in reports if any(g.state == "failed" for g in r.granules)]
    assert 0 < len(failed) < sum(three[2].stem in {g.id for g in r.granules} for r in reports)
    tally = reduce_tally(reports)
    assert tally.granules == {"used": 2, "no_overlap": 0, "failed": 1}
    lost = sum(g.in_cell for r in failed for g in whole[r.cell].granules if g.id == three[2].stem)
    assert tally.segments["unread"] == lost > 0
    assert tally.segments["outside"] == 0
    assert tally.segments["rows"] == 1500 == sum(n for state, n in tally.segments.items() if state != "rows")
    assert tally.errors.keys() == {"corrupt"}
    assert tally.errors["corrupt"]["count"] == len(failed)


def test_reports_add_up_in_any_order(three: list[Path]) -> None:
    flip_in_chunk(three[2], f"gt1l/{SEGMENTS}/h_li", 0)
    reports = [map_cell(task) for task in tasks_of(three)]
    one, other = reduce_tally(reports), reduce_tally(reports[::-1])
    assert (one.segments, one.cells, one.granules) == (other.segments, other.cells, other.granules)
    assert one == reduce_tally(iter(reports))


def test_errors_keep_five_examples() -> None:
    granule = GranuleReport("granule", "failed", reason="network", message="reset")
    reports = [CellReport(f"w/{i}", str(i), "w", "failed", granules=(granule,)) for i in range(7)]
    errors = reduce_tally(reports).errors
    assert errors["network"]["count"] == 7
    assert len(errors["network"]["examples"]) == 5
    assert errors["network"]["examples"][0] == {"what": "granule in 0", "message": "reset"}


def test_nothing_adds_up_to_nothing() -> None:
    tally = reduce_tally([])
    assert tally.observations == 0
    assert set(tally.cells.values()) == {0}
    assert set(tally.segments.values()) == {0}


@pytest.mark.parametrize("latitude", CONVENTIONS)
def test_coordinates_that_cannot_be_binned_count_once(tmp_path: Path, latitude: str) -> None:
    track = beam(400, step=4e-3)
    track["latitude"][[3, 100, 250]] = [np.nan, 95.0, 3.4028235e38]
    track["longitude"][[4, 399]] = [np.inf, 3.4028235e38]
    track["longitude"][10:20] += 360.0  # the same place, spelled otherwise
    path = write_granule(tmp_path / name(0), {"gt3r": track})
    reports = hold_against_oracle([path], latitude)
    assert len(reports) > 1
    assert {g.invalid_coordinate for report in reports for g in report.granules} == {5}
    tally = reduce_tally(reports)
    assert tally.segments["invalid_coordinate"] == 5
    assert tally.segments["rows"] == 400


# ---- what goes wrong


def only(granules: Sequence[Path | Granule], cell: int | None = None, **options: Any) -> CellReport:
    """Report of one cell: by default that of the first granule with most segments."""
    paths = [g for g in granules if isinstance(g, Path)]
    known = cell if cell is not None else cells_of(paths[:1], 6, "authalic")[0]
    return map_cell(
        maggjob.task(f"6/{known}", granules=[g if isinstance(g, Granule) else str(g) for g in granules], **options)
    )


def states(report: CellReport) -> Mapping[str, tuple[str, str | None]]:
    return {g.id: (g.state, g.reason) for g in report.granules}


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Two small granules in one cell."""
    return [
        write_granule(tmp_path / name(i), {"gt1l": beam(100, seed=i), "gt3r": beam(90, seed=i + 5)}) for i in (0, 1)
    ]


def test_a_poisoned_granule_makes_its_cell_partial(pair: list[Path]) -> None:
    alone = only(pair[:1])
    flip_in_chunk(pair[1], f"gt3r/{SEGMENTS}/h_li_sigma", 0)  # the beam read last: none is half-used
    report = only(pair)
    assert report.state == "partial"
    assert states(report) == {pair[0].stem: ("used", None), pair[1].stem: ("failed", "corrupt")}
    assert report.segments == alone.segments
    assert report.arrays is not None
    assert alone.arrays is not None
    for key, values in alone.arrays.items():
        assert np.array_equal(report.arrays[key], values, equal_nan=True), key
    failed = report.granules[1]
    assert (failed.rows, failed.in_cell, failed.kept) == (0, 0, 0)
    tally = reduce_tally([report])
    assert tally.granules == {"used": 1, "no_overlap": 0, "failed": 1}
    assert tally.errors["corrupt"]["count"] == 1
    assert pair[1].stem in tally.errors["corrupt"]["examples"][0]["what"]


def test_a_cell_whose_granules_all_fail_fails(pair: list[Path], tmp_path: Path) -> None:
    cell = cells_of(pair, 6, "authalic")[0]
    for path in pair:
        flip_in_chunk(path, f"gt1l/{SEGMENTS}/h_li", 0)
    report = only(pair, cell, store=str(tmp_path / "map.zarr"))
    assert (report.state, report.reason, report.part, report.arrays) == ("failed", "corrupt", None, None)
    assert set(states(report).values()) == {("failed", "corrupt")}
    assert not list((tmp_path / "map.zarr.run").rglob("*.npz"))
    tally = reduce_tally([report])
    assert tally.cells["failed"] == 1
    assert tally.errors["corrupt"]["count"] == 2


def test_a_granule_that_is_elsewhere_leaves_the_cell_empty(pair: list[Path]) -> None:
    report = only(pair, 0)
    assert (report.state, report.observations, report.reason) == ("empty", 0, None)
    assert set(states(report).values()) == {("no_overlap", None)}
    assert report.arrays is not None
    assert not report.arrays["count"].any()
    tally = reduce_tally([report])
    assert tally.granules == {"used": 0, "no_overlap": 2, "failed": 0}
    assert tally.segments["outside"] == tally.segments["rows"] == 380


def test_no_granules_leave_the_cell_empty() -> None:
    report = map_cell(maggjob.task("-6134114", granules=[]))
    assert (report.state, report.granules, report.observations) == ("empty", (), 0)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_missing_file_is_failed(pair: list[Path], scheme: str) -> None:
    gone = Granule("gone", f"{scheme}{pair[0].parent}/gone.h5")
    report = only([*pair, gone])
    assert report.state == "partial"
    assert states(report)["gone"] == ("failed", "missing")
    assert report.observations == only(pair).observations
    assert only([gone], 0).reason == "missing"
    assert only([gone], 0).state == "failed"


@pytest.mark.parametrize("left", [0, 10, 64, 0.1, 0.5, 0.9, -1])
def test_a_cut_granule_is_failed(pair: list[Path], left: float) -> None:
    cell = cells_of(pair, 6, "authalic")[0]
    content = pair[1].read_bytes()
    pair[1].write_bytes(content[: int(left * len(content)) if 0 < left < 1 else int(left)])
    report = only(pair, cell)
    state, reason = states(report)[pair[1].stem]
    assert (report.state, state) == ("partial", "failed")
    assert reason == "truncated" or (left < 64 and reason == "not_hdf5")
    assert report.observations == only(pair[:1], cell).observations


def test_a_granule_of_another_size_than_listed_is_failed(pair: list[Path]) -> None:
    size = pair[0].stat().st_size
    report = only([Granule("other", str(pair[0]), size + 1)], cells_of(pair, 6, "authalic")[0])
    assert states(report) == {"other": ("failed", "truncated")}


def test_a_file_of_another_kind_is_failed(pair: list[Path]) -> None:
    cell = cells_of(pair, 6, "authalic")[0]
    pair[1].write_text("<html>login</html>" * 100)
    assert states(only(pair, cell))[pair[1].stem] == ("failed", "not_hdf5")


def test_a_dataset_that_is_missing_fails_its_granule(pair: list[Path]) -> None:
    cell = cells_of(pair, 6, "authalic")[0]
    with h5py.File(pair[1], "a") as file:
        del file[f"gt3r/{SEGMENTS}/h_li_sigma"]
    assert states(only(pair, cell))[pair[1].stem] == ("failed", "missing_dataset")


def test_a_beam_that_is_absent_is_noted(pair: list[Path]) -> None:
    report = only(pair)
    assert report.state == "complete"
    assert report.granules[0].beams == {
        "gt1l": "read",
        "gt1r": "absent",
        "gt2l": "absent",
        "gt2r": "absent",
        "gt3l": "absent",
        "gt3r": "read",
    }


def test_a_store_that_cannot_be_written_fails_the_cell(pair: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    report = only(pair, store=str(tmp_path / "file" / "map.zarr"))
    assert (report.state, report.reason, report.part, report.observations) == ("failed", "store", None, 0)
    assert set(states(report).values()) == {("failed", "store")}
    assert reduce_tally([report]).errors["store"]["count"] == 1
    assert (tmp_path / "file").read_text() == "no folder"


@pytest.mark.parametrize("content", [None, b"no list of granules at all\n"])
def test_a_list_of_granules_that_is_not_there_fails_the_cell(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "granules.zlib").write_bytes(content)
    task = replace(maggjob.task("-6134114", granules=[]), granules=GranuleList(str(tmp_path / "granules.zlib"), 0, 20))
    report = map_cell(task)
    assert (report.state, report.reason) == ("failed", "store")


def test_a_bug_of_ours_is_a_report_with_its_traceback(pair: list[Path]) -> None:
    task = maggjob.task(f"6/{cells_of(pair, 6, 'authalic')[0]}", granules=[str(p) for p in pair])
    broken = replace(task, recipe=replace(task.recipe, statistics=(Statistic("h", "no_such", source="h_li"),)))
    report = map_cell(broken)
    assert (report.state, report.reason, report.observations) == ("failed", "internal", 0)
    assert "Traceback" in str(report.message)
    assert "KeyError: 'no_such'" in str(report.message)
    assert set(states(report).values()) == {("failed", "internal")}
    assert reduce_tally([report]).errors["internal"]["count"] == 1


def test_a_bug_of_ours_in_one_granule_is_its_failure(pair: list[Path]) -> None:
    report = only([*pair, Granule("odd", None)])  # type: ignore[arg-type]
    assert report.state == "partial"
    assert states(report)["odd"] == ("failed", "internal")
    assert "Traceback" in str(report.granules[2].message)


def test_a_cell_that_is_none_fails() -> None:
    report = map_cell(replace(maggjob.task("-6134114", granules=[]), cell="nowhere"))
    assert (report.state, report.reason) == ("failed", "cell")


@pytest.mark.parametrize("url", ["/nowhere/at/all/ATL06_20190222031203_08500210_006_01.h5", "granules/none.h5"])
def test_a_granule_in_no_folder_is_missing(url: str) -> None:
    report = maggjob.map_cell(maggjob.task("-6134114", granules=[url]))
    assert (report.state, report.reason) == ("failed", "missing")


def test_a_result_that_is_infinite_fails_its_cell(tmp_path: Path) -> None:
    """Rather than to stand in the map."""
    path = write_granule(tmp_path / NAME)
    config = maggjob.load_config("atl06.yaml").model_dump()
    config["aggregation"]["variables"] = {"x": {"function": "sum", "source": "h_li * 1e35"}}
    (cell,) = cells_of([path], 6, "authalic")[:1]
    report = maggjob.map_cell(maggjob.task((6, cell), granules=[path], config=config))
    assert (report.state, report.reason) == ("failed", "statistic")
    assert maggjob.reduce_tally([report]).errors["statistic"]["count"] == 1


def test_what_a_failed_granule_cost_is_counted(tmp_path: Path) -> None:
    path = write_granule(tmp_path / NAME)
    (cell,) = cells_of([path], 6, "authalic")[:1]
    path.write_bytes(path.read_bytes()[:-1])
    report = maggjob.map_cell(maggjob.task((6, cell), granules=[path]))
    assert (report.state, report.reason) == ("failed", "truncated")
    assert report.requests == 1
    assert report.bytes_read > 0


def test_children_too_fine_for_decimal_ids_have_arrays(tmp_path: Path) -> None:
    path = write_granule(tmp_path / NAME)
    config = maggjob.load_config("atl06.yaml").model_dump()
    config["output"]["grid"] |= {"parent_order": 14, "child_order": 20}
    config["aggregation"]["coordinates"]["morton"] = {"dtype": "uint64"}
    (cell,) = cells_of([path], 14, "authalic")[:1]
    report = maggjob.map_cell(maggjob.task((14, cell), granules=[path], config=config))
    assert report.state in ("complete", "empty")
    assert report.arrays is not None
    assert "morton" not in report.arrays
