"""Access to one HDF5 file through h5py, for layouts that h5coro cannot read.

It offers what `maggjob.hdf5.file.Hdf5File` offers, with the same checks: values that are packed, and chunks that were
never written, are refused. In grids, what was never written is missing if the dataset has a fill value.
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from maggjob.errors import CorruptError, GranuleError, UnsupportedError
from maggjob.hdf5.block_file import BlockFile
from maggjob.hdf5.dataset_info import ATTRIBUTES, DatasetInfo
from maggjob.hdf5.grids import GridInfo, Window
from maggjob.hdf5.messages import FILTER_NAMES, AttributeValue, Undecoded

COLUMN = re.compile(r"(.*?)(?:\[(\d+)\])?")
"""A path, and the number of a column of a dataset of two dimensions."""
DIMENSION, DIMENSIONS = "_Netcdf4Dimid", "_Netcdf4Coordinates"
"""Attributes by which netCDF-4 numbers a dimension scale, and the axes of a dataset to which no scale is attached."""
MOST_LINKS = 16
"""Soft links, or virtual datasets, that are followed in a row: HDF5's own limit."""


class H5pyFile:
    """Datasets of one HDF5 file, by path, read by h5py.

    Parameters
    ----------
    read : callable
        ``read(position, size)`` returns bytes.
    size : int
        Size of the file, bytes.
    name : str
        Id of the granule, for messages.

    Raises
    ------
    GranuleError
        As `maggjob.hdf5.file.Hdf5File`.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._infos: dict[str, DatasetInfo | None] = {}
        self._bytes = BlockFile(read, size)
        with self._named("superblock"):
            self._file = h5py.File(self._bytes, "r")

    @contextmanager
    def _named(self, path: str) -> Iterator[None]:
        """Add the names of the granule and the dataset to every error; one call at a time."""
        with self._lock:
            try:
                yield
            except (CorruptError, UnsupportedError) as problem:
                raise type(problem)(f"{self.name}: {path}: {problem}") from problem
            except GranuleError:
                raise
            # h5py raises most of Python's exceptions, whatever happened.
            except Exception as problem:
                if self._bytes.problem is not None:
                    raise self._bytes.problem from None
                told = str(problem).split("\n")[0]
                raise CorruptError(f"{self.name}: {path}: {type(problem).__name__}: {told}") from problem

    def info(self, path: str) -> DatasetInfo | None:
        """Return the header of the dataset at ``path``, or None if there is no such dataset.

        Parameters
        ----------
        path : str
            Path; ``[2]`` at its end stands for column 2 of a dataset of two dimensions, which count from 0.
        """
        path = path.strip("/")
        if path in self._infos:
            return self._infos[path]
        with self._named(path):
            found = self._find(_split(path)[0])
            info = None if found is None else _info(path, found)
            if info is not None:
                info.check()
        return self._infos.setdefault(path, info)

    def rows(self, path: str, start: int, stop: int) -> np.ndarray:
        """Read the rows ``start`` to ``stop`` of a dataset.

        Parameters
        ----------
        path : str
            As for `info`.
        start, stop : int
            Row numbers; ``stop`` is excluded.

        Returns
        -------
        ndarray, shape (stop - start,)

        Raises
        ------
        CorruptError
            If the dataset or the rows do not exist, or values were never written.
        """
        path = path.strip("/")
        info = self.info(path)
        if info is None or not 0 <= start <= stop <= info.rows:
            there = "no such dataset" if info is None else f"it has {info.rows} rows"
            raise CorruptError(f"{self.name}: {path}: rows {start} to {stop} requested: {there}")
        with self._named(path):
            name, column = _split(path)
            dataset = self._find(name)
            self._check_written(dataset)
            if dataset.ndim == 0:
                return np.asarray(dataset[()]).reshape(1)[start:stop].astype(info.dtype)
            values = dataset[start:stop] if column is None else dataset[start:stop, column]
            return np.ascontiguousarray(values, info.dtype)

    def grid_info(self, path: str) -> GridInfo | None:
        """Return the header of a dataset of any number of dimensions, or None if there is no such dataset."""
        path = path.strip("/")
        with self._named(path):
            dataset = self._find(path)
            if dataset is None:
                return None
            if dataset.shape is None:
                raise UnsupportedError("a dataset without values")
            shape = tuple(dataset.shape) or (1,)
            attributes = _attributes(dataset)
            if _is_incomplete(dataset) and not attributes.keys() & {"_FillValue", "missing_value"}:
                attributes |= _own_fill(dataset)
            info = GridInfo(path, shape[0], _number_type(dataset), attributes, shape)
            info.check()
            return info

    def grid(self, path: str, window: Window) -> np.ndarray:
        """Read a window of a dataset of any number of dimensions.

        Parameters
        ----------
        path : str
            Path of an existing dataset.
        window : tuple of slice

        Raises
        ------
        CorruptError
            If the dataset does not exist, or values were never written that no fill value marks as missing.
        """
        path = path.strip("/")
        info = self.grid_info(path)
        if info is None:
            raise CorruptError(f"{self.name}: {path}: no such dataset")
        with self._named(path):
            dataset = self._find(path)
            self._check_written(dataset, filled=_marks_missing(dataset, info.fill))
            values = np.asarray(dataset[()]).reshape(1)[window] if dataset.ndim == 0 else dataset[window]
            return np.ascontiguousarray(values, info.dtype)

    def axis_order(self, path: str, latitude: str, longitude: str) -> tuple[int, int] | None:
        """Return which axes of a dataset are latitude and longitude, by its dimension scales; None if it has none.

        Parameters
        ----------
        path : str
            Path of an existing dataset.
        latitude, longitude : str
            Paths of the positions along the axes.

        Raises
        ------
        UnsupportedError
            If it has scales, but not those of latitude and longitude, once each.
        """
        with self._named(path):
            axes, found = _axes(self._find(path)), []
            if not any(axes):
                return None
            for name in (latitude, longitude):
                position = self._find(name.strip("/"))
                own = _axes(position)[0] | {position}
                own |= {("id", int(n)) for n in np.ravel(position.attrs.get(DIMENSION, ()))}
                of = [number for number, axis in enumerate(axes) if axis & own]
                if len(of) != 1:
                    raise UnsupportedError(f"{name} is the dimension scale of {len(of)} of its axes, expected one")
                found += of
            return found[0], found[1]

    def _find(self, path: str) -> Any:
        """Return the dataset at a path; None if there is none. Soft links are followed within the file."""
        left, node, hops = path.split("/"), self._file["/"], 0
        while left:
            name, *left = left
            if name in ("", "."):
                continue
            if not isinstance(node, h5py.Group) or not node.id.links.exists(name.encode()):
                return None
            kind = node.id.links.get_info(name.encode()).type
            if kind == h5py.h5l.TYPE_SOFT:
                hops += 1
                if hops > MOST_LINKS:
                    raise UnsupportedError(f"more than {MOST_LINKS} soft links in a row")
                target = node.id.links.get_val(name.encode()).decode()
                node = self._file["/"] if target.startswith("/") else node
                left = [*target.split("/"), *left]
            elif kind == h5py.h5l.TYPE_HARD:
                node = h5py.h5o.open(node.id, name.encode())
                node = h5py.Group(node) if isinstance(node, h5py.h5g.GroupID) else node
            else:
                raise UnsupportedError(f"{name} is a link to another file, which is not followed")
        return h5py.Dataset(node) if isinstance(node, h5py.h5d.DatasetID) else None

    def _check_written(self, dataset: Any, depth: int = 0, *, filled: bool = False) -> None:
        """Check that all values of a dataset were written, in this file, with filters that are known here.

        HDF5 returns fill values where nothing is stored. Unless these mark missing values (``filled``), a hole is taken
        for a chunk that was lost.
        """
        created = dataset.id.get_create_plist()
        for number in range(created.get_nfilters()):
            code = created.get_filter(number)[0]
            if not h5py.h5z.filter_avail(code):
                raise UnsupportedError(f"filter {FILTER_NAMES.get(code, code)}, which is not installed")
        layout = created.get_layout()
        if layout == h5py.h5d.CHUNKED:
            wanted, there = _chunks_of(dataset)
            if there != wanted and not (filled and there < wanted):
                raise CorruptError(
                    f"{wanted} chunks hold its values, but {there} exist; no fill value marks the others"
                )
        elif layout == h5py.h5d.VIRTUAL:
            self._check_sources(dataset, depth)
        elif created.get_external_count():
            raise UnsupportedError("its values are stored in other files")
        elif layout == h5py.h5d.CONTIGUOUS and _is_incomplete(dataset) and not filled:
            raise CorruptError("its values were never written, and no fill value marks them")

    def _check_sources(self, dataset: Any, depth: int) -> None:
        """Check that the sources of a virtual dataset are in this file, written, and cover it."""
        if depth >= MOST_LINKS:
            raise UnsupportedError(f"more than {MOST_LINKS} virtual datasets in a row")
        covered = 0
        for source in dataset.virtual_sources():
            if source.file_name != ".":
                raise UnsupportedError(f"its values are stored in other files, such as {source.file_name}")
            found = self._find(source.dset_name)
            if found is None:
                raise CorruptError(f"its source {source.dset_name} does not exist")
            self._check_written(found, depth + 1)
            points = source.vspace.get_select_npoints()
            if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:
                whole = found.size == points
            else:
                ends = source.src_space.get_select_bounds()[1]
                whole = all(end < size for end, size in zip(ends, found.shape, strict=True))
            if not whole:
                raise CorruptError(f"its source {source.dset_name} has another size than it had")
            covered += points
        if covered < dataset.size:
            raise CorruptError(f"sources cover {covered} of its {dataset.size} values")


def _chunks_of(dataset: Any) -> tuple[int, int]:
    """Return how many chunks hold the values of a dataset, and how many of them were written."""
    wanted = int(np.prod([-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)]))
    return wanted, dataset.id.get_num_chunks()


def _is_incomplete(dataset: Any) -> bool:
    """Return whether values of a dataset were never written."""
    created = dataset.id.get_create_plist()
    if created.get_layout() == h5py.h5d.CHUNKED:
        wanted, there = _chunks_of(dataset)
        return there < wanted
    outside = created.get_layout() != h5py.h5d.CONTIGUOUS or created.get_external_count()
    return not outside and dataset.size > 0 and dataset.id.get_offset() is None


def _own_fill(dataset: Any) -> dict[str, AttributeValue]:
    """Return the fill value that whoever made a dataset gave it, as the attribute that tells it; empty without one."""
    if dataset.id.get_create_plist().fill_value_defined() != h5py.h5d.FILL_VALUE_USER_DEFINED:
        return {}
    return {"_FillValue": np.atleast_1d(np.asarray(dataset.fillvalue))}


def _marks_missing(dataset: Any, fill: float | None) -> bool:
    """Return whether what HDF5 gives for values that were never written counts as missing."""
    if dataset.id.get_create_plist().fill_value_defined() == h5py.h5d.FILL_VALUE_UNDEFINED:
        return False
    given = dataset.fillvalue.item()
    return given != given or given == fill


def _axes(dataset: Any) -> list[set[Any]]:
    """Return what tells the axes of a dataset: the dimension scales of each, or else netCDF's numbers of them."""
    axes: list[set[Any]] = [set(dataset.dims[number].values()) for number in range(dataset.ndim)]
    numbers = np.ravel(dataset.attrs.get(DIMENSIONS, ()))
    if not any(axes) and len(numbers) == dataset.ndim:
        return [{("id", int(number))} for number in numbers]
    return axes


def _split(path: str) -> tuple[str, int | None]:
    """Return the path of a dataset, and the number of a column."""
    found = COLUMN.fullmatch(path)
    name, column = (path, None) if found is None else found.groups()
    return name, None if column is None else int(column)


def _info(path: str, dataset: Any) -> DatasetInfo:
    """Return the header of a dataset of one dimension, of a scalar, or of a column of two dimensions."""
    column = _split(path)[1]
    if dataset.shape is None:
        raise UnsupportedError("a dataset without values")
    if column is not None and dataset.ndim != 2:
        raise UnsupportedError(f"{dataset.ndim} dimensions: only datasets of 2 have columns; leave out [{column}]")
    if column is None and dataset.ndim > 1:
        raise UnsupportedError(f"{dataset.ndim} dimensions, expected 1; name a column of 2, such as {path}[0]")
    if column is not None and column >= dataset.shape[1]:
        raise UnsupportedError(f"it has columns 0 to {dataset.shape[1] - 1} only")
    rows = dataset.shape[0] if dataset.ndim else 1
    return DatasetInfo(path, rows, _number_type(dataset), _attributes(dataset))


def _number_type(dataset: Any) -> np.dtype:
    """Return the little-endian type of the values."""
    try:
        dtype = dataset.dtype
    # A type that numpy has not.
    except (TypeError, ValueError) as problem:
        raise UnsupportedError(f"not a dataset of plain numbers: {problem}") from problem
    if dtype.kind == "b":
        return np.dtype(np.int8)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnsupportedError(f"not a dataset of plain numbers: {dtype}")
    return np.dtype(f"<{dtype.kind}{dtype.itemsize}")


def _attributes(dataset: Any) -> dict[str, AttributeValue]:
    """Return the attributes in `ATTRIBUTES`, as `maggjob.hdf5.messages.attribute` returns them."""
    found: dict[str, AttributeValue] = {}
    for name in ATTRIBUTES:
        if name in dataset.attrs:
            value = _attribute(dataset, name)
            if value is not None:
                found[name] = value
    return found


def _attribute(dataset: Any, name: str) -> AttributeValue | None:
    try:
        value = dataset.attrs[name]
    except (TypeError, ValueError, OSError) as problem:
        return Undecoded(str(problem).split("\n")[0])
    if isinstance(value, h5py.Empty):
        return None
    array = np.asarray(value)
    if array.dtype.kind in "iuf" and array.dtype.itemsize <= 8:
        return np.atleast_1d(array).ravel().astype(array.dtype.newbyteorder("<"))
    if array.size == 1 and array.dtype.kind in "OSU":
        text = array.ravel()[0]
        return (text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)).strip()
    return Undecoded(f"a type of {array.dtype}")
