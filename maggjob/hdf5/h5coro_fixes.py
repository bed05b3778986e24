"""Corrections of h5coro's dataset class: one class per fault of h5coro 1.0.7, named after the fault.

h5coro walks the structure and reads the chunks. Each class overrides the methods that contain the fault; its docstring
states what h5coro does wrong, then what is done instead. `CheckedDataset` combines them with the classes that only save
time (`maggjob.hdf5.h5coro_speed`). tests/hdf5/test_h5coro_faults.py demonstrates each fault with unmodified h5coro, and
fails once h5coro has fixed it. The class can then be deleted.
"""

import logging
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from h5coro.h5dataset import FatalError, H5Dataset

from maggjob.errors import CorruptError, LayoutError
from maggjob.hdf5.chunks import inflate
from maggjob.hdf5.dataset_info import ATTRIBUTES
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

# The problems that h5coro logs are raised here.
logging.getLogger("h5coro.logger").setLevel(logging.CRITICAL)

PIPELINES = ((), (DEFLATE,), (SHUFFLE, DEFLATE))
"""Filter pipelines that are supported."""
LINKS = struct.Struct("<4sBBH")
"""Head of a table of links: signature, version, reserved, number of links (section III.B)."""
LINK = struct.Struct("<QQI20x")
"""A link: position of its name in the heap, address of the object, kind (section III.C)."""
SOFT_LINK, EXTERNAL_LINK = 1, 64
"""Kinds of a link message (section IV.A.2.g)."""
LONGEST_NAME = 1 << 10  # bytes
"""Longest name that is read; a longer one is not terminated."""

ReadRange = Callable[[int, int], bytes]
"""``read(position, size)`` returns ``size`` bytes, or fewer at the end of the file."""


class H5coroDriver:
    """Driver through which h5coro reads a file."""

    def __init__(self, resource: ReadRange, credentials: object) -> None:
        self._read = resource

    def read(self, position: int, size: int) -> bytes:
        return self._read(position, size)

    def close(self) -> None:
        """Do nothing: no file is kept open."""


# h5coro has no types.
class FileBytes(H5Dataset):  # type: ignore[misc]
    """Base class that reads a given number of bytes of the file or raises an error. It overrides nothing."""

    pos: int
    """Position in the file that h5coro reads next."""

    def _bytes_at(self, address: int, size: int) -> bytes:
        piece = bytes(self.resourceObject.ioRequest(address, size))
        if len(piece) < size:
            raise CorruptError(f"{size} bytes wanted at address {address}, the file ends after {len(piece)}")
        return piece


# ---- Finding a dataset


class FieldsAcrossCacheLines(FileBytes):
    """h5coro fails on a name that crosses the border between two lines of its cache, which one granule in forty has.

    It joins the pieces as bytes where it expects a memoryview. This class always returns a memoryview.
    """

    def readArray(self, size: int) -> memoryview:
        return memoryview(super().readArray(size))


class DeletedLinks(FileBytes):
    """h5coro finds deleted links: it scans the heap, where they remain after their deletion.

    This class takes links from the index of names. Real granules of version 006 contain deleted links to absent beams.
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
    """h5coro decodes names in a table of links byte by byte, so a letter that is not ASCII makes the group unreadable.

    It also reads beyond a name that is not terminated, so the dataset counts as absent. This class decodes each name
    as a whole and checks that it is terminated. It also decodes the table of links as a whole, which saves time.
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
            # A symbolic link has no address.
            if kind != 2:
                self.resourceObject.pathAddresses["/".join([*self.datasetPath[:dlvl], name])] = address
            if dlvl < self.datasetPathLevels and name == self.datasetPath[dlvl]:
                if kind == 2:
                    raise LayoutError(f"{name} is a symbolic link")
                self.pos = address
                self.readObjHdr(dlvl + 1)
                if self.earlyExit:
                    break
        self.pos = end
        return end - first

    def _string_at(self, address: int) -> str:
        """Return the zero-terminated string at an address, without reading a cache line that it does not reach."""
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


class SoftLinks(FileBytes):
    """h5coro fails on a soft link with an error that may also stand for damage.

    This class names the kind of the link.
    """

    def linkMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        head = self._bytes_at(self.pos, 3)
        # Version, flags and, if the flags say so, the kind of the link (section IV.A.2.g).
        kind = head[2] if head[1] & 0x08 else 0
        try:
            return int(super().linkMsgHandler(msg_size, obj_hdr_flags, dlvl))
        except FatalError as problem:
            if head[0] == 1 and kind in (SOFT_LINK, EXTERNAL_LINK):
                raise LayoutError("a soft or external link") from problem
            raise


class PathsThroughDatasets(FileBytes):
    """h5coro returns the values of a dataset for any path below it: those of ``h_li`` for ``h_li/nothing``.

    It keeps the type of every dataset on its way. This class records whether the path ends at a dataset.
    """

    is_there = False
    """True if there is a dataset at the end of the path."""

    def datatypeMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int, meta: object = None) -> int:
        if dlvl == self.datasetPathLevels:
            self.is_there = True
        return super().datatypeMsgHandler(msg_size, obj_hdr_flags, dlvl, meta)


# ---- Properties of a dataset


class NumbersOfOtherFormats(FileBytes):
    """h5coro checks only the size and sign of numbers, so it decodes big-endian or 20-bit numbers wrongly.

    This class refuses numbers in formats other than numpy's little-endian ones.
    """

    dtype: np.dtype
    """Type of the values, little-endian."""

    def datatypeMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int, meta: object = None) -> int:
        dtype = number_type(self._bytes_at(self.pos, msg_size))
        if dtype is None:
            raise LayoutError("not a dataset of plain numbers")
        self.dtype = dtype
        return super().datatypeMsgHandler(msg_size, obj_hdr_flags, dlvl, meta)


class AttributesOfVersion3(FileBytes):
    """h5coro fails on attributes of version 3, which most of NSIDC's subsets have: it expects padding that they lack.

    This class decodes attributes itself, as it encounters them; h5coro walks from the root again for each value.
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
    """h5coro finds deleted attributes and misses others, because it scans the heap, as it does for links.

    This class takes attributes from the index of names.
    """

    def attributeinfoMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        message = bytes(self.readArray(msg_size))
        dense = dense_storage(self._bytes_at, message, 2) if dlvl == self.datasetPathLevels else None
        if dense is not None:
            heap, records = dense
            for record in records:
                # A shared message is stored outside this heap, and may be the fill value.
                if record[8] & 0x02:
                    raise LayoutError("an attribute that is shared between objects")
                self._take_note(self._bytes_at(*heap.locate(self._bytes_at, record[:8])))
        return msg_size


class LayoutsOfOtherVersions(FileBytes):
    """h5coro fails on layouts of versions other than 3 with an error that may also stand for damage.

    Version 4 has the chunk indexes of HDF5 1.10, and virtual datasets. This class names the version.
    """

    def datalayoutMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        version, kind = self._bytes_at(self.pos, 2)
        if version in (1, 2, 4, 5):
            raise LayoutError(f"a data layout of version {version}, class {kind}")
        return int(super().datalayoutMsgHandler(msg_size, obj_hdr_flags, dlvl))


class FiltersInAnotherOrder(FileBytes):
    """h5coro ignores the order and number of filters, so it decodes data wrongly that was deflated twice, for example.

    It also skips filters that it does not know. This class refuses all pipelines that are not in `PIPELINES`.
    """

    def filterMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        pipeline = filter_pipeline(self._bytes_at(self.pos, msg_size))
        if pipeline not in PIPELINES:
            names = ", ".join(FILTER_NAMES.get(i, f"number {i}") for i in pipeline)
            raise LayoutError(f"filters ({names}); known are deflate alone, and shuffle before deflate")
        self.meta.filter |= dict.fromkeys(pipeline, True)
        self.pos += msg_size
        return msg_size


# ---- Values of a dataset


class ContiguousSlices(FileBytes):
    """h5coro reads rows of a dataset without chunks from the wrong position, unless they are the first rows.

    For rows 3 to 10 it returns three zeros and rows 3 to 7. This class reads rows from their position.
    """

    def readSlice(self, output: bytearray, *_: Any) -> None:
        ((start, stop),), size = self.hyperslice, self.meta.typeSize
        output[:] = self._bytes_at(self.meta.address + start * size, (stop - start) * size)


class FilterMasks(FileBytes):
    """h5coro undoes all filters for every chunk, even those that the chunk's mask excludes, and returns wrong values.

    This class refuses a chunk that skipped a filter.
    """

    _key: Any = None
    """Entry of the current chunk in the chunk table."""
    _next: Any = None
    """Entry of the next chunk, which h5coro reads before it handles the current one."""

    def readBTreeNodeV1(self, ndims: int) -> dict[str, Any]:
        self._key, self._next = self._next, super().readBTreeNodeV1(ndims)
        return self._next

    def hypersliceIntersection(self, node_slice: Any, node_level: int) -> bool:
        inside = super().hypersliceIntersection(node_slice, node_level)
        if inside and node_level == 0 and self._key["filter_mask"]:
            raise LayoutError(f"chunk at row {node_slice[0][0]} skips filters of its own")
        return inside


class HolesInChunkTables(FileBytes):
    """h5coro returns fill values for chunks that are not in the table. HDF5 does so, too: this is an extra check.

    Granules are written completely, so a hole is a chunk that was lost. This class counts the chunks that are read.
    """

    chunks_read = 0
    """Number of chunks read."""

    def hypersliceIntersection(self, node_slice: Any, node_level: int) -> bool:
        inside = super().hypersliceIntersection(node_slice, node_level)
        if inside and node_level == 0:
            self.chunks_read += 1
        return inside

    def check_chunks(self) -> None:
        """Check that all chunks of the rows that were read exist.

        Raises
        ------
        CorruptError
            If a chunk is missing.
        """
        if self.meta.layout != self.CHUNKED_LAYOUT:
            return
        ((start, stop),), (chunk,) = self.hyperslice, self.meta.chunkDimensions
        wanted = -(-stop // chunk) - start // chunk
        if self.chunks_read != wanted:
            raise CorruptError(f"{wanted} chunks hold rows {start} to {stop}, but {self.chunks_read} exist")


class ChunksOfAnotherSize(FileBytes):
    """h5coro accepts a chunk that inflates to a wrong size, and pads it with zeros.

    It fails only if the sizes of all chunks do not add up. This class checks the size of each chunk. It also inflates
    in half the time.
    """

    def inflateChunk(self, input: bytes) -> bytes:  # noqa: A002
        return bytes(inflate(input, self.dataChunkBufferSize))


class CheckedDataset(
    CachedFields,
    MessagesAsWholes,
    FieldsAcrossCacheLines,
    DeletedLinks,
    NamesLetterByLetter,
    SoftLinks,
    PathsThroughDatasets,
    NumbersOfOtherFormats,
    LayoutsOfOtherVersions,
    DeletedAttributes,
    AttributesOfVersion3,
    FiltersInAnotherOrder,
    ContiguousSlices,
    FilterMasks,
    HolesInChunkTables,
    ChunksOfAnotherSize,
):
    """h5coro's dataset with every correction of this module."""
