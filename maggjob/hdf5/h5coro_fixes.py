"""h5coro's dataset, with what h5coro leaves unchecked checked.

h5coro walks the structure and reads the chunks; this module adds to it, by overriding the
handler concerned, what it needs before its numbers can be trusted:

* links and attributes in dense storage come from the name index, not from a scan of the heap,
  which also finds links that were deleted (real v006 granules have them: absent beams);
* attributes are decoded here (h5coro misreads version 3 messages, so most of NSIDC's subsets);
* byte order, number format, filters and their order, filter masks, inflated sizes and holes in
  the chunk table are checked: h5coro returns wrong numbers, or fill, for each of them;
* lists of messages and of links are taken apart as wholes: h5coro asks its cache for each number and each
  letter, some 5,000 times a granule, which took a third of the time that a granule's structure takes.
"""

import logging
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from h5coro.h5coro import H5Coro
from h5coro.h5dataset import H5Dataset

from maggjob.errors import CorruptError, UnsupportedError
from maggjob.hdf5.chunks import inflate
from maggjob.hdf5.messages import (
    DEFLATE,
    FILTER_NAMES,
    SHUFFLE,
    AttributeValue,
    FractalHeap,
    attribute,
    btree2_records,
    filter_pipeline,
    number_type,
)

logging.getLogger("h5coro.logger").setLevel(logging.CRITICAL)  # what it logs, we raise

PIPELINES = ((), (DEFLATE,), (SHUFFLE, DEFLATE))
UNDEFINED = 2**64 - 1  # the address of what is not there
PREFIX = struct.Struct("<HHBBH")  # of a message: type, size, flags, reserved twice (IV.A.1.a)
LINKS = struct.Struct("<4sBBH")  # head of a table of links: signature, version, reserved, how many (III.B)
LINK = struct.Struct("<QQI20x")  # one of them: where in the heap its name is, where the object is, kind (III.C)
LONGEST_NAME = 1 << 10  # bytes: a name that goes on has lost its end
HANDLERS = {
    H5Dataset.DATASPACE_MSG: "dataspaceMsgHandler",
    H5Dataset.LINK_INFO_MSG: "linkinfoMsgHandler",
    H5Dataset.DATATYPE_MSG: "datatypeMsgHandler",
    H5Dataset.FILL_VALUE_MSG: "fillvalueMsgHandler",
    H5Dataset.LINK_MSG: "linkMsgHandler",
    H5Dataset.DATA_LAYOUT_MSG: "datalayoutMsgHandler",
    H5Dataset.FILTER_MSG: "filterMsgHandler",
    H5Dataset.HEADER_CONT_MSG: "headercontMsgHandler",
    H5Dataset.SYMBOL_TABLE_MSG: "symboltableMsgHandler",
    H5Dataset.ATTRIBUTE_MSG: "attributeMsgHandler",
    H5Dataset.ATTRIBUTE_INFO_MSG: "attributeinfoMsgHandler",
}
"""Messages that are looked into."""

ATTRIBUTES = ("_FillValue", "units", "long_name")  # of the ten or so that a dataset has

ReadRange = Callable[[int, int], bytes]
"""``read(position, size)``; shorter than ``size`` only at the end of the file."""


class Driver:
    """h5coro's view of a file: ``read`` and ``close``."""

    def __init__(self, resource: ReadRange, credentials: object) -> None:
        self._read = resource

    def read(self, position: int, size: int) -> bytes:
        return self._read(position, size)

    def close(self) -> None:
        """Nothing is held open."""


class Walk(H5Dataset):  # type: ignore[misc]  # h5coro has no types
    """h5coro's dataset with the corrections listed at the top of this module."""

    def __init__(self, h5: H5Coro, path: str, **options: Any) -> None:
        self.pos: int
        self.dtype: np.dtype | None = None
        self.found: dict[str, AttributeValue] = {}
        self.chunks_read = 0
        self._keys: tuple[dict[str, Any], ...] = ()
        super().__init__(h5, path, **options)

    def _cached(self, size: int) -> memoryview | None:
        """The next bytes, if they lie in a line that is there: nearly always, and some 6,000 times a granule."""
        file = self.resourceObject
        position = self.pos + file.baseAddress
        line = position & file.cacheLineMask
        content: memoryview | None = file.cache.get(line)
        if content is None or position - line + size > len(content):
            return None
        self.pos += size
        return content[position - line : position - line + size]

    def readField(self, size: int) -> int:
        """An unsigned number."""
        content = self._cached(size)
        return int(super().readField(size)) if content is None else int.from_bytes(content, "little")

    def readArray(self, size: int) -> memoryview:
        """A memoryview always: across two cache lines h5coro gives bytes, and then fails on them."""
        content = self._cached(size)
        return memoryview(super().readArray(size)) if content is None else content

    def _at(self, address: int, size: int) -> bytes:
        piece = bytes(self.resourceObject.ioRequest(address, size))
        if len(piece) < size:
            raise CorruptError(f"{size} bytes wanted at address {address}, the file ends after {len(piece)}")
        return piece

    def _dense(self, message: bytes, index_width: int) -> tuple[FractalHeap, list[bytes]] | None:
        """Heap and name index of a link info or attribute info message (IV.A.2.c and .v)."""
        position = 2 + (index_width if message[1] & 0x01 else 0)
        heap, names = struct.unpack_from("<QQ", message, position)
        if heap == UNDEFINED:
            return None
        return FractalHeap.read(self._at, heap), btree2_records(self._at, names)

    def readMessagesV1(self, end_of_hdr: int, obj_hdr_flags: int, dlvl: int) -> int:
        first = self.pos
        while self.pos < end_of_hdr - PREFIX.size:
            kind, size, _, *reserved = PREFIX.unpack(self.readArray(PREFIX.size))
            if all(reserved):
                raise CorruptError(f"no message at address {self.pos - PREFIX.size}")
            handled = self.readMessage(kind, size, obj_hdr_flags, dlvl)
            padding = -handled % 8
            self.pos += padding
            if handled + padding != size:
                raise CorruptError(f"a message of type {kind} has {handled + padding} bytes, its header says {size}")
            if self.earlyExit and self.datasetFound:
                break
        self.pos = max(self.pos, end_of_hdr)
        return self.pos - first

    def readMessage(self, msg_type: int, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        handler = HANDLERS.get(msg_type)
        if handler is not None:
            return int(getattr(self, handler)(msg_size, obj_hdr_flags, dlvl))
        if msg_type and not msg_size:
            raise CorruptError(f"a message of type {msg_type} without content at address {self.pos}")
        self.pos += msg_size
        return msg_size

    def readSymbolTable(self, heap_address: int, dlvl: int) -> int:
        first = self.pos
        signature, version, _, count = LINKS.unpack(self.readArray(LINKS.size))
        if signature != b"SNOD" or version != 1:
            raise CorruptError(f"no table of links at address {first}")
        links = bytes(self.readArray(count * LINK.size))
        end = self.pos
        for offset, address, kind in LINK.iter_unpack(links):
            name = self._name(heap_address + offset)
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

    def _name(self, address: int) -> str:
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

    def linkinfoMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        dense = self._dense(bytes(self.readArray(msg_size)), 8)
        if dense is not None:
            heap, records = dense
            back = self.pos
            for record in records:
                self.pos, length = heap.locate(self._at, record[4:])
                self.linkMsgHandler(length, obj_hdr_flags, dlvl)
            self.pos = back
        return msg_size

    def attributeinfoMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        message = bytes(self.readArray(msg_size))
        wanted = self.enableAttributes and dlvl == self.datasetPathLevels
        dense = self._dense(message, 2) if wanted else None
        if dense is not None:
            heap, records = dense
            for record in records:
                if not record[8] & 0x02:  # else the message is shared, and not in this heap
                    self._remember(self._at(*heap.locate(self._at, record[:8])))
        return msg_size

    def attributeMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        if self.enableAttributes and dlvl == self.datasetPathLevels:
            self._remember(bytes(self.readArray(msg_size)))
        else:
            self.pos += msg_size
        return msg_size

    def _remember(self, message: bytes) -> None:
        name, value = attribute(message, ATTRIBUTES)
        if value is not None:
            self.found[name] = value

    def datatypeMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int, meta: object = None) -> int:
        dtype = number_type(self._at(self.pos, msg_size))
        if dlvl == self.datasetPathLevels:  # above it stands a dataset where the path has a group
            self.dtype = dtype
        if dtype is None:
            raise UnsupportedError("not a dataset of plain numbers")
        return int(super().datatypeMsgHandler(msg_size, obj_hdr_flags, dlvl, meta))

    def filterMsgHandler(self, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        pipeline = filter_pipeline(self._at(self.pos, msg_size))
        if pipeline not in PIPELINES:
            names = ", ".join(FILTER_NAMES.get(i, f"number {i}") for i in pipeline)
            raise UnsupportedError(f"filters ({names}); known are deflate alone, and shuffle before deflate")
        self.meta.filter |= dict.fromkeys(pipeline, True)
        self.pos += msg_size
        return msg_size

    def readSlice(self, output: bytearray, *_: Any) -> None:
        """Rows of a contiguous or compact dataset: h5coro takes them from the wrong place."""
        ((start, stop),), size = self.hyperslice, self.meta.typeSize
        output[:] = self._at(self.meta.address + start * size, (stop - start) * size)

    def readBTreeNodeV1(self, ndims: int) -> dict[str, Any]:
        key: dict[str, Any] = super().readBTreeNodeV1(ndims)
        self._keys = (*self._keys[-1:], key)
        return key

    def hypersliceIntersection(self, node_slice: Any, node_level: int) -> bool:
        inside = bool(super().hypersliceIntersection(node_slice, node_level))
        if inside and node_level == 0:
            if self._keys[0]["filter_mask"]:
                raise UnsupportedError(f"chunk at row {node_slice[0][0]} skips filters of its own")
            self.chunks_read += 1
        return inside

    def inflateChunk(self, input: bytes) -> bytes:  # noqa: A002
        return bytes(inflate(input, self.dataChunkBufferSize))
