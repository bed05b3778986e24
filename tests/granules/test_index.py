"""The index of a granule: what it says is what h5py and the oracle say, and nothing else is taken for one."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, strategies as st

from maggjob.errors import CorruptError, IndexFileError, StaleIndexError
from maggjob.granules.granule import open_granule
from maggjob.granules.index import INLINE, BeamIndex, GranuleIndex, make_index
from maggjob.granules.index_format import HEAD, LENGTH, decode, encode, index_digest
from maggjob.granules.pack_format import index_folder, index_name
from maggjob.granules.selection import Unindexed
from maggjob.grid.healpix import INVALID, Grid, locate, valid_coordinates
from maggjob.grid.tracks import locate_runs
from maggjob.hdf5.chunks import GAP, ChunkTable, inflate, merge, shuffle, unshuffle
from maggjob.model.recipe import RowFilter
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive
from tests.granule_files import BEAMS, NAME, SEGMENTS, beam, write_granule
from tests.granules.test_granule import RECIPE, granule_at, using
from tests.oracle import nested
from tests.strategies import few, many, points

DIGEST = index_digest(RECIPE)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def indexed(path: Path, pool: ThreadPoolExecutor, recipe: Any = RECIPE) -> GranuleIndex:
    return make_index(open_granule(granule_at(path), Archive()), recipe, index_digest(recipe), pool)


def plain(index: GranuleIndex) -> dict[str, Any]:
    """An index as plain values, which compare."""

    def of(dataset: Any) -> Any:
        if isinstance(dataset, Unindexed):
            return dataset.reason
        own = {name: getattr(dataset, name) for name in ChunkTable.__dataclass_fields__}
        own |= {"offsets": dataset.offsets.tolist(), "sizes": dataset.sizes.tolist(), "fill": repr(dataset.fill)}
        return own | {"inline": {n: bytes(c) for n, c in dataset.inline.items()}}

    beams = [
        (b.group, b.ids.tolist(), b.lengths.tolist(), {path: of(dataset) for path, dataset in b.datasets.items()})
        for b in index.beams
    ]
    return {"of": (index.granule, index.size, index.etag, index.digest), "beams": beams}


# ---- what an index says


def assert_is_what_h5py_says(index: GranuleIndex, path: Path, grid: Grid) -> None:
    rows, invalid, cells = 0, 0, dict[int, int]()
    with h5py.File(path) as file:
        groups = [group for group in BEAMS if f"{group}/{SEGMENTS}" in file]
        assert [b.group for b in index.beams] == groups
        for one in index.beams:
            segments = file[one.group][SEGMENTS]
            latitude, longitude = segments["latitude"][:], segments["longitude"][:]
            good = (np.abs(latitude) <= 90) & (np.abs(longitude) <= 720)
            ids = np.full(len(latitude), INVALID)
            ids[good] = nested(latitude[good], longitude[good], grid.child_order, grid.latitude)
            np.testing.assert_array_equal(np.repeat(one.ids, one.lengths), ids)
            assert (one.ids[1:] != one.ids[:-1]).all()  # runs are as long as they can be
            rows, invalid = rows + len(ids), invalid + int((~good).sum())
            for cell, count in zip(*np.unique(ids[good] >> grid.shift, return_counts=True), strict=True):
                cells[int(cell)] = cells.get(int(cell), 0) + int(count)
            for dataset, table in one.datasets.items():
                assert isinstance(table, ChunkTable)
                truth = file[dataset]
                chunks = [truth.id.get_chunk_info(n) for n in range(truth.id.get_num_chunks())]
                assert table.offsets.tolist() == [chunk.byte_offset for chunk in chunks]
                assert table.sizes.tolist() == [chunk.size for chunk in chunks]
                assert set(table.inline) == {n for n, chunk in enumerate(chunks) if chunk.size <= INLINE}
                whole = path.read_bytes()
                stored = [table.inline.get(n, whole[slice(*table.range_of(n))]) for n in table.numbers(0, table.rows)]
                np.testing.assert_array_equal(table.values(0, table.rows, stored), truth[:])
    assert (index.rows, index.invalid, index.cells(grid)) == (rows, invalid, cells)
    assert list(index.cells(grid)) == sorted(cells)
    assert sum(cells.values()) + invalid == rows


@pytest.mark.parametrize("latitude", ["authalic", "geodetic-spherical"])
def test_real_granules(real_granules: list[Path], pool: ThreadPoolExecutor, latitude: Any) -> None:
    recipe = replace(RECIPE, grid=Grid(latitude=latitude))
    for path in real_granules:
        index = indexed(path, pool, recipe)
        assert_is_what_h5py_says(index, path, recipe.grid)
        content = encode(index)
        assert len(content) < 15_000
        assert plain(decode(content, index.granule, index.digest)) == plain(index)


@pytest.mark.parametrize("libver", [None, ("v108", "v108")], ids=["superblock0", "superblock2"])
def test_crafted_granules(tmp_path: Path, pool: ThreadPoolExecutor, libver: Any) -> None:
    beams = {name: beam(3000, seed=i, west=-100 + 0.3 * i, step=1e-3) for i, name in enumerate(BEAMS[1:])}
    beams["gt1r"]["latitude"][100:110] = [np.nan, np.inf, -np.inf, 95, -90.1, 3.4e38, np.nan, -89, -89, 90.5]
    beams["gt2l"]["longitude"][:5] = [361.0, 721.0, np.nan, -181.0, 180.0]
    beams["gt3r"] = {name: values[:0] for name, values in beam(1).items()}
    path = write_granule(tmp_path / NAME, beams, chunk=256, libver=libver)
    index = indexed(path, pool)
    assert_is_what_h5py_says(index, path, RECIPE.grid)
    assert index.invalid == 8 + 2
    assert index.size == path.stat().st_size
    assert plain(decode(encode(index), NAME, DIGEST)) == plain(index)


def test_the_selections_of_all_cells_are_all_rows(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    path = write_granule(tmp_path / NAME, {"gt1l": beam(4000, step=1e-3), "gt2r": beam(900, step=-2e-3)}, chunk=1000)
    index, grid = indexed(path, pool), RECIPE.grid
    found: dict[str, list[int]] = {"gt1l": [], "gt2r": []}
    for cell, rows in index.cells(grid).items():
        selection = index.select(cell, grid)
        assert sum(len(beam.child) for beam in selection.beams) == rows
        for rows_of in selection.beams:
            inside = rows_of.pick(np.arange(rows_of.start, rows_of.stop))
            assert (int(inside[0]), int(inside[-1]) + 1) == (rows_of.start, rows_of.stop)
            found[rows_of.group] += inside.tolist()
            one = index.beams[["gt1l", "gt2r"].index(rows_of.group)]
            ids = np.repeat(one.ids, one.lengths)[inside]
            np.testing.assert_array_equal(rows_of.child.astype(np.int64) + (cell << grid.shift), ids)
        ranges = selection.ranges(RECIPE.needed_paths)
        assert ranges
        assert 0 < sum(stop - start for start, stop in ranges) < path.stat().st_size
    assert sorted(found["gt1l"]) == list(range(4000))
    assert sorted(found["gt2r"]) == list(range(900))
    nowhere = next(cell for cell in range(49152) if cell not in index.cells(grid))
    assert index.select(nowhere, grid).beams == []
    assert index.select(nowhere, grid).ranges(RECIPE.needed_paths) == []


@many
@given(points(valid_only=False, max_size=60), st.integers(1, 4), st.sampled_from(("authalic", "geodetic-spherical")))
def test_runs_are_the_cells_of_the_points(where: Any, repeat: int, latitude: Any) -> None:
    lat, lon = (np.repeat(values, repeat) for values in where)
    ids, lengths = locate_runs(lat, lon, 9, latitude)
    good = valid_coordinates(lat, lon)
    assert lengths.sum() == len(lat)
    assert (lengths > 0).all()
    every = np.repeat(ids, lengths)
    np.testing.assert_array_equal(every == INVALID, ~good)
    np.testing.assert_array_equal(every[good], locate(lat[good], lon[good], 9, latitude))


# ---- bytes

numbers = st.integers(0, 2**40)
tables = st.builds(
    lambda dtype, chunk, sizes, rows, fill, shuffled, inline: (dtype, chunk, sizes, rows, fill, shuffled, inline),
    st.sampled_from(("<f4", "<f8", "|i1", "<i4", "<u8")),
    st.integers(1, 10_000),
    st.lists(st.tuples(numbers, st.integers(1, 2**31)), max_size=8),
    st.floats(0, 1, exclude_min=True),
    st.sampled_from((None, 0, -1, 127, 3.4028234663852886e38, float("inf"), float("nan"))),
    st.booleans(),
    st.lists(st.binary(min_size=1, max_size=40), max_size=3),
)


@st.composite
def beams(draw: st.DrawFn, group: str) -> BeamIndex:
    dtype, chunk, places, part, fill, shuffled, inline = draw(tables)
    rows = 0 if not places else max((len(places) - 1) * chunk + 1, int(len(places) * chunk * part))
    cuts = sorted(set(draw(st.lists(st.integers(1, max(1, rows - 1)), max_size=9)))) if rows > 1 else []
    lengths = np.diff([0, *cuts, rows]).astype(np.int64) if rows else np.empty(0, np.int64)
    ids = np.array(draw(st.lists(st.integers(-2, 2**59), min_size=len(lengths), max_size=len(lengths))), np.int64)
    table = ChunkTable(
        rows,
        np.dtype(dtype),
        chunk,
        deflated=True,
        shuffled=shuffled,
        offsets=np.array([offset for offset, _ in places], np.int64),
        sizes=np.array([size for _, size in places], np.int64),
        fill=fill,
        attributes={"units": "m", "long_name": draw(st.text(max_size=9))},
        inline=dict(enumerate(inline[: len(places)])),
    )
    return BeamIndex(group, ids, lengths, {"a": table, "b": Unindexed(draw(st.text(max_size=20)))})


indexes = st.builds(
    lambda size, etag, one, two: GranuleIndex(NAME, size, etag, DIGEST, (one, two)),
    st.integers(0, 2**40),
    st.one_of(st.none(), st.text(max_size=20)),
    beams("gt1l"),
    beams("gt2r"),
)


@many
@given(indexes)
def test_an_index_comes_back_and_its_bytes_are_its_own(index: GranuleIndex) -> None:
    content = encode(index)
    assert content == encode(index)
    again = decode(content, NAME, DIGEST)
    assert plain(again) == plain(index)
    assert encode(again) == content


@few
@given(indexes, st.data())
def test_a_damaged_index_is_refused_or_the_same(index: GranuleIndex, data: st.DataObject) -> None:
    content = encode(index)
    short = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(IndexFileError):
        decode(content[:short], NAME, DIGEST)
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        # The last byte of a deflate stream has bits that mean nothing.
        again = plain(decode(bytes(flipped), NAME, DIGEST))
    except IndexFileError as problem:
        again, said = None, (problem.reason, NAME in str(problem))
    assert said == ("index", True) if again is None else again == plain(index)


def test_what_is_refused_is_told_by_name(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    content = encode(indexed(write_granule(tmp_path / NAME), pool))
    with pytest.raises(IndexFileError, match="version 1, expected 2"):
        decode(content[:8] + struct.pack("<H", 1) + content[10:], NAME, DIGEST)
    with pytest.raises(IndexFileError, match=r"cut short, it has 100 bytes"):
        decode(content[:100], NAME, DIGEST)
    with pytest.raises(IndexFileError, match="no index"):
        decode(b"<html>", NAME, DIGEST)
    with pytest.raises(IndexFileError, match=f"it is of {NAME}"):
        decode(content, "ATL06_other", DIGEST)
    with pytest.raises(IndexFileError, match="expected recipe 0123"):
        decode(content, NAME, "0123" * 16)


Edit = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes the header of an index: of it, and of its first beam."""


def one_chunk_more(header: dict[str, Any], first: dict[str, Any]) -> None:
    first["datasets"][next(iter(first["datasets"]))][1] += 1


def rows_of_another_beam(header: dict[str, Any], first: dict[str, Any]) -> None:
    first["datasets"][next(iter(first["datasets"]))][0] -= 1


def one_run_more(header: dict[str, Any], first: dict[str, Any]) -> None:
    first["runs"] += 1


def a_beam_less(header: dict[str, Any], first: dict[str, Any]) -> None:
    del header["beams"][-1]


def a_kind_too_few(header: dict[str, Any], first: dict[str, Any]) -> None:
    del header["kinds"][-1]


def one_number_less(header: dict[str, Any], first: dict[str, Any]) -> None:
    header["columns"][4][1] -= 1


def one_number_more(header: dict[str, Any], first: dict[str, Any]) -> None:
    header["columns"][0][1] += 1


@pytest.mark.parametrize(
    "edit",
    [
        one_chunk_more,
        rows_of_another_beam,
        one_run_more,
        a_beam_less,
        a_kind_too_few,
        one_number_less,
        one_number_more,
    ],
)
def test_an_index_that_contradicts_itself_is_refused(tmp_path: Path, pool: ThreadPoolExecutor, edit: Edit) -> None:
    content = encode(indexed(write_granule(tmp_path / NAME), pool))
    head = list(HEAD.unpack_from(content))
    stream = zlib.decompress(content[HEAD.size : HEAD.size + head[2]])
    start = LENGTH.size + LENGTH.unpack_from(stream)[0]
    header = json.loads(stream[LENGTH.size : start])
    edit(header, header["beams"][0])
    text = json.dumps(header).encode()
    other = LENGTH.pack(len(text)) + text + stream[start:]
    packed = zlib.compress(other)
    inline = content[HEAD.size + head[2] :]
    head[2:4] = len(packed), len(other)
    with pytest.raises(IndexFileError, match="damaged or cut short"):
        decode(HEAD.pack(*head) + packed + inline, NAME, DIGEST)


def test_the_folder_names_what_an_index_depends_on() -> None:
    folders = {
        index_folder(index_digest(recipe))
        for recipe in (
            RECIPE,
            replace(RECIPE, grid=Grid(child_order=11)),
            replace(RECIPE, grid=Grid(latitude="geodetic-spherical")),
            replace(RECIPE, columns=RECIPE.columns[:1]),
            replace(RECIPE, filters=()),
            replace(RECIPE, groups=BEAMS[:2]),
            using("latitude"),
        )
    }
    assert len(folders) == 7
    same = replace(RECIPE, grid=Grid(parent_order=5), statistics=RECIPE.statistics[:1])
    assert index_digest(same) == DIGEST
    assert index_digest(replace(RECIPE, filters=(RowFilter("q", RECIPE.filters[0].dataset, "<", 3),))) == DIGEST
    granule = Granule("ATL06_x", "s3://bucket/ATL06_x.h5", 77)
    assert index_name(granule) == "ATL06_x.77"
    assert index_name(replace(granule, size=None)) == "ATL06_x"


def test_another_size_or_etag_is_stale() -> None:
    index = GranuleIndex(NAME, 100, '"a"', DIGEST, ())
    index.check(100, '"a"')
    index.check(100, None)
    replace(index, etag=None).check(100, '"b"')
    for size, etag in ((101, '"a"'), (100, '"b"')):
        with pytest.raises(StaleIndexError, match="make the index anew") as caught:
            index.check(size, etag)
        assert caught.value.reason == "stale"


# ---- chunks


@many
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**5)), max_size=20), st.integers(0, 10**5))
def test_merged_ranges_hold_all_and_little_more(places: list[tuple[int, int]], gap: int) -> None:
    ranges = [(start, start + size) for start, size in places]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maggjob.hdf5.chunks.GAP", gap)
        merged = merge(ranges)
    assert merged == sorted(merged)
    for (_, stop), (start, _) in pairwise(merged):
        assert start - stop >= max(gap, 0)
    for start, stop in ranges:
        assert any(first <= start and stop <= last for first, last in merged)
    assert {start for start, _ in merged} <= {start for start, _ in ranges}
    assert {stop for _, stop in merged} <= {stop for _, stop in ranges}


def test_the_gap_joins_what_is_near() -> None:
    assert merge([(0, 10), (10 + GAP - 1, 90_000)]) == [(0, 90_000)]
    assert merge([(0, 10), (10 + GAP, 90_000)]) == [(0, 10), (10 + GAP, 90_000)]


@pytest.mark.parametrize("dtype", ["|i1", "<u2", "<i4", "<f4", "<f8"])
def test_shuffling_is_what_h5py_undoes(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(1).integers(0, 100, 777).astype(dtype)
    assert unshuffle(shuffle(values), np.dtype(dtype)).tolist() == values.tolist()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("a", data=values, chunks=(777,), compression="gzip", shuffle=True)
        _, stored = made.id.read_direct_chunk((0,))
    assert zlib.decompress(stored) == shuffle(values)


@pytest.mark.parametrize("fallback", [False, True], ids=["libdeflate", "zlib"])
def test_inflating_gives_what_was_packed_or_an_error(monkeypatch: pytest.MonkeyPatch, fallback: bool) -> None:
    if fallback:
        monkeypatch.setattr("maggjob.hdf5.chunks.zlib_decompress", None)
        monkeypatch.setattr("maggjob.hdf5.chunks.DeflateError", zlib.error)
    packed = zlib.compress(bytes(range(256)) * 4)
    assert bytes(inflate(memoryview(packed), 1024)) == bytes(range(256)) * 4
    flipped = bytearray(packed)
    flipped[-1] ^= 1
    for content, size in ((packed, 1023), (packed, 1025), (packed[:-5], 1024), (bytes(flipped), 1024), (b"", 1024)):
        with pytest.raises(CorruptError):
            inflate(content, size)
