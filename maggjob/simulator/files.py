"""Files of simulated granules, with the structure of native v006 granules."""

import io
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from deflate import zlib_compress

from maggjob.icesat2.names import EPOCH
from maggjob.icesat2.orbit import BEAMS, Pass

COMPRESSION = 6
SEGMENTS = "{beam}/land_ice_segments/"
DESCRIPTION = "Simulated by maggjob: positions of ICESat-2's orbit, a made-up surface. No measurement."
ANCILLARY = {f"ancillary_data/{e}_{w}" for e in ("start", "end") for w in ("delta_time", "rgt", "cycle", "region")}
ANCILLARY |= {"ancillary_data/atlas_sdp_gps_epoch", "orbit_info/rgt", "orbit_info/cycle_number", "orbit_info/sc_orient"}
MAIN = (
    "latitude",
    "longitude",
    "delta_time",
    "h_li",
    "h_li_sigma",
    "atl06_quality_summary",
    "segment_id",
    "sigma_geo_h",
    "dem/dem_h",
    "fit_statistics/dh_fit_dx",
    "fit_statistics/dh_fit_dy",
    "fit_statistics/n_fit_photons",
    "ground_track/x_atc",
)
"""Datasets that the built-in configurations and most analyses read."""


@lru_cache
def structure() -> dict[str, Any]:
    """Return groups, datasets and attributes of a native v006 granule, as recorded by tests/make_structure.py."""
    text = resources.files("maggjob.simulator").joinpath("atl06_v006.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def write_file(
    path: Path,
    one: Pass,
    beams: Mapping[str, Mapping[str, np.ndarray]],
    pool: ThreadPoolExecutor,
    rng: np.random.Generator,
    *,
    everything: bool = False,
    fill_as_array: bool = False,
    orientation: int = 1,
) -> None:
    """Write a granule atomically: the file is complete, or does not exist.

    Parameters
    ----------
    path : Path
    one : Pass
        The pass that the granule covers.
    beams : mapping of beam to mapping of dataset name to ndarray, shape (rows,)
        Values of the datasets in `MAIN`, which are below ``land_ice_segments``; other beams are absent.
    pool : ThreadPoolExecutor
        Compresses chunks concurrently.
    rng : numpy.random.Generator
        Source of values for all other datasets.
    everything : bool
        True to write all datasets of a native granule, not only those in `MAIN`.
    fill_as_array : bool
        True to write ``_FillValue`` as an array of length 1, as in v003.
    orientation : int
        Value of ``sc_orient``: 0 backward, 1 forward, 2 transition.
    """
    # h5py is in the extra "view".
    import h5py

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(_skeleton(everything, fill_as_array))
    with h5py.File(temporary, "r+") as file:
        _describe(file, one, beams, orientation)
        for name in BEAMS:
            if name in beams:
                _write_beam(file, name, beams[name], pool, rng)
            else:
                del file[name]
                if f"quality_assessment/{name}" in file:
                    del file[f"quality_assessment/{name}"]
    temporary.replace(path)


@lru_cache
def _skeleton(everything: bool, fill_as_array: bool) -> bytes:
    """Return a file without rows but with all groups, datasets and attributes.

    It is cached, as copying it is faster than creating it for every granule.
    """
    import h5py

    content, buffer = structure(), io.BytesIO()
    with h5py.File(buffer, "w") as file:
        _set_attributes(file, content["root"] | {"description": DESCRIPTION, "source": "simulation"})
        for group, attributes in content["groups"].items():
            if everything or group.startswith("{beam}") or "/" not in group:
                for beam in BEAMS if "{beam}" in group else BEAMS[:1]:
                    own = attributes | ({"groundtrack_id": beam} if group == "{beam}" else {})
                    _set_attributes(file.require_group(group.replace("{beam}", beam)), own)
        for key, entry in content["datasets"].items():
            if everything or key.removeprefix(SEGMENTS) in MAIN or key in ANCILLARY:
                for beam in BEAMS if "{beam}" in key else BEAMS[:1]:
                    _create(file, key.replace("{beam}", beam), entry, fill_as_array)
    return buffer.getvalue()


def _create(file: Any, path: str, entry: Mapping[str, Any], fill_as_array: bool) -> None:
    """Create a dataset with its type, layout and attributes, either empty or filled with its constant value."""
    dtype = np.dtype(entry["dtype"])
    fill = np.asarray(entry["attrs"].get("_FillValue", []), dtype) if dtype.kind in "iuf" else np.empty(0)
    if "chunks" in entry:
        dataset = file.create_dataset(
            path,
            shape=(0, *entry["tail"]),
            maxshape=(None, *entry["tail"]),
            chunks=tuple(entry["chunks"]),
            dtype=dtype,
            compression="gzip",
            compression_opts=COMPRESSION,
            shuffle=entry["shuffle"],
            fillvalue=fill[0] if fill.size else None,
        )
    else:
        data = np.zeros(entry["shape"], dtype)
        if "value" in entry:
            data[...] = np.reshape(entry["value"], entry["shape"])
        dataset = file.create_dataset(path, data=data)
    own = {"_FillValue": fill if fill_as_array else fill[0]} if fill.size else {}
    _set_attributes(dataset, entry["attrs"] | own)


def _describe(file: Any, one: Pass, beams: Mapping[str, Mapping[str, np.ndarray]], orientation: int) -> None:
    """Write the granule's metadata: its track, time, extent and orientation."""
    joined = {n: np.concatenate([c[n] for c in beams.values()]) for n in ("latitude", "longitude", "delta_time")}
    first, last = float(joined["delta_time"].min()), float(joined["delta_time"].max())
    utc = [(EPOCH + timedelta(seconds=t)).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for t in (first, last)]
    own = {"time_coverage_start": utc[0], "time_coverage_end": utc[1], "time_coverage_duration": [last - first]}
    for axis, name in (("lat", "latitude"), ("lon", "longitude")):
        own |= {f"geospatial_{axis}_min": [joined[name].min()], f"geospatial_{axis}_max": [joined[name].max()]}
    _set_attributes(file, own)
    known = {"start_delta_time": first, "end_delta_time": last, "atlas_sdp_gps_epoch": 1198800018.0}
    known |= {f"{end}_{what}": getattr(one, what) for end in ("start", "end") for what in ("rgt", "cycle", "region")}
    for name, value in known.items():
        file[f"ancillary_data/{name}"][0] = value
    for name, value in {"rgt": one.rgt, "cycle_number": one.cycle, "sc_orient": orientation}.items():
        file[f"orbit_info/{name}"][0] = value


def _set_attributes(item: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        item.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else np.asarray(value)


def _write_beam(
    file: Any, beam: str, columns: Mapping[str, np.ndarray], pool: ThreadPoolExecutor, rng: np.random.Generator
) -> None:
    """Write the rows of one beam, compressing its chunks concurrently."""
    entries, rows = structure()["datasets"], len(columns["latitude"])
    datasets: dict[str, np.ndarray] = {}
    for key, entry in entries.items():
        if key.startswith(SEGMENTS) and key.removeprefix(SEGMENTS) in columns:
            datasets[key] = columns[key.removeprefix(SEGMENTS)].astype(entry["dtype"], copy=False)
        elif "{beam}" in key and "chunks" in entry and key.replace("{beam}", beam) in file:
            datasets[key] = other_values(entry, rows if key.startswith(SEGMENTS) else -(-rows // 10), rng)
    chunks = [(k, start) for k, v in datasets.items() for start in range(0, len(v), entries[k]["chunks"][0])]
    packed = pool.map(lambda chunk: _pack(entries[chunk[0]], datasets[chunk[0]], chunk[1]), chunks)
    opened = {key: file[key.replace("{beam}", beam)] for key in datasets}
    for key, values in datasets.items():
        opened[key].resize(len(values), axis=0)
    for (key, start), payload in zip(chunks, packed, strict=True):
        opened[key].id.write_direct_chunk((start,) + (0,) * (datasets[key].ndim - 1), payload)


def _pack(entry: Mapping[str, Any], values: np.ndarray, start: int) -> bytes:
    """Return a chunk as HDF5 stores it: padded, shuffled if the dataset requires it, and deflated."""
    rows = entry["chunks"][0]
    raw = np.zeros((rows, *values.shape[1:]), values.dtype)
    raw[: len(values) - start] = values[start : start + rows]
    if entry["shuffle"] and raw.itemsize > 1:
        raw = np.ascontiguousarray(raw.reshape(-1).view(np.uint8).reshape(-1, raw.itemsize).T)
    return bytes(zlib_compress(raw, COMPRESSION))


def other_values(entry: Mapping[str, Any], rows: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise that compresses like the real values of a dataset.

    Parameters
    ----------
    entry : mapping
        Description of the dataset in `structure`.
    rows : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (rows, ...)
    """
    dtype, shape = np.dtype(entry["dtype"]), (rows, *entry["tail"])
    if entry["ratio"] > 8 or rows == 0:
        return np.zeros(shape, dtype)
    bits = int(np.clip(8 * dtype.itemsize / entry["ratio"], 1, 22))
    noise = rng.integers(0, 1 << bits, shape)
    if dtype.kind == "f":
        return np.asarray(1.0 + noise / (1 << bits), dtype)
    return np.asarray(noise % 100, dtype)
