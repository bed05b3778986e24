"""A granule as a file of one's own functions: its datasets as arrays, read without a download."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from maggjob.granules.granule import open_granule as open_structure
from maggjob.granules.grid import GridReader
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive


class GranuleFile:
    """Datasets of one granule, as a context manager; made by `open_granule`.

    Parameters
    ----------
    name : str
        Name of the granule, for messages.
    reader : GridReader
    """

    def __init__(self, name: str, reader: GridReader) -> None:
        self.name = name
        self._reader = reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: no file is kept open."""

    def read(self, path: str) -> np.ndarray:
        """Read a whole dataset of numbers, of any shape, in physical units.

        Parameters
        ----------
        path : str
            Path of the dataset.

        Returns
        -------
        ndarray
            In the type of the file; float64 if values are packed (``scale_factor``, ``add_offset``). NaN where values
            are missing, except in integers that are not packed: these are as they are stored.

        Raises
        ------
        GranuleError
            If the dataset is missing or cannot be read.
        """
        values = self._reader.whole(path)
        # Afterwards, as a dataset with parts that were never written has a fill value, whether it tells it or not.
        info = self._reader.info(path)
        scale, offset = info.packing
        packed = (scale, offset) != (1.0, 0.0)
        missing = None if info.fill is None else values == values.dtype.type(info.fill)
        if packed:
            values = values.astype(np.float64) * scale + offset
        if missing is not None and missing.any() and values.dtype.kind == "f":
            values = values.copy()
            values[missing] = np.nan
        return values

    def attributes(self, path: str) -> Mapping[str, str]:
        """Return ``units`` and ``long_name`` of a dataset, if it has them.

        Parameters
        ----------
        path : str
            Path of the dataset.

        Raises
        ------
        GranuleError
            If the dataset is missing or cannot be read.
        """
        found = {name: self._reader.text(path, name) for name in ("units", "long_name")}
        return {name: text for name, text in found.items() if text is not None}


def open_granule(
    url: str | Path, *, credentials: str | None = None, region: str | None = None, reader: str = "auto"
) -> GranuleFile:
    """Open an HDF5 or netCDF-4 granule at a path, https:// or s3:// URL.

    Parameters
    ----------
    url : str or Path
    credentials : str, optional
        Path or URL of the archive's credentials, as a `Session` gives them; by default the environment's.
    region : str, optional
        Region of the bucket.
    reader : {"auto", "h5coro", "h5py"}
        Library that reads it.

    Raises
    ------
    GranuleError
        If it cannot be reached, or is not a complete HDF5 file.

    Examples
    --------
    >>> import maggjob
    >>> (path,) = maggjob.simulate_sst("sst", start="2019-01-01", end="2019-01-01", every=12)
    >>> with open_granule(path) as granule:
    ...     sst = granule.read("analysed_sst")
    >>> sst.shape, bool(np.nanmean(sst) > 280)
    ((1, 60, 120), True)
    """
    text = str(url)
    name = text.rsplit("/", 1)[-1]
    return GranuleFile(name, GridReader(open_structure(Granule(name, text), Archive(credentials, region), reader)))
