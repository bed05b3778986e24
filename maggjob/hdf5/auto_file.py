"""A granule's file, read by h5coro, or by h5py where h5coro cannot read a layout."""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from maggjob.errors import LayoutError, UnsupportedError
from maggjob.hdf5.chunks import ChunkTable
from maggjob.hdf5.dataset_info import DatasetInfo
from maggjob.hdf5.file import Hdf5File
from maggjob.hdf5.grids import GridInfo, GridTable, Window
from maggjob.hdf5.h5coro_fixes import ReadRange
from maggjob.hdf5.messages import Undecoded

if TYPE_CHECKING:
    from maggjob.hdf5.h5py_file import H5pyFile

T = TypeVar("T")


class AutoFile:
    """Datasets of one HDF5 file, by path.

    Parameters
    ----------
    read : callable
        ``read(position, size)`` returns bytes; it is called from several threads.
    size : int
        Size of the file, bytes.
    name : str
        Id of the granule, for messages.
    reader : str
        ``h5coro``, ``h5py``, or ``auto`` for h5py only where h5coro cannot read a layout.
    odd : str, optional
        Why h5coro cannot read the whole file.

    Raises
    ------
    GranuleError
        As the methods of `Hdf5File`. A file that is damaged is never tried a second time.
    """

    def __init__(self, read: ReadRange, size: int, name: str, reader: str, odd: str | None = None) -> None:
        if odd is not None and reader == "h5coro":
            raise UnsupportedError(f"{name}: {odd}; take reader: auto")
        self.name = name
        self._read, self._size, self._reader = read, size, reader
        self._lock = threading.Lock()
        self._why = odd
        self._slow_paths: set[str] = set()
        self._h5py: H5pyFile | None = None
        self._h5coro = None if odd is not None or reader == "h5py" else Hdf5File(read, name)
        if self._h5coro is None:
            self._by_h5py()

    @property
    def slow(self) -> bool:
        """True if h5py has read anything of the file."""
        return self._h5py is not None

    def info(self, path: str) -> DatasetInfo | None:
        """Return the header of the dataset at ``path``, or None if there is no such dataset."""
        return self._read_by(path, lambda file: file.info(path))

    def rows(self, path: str, start: int, stop: int) -> np.ndarray:
        """Read rows of a dataset, shape (stop - start,).

        Parameters
        ----------
        path : str
        start, stop : int
            Row numbers; ``stop`` is excluded.
        """
        return self._read_by(path, lambda file: file.rows(path, start, stop))

    def grid_info(self, path: str) -> GridInfo | None:
        """Return the header of a dataset of any number of dimensions, or None if there is no such dataset."""
        return self._read_by(path, lambda file: file.grid_info(path))

    def text(self, path: str, name: str) -> str | None:
        """Return an attribute that is a text, from h5py where h5coro does not decode it; None if there is none.

        Parameters
        ----------
        path : str
            Path of a dataset of any number of dimensions.
        name : str
            ``units`` or ``long_name``.

        Raises
        ------
        UnsupportedError
            If it cannot be decoded, or only by h5py, which may not read the file.
        """
        info = self.grid_info(path)
        value = None if info is None else info.attributes.get(name)
        if isinstance(value, Undecoded):
            why = f"{path}: its attribute {name} cannot be decoded: {value.why}"
            if self._reader == "h5coro":
                raise UnsupportedError(f"{self.name}: {why}; take reader: h5py, which reads it")
            self._why = self._why or why
            info = self._by_h5py().grid_info(path)
            value = None if info is None else info.attributes.get(name)
        if isinstance(value, Undecoded):
            raise UnsupportedError(f"{self.name}: {path}: its attribute {name} cannot be decoded: {value.why}")
        return value if isinstance(value, str) else None

    def grid_table(self, path: str) -> GridTable | None:
        """Return where the chunks of a dataset are; None if h5py must read it (`grid`)."""
        if self._h5coro is not None and path.strip("/") not in self._slow_paths:
            try:
                return self._h5coro.grid_table(path)
            except LayoutError as problem:
                self._take_note(path, problem)
        return None

    def grid(self, path: str, window: Window) -> np.ndarray:
        """Read a window of a dataset by h5py.

        Parameters
        ----------
        path : str
        window : tuple of slice
        """
        return self._by_h5py().grid(path, window)

    def axis_order(self, path: str, latitude: str, longitude: str) -> tuple[int, int] | None:
        """Return which axes of a dataset are latitude and longitude, by its dimension scales; None if it has none.

        Parameters
        ----------
        path : str
        latitude, longitude : str
            Paths of the positions along the axes.

        Raises
        ------
        UnsupportedError
            If h5coro alone may read the file, which decodes no references, or the scales are others.
        """
        why = f"{path}: its shape does not tell which axis is latitude, but dimension scales may"
        if self._reader == "h5coro":
            raise UnsupportedError(f"{self.name}: {why}; take reader: h5py, which reads them")
        self._why = self._why or why
        return self._by_h5py().axis_order(path, latitude, longitude)

    def chunk_table(self, path: str) -> ChunkTable:
        """Return the chunk table of a dataset (`Hdf5File.chunk_table`).

        Raises
        ------
        UnsupportedError
            If only `rows` can read the dataset.
        """
        if self._h5coro is None or path.strip("/") in self._slow_paths:
            raise UnsupportedError(f"{self.name}: {path}: read by h5py: {self._why}")
        return self._h5coro.chunk_table(path)

    def nodes_wanted(self, paths: Iterable[str], end: int) -> list[tuple[int, int]]:
        """Return the byte ranges that hold chunk tables (`Hdf5File.nodes_wanted`).

        Parameters
        ----------
        paths : iterable of str
        end : int
            Size of the file, bytes.
        """
        if self._h5coro is None:
            return []
        return self._h5coro.nodes_wanted((path for path in paths if path.strip("/") not in self._slow_paths), end)

    def keep_nodes(self, nodes: Mapping[int, bytes]) -> None:
        """Keep the content of these ranges, by start byte."""
        if self._h5coro is not None:
            self._h5coro.keep_nodes(nodes)

    def _read_by(self, path: str, ask: Callable[["Hdf5File | H5pyFile"], T]) -> T:
        """Ask h5coro; ask h5py where it cannot read the layout."""
        key = path.strip("/")
        if self._h5coro is not None and key not in self._slow_paths:
            try:
                return ask(self._h5coro)
            except LayoutError as problem:
                self._take_note(path, problem)
        return ask(self._by_h5py())

    def _take_note(self, path: str, problem: LayoutError) -> None:
        """Leave a dataset to h5py, unless h5coro alone is asked for."""
        if self._reader == "h5coro":
            raise problem
        self._why = str(problem)
        self._slow_paths.add(path.strip("/"))

    def _by_h5py(self) -> "H5pyFile":
        with self._lock:
            if self._h5py is None:
                why = f"{self._why or 'reader: h5py'}; h5py reads it, which is not installed"
                try:
                    from maggjob.hdf5.h5py_file import H5pyFile
                except ImportError as problem:
                    raise UnsupportedError(
                        f"{self.name}: {why}: pip install 'maggjob[readers]', and for Lambda build the image with "
                        "--readers"
                    ) from problem
                self._h5py = H5pyFile(self._read, self._size, self.name)
            return self._h5py
