"""Every number is h5py's number, or there is an error that names granule and dataset."""

import json
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from maggjob.errors import CorruptError, GranuleError, TruncatedError, UnsupportedError
from maggjob.hdf5 import file as hdf5, h5coro_fixes
from maggjob.hdf5.file import Hdf5File
from maggjob.hdf5.messages import Undecoded
from tests.strategies import few, many

OLD, NEW = None, ("v108", "v108")  # superblock 0, as in native granules, and 2, as in NSIDC's subsets
ROWS, CHUNK = 1000, 7  # 143 chunks: more than one node of a chunk table holds
DTYPES = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
STORED: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "plain": {"chunks": (CHUNK,)},
    "gzip": {"chunks": (CHUNK,), "compression": "gzip"},
    "shuffled": {"chunks": (CHUNK,), "compression": "gzip", "shuffle": True},
    "one": {"chunks": (10_000,), "maxshape": (None,), "compression": "gzip", "fillvalue": 3},
}
PATHS = [f"{stored}/{dtype}" for stored in (*STORED, "compact") for dtype in DTYPES] + ["deep"]


def in_memory(content: bytes, name: str = "granule.h5") -> Hdf5File:
    """A file in memory, that reads as `maggjob.storage.folder.Source` does."""

    def read(position: int, size: int) -> bytes:
        if not 0 <= position < len(content):
            raise TruncatedError(f"{name}: cannot read at byte {position}, the object ends at {len(content)}")
        return content[position : position + size]

    return Hdf5File(read, name)


def opened(path: Path) -> Hdf5File:
    return in_memory(path.read_bytes(), path.name)


def numbers(dtype: str, rows: int = ROWS) -> np.ndarray:
    raw = np.random.default_rng(rows).integers(0, 256, rows * np.dtype(dtype).itemsize, np.uint8)
    values = raw.view(dtype)
    return np.where(np.isfinite(values), values, 0).astype(dtype) if values.dtype.kind == "f" else values


def read_all(file: Hdf5File, path: str) -> np.ndarray:
    info = file.info(path)
    assert info is not None
    return file.rows(path, 0, info.rows)


def make_compact(group: h5py.Group, name: str, values: np.ndarray) -> None:
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(values.shape)
    made = h5py.h5d.create(group.id, name.encode(), h5py.h5t.py_create(values.dtype), space, layout)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)


@pytest.fixture(scope="module", params=[OLD, NEW], ids=["superblock0", "superblock2"])
def crafted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every type in every layout."""
    path = tmp_path_factory.mktemp("crafted") / "crafted.h5"
    with h5py.File(path, "w", libver=request.param) as file:
        for stored, options in STORED.items():
            for dtype in DTYPES:
                file.create_dataset(f"{stored}/{dtype}", data=numbers(dtype), **options)
        compact = file.create_group("compact")
        for dtype in DTYPES:
            make_compact(compact, dtype, numbers(dtype))
        file.create_dataset("deep", data=numbers("i2", 5000), chunks=(1,), compression="gzip")  # a table of 3 levels
        file.create_dataset("none", (0,), "f4", maxshape=(None,), chunks=(CHUNK,))
    assert path.read_bytes()[8] == (0 if request.param is OLD else 2)
    return path


def expected_attributes(dataset: h5py.Dataset) -> dict[str, Any]:
    """Attributes that are used and are one fixed string, or little-endian numbers, in maggjob's form."""
    found: dict[str, Any] = {}
    for name in set(dataset.attrs) & set(h5coro_fixes.ATTRIBUTES):
        kind = dataset.attrs.get_id(name).get_type()
        if dataset.attrs.get_id(name).get_space().get_simple_extent_type() == h5py.h5s.NULL:
            continue
        value = np.ravel(dataset.attrs[name])
        if kind.get_class() == h5py.h5t.STRING and not kind.is_variable_str() and value.size == 1:
            text = value[0].decode() if isinstance(value[0], bytes) else str(value[0])
            found[name] = text.strip()
        elif kind.get_class() in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
            found[name] = value.astype(value.dtype.newbyteorder("<"))
    return found


def assert_attributes(file: Hdf5File, dataset: h5py.Dataset) -> None:
    info = file.info(dataset.name)
    assert info is not None
    expected = expected_attributes(dataset)
    decoded = {name: value for name, value in info.attributes.items() if not isinstance(value, Undecoded)}
    got = {name: value for name, value in decoded.items() if not isinstance(value, str) or value}
    assert got.keys() == {n for n, v in expected.items() if not isinstance(v, str) or v}
    for name, value in got.items():
        if isinstance(value, str):
            assert value == expected[name]
        else:
            assert value.dtype == expected[name].dtype
            np.testing.assert_array_equal(value, expected[name])
    fill = expected.get("_FillValue")
    if fill is None or isinstance(fill, str) or fill.size != 1:
        assert info.fill is None
    else:
        assert info.fill == fill[0].item()
        assert np.ndim(info.fill) == 0


@pytest.mark.dear("all datasets of all real granules; test_layouts has the kinds of layouts")
def test_every_number_of_real_granules(real_granules: list[Path]) -> None:
    for path in real_granules:
        ours, compared = opened(path), 0

        def compare(name: str, item: h5py.HLObject, ours: Hdf5File = ours) -> None:
            nonlocal compared
            if not isinstance(item, h5py.Dataset) or item.ndim != 1 or item.dtype.kind not in "iuf":
                return
            info = ours.info(name)
            assert info is not None, name
            assert (info.rows, info.dtype) == (item.shape[0], item.dtype), name
            got, want = ours.rows(name, 0, info.rows), item[:]
            assert got.dtype == want.dtype
            assert got.tobytes() == want.tobytes(), name
            assert_attributes(ours, item)
            compared += 1

        with h5py.File(path) as file:
            file.visititems(compare)
            beams = [f"gt{i}{side}" for i in (1, 2, 3) for side in "lr"]
            for beam in beams:
                segments = f"{beam}/land_ice_segments"
                assert (ours.info(f"{segments}/latitude") is None) == (f"{segments}/latitude" not in file)
                assert ours.has_group(segments) == (segments in file)
        assert compared >= 20


def test_every_type_in_every_layout(crafted: Path) -> None:
    ours = opened(crafted)
    with h5py.File(crafted) as file:
        for path in PATHS:
            info = ours.info(path)
            assert info is not None
            assert (info.path, info.rows, info.dtype) == (path, *file[path].shape, file[path].dtype)
            got = ours.rows(f"/{path}", 0, info.rows)
            assert got.dtype == file[path].dtype
            assert got.tobytes() == file[path][:].tobytes(), path


@st.composite
def slices(draw: st.DrawFn, rows: int, chunk: int) -> tuple[int, int]:
    """Slices that like to begin and to end at, or one beside, the edge of a chunk."""
    edge = st.builds(
        lambda k, beside: min(max(k * chunk + beside, 0), rows),
        st.integers(0, rows // chunk + 1),
        st.integers(-1, 1),
    )
    one, other = draw(edge | st.integers(0, rows)), draw(edge | st.integers(0, rows))
    return min(one, other), max(one, other)


@settings(many, derandomize=True, database=None)
@given(path=st.sampled_from([p for p in PATHS if not p.startswith("co")]), data=st.data())
def test_slices_of_chunks(crafted: Path, path: str, data: st.DataObject) -> None:
    assert_slice(crafted, path, data)


@settings(few, derandomize=True, database=None)
@given(path=st.sampled_from([p for p in PATHS if p.startswith("co")]), data=st.data())
def test_slices_of_contiguous_and_compact_data(crafted: Path, path: str, data: st.DataObject) -> None:
    assert_slice(crafted, path, data)


def assert_slice(crafted: Path, path: str, data: st.DataObject) -> None:
    rows, chunk = (5000, 64) if path == "deep" else (ROWS, CHUNK)  # 64: nodes of the table of "deep"
    start, stop = data.draw(slices(rows, chunk))
    got = opened(crafted).rows(path, start, stop)
    with h5py.File(crafted) as file:
        want = file[path][start:stop]
    assert got.dtype == want.dtype
    assert got.tobytes() == want.tobytes()


def test_every_slice_between_chunk_edges(crafted: Path) -> None:
    ours, want = opened(crafted), numbers("i4")
    for start in range(0, ROWS, CHUNK):
        for stop in {start + 1, start + CHUNK, start + 2 * CHUNK, ROWS}:
            end = min(stop, ROWS)
            assert np.array_equal(ours.rows("shuffled/i4", start, end), want[start:end]), (start, end)


def test_an_empty_slice_is_empty(crafted: Path) -> None:
    ours = opened(crafted)
    for path in ("gzip/f4", "contiguous/f4", "compact/f4"):
        for at in (0, CHUNK, 500, ROWS):
            assert ours.rows(path, at, at).shape == (0,)
            assert ours.rows(path, at, at).dtype == np.float32
    assert ours.rows("none", 0, 0).dtype == np.float32


@pytest.mark.parametrize(("start", "stop"), [(0, ROWS + 1), (-1, 5), (6, 5), (ROWS, ROWS + 7), (ROWS + 1, ROWS + 1)])
def test_rows_that_are_not_there_are_corrupt(crafted: Path, start: int, stop: int) -> None:
    for path in ("gzip/f4", "contiguous/f4", "compact/f4", "none"):
        with pytest.raises(CorruptError, match=rf"crafted.h5: {path}: rows {start} to {stop}"):
            opened(crafted).rows(path, start, stop)


def test_what_is_absent_is_none(crafted: Path) -> None:
    ours = opened(crafted)
    for path in ("gzip/nothing", "nothing/f4", "nothing", "gzip", "a/b/c/d", "gzip/f44", "gzip/f"):
        assert ours.info(path) is None, path
        with pytest.raises(CorruptError, match="no such dataset"):
            ours.rows(path, 0, 1)
    assert ours.has_group("gzip")
    assert not ours.has_group("nothing")


def test_there_is_nothing_below_a_dataset(crafted: Path) -> None:
    assert opened(crafted).info("gzip/f4/f4") is None
    assert opened(crafted).info("deep/x") is None


def test_reads_do_not_depend_on_the_size_of_a_read(crafted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (32, 256, 1 << 22):
        monkeypatch.setattr(hdf5, "CACHE_LINE", line)
        ours = opened(crafted)
        for path in ("contiguous/f8", "plain/u2", "gzip/f4", "shuffled/i8", "one/i4", "compact/i1"):
            info = ours.info(path)
            assert info is not None, path
            assert ours.rows(path, 0, ROWS).tobytes() == numbers(path.split("/")[1]).tobytes(), (line, path)


def test_many_threads_read_one_file(crafted: Path) -> None:
    ours = opened(crafted)
    paths = [path for path in PATHS if path.startswith(("gzip", "shuffled", "one"))] * 4
    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda path: ours.rows(path, 3, 990), paths))
    for path, values in zip(paths, got, strict=True):
        assert values.tobytes() == numbers(path.split("/")[1])[3:990].tobytes(), path


@pytest.mark.parametrize("libver", [OLD, NEW], ids=["superblock0", "superblock2"])
@pytest.mark.parametrize(
    "links", [3, 9, 40, 300, pytest.param(700, marks=pytest.mark.dear("reads 700 links; make test reads up to 300"))]
)
def test_deleted_links_are_absent(tmp_path: Path, links: int, libver: Any) -> None:
    path = tmp_path / "links.h5"
    names = [f"{'long' * (i % 7)}_name_{i}" for i in range(links)]
    with h5py.File(path, "w", libver=libver) as file:
        for i, name in enumerate(names):
            file[f"group/{name}"] = np.arange(i, i + 3, dtype="i4")
        for name in names[1::3]:
            del file[f"group/{name}"]
        file["group/new"] = np.arange(5)
        file["gone/segments/latitude"] = np.arange(5.0)
        del file["gone/segments"]
    ours = opened(path)
    with h5py.File(path) as file:
        for name in [*names, "new"]:
            info = ours.info(f"group/{name}")
            assert (info is not None) == (name in file["group"]), name
            if info is not None:
                assert np.array_equal(ours.rows(f"group/{name}", 0, info.rows), file[f"group/{name}"][:])
    assert ours.info("gone/segments/latitude") is None
    assert not ours.has_group("gone/segments")
    assert ours.has_group("gone")


def test_names_that_cross_a_read_are_found(tmp_path: Path) -> None:
    path = tmp_path / "links.h5"
    names = [f"{'name' * 50}{i}" for i in range(600)]  # the names alone are longer than a read
    with h5py.File(path, "w", libver=NEW) as file:
        group = file.create_group("group")
        target = file.create_dataset("target", data=np.arange(3))
        for name in names:
            group[name] = target
    ours = opened(path)
    for name in names[::50]:
        assert ours.info(f"group/{name}") is not None


def test_a_name_without_an_end_is_corrupt(tmp_path: Path) -> None:
    with h5py.File(path := tmp_path / "names.h5", "w") as file:
        for i in range(60):
            file[f"dataset_with_a_long_name_{i:02d}"] = np.arange(3)
    content = bytearray(path.read_bytes())
    size, _, address = struct.unpack_from("<QQQ", content, content.index(b"HEAP") + 8)  # III.D of the specification
    content[address : address + size] = b"x" * size
    with pytest.raises(CorruptError, match="has no end"):
        in_memory(bytes(content)).info("dataset_with_a_long_name_00")


def test_a_group_of_too_many_links_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "links.h5"
    with h5py.File(path, "w", libver=NEW) as file:
        group = file.create_group("group")
        target = file.create_dataset("target", data=np.arange(3))
        for i in range(5000):
            group[f"name_{i}"] = target
    with pytest.raises(UnsupportedError, match=r"links.h5: group/name_7"):
        opened(path).info("group/name_7")


@pytest.mark.parametrize("libver", [OLD, NEW], ids=["superblock0", "superblock2"])
@pytest.mark.parametrize("count", [2, 60])
def test_attributes_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, libver: Any) -> None:
    every = ["_FillValue", "units", "long", "array", "big_endian", "variable", "strings", "utf8", "reference"]
    monkeypatch.setattr(h5coro_fixes, "ATTRIBUTES", every + [f"number_{i}" for i in range(count)])
    path = tmp_path / "attributes.h5"
    with h5py.File(path, "w", libver=libver) as file:
        made = file.create_dataset("d", data=np.arange(10, dtype="f4"), chunks=(5,))
        for i in range(count):
            made.attrs[f"deleted_{i}"] = i
            made.attrs[f"number_{i}"] = np.float64(i)
        made.attrs["_FillValue"] = np.array([3.4028235e38], "f4")
        made.attrs["units"] = np.bytes_("meters")
        made.attrs["long"] = np.bytes_("x" * 3000)
        made.attrs["array"] = np.arange(5, dtype="i2")
        made.attrs["big_endian"] = np.arange(5, dtype=">i2")
        made.attrs["variable"] = "a string of variable length"
        made.attrs["strings"] = np.array([b"one", b"two"])
        made.attrs["utf8"] = np.array("Höhe".encode(), h5py.string_dtype("utf-8", 5))
        made.attrs["reference"] = file.ref
        for i in range(count):
            del made.attrs[f"deleted_{i}"]
    with h5py.File(path) as file:
        assert_attributes(opened(path), file["d"])
    info = opened(path).info("d")
    assert info is not None
    assert info.fill == float(np.float32(3.4028235e38))
    assert info.attributes["utf8"] == "Höhe"


@pytest.mark.parametrize("kind", ["f4", "S5"])
def test_an_attribute_without_a_value_is_skipped(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "attributes.h5"
    with h5py.File(path, "w") as file:
        file["d"] = np.arange(5)
        file["d"].attrs["empty"] = h5py.Empty(kind)
        file["d"].attrs["units"] = np.bytes_("m")
    with h5py.File(path) as file:
        assert_attributes(opened(path), file["d"])


def low_level(file: h5py.File, prepare: Callable[[Any], None], dtype: Any = "i4") -> None:
    """A dataset with whatever HDF5 itself allows."""
    values = np.arange(100, dtype=dtype)
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_chunk((10,))
    prepare(layout)
    made = h5py.h5d.create(file.id, b"d", h5py.h5t.py_create(values.dtype), h5py.h5s.create_simple((100,)), layout)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, values)


def gzip_before_shuffle(layout: Any) -> None:
    layout.set_deflate(6)
    layout.set_shuffle()


def gzip_twice(layout: Any) -> None:
    layout.set_deflate(6)
    layout.set_deflate(6)


def shuffle_twice(layout: Any) -> None:
    layout.set_shuffle()
    layout.set_shuffle()
    layout.set_deflate(6)


def narrow(file: h5py.File) -> None:
    kind = h5py.h5t.STD_I32LE.copy()
    kind.set_precision(20)
    made = h5py.h5d.create(file.id, b"d", kind, h5py.h5s.create_simple((100,)))
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.arange(100, dtype="i4"))


def committed(file: h5py.File) -> None:
    file["kind"] = np.dtype("f4")
    file.create_dataset("d", data=np.arange(100.0), dtype=file["kind"], chunks=(10,))


def simple(values: Any, **options: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.create_dataset("d", data=values, **options)


CHUNKED: dict[str, Any] = {"chunks": (10,)}
REFUSED: dict[str, Callable[[h5py.File], Any]] = {
    "big-endian f4": simple(np.arange(100, dtype=">f4")),
    "big-endian i4": simple(np.arange(100, dtype=">i4"), **CHUNKED, compression="gzip"),
    "fletcher32": simple(np.arange(100), **CHUNKED, fletcher32=True),
    "gzip and fletcher32": simple(np.arange(100), **CHUNKED, compression="gzip", fletcher32=True),
    "lzf": simple(np.arange(100), **CHUNKED, compression="lzf"),
    "scaleoffset": simple(np.arange(100), **CHUNKED, scaleoffset=0),
    "scaleoffset f4": simple(np.arange(100, dtype="f4"), **CHUNKED, scaleoffset=2),
    "shuffle alone": simple(np.arange(100), **CHUNKED, shuffle=True),
    "gzip before shuffle": lambda file: low_level(file, gzip_before_shuffle),
    "gzip twice": lambda file: low_level(file, gzip_twice),
    "shuffle twice": lambda file: low_level(file, shuffle_twice),
    "two dimensions": simple(np.arange(100).reshape(10, 10)),
    "two dimensions, chunked": simple(np.arange(100).reshape(10, 10), chunks=(5, 5), compression="gzip"),
    "no dimension": simple(7.0),
    "no value": simple(h5py.Empty("f4")),
    "strings": simple(np.array([b"one", b"two"])),
    "variable strings": simple(["one", "two"]),
    "booleans": simple(np.array([True, False])),
    "complex": simple(np.arange(5, dtype="c8")),
    "half": simple(np.arange(100, dtype="f2")),
    "narrow": narrow,
    "committed type": committed,
}
if h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP) and "szip" in h5py.filters.encode:
    REFUSED["szip"] = simple(np.arange(100), **CHUNKED, compression="szip")


@pytest.mark.parametrize("libver", [OLD, NEW], ids=["superblock0", "superblock2"])
@pytest.mark.parametrize("what", REFUSED)
def test_what_we_cannot_vouch_for_is_refused_by_name(tmp_path: Path, what: str, libver: Any) -> None:
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w", libver=libver) as file:
        REFUSED[what](file)
        file["good"] = np.arange(5)
    ours = opened(path)
    for attempt in (lambda: ours.info("d"), lambda: ours.rows("d", 0, 2)):
        with pytest.raises(UnsupportedError, match=r"^odd\.h5: d: ") as caught:
            attempt()
        assert caught.value.reason == "unsupported"
    assert ours.rows("good", 0, 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("libver", [OLD, NEW], ids=["superblock0", "superblock2"])
@pytest.mark.parametrize("link", ["soft", "external"])
def test_links_to_elsewhere_are_refused(tmp_path: Path, link: str, libver: Any) -> None:
    path = tmp_path / "links.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["good"] = np.arange(5)
        file["d"] = h5py.SoftLink("/good") if link == "soft" else h5py.ExternalLink("other.h5", "/good")
    with pytest.raises(GranuleError, match=r"^links\.h5: d: "):
        opened(path).rows("d", 0, 5)


@pytest.mark.parametrize("libver", ["latest", ("v110", "v110")])
def test_superblock_3_is_refused(tmp_path: Path, libver: Any) -> None:
    path = tmp_path / "new.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["d"] = np.arange(5)
    assert path.read_bytes()[8] == 3
    with pytest.raises(GranuleError, match=r"^new\.h5: superblock: "):
        opened(path)


@pytest.mark.parametrize("options", [{}, {"chunks": (10,)}, {"chunks": (10,), "compression": "gzip"}])
def test_data_that_were_never_written_are_no_numbers(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "unwritten.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("d", (100,), "f4", **options)
    with pytest.raises(CorruptError, match=r"^unwritten\.h5: d: "):
        opened(path).rows("d", 0, 100)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"compression": "gzip", "fillvalue": 5}])
def test_a_hole_in_the_chunk_table_is_corrupt(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "hole.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("d", (100,), "f4", maxshape=(None,), chunks=(10,), **options)
        made[:20], made[50:] = np.arange(20), np.arange(50, 100)
        assert made.id.get_num_chunks() == 7
    ours = opened(path)
    assert ours.rows("d", 0, 20).tolist() == list(range(20))
    assert ours.rows("d", 55, 100).tolist() == list(range(55, 100))
    for start, stop in ((0, 100), (19, 21), (30, 40), (49, 51), (20, 50)):
        with pytest.raises(CorruptError, match=r"hole.h5: d: ") as caught:
            ours.rows("d", start, stop)
        assert caught.value.reason == "corrupt"


@pytest.mark.parametrize("stored", ["gzip", "shuffled"])
def test_every_flipped_byte_of_a_chunk_is_seen(tmp_path: Path, stored: str) -> None:
    path = tmp_path / "flipped.h5"
    values = numbers("i4", 40)
    options = STORED[stored] | {"chunks": (20,)}
    with h5py.File(path, "w") as file:
        chunk = file.create_dataset("d", data=values, **options).id.get_chunk_info(1)
    content = path.read_bytes()
    seen = 0
    for i in range(chunk.size):
        damaged = bytearray(content)
        damaged[chunk.byte_offset + i] ^= 0x5A
        ours = in_memory(bytes(damaged))
        assert np.array_equal(ours.rows("d", 0, 20), values[:20])
        try:
            got = ours.rows("d", 20, 40)
        except CorruptError:
            seen += 1
        else:
            assert i < chunk.size - 4  # the last four bytes are the checksum
            assert np.array_equal(got, values[20:]), i
    assert seen >= chunk.size - 2


@pytest.mark.parametrize("length", [3, 5, 0])
def test_a_chunk_of_another_size_is_corrupt(tmp_path: Path, length: int) -> None:
    path = tmp_path / "size.h5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("d", data=np.arange(8, dtype="i4"), chunks=(4,), compression="gzip")
        made.id.write_direct_chunk((4,), zlib.compress(np.arange(length, dtype="i4").tobytes()))
    for start, stop in ((0, 8), (4, 8), (5, 6)):
        with pytest.raises(CorruptError, match=r"size.h5: d: .*inflate"):
            opened(path).rows("d", start, stop)


@pytest.mark.parametrize("mask", [1, 2, 3])
def test_a_chunk_that_skips_filters_is_refused(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "mask.h5"
    values = numbers("i4", 20)
    plain = values[5:10].tobytes()
    shuffled = np.frombuffer(plain, "u1").reshape(5, 4).T.tobytes()
    stored = {1: zlib.compress(plain), 2: shuffled, 3: plain}[mask]  # bit 0 skips shuffle, bit 1 gzip
    with h5py.File(path, "w") as file:
        made = file.create_dataset("d", (20,), "i4", chunks=(5,), compression="gzip", shuffle=True)
        made.id.write_direct_chunk((5,), stored, mask)
        for start in (0, 10, 15):
            made[start : start + 5] = values[start : start + 5]
        assert made.id.read_direct_chunk((5,))[0] == mask
    with h5py.File(path) as file:
        assert np.array_equal(file["d"][:], values)
    ours = opened(path)
    assert np.array_equal(ours.rows("d", 0, 5), values[:5])
    assert np.array_equal(ours.rows("d", 10, 20), values[10:])
    for start, stop in ((0, 20), (5, 6), (4, 6)):
        with pytest.raises(UnsupportedError, match=r"mask.h5: d: "):
            ours.rows("d", start, stop)


@pytest.mark.parametrize("stored", ["contiguous", "plain", "gzip"])
def test_data_beyond_the_end_of_the_file_are_no_numbers(tmp_path: Path, stored: str) -> None:
    path = tmp_path / "cut.h5"
    with h5py.File(path, "w") as file:
        options = STORED[stored] | ({"chunks": (9000,)} if stored != "contiguous" else {})
        made = file.create_dataset("d", data=numbers("f8", 20_000), **options)
        end = made.id.get_offset() or made.id.get_chunk_info(1).byte_offset
    ours = in_memory(path.read_bytes()[: end + 100])
    with pytest.raises(GranuleError) as caught:
        ours.rows("d", 0, 20_000)
    assert caught.value.reason in ("corrupt", "truncated")


class Hang(BaseException):
    """It took too long."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Stop what takes more seconds of the processor, however long it has to wait for it."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@pytest.mark.parametrize("rows", [13_000, 1 << 27, 1 << 40, 1 << 62])
@pytest.mark.parametrize("libver", [OLD, NEW], ids=["superblock0", "superblock2"])
def test_more_rows_than_chunks_are_soon_corrupt(tmp_path: Path, rows: int, libver: Any) -> None:
    path = tmp_path / "rows.h5"
    with h5py.File(path, "w", libver=libver) as file:
        options = {"chunks": (1029,), "maxshape": (None,), "compression": "gzip", "fillvalue": 7}
        file.create_dataset("d", data=numbers("f4", 12_345), **options)
    before, after = (struct.pack("<QQ", n, UNLIMITED) for n in (12_345, rows))
    content = path.read_bytes()
    assert content.count(before) == 1
    ours = in_memory(content.replace(before, after))
    with at_most(5), pytest.raises(CorruptError, match=r"granule\.h5: d: "):
        read_all(ours, "d")


BY_H5PY = """
import json, os, signal, sys
import h5py
for line in sys.stdin:
    path, name = json.loads(line)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:  # a broken file may take the HDF5 library, and so the process, with it
        signal.setitimer(signal.ITIMER_PROF, 20)  # seconds of the processor
        try:
            with h5py.File(path) as file:
                found = file[name][:] if name in file else None
                print(json.dumps(None if found is None else [found.dtype.str, found.tobytes().hex()]), flush=True)
        except Exception:
            print('"failed"', flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print('"failed"', flush=True)
"""


def by_h5py(files: list[tuple[Path, str]]) -> list[Any]:
    """Return type and bytes of each dataset as h5py reads them; None if it is absent or cannot be read."""
    lines = "".join(json.dumps([str(path), name]) + "\n" for path, name in files)
    done = subprocess.run([sys.executable, "-c", BY_H5PY], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


CASES = 2500
UNLIMITED = 2**64 - 1
FUZZED = ("gt1l/segments/latitude", "gt1l/segments/h_li", "gt1l/segments/flag", "gt1l/segments/plain")


def ours_of(content: bytes, name: str) -> Any:
    """Return type and bytes of a dataset as maggjob reads them, in the form of `by_h5py`."""
    try:
        file = in_memory(content)
        info = file.info(name)
        if info is None:
            return None
        values = file.rows(name, 0, info.rows)
        return [values.dtype.str, values.tobytes().hex()]
    except GranuleError:
        return "failed"


@pytest.mark.dear("thousands of flipped bytes; one version of the format stands for both", keep=("superblock2",))
@pytest.mark.parametrize("libver", [OLD, NEW], ids=["superblock0", "superblock2"])
def test_broken_structures_give_errors_or_the_numbers_of_h5py(tmp_path: Path, libver: Any) -> None:
    path = tmp_path / "fuzzed.h5"
    with h5py.File(path, "w", libver=libver) as file:
        parent = file.create_group("gt1l/segments")
        gzip = {"chunks": (16,), "maxshape": (None,), "compression": "gzip"}
        parent.create_dataset("latitude", data=numbers("f8", 40), **gzip)
        parent.create_dataset("h_li", data=numbers("f4", 40), fillvalue=7, **gzip).attrs["_FillValue"] = np.float32(7)
        parent.create_dataset("flag", data=numbers("i1", 40), shuffle=True, **gzip)
        parent.create_dataset("plain", data=numbers("i4", 40), chunks=(16,))
    content = path.read_bytes()
    whole = {name: ours_of(content, name) for name in FUZZED}
    assert "failed" not in whole.values()
    rng = np.random.default_rng(20190222)
    doubtful: list[tuple[Path, str, Any, str]] = []
    failed = 0
    for case in range(CASES):
        damaged = bytearray(content)
        at = rng.integers(0, len(content), rng.integers(1, 3))
        flips = rng.integers(1, 256, len(at)) if case % 2 else 1 << rng.integers(0, 8, len(at))
        for position, flip in zip(at, flips, strict=True):
            damaged[position] ^= int(flip)
        name = FUZZED[case % len(FUZZED)]
        what = f"bytes {at.tolist()} flipped by {flips.tolist()}, {name}"
        try:
            with at_most(5):
                got = ours_of(bytes(damaged), name)
        except Hang:
            pytest.fail(f"{what}: hangs")
        except Exception as problem:
            pytest.fail(f"{what}: {type(problem).__name__}: {problem}")
        failed += got == "failed"
        if got not in ("failed", whole[name]):
            changed = tmp_path / f"fuzzed_{case}.h5"
            changed.write_bytes(damaged)
            doubtful.append((changed, name, got, what))
    assert failed > 50
    for (_, _, got, what), want in zip(doubtful, by_h5py([case[:2] for case in doubtful]), strict=True):
        assert want in ("failed", got), f"{what}: {str(got)[:60]}, h5py has {str(want)[:60]}"


@pytest.mark.parametrize("line", [64, 128, 1024])
def test_fields_may_cross_cache_lines(real_granules: list[Path], monkeypatch: pytest.MonkeyPatch, line: int) -> None:
    """h5coro fails on a name that does: one granule in forty at 64 KiB."""
    monkeypatch.setattr("maggjob.hdf5.file.CACHE_LINE", line)
    for path in real_granules:
        content = path.read_bytes()
        file = Hdf5File(lambda position, size, content=content: content[position : position + size], path.name)  # type: ignore[misc]
        with h5py.File(path) as expected:
            for name in ("latitude", "h_li", "atl06_quality_summary"):
                key = f"gt1l/land_ice_segments/{name}"
                info = file.info(key)
                assert info is not None
                assert np.array_equal(file.rows(key, 0, info.rows), expected[key][:])
