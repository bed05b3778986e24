"""An independent implementation of the job: h5py, healpy or healpix-geo, a loop over children, math.fsum."""

import math
from collections.abc import Sequence
from pathlib import Path

import h5py
import healpix_geo
import healpy
import numpy as np

from tests.granule_files import BEAMS, FILL, SEGMENTS


def nested(latitude: np.ndarray, longitude: np.ndarray, order: int, convention: str) -> np.ndarray:
    """Return nested ids: by healpix-geo on WGS84 for authalic, by healpy for geodetic-spherical."""
    if len(latitude) == 0:
        return np.empty(0, np.int64)
    if convention == "authalic":
        ids = healpix_geo.nested.lonlat_to_healpix(longitude, latitude, order, ellipsoid="WGS84")
    else:
        ids = healpy.ang2pix(2**order, longitude, latitude, nest=True, lonlat=True)
    return np.asarray(ids, np.int64)


def segments_of(path: Path, order: int, convention: str) -> dict[str, np.ndarray]:
    """Return the segments of a granule that have valid coordinates: the id of their cell, and their values."""
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("cell", "h", "s", "quality", "time")}
    with h5py.File(path) as file:
        for group in BEAMS:
            if f"{group}/{SEGMENTS}" not in file:
                continue
            d = file[f"{group}/{SEGMENTS}"]
            latitude, longitude = d["latitude"][:], d["longitude"][:]
            good = np.isfinite(latitude) & np.isfinite(longitude) & (np.abs(latitude) <= 90)
            good &= np.abs(longitude) <= 720
            columns["cell"].append(nested(latitude[good], longitude[good], order, convention))
            columns["h"].append(d["h_li"][:][good])
            columns["s"].append(d["h_li_sigma"][:][good])
            columns["quality"].append(d["atl06_quality_summary"][:][good])
            columns["time"].append(d["delta_time"][:][good])
    return {name: np.concatenate(pieces) if pieces else np.empty(0) for name, pieces in columns.items()}


def statistics_of(h: np.ndarray, s: np.ndarray) -> dict[str, float]:
    """Return the nine statistics of one child's segments, summed exactly."""
    x, w = h.astype(np.float64), 1.0 / s.astype(np.float64) ** 2
    total = math.fsum(w)
    mean = math.fsum(x) / len(x)
    return {
        "count": len(x),
        "h_min": float(x.min()),
        "h_max": float(x.max()),
        "h_mean": math.fsum(w * x) / total,
        "h_sigma": 1.0 / math.sqrt(total),
        "h_variance": math.fsum((x - mean) ** 2) / len(x),
        "h_q25": float(np.quantile(x, 0.25)),
        "h_q50": float(np.quantile(x, 0.50)),
        "h_q75": float(np.quantile(x, 0.75)),
    }


EXACT = ("count", "h_min", "h_max", "h_q25", "h_q50", "h_q75")
"""Statistics that must be bit-identical; the others may be one unit off in the last place."""


def reference(paths: Sequence[Path], order: int, convention: str) -> dict[int, dict[str, float]]:
    """Return the nine statistics of each child that has good segments, by nested id."""
    pieces = [segments_of(path, order, convention) for path in paths]
    cell, h, s, quality = (np.concatenate([p[name] for p in pieces]) for name in ("cell", "h", "s", "quality"))
    good = (quality == 0) & np.isfinite(h) & (np.abs(h) < FILL) & np.isfinite(s) & (s > 0) & (s < FILL)
    cell, h, s = cell[good], h[good], s[good]
    return {int(c): statistics_of(h[cell == c], s[cell == c]) for c in np.unique(cell)}


def differences(values: dict[str, np.ndarray], ids: np.ndarray, expected: dict[int, dict[str, float]]) -> list[str]:
    """Return the differences between the columns of a result and the reference.

    Order statistics and counts must be bit-identical; means, sigmas and variances may be one unit in
    the last place off.
    """
    found = []
    rows = {int(i): row for row, i in enumerate(ids)}
    for missing in expected.keys() - rows.keys():
        found.append(f"child {missing} is not in the result")
    with_data = {int(i) for i in ids[values["count"] > 0]}
    for extra in with_data - expected.keys():
        found.append(f"child {extra} has data, the reference has none")
    for child, truth in expected.items():
        row = rows.get(child)
        for name, value in truth.items() if row is not None else ():
            got = values[name][row]
            want = np.float32(value) if name != "count" else value
            close = got == want if name in EXACT else abs(got - want) <= np.spacing(np.float32(abs(want)))
            if not close:
                found.append(f"{name} of {child} is {got!r}, the reference has {want!r}")
    return found
