"""Decoders of HDF5 structures that h5coro does not decode, or not in all files.

The layouts are those of the *HDF5 File Format Specification*, version 3.0; each function names its section.
All integers are little-endian, and all addresses are 8 bytes wide.
"""

import math
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from maggjob.errors import CorruptError, LayoutError

UNDEFINED = 2**64 - 1
"""Address of an object that does not exist."""
DEFLATE, SHUFFLE = 1, 2
FILTER_NAMES = {1: "deflate", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}

ReadAt = Callable[[int, int], bytes]
"""``read(address, size)`` returns exactly ``size`` bytes of the file."""


@dataclass(frozen=True)
class Undecoded:
    """An attribute that is there, but cannot be decoded."""

    why: str
    """What it is, for messages."""


AttributeValue = str | np.ndarray | Undecoded
"""A string, a one-dimensional array of numbers, or what cannot be decoded."""


def filter_pipeline(message: bytes) -> tuple[int, ...]:
    """Return the ids of filters in the order in which they were applied (section IV.A.2.l)."""
    version, count = message[0], message[1]
    position = 8 if version == 1 else 2
    ids = []
    for _ in range(count):
        (number,) = struct.unpack_from("<H", message, position)
        # Id, length of the name, flags, number of values; version 2 has no length for HDF5's own filters.
        head = "<HHHH" if version == 1 or number >= 256 else "<HHH"
        _, *lengths, _, values = struct.unpack_from(head, message, position)
        name = -(-sum(lengths) // 8) * 8 + 4 * (values % 2) if version == 1 else sum(lengths)
        position += struct.calcsize(head) + name + 4 * values
        ids.append(number)
    return tuple(ids)


def number_type(message: bytes) -> np.dtype | None:
    """Return the numpy type of a datatype message (section IV.A.2.d), or None if it is not a plain number.

    Raises
    ------
    LayoutError
        If h5coro would decode the number wrongly: it is big-endian, padded, or not in a standard format.
    """
    kind, bits, size = message[0] & 0x0F, message[1], struct.unpack_from("<I", message, 4)[0]
    if kind not in (0, 1):
        return None
    if bits & 0x01:
        raise LayoutError("big-endian numbers")
    offset, precision = struct.unpack_from("<HH", message, 8)
    if offset or precision != 8 * size:
        raise LayoutError(f"a number of {precision} bits at offset {offset} in {size} bytes")
    if kind == 1:
        ieee = {4: (23, 8, 0, 23, 127), 8: (52, 11, 0, 52, 1023)}.get(size)
        if ieee is None or struct.unpack_from("<BBBBI", message, 12) != ieee:
            raise LayoutError(f"floating point of {size} bytes that is not IEEE 754 single or double")
        return np.dtype(f"<f{size}")
    if size not in (1, 2, 4, 8):
        raise LayoutError(f"integers of {size} bytes")
    return np.dtype(f"<{'i' if bits & 0x08 else 'u'}{size}")


def attribute(message: bytes, wanted: Collection[str] = ()) -> tuple[str, AttributeValue | None]:
    """Return the name and value of an attribute message (section IV.A.2.m).

    Parameters
    ----------
    message : bytes
    wanted : collection of str
        Names of the attributes to decode; empty for all.

    Returns
    -------
    name : str
    value : str, ndarray or None
        Fixed-length strings and numbers are decoded; other types (references, variable-length strings, compounds,
        types that are stored elsewhere) are `Undecoded`. The value is None for attributes without a value, and for
        those that are not wanted.

    Raises
    ------
    CorruptError
        If the version of the message is unknown.
    """
    version = message[0]
    if version not in (1, 2, 3):
        raise CorruptError(f"attribute message of version {version}")
    name_size, type_size, space_size = struct.unpack_from("<HHH", message, 2)
    position = 9 if version == 3 else 8

    def take(size: int) -> bytes:
        nonlocal position
        piece = message[position : position + size]
        # Version 1 pads to eight bytes.
        position += -(-size // 8) * 8 if version == 1 else size
        return piece

    name = take(name_size).split(b"\0")[0].decode("utf-8", "replace")
    if wanted and name not in wanted:
        return name, None
    datatype, dataspace = take(type_size), take(space_size)
    # A shared datatype is stored elsewhere.
    if message[1] & 0x01:
        return name, Undecoded("a committed type")
    return name, _attribute_value(datatype, dataspace, message[position:])


def _attribute_value(datatype: bytes, dataspace: bytes, data: bytes) -> AttributeValue | None:
    # A null dataspace has no value.
    if dataspace[0] == 2 and dataspace[3] == 2:
        return None
    rank, first = dataspace[1], 8 if dataspace[0] == 1 else 4
    count = math.prod(struct.unpack_from(f"<{rank}Q", dataspace, first))
    size = struct.unpack_from("<I", datatype, 4)[0]
    if datatype[0] & 0x0F == 3 and count == 1:
        return data[:size].split(b"\0")[0].decode("utf-8", "replace").strip()
    # Numbers of either byte order: the bit that tells it is cleared for `number_type`.
    little = bytes((datatype[0], datatype[1] & 0xFE, *datatype[2:]))
    try:
        dtype = number_type(little)
    except LayoutError as problem:
        return Undecoded(str(problem))
    if dtype is None:
        kind = datatype[0] & 0x0F
        return Undecoded(
            "a string of variable length" if kind == 9 and datatype[1] & 0x0F == 1 else f"a type of class {kind}"
        )
    found = np.frombuffer(data, dtype.newbyteorder(">") if datatype[1] & 0x01 else dtype, count)
    return found.astype(dtype, copy=False)


@dataclass(frozen=True)
class FractalHeap:
    """Layout of the managed objects in a fractal heap (section III.G)."""

    address: int
    """Address of the root block."""
    rows: int
    """Rows of the root indirect block; 0 if the root is a direct block."""
    width: int
    """Blocks per row."""
    first_size: int
    """Size of the blocks in the first two rows, in bytes."""
    largest_direct: int
    """Size of the largest direct block, in bytes."""
    offset_bytes: int
    """Width of an offset in a heap id, in bytes."""
    length_bytes: int
    """Width of a length in a heap id, in bytes."""

    @classmethod
    def read(cls, read: ReadAt, address: int) -> "FractalHeap":
        """Decode the heap header at ``address``.

        Parameters
        ----------
        read : callable
        address : int

        Raises
        ------
        CorruptError
            If there is no fractal heap at the address.
        LayoutError
            If the heap has filters.
        """
        head = read(address, 142)
        if head[:4] != b"FRHP" or head[4] != 0:
            raise CorruptError(f"no fractal heap at address {address}")
        if struct.unpack_from("<H", head, 7)[0]:
            raise LayoutError("a fractal heap with filters")
        (max_managed,) = struct.unpack_from("<I", head, 10)
        width, first, largest, bits, _, root, rows = struct.unpack_from("<HQQHHQH", head, 110)
        longest = min(max_managed, largest)
        return cls(root, rows, width, first, largest, (bits + 7) // 8, (longest.bit_length() + 7) // 8)

    def locate(self, read: ReadAt, heap_id: bytes) -> tuple[int, int]:
        """Return the address and length, in bytes, of the object with a heap id.

        Parameters
        ----------
        read : callable
        heap_id : bytes

        Raises
        ------
        CorruptError
            If the id lies outside the heap.
        LayoutError
            If the object is huge or tiny, or in a nested indirect block.
        """
        if heap_id[0] & 0x30:
            raise LayoutError("a huge or tiny object in a fractal heap")
        offset = int.from_bytes(heap_id[1 : 1 + self.offset_bytes], "little")
        end = 1 + self.offset_bytes
        length = int.from_bytes(heap_id[end : end + self.length_bytes], "little")
        if self.rows == 0:
            return self.address + offset, length
        start, size = 0, self.first_size
        for row in range(self.rows):
            size = self.first_size << max(0, row - 1)
            if offset < start + size * self.width:
                break
            start += size * self.width
        else:
            raise CorruptError(f"offset {offset} lies outside the fractal heap")
        if size > self.largest_direct:
            raise LayoutError("a fractal heap with nested indirect blocks")
        column, within = divmod(offset - start, size)
        entry = self.address + 13 + self.offset_bytes + 8 * (row * self.width + column)
        return struct.unpack("<Q", read(entry, 8))[0] + within, length


def btree2_records(read: ReadAt, address: int) -> list[bytes]:
    """Return all records of a version 2 B-tree (section III.A.2), undecoded.

    Parameters
    ----------
    read : callable
    address : int

    Raises
    ------
    CorruptError
        If a node is not at its address.
    LayoutError
        If the tree has more than two levels. That takes about 900 links, more than any granule has.
    """
    head = read(address, 38)
    if head[:4] != b"BTHD":
        raise CorruptError(f"no version 2 B-tree at address {address}")
    node_size, width, depth = struct.unpack_from("<IHH", head, 6)
    root, count = struct.unpack_from("<QH", head, 16)
    if depth > 1:
        raise LayoutError(f"a version 2 B-tree of depth {depth}")
    if root == UNDEFINED or count == 0:
        return []

    def records(node: int, number: int, signature: bytes) -> list[bytes]:
        body = read(node, 6 + number * width)
        if body[:4] != signature:
            raise CorruptError(f"no {signature.decode()} node at address {node}")
        return [body[6 + i * width : 6 + (i + 1) * width] for i in range(number)]

    if depth == 0:
        return records(root, count, b"BTLF")
    collected = records(root, count, b"BTIN")
    count_bytes = (((node_size - 10) // width).bit_length() + 7) // 8
    pointers = read(root + 6 + count * width, (count + 1) * (8 + count_bytes))
    for i in range(count + 1):
        at = i * (8 + count_bytes)
        child = int.from_bytes(pointers[at : at + 8], "little")
        collected += records(child, int.from_bytes(pointers[at + 8 : at + 8 + count_bytes], "little"), b"BTLF")
    return collected


def dense_storage(read: ReadAt, message: bytes, index_width: int) -> tuple[FractalHeap, list[bytes]] | None:
    """Return the heap and name index of a link info or attribute info message (sections IV.A.2.c and IV.A.2.v).

    Parameters
    ----------
    read : callable
    message : bytes
    index_width : int
        Width of the largest creation index, in bytes: 8 for links, 2 for attributes.

    Returns
    -------
    tuple of FractalHeap and list of bytes, or None
        The heap and the undecoded records of the index; None if storage is not dense.
    """
    position = 2 + (index_width if message[1] & 0x01 else 0)
    heap, names = struct.unpack_from("<QQ", message, position)
    if heap == UNDEFINED:
        return None
    return FractalHeap.read(read, heap), btree2_records(read, names)
