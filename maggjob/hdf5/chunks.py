"""Chunks of a dataset: where they lie in the file, and the values of their rows.

Bytes in, numbers out: nothing here reads a file. HDF5 itself is known to `maggjob.hdf5.file`, which
makes the tables after checking what could give a wrong number.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

try:
    from deflate import DeflateError, zlib_decompress  # libdeflate: half the time of zlib
except ImportError:  # no wheel for this machine: slower, and the same values
    from zlib import error as DeflateError  # noqa: N812

    zlib_decompress = None

from maggjob.errors import CorruptError

GAP = 1 << 16
"""Ranges closer than this, in bytes, are read as one. A request costs a worker some 0.15 ms of CPU and,
where connections are scarce, a wait of 20 to 30 ms; 64 KiB take 1 ms at 60 MB/s. Three times as much would
join height and uncertainty of a simulated granule, some 170 KB apart, and double the bytes."""


@dataclass(frozen=True)
class ChunkTable:
    """Where the values of a one-dimensional dataset are, and how they are packed."""

    rows: int
    """Number of elements."""
    dtype: np.dtype
    """Little-endian."""
    chunk: int
    """Rows of a chunk; the last one is padded."""
    deflated: bool
    """Whether chunks are zlib streams."""
    shuffled: bool
    """Whether the bytes of a chunk were sorted by significance before."""
    offsets: np.ndarray
    """Position in the file of each chunk, shape (chunks,), integers, bytes."""
    sizes: np.ndarray
    """Bytes that each chunk takes there, shape (chunks,), integers."""
    fill: float | int | None = None
    """The ``_FillValue`` attribute."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """``units`` and ``long_name``, as far as the dataset has them."""
    inline: Mapping[int, bytes] = field(default_factory=dict)
    """Chunks, as stored, that are so small that they are kept beside the table."""

    def numbers(self, start: int, stop: int) -> range:
        """Numbers of the chunks that hold rows ``start`` to ``stop``."""
        return range(start // self.chunk, -(-stop // self.chunk)) if stop > start else range(0)

    def range_of(self, number: int) -> tuple[int, int]:
        """First byte of a chunk in the file, and the one after its last."""
        start = int(self.offsets[number])
        return start, start + int(self.sizes[number])

    def values(self, start: int, stop: int, stored: Sequence[bytes | memoryview]) -> np.ndarray:
        """Rows ``start`` to ``stop``, from the chunks that `numbers` names.

        Parameters
        ----------
        start, stop : int
        stored : sequence of bytes
            These chunks as they are in the file, in order.

        Returns
        -------
        ndarray, shape (stop - start,)

        Raises
        ------
        CorruptError
            A chunk does not inflate to its size.
        """
        numbers = self.numbers(start, stop)
        if len(numbers) == 1:
            first = numbers[0] * self.chunk
            return self._unpack(stored[0])[start - first : stop - first]
        values = np.empty(max(0, stop - start), self.dtype)
        for number, content in zip(numbers, stored, strict=True):  # one unpacked at a time: the next gets its memory
            first = number * self.chunk - start
            chunk = self._unpack(content)[max(0, -first) : stop - start - first]
            values[max(0, first) :][: len(chunk)] = chunk
        return values

    def _unpack(self, content: bytes | memoryview) -> np.ndarray:
        size = self.chunk * self.dtype.itemsize
        raw = inflate(content, size) if self.deflated else content
        if len(raw) != size:
            raise CorruptError(f"a chunk of {len(raw)} bytes, expected {size}")
        return unshuffle(raw, self.dtype) if self.shuffled else np.frombuffer(raw, self.dtype)


def inflate(content: bytes | memoryview, size: int) -> bytes | bytearray:
    """Unpack a zlib stream (RFC 1950) that must hold exactly ``size`` bytes.

    Raises
    ------
    CorruptError
        It is damaged, or holds more or less.
    """
    try:
        if zlib_decompress is not None:
            unpacked: bytes | bytearray = zlib_decompress(content, size)
        else:
            stream = zlib.decompressobj()
            unpacked = stream.decompress(content, size + 1)
            if not stream.eof:
                raise CorruptError(f"a chunk of {len(content)} bytes does not inflate to {size}: it goes on")
    except DeflateError as problem:
        raise CorruptError(f"a chunk of {len(content)} bytes does not inflate to {size}: {problem}") from problem
    if len(unpacked) != size:
        raise CorruptError(f"a chunk inflates to {len(unpacked)} bytes, expected {size}")
    return unpacked


def unshuffle(raw: bytes | bytearray | memoryview, dtype: np.dtype) -> np.ndarray:
    """Undo HDF5's shuffle filter: all first bytes of the elements stand first, then all second ones."""
    planes = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).ravel()


def shuffle(values: np.ndarray) -> bytes:
    """Apply HDF5's shuffle filter: what `unshuffle` undoes."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(len(values), values.itemsize).T).tobytes()


def merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join byte ranges (first, after last) that lie less than `GAP` apart; the result is in order."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start - merged[-1][1] < GAP:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged
