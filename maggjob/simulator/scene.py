"""Granules of ATL06's shape on ICESat-2's geometry, for the demonstration, tests and benchmarks.

The positions are those of a real orbit (`maggjob.icesat2.orbit`), the surface is made up and known exactly
(`maggjob.simulator.surface`), the files have the structure of a native v006 granule
(`maggjob.simulator.files`). The same seed gives the same values. Every file says in its attributes that it is
simulated.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.errors import InputError
from maggjob.icesat2.names import EPOCH, GranuleName
from maggjob.icesat2.orbit import BEAMS, CIRCUMFERENCE, OFFSETS, SPACING, TRACKS, Pass, ground_track, swath
from maggjob.simulator.files import write_file
from maggjob.simulator.surface import Change, change, dem, years

FILL = np.float32(3.4028235e38)
CHUNK = 10_000
VERSION = "006"
SEGMENT_STEP = SPACING / CIRCUMFERENCE * 360.0  # degrees of the orbit from one segment to the next
COARSE, FINE = 0.2, 0.005  # degrees of the orbit between the points by which a pass is looked for


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
    angles = one.angles(SEGMENT_STEP * scene.every)
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
    check_h5py()
    scene = scene if scene is not None else Scene(**options)
    checked = passes(scene)
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(f"cannot write granules to {target}: {problem}; give another folder") from problem
    with ThreadPoolExecutor(workers) as pool:
        written = [write_granule(target / granule_name(one), scene, one, pool) for one in checked]
    return [path for path in written if path is not None]


def check_h5py() -> None:
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
    rng = np.random.default_rng([scene.seed, one.cycle, one.rgt, one.region, 99])
    present = rng.random(len(BEAMS)) >= scene.absent
    values = pool.map(lambda number: beam_values(scene, one, number), range(len(BEAMS)))
    there = zip(BEAMS, present, values, strict=True)
    beams = {name: columns for name, on, columns in there if on and len(columns["latitude"])}
    if not beams:
        return None
    write_file(path, one, beams, pool, rng, everything=scene.everything, fill_as_array=scene.fill_as_array)
    return path


def footprint(one: Pass, half_width: float = 6300.0, points: int = 24) -> list[tuple[float, float]]:
    """A granule's outline as CMR has it: simplified, some 6.3 km to each side of the track.

    Returns
    -------
    list of (longitude, latitude)
        Degrees, closed, counter-clockwise or not as the track turns out.
    """
    start, stop = one.angles(SEGMENT_STEP)[[0, -1]]
    ring = swath(one.rgt, start, stop, half_width, points).round(5)
    return [(longitude, latitude) for longitude, latitude in ring.tolist()]


def cmr_record(path: Path) -> dict[str, Any]:
    """A UMM-JSON record of a simulated granule, as CMR would answer (names and places of NSIDC_CPRD, v007's form)."""
    name = path.name
    parsed = GranuleName.parse(name)
    if parsed is None:
        raise InputError(f"{name} is no granule's name; give files that 'maggjob simulate' wrote")
    rgt = parsed.rgt
    ring = footprint(Pass(rgt, parsed.cycle, parsed.region))
    geometry = {"GPolygons": [{"Boundary": {"Points": [{"Longitude": x, "Latitude": y} for x, y in ring]}}]}
    start = datetime.strptime(parsed.start, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    below = f"nsidc-cumulus-prod-protected/ATLAS/ATL06/{VERSION}/{start:%Y/%m/%d}/{name}"
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
            "SpatialExtent": {"HorizontalSpatialDomain": {"Geometry": geometry}},
            "RelatedUrls": [
                {"Type": "GET DATA", "URL": f"https://data.nsidc.earthdatacloud.nasa.gov/{below}"},
                {"Type": "GET DATA VIA DIRECT ACCESS", "URL": f"s3://{below}"},
            ],
        },
    }


def cmr_records(paths: Iterable[Path] | Sequence[Path]) -> dict[str, Any]:
    """CMR's answer that lists some simulated granules."""
    items = [cmr_record(path) for path in paths]
    return {"hits": len(items), "took": 1, "items": items}
