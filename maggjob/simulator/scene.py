"""Simulated ATL06 granules on ICESat-2's orbit, for the demonstration, tests and benchmarks.

Positions follow the real orbit (`maggjob.icesat2.orbit`). The surface is invented, so it is known exactly
(`maggjob.simulator.surface`); segments may share errors (`maggjob.simulator.systematic`). Files have the structure of a
native v006 granule (`maggjob.simulator.files`). The same seed gives the same values. The attributes of every file say
that it is simulated.
"""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.errors import ExistsError, InputError
from maggjob.icesat2.names import EPOCH, SIMULATED, GranuleName
from maggjob.icesat2.orbit import BEAMS, CIRCUMFERENCE, OFFSETS, SPACING, TRACKS, Pass, ground_track, swath
from maggjob.inputs.places import local_place
from maggjob.simulator.crossings import Box, Outline, crosses, inside, with_margin
from maggjob.simulator.files import write_file
from maggjob.simulator.surface import Change, change, dem, years
from maggjob.simulator.systematic import FORWARD, cycle_bias, dem_error, orientation, pass_bias

FILL = np.float32(3.4028235e38)
CHUNK = 10_000
VERSION = "006"
SEGMENT_STEP = SPACING / CIRCUMFERENCE * 360.0  # degrees
"""Angle along the orbit from one segment to the next."""


@dataclass(frozen=True)
class Scene:
    """Description of the granules to simulate."""

    cycles: tuple[int, ...] = (22,)
    """91-day repeat cycles."""
    regions: tuple[int, ...] = (10, 11, 12)
    """Along-track regions; 10 to 12 are Antarctica, 3 to 5 the far north."""
    area: Box | Outline | None = None
    """West, south, east, north in degrees; segments outside are left out, as NSIDC's subsetter does.
    West may be greater than east for an area across the antimeridian. Or any other area that tells what it holds."""
    rgts: tuple[int, ...] | None = None
    """Reference ground tracks; None for all."""
    every: int = 1
    """Step between segments: every n-th segment is kept."""
    most: int | None = None
    """Largest number of granules per cycle, evenly chosen; None for all."""
    gaps: float = 0.35
    """Fraction of each track that clouds hide."""
    absent: float = 0.02
    """Fraction of the beams that are missing."""
    everything: bool = False
    """True for all datasets of a native granule, not only the main ones."""
    fill_as_array: bool = False
    """True for ``_FillValue`` as an array of length 1, as in v003."""
    planted: Change | tuple[Change, ...] = field(default_factory=Change)
    """Change of height between cycles; several patterns are added."""
    pass_bias: float = 0.0
    """Standard deviation of a bias that all heights of one beam of a track in a cycle share, metres."""
    cycle_bias: float = 0.0
    """Standard deviation of a bias that all heights of a cycle share, metres."""
    dem_error: float = 0.0
    """Standard deviation of an error of the DEM, smooth in space and the same in every cycle, metres.
    The white noise of 0.2 m is always there."""
    flips: bool = False
    """True for an orientation of the spacecraft that flips as ICESat-2's does; False for always forward."""
    seed: int = 0
    """Seed of all random numbers, 0 or more."""


def passes(scene: Scene) -> list[Pass]:
    """Return the passes of a scene, sorted by cycle, track and region.

    Raises
    ------
    InputError
        If the scene contains no pass, its seed or an error is negative, an error is not finite, or a cycle, region or
        track does not exist.
    """
    _check(scene)
    around = None if scene.area is None else with_margin(scene.area)
    found = [
        (rgt, region)
        for region in scene.regions
        for rgt in scene.rgts or range(1, TRACKS + 1)
        if scene.area is None or around is None or crosses(Pass(rgt, scene.cycles[0], region), scene.area, around)
    ]
    if not found:
        where = f"{scene.area} (west, south, east, north)" if isinstance(scene.area, tuple) else scene.area
        raise InputError(f"no track of regions {scene.regions} crosses area {where}; give others")
    found.sort()
    if scene.most is not None and scene.most < len(found):
        found = [found[i] for i in np.linspace(0, len(found) - 1, scene.most).round().astype(int)]
    return [Pass(rgt, cycle, region) for cycle in scene.cycles for rgt, region in found]


def _check(scene: Scene) -> None:
    """Raise an InputError if a value of a scene is impossible."""
    for what, numbers, last in (
        ("cycle", scene.cycles, 99),
        ("region", scene.regions, 14),
        ("reference ground track", scene.rgts or (), TRACKS),
    ):
        for number in numbers:
            if not 1 <= number <= last:
                raise InputError(f"{what} {number} does not exist; give 1 to {last}")
    if scene.seed < 0:
        raise InputError(f"seed {scene.seed} is negative; give 0 or more")
    for name in ("pass_bias", "cycle_bias", "dem_error"):
        metres = getattr(scene, name)
        if not 0.0 <= metres < math.inf:
            raise InputError(f"{name} {metres} is not a standard deviation in metres; give a number, 0 or more")


def granule_name(one: Pass) -> str:
    """Return the file name of a pass in NSIDC's form, with the revision of simulated granules."""
    start = EPOCH + timedelta(seconds=float(one.times(one.angles(360.0))[0]))
    return f"ATL06_{start:%Y%m%d%H%M%S}_{one.rgt:04d}{one.cycle:02d}{one.region:02d}_{VERSION}_{SIMULATED}.h5"


def beam_values(scene: Scene, one: Pass, number: int) -> dict[str, np.ndarray]:
    """Simulate the main datasets of one beam.

    Parameters
    ----------
    scene : Scene
    one : Pass
    number : int
        Beam, from 0 for gt1l to 5 for gt3r.

    Returns
    -------
    dict of name to ndarray, shape (rows,)
        Names are relative to ``land_ice_segments``.
    """
    angles = one.angles(SEGMENT_STEP * scene.every)
    latitude, longitude = ground_track(one.rgt, angles, OFFSETS[number])
    height = dem(latitude, longitude)
    # All beams share their clouds.
    sky = np.random.default_rng([scene.seed, one.cycle, one.rgt, one.region])
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
    # Errors that segments share have generators of their own, so that all other values stay the same without them.
    measured += cycle_bias(scene.seed, one.cycle, scene.cycle_bias)
    measured += pass_bias(scene.seed, one, number, scene.pass_bias)
    model = height + dem_error(latitude, longitude, scene.seed, scene.dem_error)
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
        "dem/dem_h": (model + rng.normal(0.0, 0.2, rows)).astype(np.float32),
        "fit_statistics/dh_fit_dx": (slope_x + rng.normal(0.0, 2e-3, rows)).astype(np.float32),
        "fit_statistics/dh_fit_dy": rng.normal(0.0, 5e-3, rows).astype(np.float32),
        "fit_statistics/n_fit_photons": rng.poisson(120, rows).astype(np.int32),
        "ground_track/x_atc": segment * SPACING + rng.normal(0.0, 0.3, rows),
    }


def _clouds(rng: np.random.Generator, rows: int, scene: Scene) -> np.ndarray:
    """Return which rows clouds hide, in patches that together with the clear gaps are 8 km long on average."""
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
        Folder to write to; it is created if needed.
    scene : Scene, optional
        By default a scene with ``options``.
    workers : int
        Number of threads for compression.
    **options
        Fields of `Scene`, such as ``cycles=(21, 22), area=(-125, -78, -95, -72), every=50``.

    Returns
    -------
    list of Path
        Files written, sorted by cycle, track and region. Passes without segments have no file.

    Raises
    ------
    InputError
        If h5py is missing, the scene contains no pass, or the folder cannot be created.
    ExistsError
        If a file that would be written exists and was not simulated.

    Examples
    --------
    >>> paths = simulate("granules", cycles=(22,), area=(-105, -76, -100, -75), every=100, most=2)
    >>> all("22" == path.name[25:27] for path in paths)
    True
    """
    check_h5py()
    scene = scene if scene is not None else Scene(**options)
    checked = passes(scene)
    target = local_place(folder, "folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(f"cannot write granules to {target}: {problem}; give another folder") from problem
    for path in (target / granule_name(one) for one in checked):
        if path.exists() and not is_simulated(path):
            raise ExistsError(f"{path} exists and is not a simulated granule; it is not replaced: give another folder")
    with ThreadPoolExecutor(workers) as pool:
        written = [write_granule(target / granule_name(one), scene, one, pool) for one in checked]
    return [path for path in written if path is not None]


def is_simulated(path: Path) -> bool:
    """Return True if a file is a granule that maggjob simulated."""
    import h5py

    try:
        with h5py.File(path) as file:
            source = file.attrs.get("source", b"")
    except OSError:
        return False
    return bool(source in (b"simulation", "simulation"))


def check_h5py() -> None:
    """Check that h5py is installed.

    Raises
    ------
    InputError
        If it is not.
    """
    if find_spec("h5py") is None:
        raise InputError("simulating granules needs h5py, which is in the extra 'view': pip install 'maggjob[view]'")


def write_granule(path: Path, scene: Scene, one: Pass, pool: ThreadPoolExecutor) -> Path | None:
    """Write one granule atomically.

    Parameters
    ----------
    path : Path
    scene : Scene
    one : Pass
    pool : ThreadPoolExecutor
        Simulates beams and compresses chunks concurrently.

    Returns
    -------
    Path or None
        None if the granule has no segments; no file is written then.
    """
    rng = np.random.default_rng([scene.seed, one.cycle, one.rgt, one.region, 99])
    present = rng.random(len(BEAMS)) >= scene.absent
    values = pool.map(lambda number: beam_values(scene, one, number), range(len(BEAMS)))
    there = zip(BEAMS, present, values, strict=True)
    beams = {name: columns for name, on, columns in there if on and len(columns["latitude"])}
    if not beams:
        return None
    write_file(
        path,
        one,
        beams,
        pool,
        rng,
        everything=scene.everything,
        fill_as_array=scene.fill_as_array,
        orientation=orientation(one) if scene.flips else FORWARD,
    )
    return path


def footprint(one: Pass, half_width: float = 6300.0, points: int = 24) -> list[tuple[float, float]]:
    """Return a simplified outline of a granule, like those in CMR.

    Parameters
    ----------
    one : Pass
    half_width : float
        Distance from the track to each side of the outline, metres.
    points : int
        Number of points on each side.

    Returns
    -------
    list of (longitude, latitude)
        Degrees, closed, in either orientation.
    """
    start, stop = one.angles(SEGMENT_STEP)[[0, -1]]
    ring = swath(one.rgt, start, stop, half_width, points).round(5)
    return [(longitude, latitude) for longitude, latitude in ring.tolist()]


def cmr_record(path: Path) -> dict[str, Any]:
    """Return the UMM-JSON record that CMR would have of a simulated granule.

    Names and URLs are those of the provider NSIDC_CPRD, in the form of v007.

    Raises
    ------
    InputError
        If the file does not have a granule's name.
    """
    name = path.name
    parsed = GranuleName.parse(name)
    if parsed is None:
        raise InputError(f"{name} is not a granule's name; give files that 'maggjob simulate' wrote")
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
    """Return the response of CMR that lists simulated granules."""
    items = [cmr_record(path) for path in paths]
    return {"hits": len(items), "took": 1, "items": items}
