"""Chunks of a dataset: their positions in the file, and the values of their rows.

This module decodes bytes and reads no files. `maggjob.hdf5.file` reads the structure of a file, and makes a chunk
table only after checking everything that could lead to wrong values.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

try:
    # libdeflate takes half the time of zlib.
    from deflate import DeflateError, zlib_decompress
except ImportError:
    # There is no wheel for this platform: zlib is slower and gives the same values.
    from zlib import error as DeflateError  # noqa: N812

    zlib_decompress = None

from maggjob.errors import CorruptError

GAP = 1 << 16
"""Ranges that are closer than this, in bytes, are read as one. A request costs a worker 0.15 ms of CPU time and, if
connections are scarce, a wait of 20 to 30 ms; 64 KiB take 1 ms at 60 MB/s. A gap three times as large would join the
heights and uncertainties of a simulated granule, which are 170 KB apart, and double the bytes."""


@dataclass(frozen=True)
class ChunkTable:
    """Positions and encoding of the chunks of a one-dimensional dataset."""

    rows: int
    """Number of elements."""
    dtype: np.dtype
    """Type of the values, little-endian."""
    chunk: int
    """Rows per chunk; the last chunk is padded."""
    deflated: bool
    """True if chunks are zlib streams."""
    shuffled: bool
    """True if HDF5's shuffle filter was applied before compression."""
    offsets: np.ndarray
    """Position of each chunk in the file, shape (chunks,), integers, bytes."""
    sizes: np.ndarray
    """Size of each chunk in the file, shape (chunks,), integers, bytes."""
    fill: float | int | None = None
    """The ``_FillValue`` attribute; None without one."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """``units`` and ``long_name``, if the dataset has them."""
    inline: Mapping[int, bytes] = field(default_factory=dict)
    """Content, as stored, of chunks that are so small that it is kept with the table."""

    def numbers(self, start: int, stop: int) -> range:
        """Return the numbers of the chunks that hold rows ``start`` to ``stop``.

        Parameters
        ----------
        start, stop : int
            Row numbers; ``stop`` is excluded.
        """
        return range(start // self.chunk, -(-stop // self.chunk)) if stop > start else range(0)

    def range_of(self, number: int) -> tuple[int, int]:
        """Return the start and stop byte of a chunk in the file."""
        start = int(self.offsets[number])
        return start, start + int(self.sizes[number])

    def values(self, start: int, stop: int, stored: Sequence[bytes | memoryview]) -> np.ndarray:
        """Decode rows ``start`` to ``stop``.

        Parameters
        ----------
        start, stop : int
            Row numbers; ``stop`` is excluded.
        stored : sequence of bytes
            The chunks listed by `numbers`, in order, as stored in the file.

        Returns
        -------
        ndarray, shape (stop - start,)

        Raises
        ------
        CorruptError
            If a chunk does not inflate to its size.
        """
        numbers = self.numbers(start, stop)
        if len(numbers) == 1:
            first = numbers[0] * self.chunk
            return self._unpack(stored[0])[start - first : stop - first]
        values = np.empty(max(0, stop - start), self.dtype)
        # Only one chunk is unpacked at a time, so that the next one can use its memory.
        for number, content in zip(numbers, stored, strict=True):
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
    """Inflate a zlib stream (RFC 1950) that must hold exactly ``size`` bytes.

    Parameters
    ----------
    content : bytes
    size : int
        Expected size of the result, bytes.

    Raises
    ------
    CorruptError
        If the stream is damaged, or its content is shorter or longer.
    """
    try:
        if zlib_decompress is not None:
            unpacked: bytes | bytearray = zlib_decompress(content, size)
        else:
            stream = zlib.decompressobj()
            unpacked = stream.decompress(content, size + 1)
            if not stream.eof:
                raise CorruptError(f"a chunk of {len(content)} bytes does not inflate to {size}: it does not end there")
    except DeflateError as problem:
        raise CorruptError(f"a chunk of {len(content)} bytes does not inflate to {size}: {problem}") from problem
    if len(unpacked) != size:
        raise CorruptError(f"a chunk inflates to {len(unpacked)} bytes, expected {size}")
    return unpacked


def unshuffle(raw: bytes | bytearray | memoryview, dtype: np.dtype) -> np.ndarray:
    """Undo HDF5's shuffle filter, which stores the first bytes of all elements, then all second bytes, and so on.

    Parameters
    ----------
    raw : bytes
    dtype : dtype
        Type of the elements.

    Returns
    -------
    ndarray, shape (len(raw) / dtype.itemsize,)
    """
    planes = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).view(dtype).ravel()


def shuffle(values: np.ndarray) -> bytes:
    """Apply HDF5's shuffle filter; `unshuffle` is the inverse."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(len(values), values.itemsize).T).tobytes()


def merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort byte ranges (start, stop) and join those that are less than `GAP` apart."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start - merged[-1][1] < GAP:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged
