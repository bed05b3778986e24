"""h5coro's dataset, corrected: a class for each fault of h5coro 1.0.7, named after the fault.

h5coro walks the structure and reads the chunks. Each class overrides the methods that have the fault; its docstring
says what h5coro does wrong, then what is done instead. `CheckedDataset` joins them, with what saves time only
(`maggjob.hdf5.h5coro_speed`). tests/hdf5/test_h5coro_faults.py shows each fault with h5coro itself, and fails once
h5coro has mended it: then the class can go.
"""

import logging
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from h5coro.h5dataset import H5Dataset

from maggjob.errors import CorruptError, UnsupportedError
from maggjob.hdf5.chunks import inflate
from maggjob.hdf5.h5coro_speed import CachedFields, MessagesAsWholes
from maggjob.hdf5.messages import (
    DEFLATE,
    FILTER_NAMES,
    SHUFFLE,
    AttributeValue,
    attribute,
    dense_storage,
    filter_pipeline,
    number_type,
)

logging.getLogger("h5coro.logger").setLevel(logging.CRITICAL)  # what it logs, we raise

PIPELINES = ((), (DEFLATE,), (SHUFFLE, DEFLATE))
LINKS = struct.Struct("<4sBBH")  # head of a table of links: signature, version, reserved, how many (III.B)
LINK = struct.Struct("<QQI20x")  # one of them: where in the heap its name is, where the object is, kind (III.C)
LONGEST_NAME = 1 << 10  # bytes: a name that goes on has lost its end
ATTRIBUTES = ("_FillValue", "units", "long_name")  # of the ten or so that a dataset has

ReadRange = Callable[[int, int], bytes]
"""``read(position, size)``; shorter than ``size`` only at the end of the file."""


class H5coroDriver:
    """h5coro's view of a file: ``read`` and ``close``."""

    def __init__(self, resource: ReadRange, credentials: object) -> None:
        self._read = resource

    def read(self, position: int, size: int) -> bytes:
        return self._read(position, size)

    def close(self) -> None:
        """Nothing is held open."""


class FileBytes(H5Dataset):  # type: ignore[misc]  # h5coro has no types
    """Bytes of the file for the classes below: all that are wanted, or an error. It overrides nothing."""

    pos: int
    """Where h5coro reads next."""

    def _bytes_at(self, address: int, size: int) -> bytes:
        piece = bytes(self.resourceObject.ioRequest(address, size))
        if len(piece) < size:
            raise CorruptError(f"{size} bytes wanted at address {address}, the file ends after {len(piece)}")
        return piece


# ---- finding a dataset


class FieldsAcrossCacheLines(FileBytes):
    """h5coro fails on a name that begins in one line of its cache and ends in the next: one granule in forty.

    It joins the pieces to bytes, and takes them for a memoryview. Here it is a memoryview always.
    """

    def readArray(self, size: int) -> memoryview:
        return memoryview(super().readArray(size))


class DeletedLinks(FileBytes):
    """h5coro finds links that were deleted: it scans the heap, in which they are left behind.

    Here links are taken from the index of names. Real granules of version 006 have deleted ones: absent beams.
    """

    def linkinfoMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        dense = dense_storage(self._bytes_at, bytes(self.readArray(msg_size)), 8)
        if dense is not None:
            heap, records = dense
            back = self.pos
            for record in records:
                self.pos, length = heap.locate(self._bytes_at, record[4:])
                self.linkMsgHandler(length, obj_hdr_flags, dlvl)
            self.pos = back
        return msg_size


class NamesLetterByLetter(FileBytes):
    """h5coro decodes names in a table of links byte by byte: a letter beyond ASCII makes the group unreadable.

    And a name that has lost its end takes in whatever follows, so that its dataset counts as absent. Here names are
    decoded as wholes, and have an end. The table is taken apart as a whole, too, which saves time.
    """

    def readSymbolTable(self, heap_address: int, dlvl: int) -> int:
        first = self.pos
        signature, version, _, count = LINKS.unpack(self.readArray(LINKS.size))
        if signature != b"SNOD" or version != 1:
            raise CorruptError(f"no table of links at address {first}")
        links = bytes(self.readArray(count * LINK.size))
        end = self.pos
        for offset, address, kind in LINK.iter_unpack(links):
            name = self._string_at(heap_address + offset)
            self.resourceObject.pathAddresses["/".join([*self.datasetPath[:dlvl], name])] = address
            if dlvl < self.datasetPathLevels and name == self.datasetPath[dlvl]:
                if kind == 2:
                    raise UnsupportedError(f"{name} is a symbolic link")
                self.pos = address
                self.readObjHdr(dlvl + 1)
                if self.earlyExit:
                    break
        self.pos = end
        return end - first

    def _string_at(self, address: int) -> str:
        """A string that ends with a zero byte; the next line is not read for what may follow it."""
        file, name = self.resourceObject, b""
        while len(name) < LONGEST_NAME:
            left = file.cacheLineSize - (address + file.baseAddress) % file.cacheLineSize
            piece = bytes(file.ioRequest(address, min(left, 64)))
            name += piece.split(b"\0")[0]
            if b"\0" in piece:
                return name.decode()
            if not piece:
                break
            address += len(piece)
        raise CorruptError(f"a name at address {address - len(name)} has no end")


class PathsThroughDatasets(FileBytes):
    """h5coro gives the numbers of a dataset for any path below it: those of ``h_li`` for ``h_li/nothing``.

    It keeps the type of every dataset that it passes. Here it is noted whether the path ends at one.
    """

    is_there = False
    """Whether there is a dataset at the end of the path."""

    def datatypeMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int, meta: object = None) -> int:
        if dlvl == self.datasetPathLevels:
            self.is_there = True
        return super().datatypeMsgHandler(msg_size, obj_hdr_flags, dlvl, meta)


# ---- what it says of itself


class NumbersOfOtherFormats(FileBytes):
    """h5coro looks at the size and the sign of numbers only: big-endian ones, or ones of 20 bits, come out wrong.

    Here numbers of other formats than numpy's little-endian ones are refused.
    """

    dtype: np.dtype
    """Little-endian."""

    def datatypeMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int, meta: object = None) -> int:
        dtype = number_type(self._bytes_at(self.pos, msg_size))
        if dtype is None:
            raise UnsupportedError("not a dataset of plain numbers")
        self.dtype = dtype
        return super().datatypeMsgHandler(msg_size, obj_hdr_flags, dlvl, meta)


class AttributesOfVersion3(FileBytes):
    """h5coro fails on attributes of version 3, those of most of NSIDC's subsets: it looks for padding that they lack.

    Here attributes are decoded by themselves, and when they are met: h5coro walks from the root again for each value.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self.attributes: dict[str, AttributeValue] = {}
        super().__init__(*args, **options)

    def attributeMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        if dlvl == self.datasetPathLevels:
            self._take_note(bytes(self.readArray(msg_size)))
        else:
            self.pos += msg_size
        return msg_size

    def _take_note(self, message: bytes) -> None:
        name, value = attribute(message, ATTRIBUTES)
        if value is not None:
            self.attributes[name] = value


class DeletedAttributes(AttributesOfVersion3):
    """h5coro finds attributes that were deleted, and misses others: it scans the heap, as it does for links.

    Here attributes are taken from the index of names.
    """

    def attributeinfoMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        message = bytes(self.readArray(msg_size))
        dense = dense_storage(self._bytes_at, message, 2) if dlvl == self.datasetPathLevels else None
        if dense is not None:
            heap, records = dense
            for record in records:
                if not record[8] & 0x02:  # else the message is shared, and not in this heap
                    self._take_note(self._bytes_at(*heap.locate(self._bytes_at, record[:8])))
        return msg_size


class FiltersInAnotherOrder(FileBytes):
    """h5coro notes which filters there are, not their order or number: what was deflated twice comes out wrong.

    It passes over filters that it does not know, too. Here other pipelines than the usual ones are refused.
    """

    def filterMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        pipeline = filter_pipeline(self._bytes_at(self.pos, msg_size))
        if pipeline not in PIPELINES:
            names = ", ".join(FILTER_NAMES.get(i, f"number {i}") for i in pipeline)
            raise UnsupportedError(f"filters ({names}); known are deflate alone, and shuffle before deflate")
        self.meta.filter |= dict.fromkeys(pipeline, True)
        self.pos += msg_size
        return msg_size


# ---- its numbers


class ContiguousSlices(FileBytes):
    """h5coro takes rows of a dataset without chunks from the wrong place, unless they are its first ones.

    What it gives for rows 3 to 10 is three zeros, and rows 3 to 7. Here rows are read from where they are.
    """

    def readSlice(self, output: bytearray, *_: Any) -> None:
        ((start, stop),), size = self.hyperslice, self.meta.typeSize
        output[:] = self._bytes_at(self.meta.address + start * size, (stop - start) * size)


class FilterMasks(FileBytes):
    """h5coro undoes every filter for every chunk, also those that a chunk skipped, as its mask says: wrong numbers.

    Here a chunk that skipped any is refused.
    """

    _key: Any = None
    """What the table of chunks says of the chunk at hand."""
    _next: Any = None
    """What it says of the one after that: h5coro reads this before it looks at the chunk."""

    def readBTreeNodeV1(self, ndims: int) -> dict[str, Any]:
        self._key, self._next = self._next, super().readBTreeNodeV1(ndims)
        return self._next

    def hypersliceIntersection(self, node_slice: Any, node_level: int) -> bool:
        inside = super().hypersliceIntersection(node_slice, node_level)
        if inside and node_level == 0 and self._key["filter_mask"]:
            raise UnsupportedError(f"chunk at row {node_slice[0][0]} skips filters of its own")
        return inside


class HolesInChunkTables(FileBytes):
    """h5coro gives fill for chunks that are not in the table. So does HDF5: this is no fault, but a check of ours.

    Granules are written as wholes, and a hole in one is a chunk that was lost. Here chunks are counted.
    """

    chunks_read = 0

    def hypersliceIntersection(self, node_slice: Any, node_level: int) -> bool:
        inside = super().hypersliceIntersection(node_slice, node_level)
        if inside and node_level == 0:
            self.chunks_read += 1
        return inside

    def check_chunks(self) -> None:
        """See that all chunks were there that hold the rows which were read.

        Raises
        ------
        CorruptError
            Some were not.
        """
        if self.meta.layout != self.CHUNKED_LAYOUT:
            return
        ((start, stop),), (chunk,) = self.hyperslice, self.meta.chunkDimensions
        wanted = -(-stop // chunk) - start // chunk
        if self.chunks_read != wanted:
            raise CorruptError(f"{wanted} chunks hold rows {start} to {stop}, {self.chunks_read} are there")


class ChunksOfAnotherSize(FileBytes):
    """h5coro takes a chunk that inflates to another size than its rows have, and fills up with zeros.

    It fails only if the sizes of all chunks do not add up. Here each must be right; and inflating takes half the time.
    """

    def inflateChunk(self, input: bytes) -> bytes:  # noqa: A002
        return bytes(inflate(input, self.dataChunkBufferSize))


class CheckedDataset(
    CachedFields,
    MessagesAsWholes,
    FieldsAcrossCacheLines,
    DeletedLinks,
    NamesLetterByLetter,
    PathsThroughDatasets,
    NumbersOfOtherFormats,
    DeletedAttributes,
    AttributesOfVersion3,
    FiltersInAnotherOrder,
    ContiguousSlices,
    FilterMasks,
    HolesInChunkTables,
    ChunksOfAnotherSize,
):
    """h5coro's dataset with every correction of this module."""
