"""Faster versions of h5coro's methods that return the same results; faults are corrected in another module.

h5coro looks up its cache for each number separately, about 5,000 times per granule, and builds a table of handlers for
each message. Both took more than a third of the time spent on the structure of a granule.
"""

import struct

from h5coro.h5dataset import H5Dataset

from maggjob.errors import CorruptError, LayoutError

PREFIX = struct.Struct("<HHBBH")
"""Head of a message: type, size, flags, two reserved fields (section IV.A.1.a)."""
PREFIX_1, PREFIX_2 = struct.Struct("<BHB"), struct.Struct("<BHBH")
"""The same in headers of version 2, without and with the order of creation (section IV.A.1.b)."""
ORDERED = 0x04
"""Flag of a header whose messages have an order of creation."""
SHARED = 0x02
"""Flag of a message that is stored elsewhere (section IV.A.2): its content is an address."""
SHAREABLE = (H5Dataset.DATASPACE_MSG, H5Dataset.DATATYPE_MSG, H5Dataset.FILTER_MSG, H5Dataset.ATTRIBUTE_MSG)
"""Messages that decide about values."""
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
}
"""Handlers by type of message; other messages are skipped."""
WITH_ATTRIBUTES = HANDLERS | {
    H5Dataset.ATTRIBUTE_MSG: "attributeMsgHandler",
    H5Dataset.ATTRIBUTE_INFO_MSG: "attributeinfoMsgHandler",
}
"""Handlers if attributes are requested."""


# h5coro has no types.
class CachedFields(H5Dataset):  # type: ignore[misc]
    """Reads of fields directly from h5coro's cache, for speed.

    h5coro joins each field from a list of pieces. Nearly every field lies within one cache line that is already in
    memory, and is taken from it directly. All other fields are read by h5coro.
    """

    pos: int
    """Position in the file that h5coro reads next."""

    def _cached(self, size: int) -> memoryview | None:
        """Return the next bytes if they lie in one cache line that is in memory, else None."""
        file = self.resourceObject
        position = self.pos + file.baseAddress
        line = position & file.cacheLineMask
        content: memoryview | None = file.cache.get(line)
        if content is None or position - line + size > len(content):
            return None
        self.pos += size
        return content[position - line : position - line + size]

    def readField(self, size: int) -> int:
        """Read an unsigned number of ``size`` bytes."""
        content = self._cached(size)
        return super().readField(size) if content is None else int.from_bytes(content, "little")

    def readArray(self, size: int) -> memoryview:
        """Read ``size`` bytes."""
        content = self._cached(size)
        return super().readArray(size) if content is None else content


# h5coro has no types.
class MessagesAsWholes(H5Dataset):  # type: ignore[misc]
    """Reads of each message head at once, with one table of handlers for all messages, for speed.

    h5coro reads the five fields of a head one by one. The checks are the same, with one exception: h5coro treats a
    KeyError inside a handler as an unknown message. Datasets of plain numbers cause none.
    """

    pos: int
    """Position in the file that h5coro reads next."""

    def readMessagesV1(self, end_of_hdr: int, obj_hdr_flags: int, dlvl: int) -> int:
        first = self.pos
        while self.pos < end_of_hdr - PREFIX.size:
            kind, size, flags, *reserved = PREFIX.unpack(self.readArray(PREFIX.size))
            if all(reserved):
                raise CorruptError(f"no message at address {self.pos - PREFIX.size}")
            self._check_own(kind, flags, dlvl)
            handled = self.readMessage(kind, size, obj_hdr_flags, dlvl)
            padding = -handled % 8
            self.pos += padding
            if handled + padding != size:
                raise CorruptError(f"a message of type {kind} has {handled + padding} bytes, its header says {size}")
            if self.earlyExit and self.datasetFound:
                break
        self.pos = max(self.pos, end_of_hdr)
        return self.pos - first

    def readMessagesV0(self, end_of_hdr: int, obj_hdr_flags: int, dlvl: int) -> int:
        first, head = self.pos, PREFIX_2 if obj_hdr_flags & ORDERED else PREFIX_1
        # After the last message may be a gap that is smaller than a head.
        while self.pos + head.size <= end_of_hdr:
            kind, size, flags = head.unpack(self.readArray(head.size))[:3]
            self._check_own(kind, flags, dlvl)
            handled = self.readMessage(kind, size, obj_hdr_flags, dlvl)
            if handled != size:
                raise CorruptError(f"a message of type {kind} has {handled} bytes, its header says {size}")
            if self.earlyExit and self.datasetFound:
                break
        self.pos = max(self.pos, end_of_hdr)
        return self.pos - first

    def _check_own(self, kind: int, flags: int, dlvl: int) -> None:
        """Check that a message of the dataset is not shared: h5coro takes the address for the content."""
        if flags & SHARED and kind in SHAREABLE and dlvl == self.datasetPathLevels:
            raise LayoutError(f"a header message (type {kind}) that is stored elsewhere")

    def readMessage(self, msg_type: int, msg_size: int, obj_hdr_flags: int, dlvl: int) -> int:
        handler = (WITH_ATTRIBUTES if self.enableAttributes else HANDLERS).get(msg_type)
        if handler is not None:
            return getattr(self, handler)(msg_size, obj_hdr_flags, dlvl)
        if msg_type and not msg_size:
            raise CorruptError(f"a message of type {msg_type} without content at address {self.pos}")
        self.pos += msg_size
        return msg_size
