"""Access to one HDF5 file through h5coro: its datasets, the positions of their chunks, and their rows."""

import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from h5coro.h5coro import H5Coro
from h5coro.h5dataset import H5Dataset

from maggjob.errors import CorruptError, GranuleError, LayoutError, UnsupportedError
from maggjob.hdf5.chunks import ChunkTable
from maggjob.hdf5.dataset_info import DatasetInfo
from maggjob.hdf5.grids import GridInfo, GridTable, check_complete, chunk_records, contiguous_table
from maggjob.hdf5.h5coro_fixes import CheckedDataset, H5coroDriver, ReadRange
from maggjob.hdf5.messages import UNDEFINED

CACHE_LINE = 1 << 16  # bytes
"""Size of h5coro's reads. With 64 KiB, a sixth of a granule is read; h5coro's default is 4 MiB."""
CHUNK_RECORD = np.dtype([("size", "<u4"), ("mask", "<u4"), ("row", "<u8"), ("zero", "<u8"), ("address", "<u8")])
"""An entry of a one-dimensional chunk table (section III.A.1): key and address of the chunk."""
NODE = 24 + 64 * CHUNK_RECORD.itemsize  # bytes
"""Size of a node for 64 chunks, HDF5's default."""


class Hdf5File:
    """Datasets of one HDF5 file, by path.

    Parameters
    ----------
    read : callable
        ``read(position, size)`` returns bytes; it is called from several threads.
    name : str
        Id of the granule, for messages.

    Raises
    ------
    GranuleError
        If reading fails, from any method: the error that ``read`` raised, or a ``CorruptError`` or
        ``UnsupportedError`` that names the granule and the dataset.
    """

    def __init__(self, read: ReadRange, name: str) -> None:
        self.name = name
        self._infos: dict[str, DatasetInfo | None] = {}
        self._grids: dict[str, GridInfo | None] = {}
        self._nodes: dict[int, bytes] = {}
        self._lock = threading.Lock()
        with self._named("superblock"):
            self._h5 = H5Coro(read, H5coroDriver, cacheLineSize=CACHE_LINE)

    @contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Add the names of the granule and the dataset to every error."""
        try:
            yield
        except (CorruptError, UnsupportedError) as problem:
            raise type(problem)(f"{self.name}: {path}: {problem}") from problem
        except GranuleError:
            raise
        # In a damaged structure h5coro fails with any exception that Python raises.
        except Exception as problem:
            raise CorruptError(f"{self.name}: {path}: {type(problem).__name__}: {problem}") from problem

    def info(self, path: str) -> DatasetInfo | None:
        """Return the header of the dataset at ``path``, or None if there is no such dataset."""
        path = path.strip("/")
        if path.endswith("]"):
            raise LayoutError(f"{self.name}: {path}: a column of a dataset of two dimensions")
        with self._lock:
            if path in self._infos:
                return self._infos[path]
        with self._named(path):
            options = {"earlyExit": False, "metaOnly": True, "enableAttributes": True}
            dataset = CheckedDataset(self._h5, path, **options)
            info = None
            if dataset.is_there:
                if dataset.meta.ndims != 1:
                    raise LayoutError(f"{dataset.meta.ndims} dimensions, expected 1")
                info = DatasetInfo(path, dataset.meta.dimensions[0], dataset.dtype, dataset.attributes)
                info.check()
        with self._lock:
            return self._infos.setdefault(path, info)

    def grid_info(self, path: str) -> GridInfo | None:
        """Return the header of a dataset of any number of dimensions, or None if there is no such dataset."""
        path = path.strip("/")
        with self._lock:
            if path in self._grids:
                return self._grids[path]
        with self._named(path):
            dataset = CheckedDataset(self._h5, path, earlyExit=False, metaOnly=True, enableAttributes=True)
            info = None
            if dataset.is_there:
                shape = tuple(dataset.meta.dimensions[: dataset.meta.ndims])
                if not shape:
                    raise LayoutError("a scalar")
                info = GridInfo(path, shape[0], dataset.dtype, dataset.attributes, shape)
                info.check()
        with self._lock:
            return self._grids.setdefault(path, info)

    def grid_table(self, path: str) -> GridTable:
        """Return where the chunks of a dataset of any number of dimensions are.

        Raises
        ------
        LayoutError
            If h5coro cannot read the dataset, or chunks were never written.
        CorruptError
            If the dataset does not exist, or its chunks are not where they should be.
        """
        path = path.strip("/")
        info = self.grid_info(path)
        if info is None:
            raise CorruptError(f"{self.name}: {path}: no such dataset")
        with self._named(path):
            meta, base = self._h5.metadataTable[path], int(self._h5.baseAddress)
            if meta.address == UNDEFINED:
                raise LayoutError("its values were never written")
            if meta.layout != H5Dataset.CHUNKED_LAYOUT:
                return contiguous_table(info, int(meta.address) + base)
            chunk = tuple(meta.chunkDimensions)
            if meta.elementSize != meta.typeSize or len(chunk) != len(info.shape):
                raise CorruptError(f"chunks of {chunk} elements of {meta.elementSize} bytes")
            found = chunk_records(lambda at, size: bytes(self._h5.ioRequest(at, size)), meta.address, len(chunk))
            starts, addresses, sizes, masks = found
            if masks.any():
                raise LayoutError("a chunk skips filters of its own")
            check_complete(starts, chunk, info.shape)
            filters = bool(meta.filter[meta.DEFLATE_FILTER]), bool(meta.filter[meta.SHUFFLE_FILTER])
            return GridTable(info, chunk, *filters, starts, addresses + base, sizes)

    def has_group(self, path: str) -> bool:
        """Return True if the group exists; call `info` of a dataset below it first."""
        return path.strip("/") in self._h5.pathAddresses

    def _check_rows(self, path: str, rows: int) -> None:
        """Check the number of rows against the chunk table.

        h5coro allocates memory for the rows without a check, and a damaged header may claim any number.
        """
        meta = self._h5.metadataTable[path]
        if meta.layout != H5Dataset.CHUNKED_LAYOUT or meta.address == UNDEFINED:
            return
        head = bytes(self._h5.ioRequest(meta.address, 24))
        (entries,) = struct.unpack_from("<H", head, 6)
        (last,) = struct.unpack("<Q", bytes(self._h5.ioRequest(meta.address + 24 + entries * 32 + 8, 8)))
        if head[:4] != b"TREE" or last + meta.chunkDimensions[0] < rows:
            raise CorruptError(f"{rows} rows, but its chunks end at row {last}")

    def chunk_table(self, path: str) -> ChunkTable:
        """Return the chunk table of a dataset, for callers that read the chunks themselves.

        Raises
        ------
        UnsupportedError
            If only `rows` can read the dataset: it is not stored in chunks, its chunk table has more than one
            node, or a chunk skips a filter.
        CorruptError
            If the dataset does not exist, or chunks are missing.
        """
        path = path.strip("/")
        info = self.info(path)
        if info is None:
            raise CorruptError(f"{self.name}: {path}: no such dataset")
        with self._named(path):
            meta = self._h5.metadataTable[path]
            if meta.layout != H5Dataset.CHUNKED_LAYOUT:
                raise UnsupportedError("it is not stored in chunks")
            if meta.elementSize != meta.typeSize:
                raise CorruptError(f"chunks of elements of {meta.elementSize} bytes, the type has {meta.typeSize}")
            (chunk,) = meta.chunkDimensions
            deflated, shuffled = bool(meta.filter[meta.DEFLATE_FILTER]), bool(meta.filter[meta.SHUFFLE_FILTER])
            records = np.empty(0, CHUNK_RECORD) if meta.address == UNDEFINED else self._leaf(meta.address)
            whole = chunk * info.dtype.itemsize
            if not np.array_equal(records["row"], np.arange(-(-info.rows // chunk), dtype=np.uint64) * chunk):
                raise CorruptError(
                    f"{info.rows} rows in chunks of {chunk}, and {len(records)} chunks: a hole, or others"
                )
            if records["mask"].any() or records["zero"].any():
                raise UnsupportedError("a chunk skips filters of its own")
            if not deflated and (records["size"] != whole).any():
                raise CorruptError(f"a chunk has other than {whole} bytes")
        offsets = records["address"].astype(np.int64) + int(self._h5.baseAddress)
        sizes = records["size"].astype(np.int64)
        return ChunkTable(info.rows, info.dtype, chunk, deflated, shuffled, offsets, sizes, info.fill, info.described)

    def nodes_wanted(self, paths: Iterable[str], end: int) -> list[tuple[int, int]]:
        """Return the byte ranges that hold chunk tables of datasets and are not in memory yet.

        Parameters
        ----------
        paths : iterable of str
            Existing datasets for which `info` has been called.
        end : int
            Size of the file, bytes.
        """
        metas = [self._h5.metadataTable[path.strip("/")] for path in paths]
        chunked = [m for m in metas if m.layout == H5Dataset.CHUNKED_LAYOUT and m.address != UNDEFINED]
        positions = {m.address + self._h5.baseAddress for m in chunked}
        lines = self._h5.cache
        far = [p for p in positions if p < end and p not in self._nodes and p & self._h5.cacheLineMask not in lines]
        return [(position, min(position + NODE, end)) for position in sorted(far)]

    def keep_nodes(self, nodes: Mapping[int, bytes]) -> None:
        """Keep the content of these ranges, by start byte, so that `chunk_table` need not read them one by one."""
        self._nodes.update(nodes)

    def _leaf(self, address: int) -> np.ndarray:
        """Return the entries of a one-node version 1 B-tree (section III.A.1), shape (chunks,), `CHUNK_RECORD`."""
        node = self._node(address, NODE)
        signature, kind, level, count = struct.unpack_from("<4sBBH", node)
        if signature != b"TREE" or kind != 1:
            raise CorruptError(f"no chunk table at address {address}")
        if level:
            raise UnsupportedError(f"a chunk table of {level + 1} levels")
        size = 24 + count * CHUNK_RECORD.itemsize
        if size > len(node):
            node = self._node(address, size)
        return np.frombuffer(node, CHUNK_RECORD, count, 24)

    def _node(self, address: int, size: int) -> bytes:
        """Return the first ``size`` bytes of a node, from memory if possible.

        Otherwise only these bytes are read, not a whole cache line: nodes lie far apart.
        """
        position = address + self._h5.baseAddress
        if len(self._nodes.get(position, b"")) >= size:
            return self._nodes[position][:size]
        known = position & self._h5.cacheLineMask in self._h5.cache
        return bytes(self._h5.ioRequest(address, size, caching=known))

    def rows(self, path: str, start: int, stop: int) -> np.ndarray:
        """Read the rows ``start`` to ``stop`` of a dataset, in its own type.

        Parameters
        ----------
        path : str
        start, stop : int
            Row numbers; ``stop`` is excluded.

        Returns
        -------
        ndarray, shape (stop - start,)

        Raises
        ------
        CorruptError
            If the dataset or the rows do not exist, or chunks of these rows are missing.
        """
        path = path.strip("/")
        info = self.info(path)
        if info is None or not 0 <= start <= stop <= info.rows:
            there = "no such dataset" if info is None else f"it has {info.rows} rows"
            raise CorruptError(f"{self.name}: {path}: rows {start} to {stop} requested: {there}")
        if start == stop:
            # h5coro returns None for an empty slice.
            return np.empty(0, info.dtype)
        with self._named(path):
            self._check_rows(path, info.rows)
            options = {"earlyExit": True, "metaOnly": False, "enableAttributes": False, "enableFill": False}
            dataset = CheckedDataset(self._h5, path, hyperslice=[(start, stop)], **options)
            values = dataset.values
            if not isinstance(values, np.ndarray) or values.shape != (stop - start,):
                raise CorruptError(f"rows {start} to {stop} were not read")
            dataset.check_chunks()
            return values.astype(info.dtype, copy=False)
