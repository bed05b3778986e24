"""Datasets of any number of dimensions: where their chunks are, and the values of a window.

This module decodes bytes and reads no files, as `maggjob.hdf5.chunks` does for datasets of one dimension.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from maggjob.errors import CorruptError, LayoutError, UnsupportedError
from maggjob.hdf5.chunks import inflate, unshuffle
from maggjob.hdf5.dataset_info import DatasetInfo
from maggjob.hdf5.messages import Undecoded

PIECE = 1 << 20
"""Bytes of a contiguous dataset that count as one chunk, about."""
Window = tuple[slice, ...]
"""A range of indices along each dimension, with start and stop."""


@dataclass(frozen=True)
class GridInfo(DatasetInfo):
    """Header of a dataset of any number of dimensions; ``rows`` is the length of the first."""

    shape: tuple[int, ...] = ()
    """Number of elements along each dimension."""

    def check(self) -> None:
        """Check that the values can be unpacked, and what marks missing values is known.

        Raises
        ------
        UnsupportedError
            If an attribute that decides about the values cannot be decoded.
        """
        _ = self.fill, self.packing
        unsigned = self.attributes.get("_Unsigned")
        if isinstance(unsigned, Undecoded):
            raise LayoutError(f"its attribute _Unsigned cannot be decoded: {unsigned.why}")
        if unsigned is not None and str(unsigned).lower() != ("true" if self.dtype.kind == "u" else "false"):
            raise UnsupportedError(f"_Unsigned {unsigned} of a dataset of {self.dtype}: its values mean others")

    @property
    def packing(self) -> tuple[float, float]:
        """Factor and offset that turn stored into physical values."""
        scale, offset = self.number("scale_factor"), self.number("add_offset")
        return 1.0 if scale is None else float(scale), 0.0 if offset is None else float(offset)


@dataclass(frozen=True)
class GridTable:
    """Positions and encoding of the chunks of a dataset."""

    info: GridInfo
    """Its header."""
    chunk: tuple[int, ...]
    """Elements of a chunk along each dimension."""
    deflated: bool
    """True if chunks are zlib streams."""
    shuffled: bool
    """True if HDF5's shuffle filter was applied before compression."""
    starts: np.ndarray
    """First index of each chunk along each dimension, shape (chunks, dimensions), integers."""
    offsets: np.ndarray
    """Position of each chunk in the file, shape (chunks,), bytes."""
    sizes: np.ndarray
    """Size of each chunk in the file, shape (chunks,), bytes."""

    def numbers(self, window: Window) -> list[int]:
        """Return the numbers of the chunks that hold a window.

        Parameters
        ----------
        window : tuple of slice
        """
        low, high = np.array([(one.start, one.stop) for one in window]).T
        touched = (self.starts < high) & (self.starts + np.array(self.chunk) > low)
        return np.flatnonzero(touched.all(axis=1)).tolist()

    def range_of(self, number: int) -> tuple[int, int]:
        """Return the start and stop byte of a chunk in the file."""
        start = int(self.offsets[number])
        return start, start + int(self.sizes[number])

    def values(self, window: Window, numbers: Sequence[int], stored: Sequence[bytes | memoryview]) -> np.ndarray:
        """Decode a window.

        Parameters
        ----------
        window : tuple of slice
        numbers : sequence of int
            From `numbers`.
        stored : sequence of bytes
            These chunks, as stored in the file.

        Returns
        -------
        ndarray, shape of the window

        Raises
        ------
        CorruptError
            If a chunk does not inflate to its size.
        """
        values = np.empty([one.stop - one.start for one in window], self.info.dtype)
        for number, content in zip(numbers, stored, strict=True):
            block = self._unpack(content, number)
            source, target = [], []
            for one, start, size in zip(window, self.starts[number].tolist(), block.shape, strict=True):
                first, last = max(one.start, start), min(one.stop, start + size)
                source.append(slice(first - start, last - start))
                target.append(slice(first - one.start, last - one.start))
            values[tuple(target)] = block[tuple(source)]
        return values

    def _unpack(self, content: bytes | memoryview, number: int) -> np.ndarray:
        shape = self.chunk
        if not self.deflated and not self.shuffled and len(content) != int(np.prod(shape)) * self.info.dtype.itemsize:
            # The last piece of a contiguous dataset is not padded.
            left = np.array(self.info.shape) - self.starts[number]
            shape = tuple(np.minimum(left, self.chunk).tolist())
        size = int(np.prod(shape)) * self.info.dtype.itemsize
        raw = inflate(content, size) if self.deflated else content
        if len(raw) != size:
            raise CorruptError(f"a chunk of {len(raw)} bytes, expected {size}")
        flat = unshuffle(raw, self.info.dtype) if self.shuffled else np.frombuffer(raw, self.info.dtype)
        return flat.reshape(shape)


def contiguous_table(info: GridInfo, address: int) -> GridTable:
    """Return the table of a dataset that is stored in one piece, in pieces of about `PIECE` bytes.

    Parameters
    ----------
    info : GridInfo
    address : int
        Position of its first byte in the file.
    """
    *above, rows, columns = (1, 1, *info.shape)[-max(2, len(info.shape)) :]
    line = max(1, columns * info.dtype.itemsize)
    step = max(1, min(rows, PIECE // line))
    places = [(*lead, row) for lead in product(*map(range, above)) for row in range(0, rows, step)]
    starts = np.array([(*place, 0) for place in places], np.int64).reshape(len(places), -1)[:, -len(info.shape) :]
    order = np.array([np.ravel_multi_index(place, (*above, rows)) for place in places], np.int64)
    lengths = np.array([min(step, rows - place[-1]) for place in places], np.int64)
    chunk = (*(1 for _ in above), step, columns)[-len(info.shape) :]
    return GridTable(info, chunk, False, False, starts, address + order * line, lengths * line)


def chunk_records(
    read: Callable[[int, int], bytes], address: int, dimensions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return all entries of a version 1 B-tree of chunks (section III.A.1).

    Parameters
    ----------
    read : callable
        ``read(address, size)`` returns bytes.
    address : int
        Address of the root.
    dimensions : int
        Number of dimensions of the dataset.

    Returns
    -------
    starts : ndarray, shape (chunks, dimensions)
    addresses, sizes, masks : ndarray, shape (chunks,)
        A mask tells the filters that a chunk skipped.

    Raises
    ------
    CorruptError
        If a node is not where it should be.
    LayoutError
        If the tree is deeper than any of a sound file.
    """
    record = np.dtype([("size", "<u4"), ("mask", "<u4"), ("start", "<u8", (dimensions + 1,)), ("address", "<u8")])
    leaves: list[np.ndarray] = []

    def visit(node: int, depth: int) -> None:
        signature, kind, level, count = struct.unpack("<4sBBH", read(node, 8))
        if signature != b"TREE" or kind != 1:
            raise CorruptError(f"no chunk table at address {node}")
        if depth > 8:
            raise LayoutError("a chunk table of more than 8 levels")
        entries = np.frombuffer(read(node + 24, count * record.itemsize), record, count)
        if level == 0:
            leaves.append(entries)
            return
        for below in entries["address"].tolist():
            visit(below, depth + 1)

    visit(address, 0)
    every = np.concatenate(leaves)
    return (
        every["start"][:, :dimensions].astype(np.int64),
        every["address"].astype(np.int64),
        every["size"].astype(np.int64),
        every["mask"],
    )


def check_complete(starts: np.ndarray, chunk: Sequence[int], shape: Sequence[int]) -> None:
    """Check that chunks cover a dataset.

    Parameters
    ----------
    starts : ndarray, shape (chunks, dimensions)
    chunk, shape : sequence of int
        Elements of a chunk, and of the dataset, along each dimension.

    Raises
    ------
    LayoutError
        If a chunk was never written: h5py knows the value that stands for it.
    CorruptError
        If there are others.
    """
    wanted = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
    places = starts // np.array(chunk)
    inside = ((places >= 0) & (places < np.array(wanted)) & (starts % np.array(chunk) == 0)).all()
    total = int(np.prod(wanted))
    if inside and len(np.unique(starts, axis=0)) == len(starts) < total:
        raise LayoutError(f"{total} chunks hold its values, but only {len(starts)} were written")
    if not inside or len(starts) != total:
        raise CorruptError(f"{total} chunks hold its values, but {len(starts)} exist")
