"""Axes of a grid and what lies in a region; variables whose shape does not tell their axes; values never written."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maggjob.granules.granule import open_granule
from maggjob.granules.grid import GridReader
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive


def reader(path: Path, by: str = "auto") -> GridReader:
    return GridReader(open_granule(Granule(path.name, str(path)), Archive(), by))


def axes(path: Path, latitude: Any, longitude: Any) -> GridReader:
    """Return a granule with these axes only."""
    with h5py.File(path, "w") as file:
        file["lat"], file["lon"] = latitude, longitude
    return reader(path)


# --- The region


@pytest.mark.parametrize(
    ("longitude", "sector", "columns"),
    [
        (np.arange(-179.5, 180), (-180, 180), 360),
        (np.arange(0.5, 360), (0, 360), 360),
        (np.arange(-179.5, 180), (-360, 360), 360),
        (np.arange(0.0, 361), (0, 360), 360),
        (np.arange(0.0, 361), (-20, 30), 51),
        (np.arange(-180.0, 181), (170, -170), 21),
        (np.arange(0.0, 360), (10, 10), 1),
        (np.arange(0.0, 361), None, 361),
    ],
)
def test_every_meridian_of_a_sector_counts_once(tmp_path: Path, longitude: Any, sector: Any, columns: int) -> None:
    found = axes(tmp_path / "a.nc", np.arange(-9.5, 10), longitude).region("lat", "lon", (-90, 90), sector)
    assert found.columns.sum() == columns


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("turn", [0.0, 360.0])
def test_limits_are_included_in_the_type_of_the_axis(tmp_path: Path, dtype: str, turn: float) -> None:
    latitude = np.round(np.arange(-59.9, 60, 0.1), 1).astype(dtype)
    longitude = np.sort(np.round(np.arange(-4.9, 5, 0.1) % 360 if turn else np.arange(-4.9, 5, 0.1), 1)).astype(dtype)
    found = axes(tmp_path / "a.nc", latitude, longitude).region("lat", "lon", (-59.9, 59.9), (-4.9, 4.9))
    assert (found.rows.all(), found.columns.all()) == (True, True)
