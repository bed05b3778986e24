"""What saves time in h5coro's walk through a file, and changes no answer: no fault of h5coro is mended here.

h5coro asks its cache for each number by itself, some 5,000 times a granule, and makes a table of handlers for each
message: more than a third of the time that the structure of a granule took.
"""

import struct

from h5coro.h5dataset import H5Dataset

from maggjob.errors import CorruptError

PREFIX = struct.Struct("<HHBBH")  # of a message: type, size, flags, reserved twice (IV.A.1.a)
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
"""Messages that are looked into."""
WITH_ATTRIBUTES = HANDLERS | {
    H5Dataset.ATTRIBUTE_MSG: "attributeMsgHandler",
    H5Dataset.ATTRIBUTE_INFO_MSG: "attributeinfoMsgHandler",
}
"""Those, where attributes are asked for."""


class CachedFields(H5Dataset):  # type: ignore[misc]  # h5coro has no types
    """Fields straight out of h5coro's cache: for speed.

    h5coro joins each field from a list of pieces. Here the one piece is taken, as nearly every field lies within one
    line of the cache, which is there already; for the others, h5coro's way stays.
    """

    pos: int
    """Where h5coro reads next."""

    def _cached(self, size: int) -> memoryview | None:
        """The next bytes, if they lie in one line of the cache, and that is there."""
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
        return super().readField(size) if content is None else int.from_bytes(content, "little")

    def readArray(self, size: int) -> memoryview:
        """Bytes."""
        content = self._cached(size)
        return super().readArray(size) if content is None else content


class MessagesAsWholes(H5Dataset):  # type: ignore[misc]  # h5coro has no types
    """Heads of messages at once, and one table of handlers for all of them: for speed.

    h5coro reads the five fields of a head one by one. Its checks are the same, but for a KeyError inside a handler:
    h5coro takes it for a message that it does not know. Datasets of plain numbers give rise to none.
    """

    pos: int
    """Where h5coro reads next."""

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
        handler = (WITH_ATTRIBUTES if self.enableAttributes else HANDLERS).get(msg_type)
        if handler is not None:
            return getattr(self, handler)(msg_size, obj_hdr_flags, dlvl)
        if msg_type and not msg_size:
            raise CorruptError(f"a message of type {msg_type} without content at address {self.pos}")
        self.pos += msg_size
        return msg_size
