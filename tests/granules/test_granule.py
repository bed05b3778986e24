"""What a granule gives to a cell is what h5py gives, or the granule fails whole."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maggjob.errors import (
    CorruptError,
    GranuleError,
    MissingDatasetError,
    NotHdf5Error,
    TruncatedError,
    UnsupportedError,
)
from maggjob.granules.granule import open_granule, read_beams, read_granule
from maggjob.granules.screening import ScreenedGranule
from maggjob.granules.whole import granule_cells
from maggjob.grid.healpix import Grid
from maggjob.model.recipe import Recipe, RowFilter
from maggjob.model.tasks import Granule
from maggjob.statistics.functions import Statistic
from maggjob.storage.archive import Archive
from tests.granule_files import BEAMS, FILL, NAME, SEGMENTS, beam, cells_of, write_granule
from tests.oracle import nested, segments_of

Edit = Callable[[h5py.File], None]
BELOW = "/{group}/land_ice_segments"
RECIPE = Recipe(
    groups=BEAMS,
    latitude=f"{BELOW}/latitude",
    longitude=f"{BELOW}/longitude",
    time=f"{BELOW}/delta_time",
    columns=(("h_li", f"{BELOW}/h_li"), ("s_li", f"{BELOW}/h_li_sigma")),
    filters=(RowFilter("quality", f"{BELOW}/atl06_quality_summary", "==", 0),),
    statistics=(
        Statistic("count", "len", dtype="int32", fill_value=0),
        Statistic("h_mean", "average", source="h_li", weights="1.0 / s_li**2"),
    ),
    grid=Grid(),
)


def using(source: str, recipe: Recipe = RECIPE) -> Recipe:
    """The recipe with one more statistic."""
    return replace(recipe, statistics=(*recipe.statistics, Statistic("more", "max", source=source)))


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def granule_at(path: Path) -> Granule:
    return Granule(path.name, str(path))


def expected(path: Path, cell: int, grid: Grid) -> dict[str, Any]:
    """Return the rows of a granule in a cell, found with h5py and healpix-geo or healpy, row by row."""
    counts = {"rows": 0, "invalid_coordinate": 0, "in_cell": 0, "kept": 0}
    segments = {"quality": 0, "fill": 0, "bad_weight": 0, "not_finite": 0, "kept": 0}
    child: list[int] = []
    columns: dict[str, list[Any]] = {"h_li": [], "s_li": []}
    time: list[float] = []
    with h5py.File(path) as file:
        for group in BEAMS:
            if f"{group}/{SEGMENTS}/latitude" not in file:
                continue
            d = {name: item[:] for name, item in file[f"{group}/{SEGMENTS}"].items()}
            good = (np.abs(d["latitude"]) <= 90) & (np.abs(d["longitude"]) <= 720)
            counts["rows"] += len(good)
            counts["invalid_coordinate"] += int((~good).sum())
            rows = np.flatnonzero(good)
            ids = nested(d["latitude"][rows], d["longitude"][rows], grid.child_order, grid.latitude)
            inside = ids >> grid.shift == cell
            for row, number in zip(rows[inside], ids[inside] & (grid.children - 1), strict=True):
                counts["in_cell"] += 1
                h, s = d["h_li"][row], d["h_li_sigma"][row]
                if d["atl06_quality_summary"][row] != 0:
                    state = "quality"
                elif not (abs(h) < FILL and abs(s) < FILL):
                    state = "fill"
                elif s <= 0:
                    state = "bad_weight"
                else:
                    state = "kept"
                    child.append(int(number))
                    columns["h_li"].append(h)
                    columns["s_li"].append(s)
                    if "delta_time" in d:
                        time.append(float(d["delta_time"][row]))
                segments[state] += 1
    counts["kept"] = segments["kept"]
    span = (min(time), max(time)) if time else None
    return {"counts": counts, "segments": segments, "child": child, "columns": columns, "time": span}


def assert_same(got: ScreenedGranule, path: Path, cell: int, grid: Grid = RECIPE.grid) -> None:
    want = expected(path, cell, grid)
    report = got.report
    assert {name: getattr(report, name) for name in want["counts"]} == want["counts"]
    assert report.state == ("used" if report.in_cell else "no_overlap")
    assert (report.reason, report.message) == (None, None)
    if report.in_cell:
        assert dict(got.segments) == want["segments"]
        assert got.time == want["time"]
    else:
        assert dict(got.segments) == {}
    assert got.child.tolist() == want["child"]
    for name, values in want["columns"].items() if report.in_cell else ():
        assert got.columns[name].dtype == np.float32
        np.testing.assert_array_equal(got.columns[name], np.array(values, np.float32))


def all_cells(path: Path, grid: Grid = RECIPE.grid) -> list[int]:
    return cells_of([path], grid.parent_order, grid.latitude)


@pytest.mark.dear(
    "both conventions in both versions of the format", keep=("superblock2-authalic", "superblock0-geodetic-spherical")
)
@pytest.mark.parametrize("latitude", ["authalic", "geodetic-spherical"])
@pytest.mark.parametrize("libver", [None, ("v108", "v108")], ids=["superblock0", "superblock2"])
def test_a_granule_gives_what_h5py_gives(tmp_path: Path, pool: ThreadPoolExecutor, libver: Any, latitude: Any) -> None:
    beams = {name: beam(3000, seed=i, west=-100 + 0.3 * i, step=1e-3) for i, name in enumerate(BEAMS)}
    path = write_granule(tmp_path / NAME, beams, chunk=256, libver=libver)
    recipe = replace(RECIPE, grid=Grid(latitude=latitude))
    cells = all_cells(path, recipe.grid)
    assert len(cells) >= 4
    total = 0
    for cell in [*cells, cells[0] + 1 if cells[0] + 1 not in cells else cells[-1] + 1]:
        access = Archive()
        got = read_granule(granule_at(path), recipe, cell, access, pool, timed=True)
        assert_same(got, path, cell, recipe.grid)
        assert access.bytes_read > 0
        assert dict(got.report.beams) == dict.fromkeys(BEAMS, "read")
        total += got.report.in_cell
    assert total == 6 * 3000


def test_real_granules_give_what_h5py_gives(pine_island: list[Path], pool: ThreadPoolExecutor) -> None:
    for path in pine_island:
        for cell in all_cells(path)[:3]:
            assert_same(read_granule(granule_at(path), RECIPE, cell, Archive(), pool, timed=True), path, cell)


def test_odd_values_are_counted(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    data = beam(200)
    data["atl06_quality_summary"][:] = 0
    data["latitude"][[3, 20, 21]] = [np.nan, 95.0, 3.4e38]
    data["longitude"][[30, 31, 32]] = [np.inf, 721.0, np.nan]
    data["longitude"][40] += 360.0
    data["h_li"][[50, 51, 52]] = [FILL, np.nan, -np.inf]
    data["h_li_sigma"][[60, 61, 62, 63]] = [0.0, -1.0, FILL, np.nan]
    data["atl06_quality_summary"][[50, 60, 70]] = 1
    path = write_granule(tmp_path / NAME, {"gt1l": data})
    (cell,) = all_cells(path)
    got = read_granule(granule_at(path), RECIPE, cell, Archive(), pool, timed=True)
    assert_same(got, path, cell)
    assert got.report.invalid_coordinate == 6
    assert got.report.in_cell == 194
    assert dict(got.segments) == {"quality": 3, "fill": 4, "bad_weight": 1, "not_finite": 0, "kept": 186}


def test_only_bad_coordinates_are_no_overlap(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = write_granule(tmp_path / NAME, {"gt1l": beam(50) | {"latitude": np.full(50, np.nan)}})
    got = read_granule(granule_at(path), RECIPE, 45763, Archive(), pool, timed=True)
    assert (got.report.state, got.report.rows, got.report.invalid_coordinate) == ("no_overlap", 50, 50)
    assert len(got.child) == 0


def test_a_beam_of_no_rows_is_read(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = write_granule(tmp_path / NAME, {"gt1l": beam(0), "gt2r": beam(50)})
    (cell,) = all_cells(path)
    got = read_granule(granule_at(path), RECIPE, cell, Archive(), pool, timed=True)
    assert_same(got, path, cell)
    assert got.report.beams["gt1l"] == "read"


def residual_histogram(file: h5py.File) -> None:
    file["gt3l/residual_histogram/count"] = np.arange(10)


def deleted(file: h5py.File) -> None:
    del file[f"gt3l/{SEGMENTS}"]


@pytest.mark.parametrize("libver", [None, ("v108", "v108")], ids=["superblock0", "superblock2"])
@pytest.mark.parametrize(
    ("beams", "edit"),
    [(("gt1r", "gt2l"), None), (("gt1r", "gt2l"), residual_histogram), (("gt1r", "gt2l", "gt3l"), deleted)],
    ids=["never there", "residual histogram", "deleted"],
)
def test_absent_beams_are_no_failure(
    tmp_path: Path,
    pool: ThreadPoolExecutor,
    libver: Any,
    beams: tuple[str, ...],
    edit: Callable[[h5py.File], None] | None,
) -> None:
    path = write_granule(tmp_path / NAME, {name: beam(100) for name in beams}, libver=libver, edit=edit)
    (cell,) = all_cells(path)
    got = read_granule(granule_at(path), RECIPE, cell, Archive(), pool, timed=True)
    assert_same(got, path, cell)
    assert dict(got.report.beams) == {name: "read" if name in ("gt1r", "gt2l") else "absent" for name in BEAMS}


def without(*names: str) -> Edit:
    def edit(file: h5py.File) -> None:
        for name in names:
            del file[name]

    return edit


def failing(path: Path, pool: ThreadPoolExecutor, cell: int, recipe: Recipe = RECIPE) -> GranuleError:
    with pytest.raises(GranuleError) as caught:
        read_granule(granule_at(path), recipe, cell, Archive(), pool, timed=True)
    return caught.value


@pytest.mark.parametrize("name", ["latitude", "longitude", "h_li", "h_li_sigma", "atl06_quality_summary"])
def test_a_missing_dataset_fails(tmp_path: Path, pool: ThreadPoolExecutor, name: str) -> None:
    cells = all_cells(write_granule(tmp_path / "whole.h5"))
    path = write_granule(tmp_path / NAME, edit=without(f"gt2l/{SEGMENTS}/{name}"))
    problem = failing(path, pool, cells[0])
    assert type(problem) is MissingDatasetError
    assert problem.reason == "missing_dataset"
    assert str(problem).startswith(NAME)
    assert f"gt2l/{SEGMENTS}/{name}" in str(problem)


def test_a_dataset_that_no_cell_needs_may_be_missing(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = write_granule(tmp_path / NAME, edit=without(f"gt2l/{SEGMENTS}/segment_id"))
    for cell in all_cells(path):
        assert_same(read_granule(granule_at(path), RECIPE, cell, Archive(), pool, timed=True), path, cell)


@pytest.mark.parametrize("beams", [{}, {"other": beam(10)}], ids=["empty", "other"])
def test_no_beam_at_all_fails(tmp_path: Path, pool: ThreadPoolExecutor, beams: Mapping[str, Any]) -> None:
    path = write_granule(tmp_path / NAME, beams)
    problem = failing(path, pool, 0)
    assert type(problem) is MissingDatasetError
    assert "none of the beams" in str(problem)


@pytest.mark.parametrize("name", ["longitude", "h_li", "h_li_sigma", "atl06_quality_summary", "delta_time"])
@pytest.mark.parametrize("rows", [99, 101])
def test_datasets_of_unequal_length_are_corrupt(tmp_path: Path, pool: ThreadPoolExecutor, name: str, rows: int) -> None:
    whole = beam(100)
    odd = whole | {name: np.resize(whole[name], rows)}
    (cell,) = all_cells(write_granule(tmp_path / "whole.h5", {"gt1l": whole}))
    problem = failing(write_granule(tmp_path / NAME, {"gt1l": whole, "gt2l": odd}), pool, cell)
    assert type(problem) is CorruptError
    assert problem.reason == "corrupt"
    assert str(problem).startswith(NAME)
    assert "gt2l" in str(problem)


@pytest.mark.parametrize("name", ["latitude", "longitude", "h_li", "h_li_sigma", "atl06_quality_summary", "delta_time"])
def test_a_corrupt_chunk_fails_the_whole_granule(tmp_path: Path, pool: ThreadPoolExecutor, name: str) -> None:
    path = write_granule(tmp_path / NAME)
    cell = all_cells(path)[0]
    assert read_granule(granule_at(path), RECIPE, cell, Archive(), pool, timed=True).report.kept > 0
    with h5py.File(path) as file:
        chunk = file[f"gt3r/{SEGMENTS}/{name}"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size - 1] ^= 0xFF  # in the checksum
    path.write_bytes(content)
    problem = failing(path, pool, cell)
    assert type(problem) is CorruptError
    assert str(problem).startswith(f"{NAME}: gt3r/{SEGMENTS}/{name}: ")


def test_an_odd_filter_fails_the_granule(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    whole = write_granule(tmp_path / "whole.h5")
    path = write_granule(tmp_path / NAME, options={"h_li": {"chunks": (100,), "fletcher32": True}})
    (cell, *_) = all_cells(whole)
    strict = replace(RECIPE, reader="h5coro")
    with pytest.raises(UnsupportedError, match="fletcher32"):
        read_granule(granule_at(path), strict, cell, Archive(), pool, timed=True)
    by_h5py = read_granule(granule_at(path), RECIPE, cell, Archive(), pool, timed=True)
    by_h5coro = read_granule(granule_at(whole), RECIPE, cell, Archive(), pool, timed=True)
    assert (by_h5py.by_h5py, by_h5coro.by_h5py) == (True, False)
    assert by_h5py.segments == by_h5coro.segments


def test_a_cut_granule_is_truncated_before_any_beam(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    for libver in (None, ("v108", "v108")):
        path = write_granule(tmp_path / NAME, libver=libver)
        content = path.read_bytes()
        for percent in (*range(10, 100, 10), 99):
            path.write_bytes(content[: len(content) * percent // 100])
            with pytest.raises(TruncatedError) as caught:
                open_granule(granule_at(path), Archive())
            assert caught.value.reason == "truncated"
            assert NAME in str(caught.value)
            assert type(failing(path, pool, 0)) is TruncatedError


@pytest.mark.parametrize("size", [*range(9), 20, 63, 64, 96])
def test_the_first_bytes_alone_are_no_granule(tmp_path: Path, size: int) -> None:
    path = write_granule(tmp_path / NAME)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises((TruncatedError, NotHdf5Error)):
        open_granule(granule_at(path), Archive())


def test_a_granule_that_is_too_long_is_refused(tmp_path: Path) -> None:
    path = write_granule(tmp_path / NAME)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(TruncatedError):
        open_granule(granule_at(path), Archive())


def test_the_size_in_the_catalog_is_held_against_the_granule(tmp_path: Path) -> None:
    path = write_granule(tmp_path / NAME)
    size = path.stat().st_size
    open_granule(Granule(NAME, str(path), size), Archive())
    with pytest.raises(TruncatedError, match="in the catalog"):
        open_granule(Granule(NAME, str(path), size + 1), Archive())


@pytest.mark.parametrize("content", [b"<html>please log in</html>" * 10, b"CDF\x01" + bytes(500), bytes(500)])
def test_what_is_no_hdf5_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(NotHdf5Error) as caught:
        open_granule(granule_at(tmp_path / NAME), Archive())
    assert caught.value.reason == "not_hdf5"
    assert NAME in str(caught.value)


def test_superblock_3_is_unsupported_by_h5coro(tmp_path: Path) -> None:
    path = write_granule(tmp_path / NAME, libver="latest")
    assert path.read_bytes()[8] == 3
    assert open_granule(granule_at(path), Archive()).file.slow
    with pytest.raises(UnsupportedError, match="superblock version 3") as caught:
        open_granule(granule_at(path), Archive(), "h5coro")
    assert caught.value.reason == "unsupported"


def test_columns_of_the_name_the_beam_and_the_place(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    recipe = using("rgt + cycle + beam + latitude + longitude")
    path = write_granule(tmp_path / NAME, {"gt1r": beam(100), "gt3l": beam(100, seed=1)})
    (cell,) = all_cells(path)
    got = read_granule(granule_at(path), recipe, cell, Archive(), pool, timed=True)
    with h5py.File(path) as file:
        groups = [file[f"{group}/{SEGMENTS}"] for group in ("gt1r", "gt3l")]
        kept = [group["atl06_quality_summary"][:] == 0 for group in groups]
        for name in ("latitude", "longitude"):
            want = np.concatenate([g[name][:][k] for g, k in zip(groups, kept, strict=True)])
            np.testing.assert_array_equal(got.columns[name], want)
    assert got.columns["beam"].tolist() == [2] * int(kept[0].sum()) + [5] * int(kept[1].sum())
    assert set(got.columns["rgt"].tolist()) == {850}
    assert set(got.columns["cycle"].tolist()) == {2}
    assert set(got.columns) == {"h_li", "s_li", "rgt", "cycle", "beam", "latitude", "longitude"}


@pytest.mark.parametrize("column", ["rgt", "cycle"])
def test_a_name_that_tells_nothing_is_unsupported(tmp_path: Path, pool: ThreadPoolExecutor, column: str) -> None:
    path = write_granule(tmp_path / "renamed.h5", {"gt1l": beam(20)})
    (cell,) = all_cells(path)
    assert type(failing(path, pool, cell, using(column))) is UnsupportedError
    assert read_granule(granule_at(path), using("beam"), cell, Archive(), pool, timed=True).report.kept > 0


def test_without_times_there_is_no_time(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = write_granule(tmp_path / NAME, edit=without(*(f"{name}/{SEGMENTS}/delta_time" for name in BEAMS)))
    for cell in all_cells(path):
        got = read_granule(granule_at(path), RECIPE, cell, Archive(), pool, timed=True)
        assert got.time is None
        assert_same(got, path, cell)


def test_units_and_names_come_along(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = write_granule(tmp_path / NAME, {"gt1l": beam(20)})
    (cell,) = all_cells(path)
    got = read_granule(granule_at(path), RECIPE, cell, Archive(), pool, timed=True)
    assert got.attributes == {
        "h_li": {"units": "meters", "long_name": "h_li"},
        "s_li": {"units": "meters", "long_name": "h_li_sigma"},
    }


def test_only_the_rows_of_the_cell_are_read(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    rows, chunk = 60_000, 1000
    path = write_granule(tmp_path / NAME, {"gt1l": beam(rows, step=2e-4)}, chunk=chunk)
    broken = bytearray(path.read_bytes())
    cells = all_cells(path)
    with h5py.File(path) as file:
        ids = nested(file[f"gt1l/{SEGMENTS}/latitude"][:], file[f"gt1l/{SEGMENTS}/longitude"][:], 6, "authalic")
        first, last = int(ids[0]), int(ids[-1])
        assert first != last
        end = file[f"gt1l/{SEGMENTS}/h_li"].id.get_chunk_info(rows // chunk - 1)
    broken[end.byte_offset + end.size - 1] ^= 0xFF
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / NAME).write_bytes(broken)
    assert set(cells) >= {first, last}
    got = read_granule(granule_at(tmp_path / "broken" / NAME), RECIPE, first, Archive(), pool, timed=True)
    assert_same(got, path, first)
    assert type(failing(tmp_path / "broken" / NAME, pool, last)) is CorruptError


def test_beams_come_in_the_order_of_the_configuration(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = write_granule(tmp_path / NAME)
    file = open_granule(granule_at(path), Archive())
    beams = read_beams(file, replace(RECIPE, groups=("gt3l", "nothing", "gt1r")), pool)
    assert [found.group for found in beams] == ["gt3l", "gt1r"]
    with h5py.File(path) as truth:
        np.testing.assert_array_equal(beams[0].latitude, truth[f"gt3l/{SEGMENTS}/latitude"][:])
        np.testing.assert_array_equal(beams[1].longitude, truth[f"gt1r/{SEGMENTS}/longitude"][:])


@pytest.mark.parametrize("latitude", ["authalic", "geodetic-spherical"])
def test_the_cells_of_a_granule(
    tmp_path: Path, pool: ThreadPoolExecutor, real_granules: list[Path], latitude: Any
) -> None:
    odd = beam(2000, step=2e-3)
    odd["latitude"][5:9] = [np.nan, 95.0, 3.4e38, -91.0]
    for path in [write_granule(tmp_path / NAME, {"gt1l": odd, "gt2l": beam(10)}), *real_granules[:2]]:
        recipe = replace(RECIPE, grid=Grid(6, 12, latitude))
        found = granule_cells(granule_at(path), recipe, Archive(), pool)
        truth = segments_of(path, 6, latitude)["cell"]
        assert found.cells.tolist() == cells_of([path], 6, latitude)
        assert dict(zip(found.cells.tolist(), found.rows.tolist(), strict=True)) == Counter(truth.tolist())
