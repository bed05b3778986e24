"""Granules of ATL06's shape on ICESat-2's geometry, for the demonstration, tests and benchmarks.

The positions are those of a real orbit (`maggjob.orbit`), the surface is made up and known exactly
(`maggjob.surface`), the files have the structure of a native v006 granule (`maggjob/data`). The same
seed gives the same values. Every file says in its attributes that it is simulated.
"""

import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from deflate import zlib_compress  # libdeflate: three times as fast as zlib

from maggjob.errors import InputError
from maggjob.model import EPOCH, GranuleName
from maggjob.orbit import BEAMS, CIRCUMFERENCE, OFFSETS, SPACING, TRACKS, Pass, ground_track
from maggjob.surface import Change, change, dem, years

FILL = np.float32(3.4028235e38)
CHUNK = 10_000
VERSION = "006"
STEP = SPACING / CIRCUMFERENCE * 360.0  # degrees of the orbit from one segment to the next
COARSE, FINE = 0.2, 0.005  # degrees of the orbit between the points by which a pass is looked for
COMPRESSION = 6
SEGMENTS = "{beam}/land_ice_segments/"
DESCRIPTION = "Simulated by maggjob: positions of ICESat-2's orbit, a made-up surface. No measurement."
ANCILLARY = {f"ancillary_data/{e}_{w}" for e in ("start", "end") for w in ("delta_time", "rgt", "cycle", "region")}
ANCILLARY |= {"ancillary_data/atlas_sdp_gps_epoch", "orbit_info/rgt", "orbit_info/cycle_number", "orbit_info/sc_orient"}
MAIN = (  # what the built-in configurations and most analyses read
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


@dataclass(frozen=True)
class Scene:
    """What is simulated."""

    cycles: tuple[int, ...] = (22,)
    """91-day repeat cycles."""
    regions: tuple[int, ...] = (10, 11, 12)
    """Along-track regions; 10 to 12 are Antarctica, 3 to 5 the far north."""
    area: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; segments outside are left out, as by NSIDC's subsetter.
    West may be greater than east, across the antimeridian."""
    rgts: tuple[int, ...] | None = None
    """Reference ground tracks; by default all."""
    every: int = 1
    """Only each so manyth segment."""
    most: int | None = None
    """At most so many granules a cycle, evenly chosen."""
    gaps: float = 0.35
    """Part of each track that clouds hide."""
    absent: float = 0.02
    """Part of the beams that are missing."""
    everything: bool = False
    """All datasets of a native granule, not the main ones only."""
    fill_as_array: bool = False
    """``_FillValue`` as an array of length 1, as v003 has it."""
    planted: Change = field(default_factory=Change)
    """The change of height between cycles."""
    seed: int = 0
    """Of everything that is random."""


@lru_cache
def structure() -> dict[str, Any]:
    """Groups, datasets and attributes of a native v006 granule (written by tests/make_structure.py)."""
    text = resources.files("maggjob").joinpath("data/atl06_v006.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def inside(latitude: np.ndarray, longitude: np.ndarray, area: tuple[float, float, float, float]) -> np.ndarray:
    """Where points lie in an area of west, south, east, north."""
    west, south, east, north = area
    between = (longitude - west) % 360.0 <= (east - west) % 360.0 if east - west < 360.0 else True
    return np.asarray((latitude >= south) & (latitude <= north) & between)


def passes(scene: Scene) -> list[Pass]:
    """The passes of a scene, by cycle, track and region.

    Raises
    ------
    InputError
        There are none, or a cycle, region or track does not exist.
    """
    for what, numbers, last in (
        ("cycle", scene.cycles, 99),
        ("region", scene.regions, 14),
        ("reference ground track", scene.rgts or (), TRACKS),
    ):
        for number in numbers:
            if not 1 <= number <= last:
                raise InputError(f"{what} {number} does not exist; they go from 1 to {last}")
    if scene.seed < 0:
        raise InputError(f"seed {scene.seed} is negative; give 0 or more")
    found = [
        (rgt, region)
        for region in scene.regions
        for rgt in scene.rgts or range(1, TRACKS + 1)
        if scene.area is None or _crosses(Pass(rgt, scene.cycles[0], region), scene.area)
    ]
    if not found:
        raise InputError(f"no track of regions {scene.regions} crosses {scene.area} (west, south, east, north)")
    found.sort()
    if scene.most is not None and scene.most < len(found):
        found = [found[i] for i in np.linspace(0, len(found) - 1, scene.most).round().astype(int)]
    return [Pass(rgt, cycle, region) for cycle in scene.cycles for rgt, region in found]


def _crosses(one: Pass, area: tuple[float, float, float, float]) -> bool:
    """Whether any beam of a pass enters an area: looked for coarsely with a margin, then finely."""
    west, south, east, north = area
    margin = COARSE + 0.05  # the outer beams fly 0.03 degrees aside
    wide = margin / max(0.02, float(np.cos(np.radians(max(abs(south), abs(north))))))
    around = (west - wide, south - margin, east + wide, north + margin) if east - west + 2 * wide < 360 else area
    if not inside(*ground_track(one.rgt, one.angles(COARSE)), around).any():
        return False
    fine = one.angles(FINE)
    return any(inside(*ground_track(one.rgt, fine, offset), area).any() for offset in OFFSETS)


def granule_name(one: Pass) -> str:
    """File name of a pass, as NSIDC gives it."""
    start = EPOCH + timedelta(seconds=float(one.times(one.angles(360.0))[0]))
    return f"ATL06_{start:%Y%m%d%H%M%S}_{one.rgt:04d}{one.cycle:02d}{one.region:02d}_{VERSION}_01.h5"


def beam_values(scene: Scene, one: Pass, number: int) -> dict[str, np.ndarray]:
    """The main datasets of one beam, by name below ``land_ice_segments``.

    Parameters
    ----------
    number : int
        0 for gt1l to 5 for gt3r.
    """
    angles = one.angles(STEP * scene.every)
    latitude, longitude = ground_track(one.rgt, angles, OFFSETS[number])
    height = dem(latitude, longitude)
    sky = np.random.default_rng([scene.seed, one.cycle, one.rgt, one.region])  # one sky for all beams
    seen = ~_clouds(sky, len(angles), scene)
    kept = seen & ((height > 0) | (np.abs(latitude) < 50.0))
    if scene.area is not None:
        kept &= inside(latitude, longitude, scene.area)
    angles, latitude, longitude, height = angles[kept], latitude[kept], longitude[kept], height[kept]
    rows, time = len(angles), one.times(angles)
    rng = np.random.default_rng([scene.seed, one.cycle, one.rgt, one.region, number])
    slope_x = np.gradient(height) / (SPACING * scene.every) if rows > 1 else np.zeros(rows)
    sigma = np.exp(rng.normal(np.log(0.03), 0.6, rows)) * (1 + 20 * np.abs(slope_x))
    measured = height + change(latitude, longitude, years(time), scene.planted) + rng.normal(0.0, 1.0, rows) * sigma
    bad = rng.random(rows) < 0.06
    wild = bad & (rng.random(rows) < 0.5)
    measured[wild] += rng.normal(0.0, 80.0, int(wild.sum()))
    filled = bad & (rng.random(rows) < 0.05)
    segment = np.round((angles / 360.0) * CIRCUMFERENCE / SPACING).astype(np.int32)
    h_li, h_sigma = measured.astype(np.float32), sigma.astype(np.float32)
    h_li[filled] = h_sigma[filled] = FILL
    return {
        "latitude": latitude,
        "longitude": longitude,
        "delta_time": np.round(time, 8),
        "h_li": h_li,
        "h_li_sigma": h_sigma,
        "atl06_quality_summary": bad.astype(np.int8),
        "segment_id": segment,
        "sigma_geo_h": (0.03 + 0.3 * np.abs(slope_x)).astype(np.float32),
        "dem/dem_h": (height + rng.normal(0.0, 0.2, rows)).astype(np.float32),
        "fit_statistics/dh_fit_dx": (slope_x + rng.normal(0.0, 2e-3, rows)).astype(np.float32),
        "fit_statistics/dh_fit_dy": rng.normal(0.0, 5e-3, rows).astype(np.float32),
        "fit_statistics/n_fit_photons": rng.poisson(120, rows).astype(np.int32),
        "ground_track/x_atc": segment * SPACING + rng.normal(0.0, 0.3, rows),
    }


def _clouds(rng: np.random.Generator, rows: int, scene: Scene) -> np.ndarray:
    """Where clouds hide the surface: stretches of some 8 km on average, True where hidden."""
    if scene.gaps <= 0 or rows == 0:
        return np.zeros(rows, bool)
    length = max(2.0, 400.0 / scene.every)
    count = int(2 * rows / length) + 8
    hidden = rng.exponential(length * scene.gaps, count)
    clear = rng.exponential(length * (1 - scene.gaps), count)
    edges = np.cumsum(np.column_stack([clear, hidden]).ravel())
    return np.searchsorted(edges, np.arange(rows), side="right") % 2 == 1


def other_values(entry: Mapping[str, Any], rows: int, rng: np.random.Generator) -> np.ndarray:
    """Values of a dataset that nothing reads: noise that compresses as the real one does."""
    dtype, shape = np.dtype(entry["dtype"]), (rows, *entry["tail"])
    if entry["ratio"] > 8 or rows == 0:
        return np.zeros(shape, dtype)
    bits = int(np.clip(8 * dtype.itemsize / entry["ratio"], 1, 22))
    noise = rng.integers(0, 1 << bits, shape)
    if dtype.kind == "f":
        return np.asarray(1.0 + noise / (1 << bits), dtype)
    return np.asarray(noise % 100, dtype)


def simulate(folder: str | Path, scene: Scene | None = None, workers: int = 2, **options: Any) -> list[Path]:
    """Write the granules of a scene.

    Parameters
    ----------
    folder : str or Path
        Made when it is not there.
    scene : Scene, optional
        By default one of ``options``.
    workers : int
        Threads that compress.
    **options
        Fields of `Scene`, such as ``cycles=(21, 22), area=(-125, -78, -95, -72), every=50``.

    Returns
    -------
    list of Path
        The granules written, by cycle, track and region. A pass of which no segment is left is none.

    Examples
    --------
    >>> paths = simulate("granules", cycles=(22,), area=(-105, -76, -100, -75), every=100, most=2)
    >>> all("22" == path.name[25:27] for path in paths)
    True
    """
    check_installed()
    made = scene if scene is not None else Scene(**options)
    checked = passes(made)
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(f"cannot write granules to {target}: {problem}; give another folder") from problem
    with ThreadPoolExecutor(workers) as pool:
        written = [write_granule(target / granule_name(one), made, one, pool) for one in checked]
    return [path for path in written if path is not None]


def check_installed() -> None:
    """See that h5py is there.

    Raises
    ------
    InputError
        It is not.
    """
    if find_spec("h5py") is None:
        raise InputError("h5py is needed to simulate granules; it is in the extra 'view': pip install 'maggjob[view]'")


def write_granule(path: Path, scene: Scene, one: Pass, pool: ThreadPoolExecutor) -> Path | None:
    """Write one granule: entirely, or not at all; None when no segment is left of it."""
    import h5py  # in the extra "view"

    rng = np.random.default_rng([scene.seed, one.cycle, one.rgt, one.region, 99])
    present = rng.random(len(BEAMS)) >= scene.absent
    values = pool.map(lambda number: beam_values(scene, one, number), range(len(BEAMS)))
    there = zip(BEAMS, present, values, strict=True)
    beams = {name: columns for name, on, columns in there if on and len(columns["latitude"])}
    if not beams:
        return None
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(_skeleton(scene.everything, scene.fill_as_array))
    with h5py.File(temporary, "r+") as file:
        _describe(file, one, beams)
        for name in BEAMS:
            if name in beams:
                _write_beam(file, name, beams[name], pool, rng)
            else:
                del file[name]
                if f"quality_assessment/{name}" in file:
                    del file[f"quality_assessment/{name}"]
    temporary.replace(path)
    return path


@lru_cache
def _skeleton(everything: bool, fill_as_array: bool) -> bytes:
    """A granule without a row: all groups, datasets and attributes. A copy costs less than making them anew."""
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
    """A dataset of the right type, layout and attributes: without rows, or with its constant."""
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


def _describe(file: Any, one: Pass, beams: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write down what this granule is: its track, time and extent."""
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
    for name, value in {"rgt": one.rgt, "cycle_number": one.cycle, "sc_orient": 1}.items():
        file[f"orbit_info/{name}"][0] = value


def _set_attributes(item: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        item.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else np.asarray(value)


def _write_beam(
    file: Any, beam: str, columns: Mapping[str, np.ndarray], pool: ThreadPoolExecutor, rng: np.random.Generator
) -> None:
    """Write the rows of one beam; its chunks are compressed side by side."""
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
    """One chunk as HDF5 stores it: padded, shuffled if need be, deflated."""
    rows = entry["chunks"][0]
    block = values[start : start + rows]
    if len(block) < rows:
        block = np.concatenate([block, np.zeros((rows - len(block), *block.shape[1:]), block.dtype)])
    raw = np.ascontiguousarray(block)
    if entry["shuffle"] and raw.itemsize > 1:
        raw = np.ascontiguousarray(raw.reshape(-1).view(np.uint8).reshape(-1, raw.itemsize).T)
    return bytes(zlib_compress(raw, COMPRESSION))


def footprint(one: Pass, half_width: float = 6300.0, points: int = 24) -> list[tuple[float, float]]:
    """A granule's outline as CMR has it: simplified, some 6.3 km to each side of the track.

    Returns
    -------
    list of (longitude, latitude)
        Degrees, closed, counter-clockwise or not as the track turns out.
    """
    start, stop = one.angles(STEP)[[0, -1]]
    fine = np.linspace(start, stop, 40 * points)
    chosen = np.linspace(0, len(fine) - 1, points).round().astype(int)
    sides = []
    for offset in (-half_width, half_width):
        latitude, longitude = ground_track(one.rgt, fine, offset)
        sides.append(list(zip(longitude[chosen].round(5).tolist(), latitude[chosen].round(5).tolist(), strict=True)))
    ring = sides[0] + sides[1][::-1]
    return [*ring, ring[0]]


def cmr_record(path: Path) -> dict[str, Any]:
    """A UMM-JSON record of a simulated granule, as CMR would answer (names and places of NSIDC_CPRD, v007's form)."""
    name = path.name
    parsed = GranuleName.parse(name)
    if parsed is None:
        raise InputError(f"{name} is no granule's name; give files that 'maggjob simulate' wrote")
    rgt = parsed.rgt
    ring = footprint(Pass(rgt, parsed.cycle, parsed.region))
    start = datetime.strptime(parsed.start, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    below = f"ATLAS/ATL06/{VERSION}/{start:%Y/%m/%d}/{name}"
    return {
        "meta": {"native-id": name, "concept-type": "granule", "provider-id": "NSIDC_CPRD"},
        "umm": {
            "GranuleUR": name,
            "CollectionReference": {"ShortName": "ATL06", "Version": VERSION},
            "TemporalExtent": {"RangeDateTime": {"BeginningDateTime": f"{start:%Y-%m-%dT%H:%M:%S.000Z}"}},
            "OrbitCalculatedSpatialDomains": [{"OrbitNumber": rgt}],
            "DataGranule": {
                "Identifiers": [{"Identifier": name, "IdentifierType": "ProducerGranuleId"}],
                "ArchiveAndDistributionInformation": [{"Name": name, "SizeInBytes": path.stat().st_size}],
            },
            "SpatialExtent": {
                "HorizontalSpatialDomain": {
                    "Geometry": {
                        "GPolygons": [
                            {"Boundary": {"Points": [{"Longitude": x, "Latitude": y} for x, y in ring]}},
                        ]
                    }
                }
            },
            "RelatedUrls": [
                {
                    "Type": "GET DATA",
                    "URL": f"https://data.nsidc.earthdatacloud.nasa.gov/nsidc-cumulus-prod-protected/{below}",
                },
                {"Type": "GET DATA VIA DIRECT ACCESS", "URL": f"s3://nsidc-cumulus-prod-protected/{below}"},
            ],
        },
    }


def cmr_records(paths: Iterable[Path] | Sequence[Path]) -> dict[str, Any]:
    """CMR's answer that lists some simulated granules."""
    items = [cmr_record(path) for path in paths]
    return {"hits": len(items), "took": 1, "items": items}
