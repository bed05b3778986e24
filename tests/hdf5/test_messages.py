"""Messages of the HDF5 format, byte by byte."""

import struct
from typing import Any

import h5py
import numpy as np
import pytest

from maggjob.errors import CorruptError, UnsupportedError
from maggjob.hdf5.messages import (
    UNDEFINED,
    FractalHeap,
    Undecoded,
    attribute,
    btree2_records,
    dense_storage,
    filter_pipeline,
    number_type,
)


def filters1(*filters: tuple[int, bytes, int]) -> bytes:
    """Filter pipeline message of version 1: id, name, number of values."""
    message = struct.pack("<BB6x", 1, len(filters))
    for number, name, values in filters:
        padded = name.ljust(-(-len(name) // 8) * 8, b"\0")
        message += struct.pack("<HHHH", number, len(name), 1, values) + padded
        message += bytes(4 * values) + bytes(4 * (values % 2))
    return message


def filters2(*filters: tuple[int, bytes, int]) -> bytes:
    """Filter pipeline message of version 2."""
    message = struct.pack("<BB", 2, len(filters))
    for number, name, values in filters:
        length = struct.pack("<H", len(name)) if number >= 256 else b""
        message += struct.pack("<H", number) + length + struct.pack("<HH", 1, values)
        message += (name if number >= 256 else b"") + bytes(4 * values)
    return message


@pytest.mark.parametrize("make", [filters1, filters2])
@pytest.mark.parametrize(
    "filters",
    [
        [],
        [(1, b"deflate\0", 1)],
        [(2, b"shuffle\0", 1), (1, b"deflate\0", 1)],
        [(1, b"", 1), (2, b"", 1)],
        [(32000, b"lzf\0", 3), (3, b"fletcher32\0", 0)],
        [(3, b"", 0), (32015, b"zstandard\0", 2), (1, b"deflate\0", 1)],
    ],
)
def test_filters_are_listed_in_order(make: Any, filters: list[tuple[int, bytes, int]]) -> None:
    assert filter_pipeline(make(*filters)) == tuple(number for number, _, _ in filters)


def datatype(kind: Any) -> bytes:
    """Datatype message as HDF5 itself writes it."""
    made = kind if isinstance(kind, h5py.h5t.TypeID) else h5py.h5t.py_create(np.dtype(kind), logical=True)
    return bytes(made.encode()[2:])


@pytest.mark.parametrize("kind", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"])
def test_types_of_numbers(kind: str) -> None:
    assert number_type(datatype(kind)) == np.dtype(kind)


@pytest.mark.parametrize("kind", ["S4", h5py.string_dtype(), "c8", bool, [("a", "f4")], h5py.ref_dtype, "V3", "(3,)f4"])
def test_what_is_no_number_has_no_type(kind: Any) -> None:
    assert number_type(datatype(kind)) is None


def odd(kind: h5py.h5t.TypeID, precision: int, offset: int = 0) -> h5py.h5t.TypeID:
    made = kind.copy()
    made.set_precision(precision)
    made.set_offset(offset)
    return made


@pytest.mark.parametrize(
    "kind",
    [
        *(f">{kind}" for kind in ("i2", "i4", "i8", "u2", "u4", "u8", "f4", "f8")),
        "f2",
        odd(h5py.h5t.STD_I32LE, 20),
        odd(h5py.h5t.STD_U16LE, 8, 8),
    ],
)
def test_odd_numbers_are_refused(kind: Any) -> None:
    with pytest.raises(UnsupportedError):
        number_type(datatype(kind))


def test_numbers_of_odd_sizes_are_refused() -> None:
    three = bytearray(datatype("i4"))
    three[4], three[10] = 3, 24
    with pytest.raises(UnsupportedError, match="integers of 3 bytes"):
        number_type(bytes(three))


@pytest.mark.parametrize("at", range(12, 20))
def test_other_floats_are_refused(at: int) -> None:
    other = bytearray(datatype("f4"))
    other[at] ^= 1
    with pytest.raises(UnsupportedError, match="IEEE"):
        number_type(bytes(other))


def space(*dimensions: int, version: int = 1) -> bytes:
    """Dataspace message."""
    if version == 1:
        return struct.pack(f"<BBB5x{len(dimensions)}Q", 1, len(dimensions), 0, *dimensions)
    return struct.pack(f"<BBBB{len(dimensions)}Q", 2, len(dimensions), 0, len(dimensions) > 0, *dimensions)


def message(version: int, name: bytes, kind: bytes, shape: bytes, data: bytes, flags: int = 0) -> bytes:
    """Attribute message."""
    pieces = (name + b"\0", kind, shape)
    head = struct.pack("<BBHHH", version, flags, *(len(piece) for piece in pieces))
    if version == 1:
        pieces = tuple(piece.ljust(-(-len(piece) // 8) * 8, b"\0") for piece in pieces)
    return head + (b"\1" if version == 3 else b"") + b"".join(pieces) + data


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("shape", [1, 2])
@pytest.mark.parametrize("name", [b"a", b"_FillValue", b"units__", "Höhe".encode()])
def test_attributes_of_every_version(version: int, shape: int, name: bytes) -> None:
    text = message(version, name, datatype("S7"), space(version=shape), b"meters\0")
    assert attribute(text) == (name.decode(), "meters")
    got, value = attribute(message(version, name, datatype("f4"), space(3, version=shape), np.ones(3, "f4").tobytes()))
    assert got == name.decode()
    assert isinstance(value, np.ndarray)
    assert (value.dtype, value.tolist()) == (np.float32, [1, 1, 1])
    _, scalar = attribute(message(version, name, datatype("i8"), space(version=shape), struct.pack("<q", -5)))
    assert isinstance(scalar, np.ndarray)
    assert scalar.tolist() == [-5]


@pytest.mark.parametrize(
    ("kind", "shape", "data"),
    [
        ("S3", space(2), b"onetwo"),
        (h5py.string_dtype(), space(), bytes(16)),
        (h5py.ref_dtype, space(), bytes(8)),
        (bool, space(), b"\1"),
    ],
    ids=["strings", "variable string", "reference", "boolean"],
)
def test_attributes_of_other_kinds_are_not_decoded(kind: Any, shape: bytes, data: bytes) -> None:
    name, value = attribute(message(3, b"a", datatype(kind), shape, data))
    assert name == "a"
    assert isinstance(value, Undecoded)


@pytest.mark.parametrize("kind", [">f4", ">f8", ">i2", ">u8"])
def test_numbers_of_either_byte_order_are_decoded(kind: str) -> None:
    data = np.array([3.0], kind).tobytes()
    _, value = attribute(message(3, b"a", datatype(kind), space(), data))
    assert isinstance(value, np.ndarray)
    assert value.tolist() == [3]
    assert value.dtype == np.dtype(kind).newbyteorder("<")


def test_an_attribute_without_a_value() -> None:
    null = struct.pack("<BBBB", 2, 0, 0, 2)
    assert attribute(message(3, b"a", datatype("f4"), null, b"")) == ("a", None)


def test_an_attribute_of_a_shared_type_is_not_decoded() -> None:
    assert attribute(message(2, b"a", bytes(10), space(), bytes(8), flags=1)) == ("a", Undecoded("a committed type"))


def test_a_string_is_read_up_to_its_end() -> None:
    assert attribute(message(1, b"a", datatype("S8"), space(), b" m\0xxxxx")) == ("a", "m")
    assert attribute(message(1, b"a", datatype("S8"), space(), b"meters  "))[1] == "meters"


@pytest.mark.parametrize("version", [0, 4, 255])
def test_attributes_of_other_versions_are_corrupt(version: int) -> None:
    with pytest.raises(CorruptError, match=f"version {version}"):
        attribute(message(version, b"a", datatype("f4"), space(), bytes(4)))


def heap(rows: int = 0, filters: int = 0, largest: int = 65536) -> bytes:
    """Header of a fractal heap of 2-wide rows of 512 bytes, whose root is at 1000."""
    head = b"FRHP\0" + struct.pack("<HHBI", 7, filters, 2, 4096) + bytes(96)
    return head + struct.pack("<HQQHHQH", 2, 512, largest, 32, 1, 1000, rows) + bytes(4)


def reader(**at: bytes) -> Any:
    """A file with some bytes at some addresses (``_1000=...``)."""
    content = bytearray(4000)
    for address, piece in at.items():
        content[int(address[1:]) : int(address[1:]) + len(piece)] = piece
    return lambda address, size: bytes(content[address : address + size])


def heap_id(offset: int, length: int, kind: int = 0) -> bytes:
    return bytes([kind]) + offset.to_bytes(4, "little") + length.to_bytes(2, "little")


def test_objects_of_a_heap_of_one_block() -> None:
    found = FractalHeap.read(reader(_0=heap()), 0)
    assert (found.offset_bytes, found.length_bytes) == (4, 2)
    assert found.locate(reader(), heap_id(37, 21)) == (1037, 21)


def test_objects_of_a_heap_of_several_rows() -> None:
    blocks = struct.pack("<6Q", 2000, 2512, 3000, 3512, 5000, 6024)
    read = reader(_0=heap(rows=3), _1017=blocks)
    found = FractalHeap.read(read, 0)
    expected = {0: 2000, 511: 2511, 512: 2512, 1024: 3000, 1536: 3512, 2048: 5000, 3071: 6023, 3072: 6024, 4095: 7047}
    assert {at: found.locate(read, heap_id(at, 9))[0] for at in expected} == expected
    with pytest.raises(CorruptError, match="outside"):
        found.locate(read, heap_id(4096, 9))


def test_heaps_that_are_not_followed() -> None:
    with pytest.raises(CorruptError, match="no fractal heap at address 8"):
        FractalHeap.read(reader(_0=heap()), 8)
    with pytest.raises(UnsupportedError, match="filters"):
        FractalHeap.read(reader(_0=heap(filters=12)), 0)
    for kind in (0x10, 0x20):
        with pytest.raises(UnsupportedError, match="huge or tiny"):
            FractalHeap.read(reader(_0=heap()), 0).locate(reader(), heap_id(0, 9, kind))
    nested = FractalHeap.read(reader(_0=heap(rows=3, largest=512)), 0)
    with pytest.raises(UnsupportedError, match="nested"):
        nested.locate(reader(), heap_id(2048, 9))


def tree(depth: int, count: int, root: int = 100) -> bytes:
    """Header of a version 2 B-tree of 4-byte records in nodes of 64 bytes."""
    return b"BTHD\0\5" + struct.pack("<IHHBBQHQ", 64, 4, depth, 100, 40, root, count, count) + bytes(4)


def test_records_of_a_tree() -> None:
    assert btree2_records(reader(_0=tree(0, 0)), 0) == []
    assert btree2_records(reader(_0=tree(0, 3, root=2**64 - 1)), 0) == []
    one = reader(_0=tree(0, 3), _100=b"BTLF\0\5aaaabbbbcccc")
    assert btree2_records(one, 0) == [b"aaaa", b"bbbb", b"cccc"]
    root = b"BTIN\0\5mmmm" + struct.pack("<QBQB", 300, 2, 400, 1)
    two = reader(_0=tree(1, 1), _100=root, _300=b"BTLF\0\5aaaabbbb", _400=b"BTLF\0\5zzzz")
    assert sorted(btree2_records(two, 0)) == [b"aaaa", b"bbbb", b"mmmm", b"zzzz"]


def test_trees_that_are_not_followed() -> None:
    with pytest.raises(CorruptError, match="no version 2 B-tree at address 8"):
        btree2_records(reader(_0=tree(0, 3)), 8)
    with pytest.raises(UnsupportedError, match="depth 2"):
        btree2_records(reader(_0=tree(2, 3)), 0)
    with pytest.raises(CorruptError, match="no BTLF node at address 100"):
        btree2_records(reader(_0=tree(0, 3)), 0)
    with pytest.raises(CorruptError, match="no BTIN node at address 100"):
        btree2_records(reader(_0=tree(1, 3), _100=b"BTLF\0\5"), 0)


@pytest.mark.parametrize(("flags", "index_width", "created"), [(0, 8, b""), (1, 8, bytes(8)), (1, 2, bytes(2))])
def test_dense_storage_is_a_heap_and_its_index(flags: int, index_width: int, created: bytes) -> None:
    message = bytes([0, flags]) + created + struct.pack("<QQ", 0, 200)
    dense = dense_storage(reader(_0=heap(), _200=tree(0, 2, root=300), _300=b"BTLF\0\5aaaabbbb"), message, index_width)
    assert dense is not None
    assert dense[0].address == 1000
    assert dense[1] == [b"aaaa", b"bbbb"]
    none = bytes([0, flags]) + created + struct.pack("<QQ", UNDEFINED, UNDEFINED)
    assert dense_storage(reader(), none, index_width) is None
