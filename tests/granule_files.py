"""Write small granules in the layout of ATL06, with faults if wanted."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

BEAMS = ("gt1l", "gt1r", "gt2l", "gt2r", "gt3l", "gt3r")
FILL = np.float32(3.4028235e38)
NAME = "ATL06_20190222031203_08500211_006_01.h5"
SEGMENTS = "land_ice_segments"


def beam(
    rows: int, *, seed: int = 0, south: float = -75.0, west: float = -100.0, step: float = 2e-4
) -> dict[str, np.ndarray]:
    """Return the datasets of one beam: a straight track of ``rows`` segments, one in seven of bad quality."""
    rng = np.random.default_rng(seed)
    along = np.arange(rows)
    return {
        "latitude": south - step * along,
        "longitude": west + 0.6 * step * along,
        "delta_time": 36_000_000.0 + 0.0028 * along,
        "h_li": (1000.0 + rng.normal(0, 30, rows)).astype("f4"),
        "h_li_sigma": rng.uniform(0.01, 0.3, rows).astype("f4"),
        "atl06_quality_summary": (rng.integers(0, 7, rows) == 0).astype("i1"),
        "segment_id": (1_000_000 + along).astype("i4"),
    }


def write_granule(
    path: Path,
    beams: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    *,
    chunk: int = 10_000,
    libver: Any = None,
    edit: Callable[[h5py.File], None] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write a granule as NSIDC does: chunk (10000,), gzip-6, shuffle for integers only.

    Parameters
    ----------
    beams : mapping of beam to mapping of dataset name to values
        By default six beams of 500 segments.
    libver : optional
        Of h5py: None gives superblock 0, ("v108", "v108") superblock 2.
    edit : callable, optional
        Called with the open file at the end.
    options : mapping of dataset name to keyword arguments
        For ``create_dataset``, in place of the usual ones.
    """
    if beams is None:
        beams = {name: beam(500, seed=i, west=-100.0 + 0.01 * i) for i, name in enumerate(BEAMS)}
    with h5py.File(path, "w", libver=libver) as file:
        file.attrs["short_name"] = np.bytes_("ATL06")
        for group, datasets in beams.items():
            parent = file.create_group(f"{group}/{SEGMENTS}")
            for name, values in datasets.items():
                usual = {
                    "chunks": (chunk,),
                    "maxshape": (None,),
                    "compression": "gzip",
                    "compression_opts": 6,
                    "shuffle": values.dtype.kind in "iu",
                    "fillvalue": FILL if values.dtype == np.float32 else None,
                }
                made = parent.create_dataset(name, data=values, **((options or {}).get(name, usual)))
                made.attrs["units"] = np.bytes_("meters" if name.startswith("h_li") else "1")
                made.attrs["long_name"] = np.bytes_(name)
                if values.dtype == np.float32:
                    made.attrs["_FillValue"] = FILL
        if edit is not None:
            edit(file)
    return path


def cells_of(paths: Sequence[Path], order: int, convention: str) -> list[int]:
    """Return nested ids of the cells that valid segments lie in, by `tests.oracle`."""
    from tests.oracle import nested

    found: set[int] = set()
    for path in paths:
        with h5py.File(path) as file:
            for group in BEAMS:
                if f"{group}/{SEGMENTS}/latitude" in file:
                    segments = file[f"{group}/{SEGMENTS}"]
                    latitude, longitude = segments["latitude"][:], segments["longitude"][:]
                    good = (np.abs(latitude) <= 90) & (np.abs(longitude) <= 720)
                    found |= set(nested(latitude[good], longitude[good], order, convention).tolist())
    return sorted(found)
