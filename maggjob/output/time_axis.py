"""The time axis of a result: its windows, and the coordinates that describe them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from maggjob.icesat2.windows import Windows, month_start, window_in
from maggjob.model.ledger import join_spans
from maggjob.model.reports import CellReport
from maggjob.storage.folder import Folder
from maggjob.storage.urls import join_url

SINCE = {"units": "seconds since 2018-01-01 00:00:00", "calendar": "standard"}
"""Attributes with which readers decode times."""


@dataclass(frozen=True)
class TimeAxis:
    """The windows of a result."""

    kind: Windows
    """``cycle`` or ``month``; also the name of the dimension."""
    labels: tuple[str, ...]
    """Label of each window, in order."""

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates along the axis, but for that of the axis itself."""
        return ("time_start", "time_end", "granules")


def coordinate_values(
    axis: TimeAxis, reports: Mapping[str, Sequence[CellReport]]
) -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Return values and attributes of the coordinates along a time axis, by name.

    Parameters
    ----------
    axis : TimeAxis
    reports : mapping
        Reports of the cells of each window, by its label.
    """
    spans = [join_spans(report.time for report in reports.get(label, ())) for label in axis.labels]
    used = [
        {g.id for report in reports.get(label, ()) for g in report.granules if g.state == "used"}
        for label in axis.labels
    ]
    numbers = [window_in(label) for label in axis.labels]
    if axis.kind == "cycle":
        own = np.array(numbers, np.int64), {"long_name": "91-day repeat cycle", "units": "1"}
    else:
        starts = np.array([month_start(number) for number in numbers]).astype(np.int64)
        own = starts, {"long_name": "first day of the month", "units": "days since 2018-01-01", "calendar": "standard"}
    start, end = (np.array([np.nan if s is None else s[i] for s in spans], np.float64) for i in range(2))
    return {
        axis.kind: own,
        "time_start": (start, {"long_name": "time of the first segment", "standard_name": "time", **SINCE}),
        "time_end": (end, {"long_name": "time of the last segment", "standard_name": "time", **SINCE}),
        "granules": (
            np.array([len(some) for some in used], np.int32),
            {"long_name": "number of granules used", "units": "1"},
        ),
    }


def write_coordinates(
    folder: Folder, group: str, axis: TimeAxis, reports: Mapping[str, Sequence[CellReport]], region: str | None
) -> None:
    """Write the coordinates along a time axis. Each window is a chunk, so that another window adds objects only.

    Parameters
    ----------
    folder : Folder
        The store.
    group : str
        Name of the group.
    axis : TimeAxis
    reports : mapping
        Reports of the cells of each window, by its label.
    region : str or None
        Region of the bucket.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import ObjectStore

    for name, (values, attributes) in coordinate_values(axis, reports).items():
        own = Folder(join_url(folder.url, group, name), region, create=True)
        attempts = count()

        def write(own: Folder = own, values: np.ndarray = values, attributes: dict[str, Any] = attributes) -> None:
            array: Any = zarr.create_array(
                ObjectStore(own.store),
                shape=values.shape,
                chunks=(1,),
                dtype=values.dtype,
                fill_value=np.nan if values.dtype.kind == "f" else 0,
                compressors=[ZstdCodec(level=3), Crc32cCodec()],
                dimension_names=[axis.kind],
                attributes=attributes,
                overwrite=next(attempts) > 0,  # noqa: B023
            )
            array[:] = values

        with zarr.config.set({"array.write_empty_chunks": True}):
            own.patiently(write)
