"""A file object over ranges of a granule, with a cache of blocks, for libraries that read files."""

import io
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from maggjob.errors import GranuleError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK = 1 << 16
"""Size of a block, bytes; a read is extended to whole blocks."""
KEPT = 256
"""Blocks that are kept: 16 MiB."""
LARGE = 1 << 20
"""Reads of this many bytes or more are not kept: they are data, which are read once."""


class BlockFile(io.RawIOBase):
    """A read-only file object over ``read(position, size)``.

    Parameters
    ----------
    read : callable
        ``read(position, size)`` returns bytes, or raises a GranuleError.
    size : int
        Size of the file, bytes.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self.problem: GranuleError | None = None
        """What ``read`` raised: libraries replace it by an error of their own."""
        self._read = read
        self._size = size
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position, and return it.

        Parameters
        ----------
        offset : int
            Bytes from the place that ``whence`` names.
        whence : int
            As for files.
        """
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Fill a buffer from the position on, and return the number of bytes: fewer only at the end of the file."""
        target = memoryview(buffer).cast("B")
        stop = min(self._position + len(target), self._size)
        size = max(0, stop - self._position)
        if size:
            try:
                target[:size] = self._bytes(self._position, stop)
            except GranuleError as problem:
                self.problem = problem
                raise
        self._position += size
        return size

    def _bytes(self, start: int, stop: int) -> bytes:
        if stop - start >= LARGE:
            return self._read(start, stop - start)
        first, last = start // BLOCK, (stop - 1) // BLOCK
        missing = [number for number in range(first, last + 1) if number not in self._blocks]
        if missing:
            content = self._read(missing[0] * BLOCK, min((missing[-1] + 1) * BLOCK, self._size) - missing[0] * BLOCK)
            for number in range(missing[0], missing[-1] + 1):
                at = (number - missing[0]) * BLOCK
                self._blocks[number] = content[at : at + BLOCK]
        joined = b"".join(self._blocks[number] for number in range(first, last + 1))
        for number in range(first, last + 1):
            self._blocks.move_to_end(number)
        while len(self._blocks) > KEPT:
            self._blocks.popitem(last=False)
        return joined[start - first * BLOCK : stop - first * BLOCK]
