"""The simulator: files as NSIDC's, positions as ICESat-2's, heights that are known."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5coro.filedriver import FileDriver
from h5coro.h5coro import H5Coro
from pyproj import Geod, Transformer

import maggjob
from maggjob.errors import InputError
from maggjob.icesat2.orbit import BEAMS, OFFSETS, Pass, ground_track, region_angles
from maggjob.simulator.files import MAIN, structure
from maggjob.simulator.scene import Scene, cmr_records, footprint, granule_name, inside, passes, simulate
from maggjob.simulator.surface import Change, change, dem, years
from tests.make_structure import structure as structure_of

GEOD = Geod(ellps="WGS84")
AREA = (-108.0, -76.5, -98.0, -73.6)
NATIVE = "ATL06_20230816161508_08782002_006_02.h5"


def whole_track(rgt: int) -> tuple[np.ndarray, np.ndarray]:
    return ground_track(rgt, np.arange(0.0, 360.0, 0.002))


def sideways(rgt: int, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Distance of points from a reference ground track in metres, positive to its right."""
    track_lat, track_lon = whole_track(rgt)
    crs = "EPSG:3031" if latitude.mean() < 0 else "EPSG:3413"
    to_plane = Transformer.from_crs(4326, crs, always_xy=True)
    near = np.abs(track_lat - latitude.mean()) < 15
    track_lat, track_lon = track_lat[near], track_lon[near]
    tx, ty = to_plane.transform(track_lon, track_lat)
    x, y = to_plane.transform(longitude, latitude)
    found = []
    for px, py, plat, plon in zip(x, y, latitude, longitude, strict=True):
        i = int(np.argmin((tx - px) ** 2 + (ty - py) ** 2))
        i = min(max(i, 1), len(tx) - 2)
        azimuth, _, far = GEOD.inv(track_lon[i], track_lat[i], plon, plat)
        along, _, _ = GEOD.inv(track_lon[i - 1], track_lat[i - 1], track_lon[i + 1], track_lat[i + 1])
        found.append(far * np.sign(np.sin(np.radians(azimuth - along))))
    return np.array(found)


@pytest.mark.parametrize("beam", range(6))
@pytest.mark.parametrize("region", [3, 10, 11])
def test_beams_fly_beside_their_track(region: int, beam: int) -> None:
    angles = Pass(858, 22, region).angles(0.01)
    latitude, longitude = ground_track(858, angles)
    beside = ground_track(858, angles, OFFSETS[beam])
    _, _, far = GEOD.inv(longitude, latitude, beside[1], beside[0])
    assert np.allclose(far, abs(OFFSETS[beam]), atol=10.0)


def test_regions_follow_each_other_around_the_orbit() -> None:
    edges = region_angles()
    assert edges[1][0] == 0.0
    assert edges[14][1] == 360.0
    assert all(edges[region][1] == edges[region + 1][0] for region in range(1, 14))
    latitude, _ = ground_track(1, np.array([edges[11][0], edges[11][1]]))
    assert np.allclose(latitude, -79.0, atol=1e-3)


def test_real_beams_lie_within_a_kilometre(shared: Path) -> None:
    """Real beams over Greenland lie that close to where the simulator puts them (not in the first two cycles)."""
    with h5py.File(shared / "atl06" / "processed_ATL06_20191106230008_06270503_006_01.h5") as file:
        for name, offset in zip(BEAMS, OFFSETS, strict=True):
            segments = file[f"{name}/land_ice_segments"]
            some = slice(None, None, 100)
            found = sideways(627, segments["latitude"][some], segments["longitude"][some])
            assert np.abs(found - offset).max() < 1000.0


def test_real_footprints_lie_within_a_kilometre(shared: Path) -> None:
    pairs = json.loads((shared / "cmr" / "mortie_atl06_v007_polar_pairs.json").read_text())
    for pair in pairs:
        rgt = int(re.search(r"_(\d{4})\d{4}_", pair["granule"])[1])  # type: ignore[index]
        found = sideways(rgt, np.array(pair["lats"]), np.array(pair["lons"]))
        centre = (np.median(found[found > 0]) + np.median(found[found < 0])) / 2
        assert abs(centre) < 1000.0, pair["granule"]


def test_the_structure_is_that_of_a_native_granule(shared: Path) -> None:
    assert structure_of(shared / "atl06" / NATIVE) == structure()


def described(path: Path) -> dict[str, Any]:
    """Everything h5dump would show of groups and datasets but values and prose."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:

        def visit(name: str, item: h5py.HLObject) -> None:
            if isinstance(item, h5py.Dataset):
                options = (item.chunks, item.compression, item.compression_opts, item.shuffle, item.fletcher32)
                if item.compression != "gzip":
                    options = (None, None, None, False, False)  # short ones are stored in whatever way
                fill = item.attrs.get("_FillValue")
                texts = {key: item.attrs.get(key) for key in ("units", "long_name", "contentType", "source")}
                found[name] = (item.dtype, item.ndim, options, None if fill is None else float(fill), texts)
            else:
                found[name] = None

        file.visititems(visit)
    return found


@pytest.mark.dear("all datasets of a native granule")
def test_everything_in_a_native_granule_is_there(shared: Path, tmp_path: Path) -> None:
    (made,) = simulate(tmp_path, rgts=(858,), regions=(11,), every=200, absent=0.0, everything=True)
    ours, theirs = described(made), described(shared / "atl06" / NATIVE)
    prose = {name for name, what in theirs.items() if name.startswith("METADATA") and what is not None}
    assert ours.keys() == theirs.keys() - prose
    for name, description in ours.items():
        assert description == theirs[name], name


def test_what_is_read_compresses_as_real_data_do(shared: Path, tmp_path: Path) -> None:
    (made,) = simulate(tmp_path, rgts=(858,), regions=(11,), every=20, absent=0.0)
    with h5py.File(made) as ours:
        for name in ("latitude", "longitude", "delta_time", "h_li", "h_li_sigma", "dem/dem_h"):
            dataset = ours[f"gt2l/land_ice_segments/{name}"]
            stored = sum(dataset.id.get_chunk_info(i).size for i in range(dataset.id.get_num_chunks()))
            real = structure()["datasets"]["{beam}/land_ice_segments/" + name]["ratio"]
            assert 0.6 < dataset.nbytes / stored / real < 1.7, name


@pytest.mark.dear("all attributes of a file")
def test_files_look_like_nsidcs(tmp_path: Path) -> None:
    paths = simulate(tmp_path, area=AREA, every=100, most=3)
    for path in paths:
        assert re.fullmatch(r"ATL06_\d{14}_\d{4}22(10|11|12)_006_00\.h5", path.name)
        assert path.read_bytes()[8] == 0  # superblock
        with h5py.File(path) as file:
            assert b"Simulated" in file.attrs["description"]
            assert file.attrs["short_name"] == b"ATL06"
            for beam in set(BEAMS) & set(file):
                assert set(MAIN) <= {n.removeprefix("land_ice_segments/") for n in listed(file[beam])}
                assert file[beam]["land_ice_segments/h_li"].attrs["_FillValue"].shape == ()


@pytest.mark.dear("reads whole granules; make test has them read by maggjob")
def test_plain_h5coro_reads_it(tmp_path: Path) -> None:
    """It reads as magg did: with its own driver, and all datasets of a beam in one call."""
    (path,) = simulate(tmp_path, area=AREA, every=2, most=1, absent=0.0)
    names = [f"gt2r/land_ice_segments/{name}" for name in MAIN]
    promise = H5Coro(str(path), FileDriver).readDatasets(names)
    with h5py.File(path) as file:
        assert len(file[names[0]]) > 1000
        for name in names:
            assert np.array_equal(promise[name], file[name][:]), name


def listed(group: h5py.Group) -> list[str]:
    names: list[str] = []
    group.visit(names.append)
    return names


@pytest.mark.dear("a whole run")
def test_the_fill_value_may_be_an_array(tmp_path: Path) -> None:
    (path,) = simulate(tmp_path, area=AREA, every=100, most=1, fill_as_array=True, absent=0.0)
    with h5py.File(path) as file:
        assert file["gt1l/land_ice_segments/h_li"].attrs["_FillValue"].shape == (1,)


@pytest.mark.dear("2 CPU-seconds; its neighbours cover the same lines")
def test_the_same_seed_gives_the_same_values(tmp_path: Path) -> None:
    one, other, third = (
        simulate(tmp_path / name, area=AREA, every=100, most=2, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    for a, b, c in zip(one, other, third, strict=True):
        with h5py.File(a) as x, h5py.File(b) as y, h5py.File(c) as z:
            key = next(f"{beam}/land_ice_segments/h_li" for beam in BEAMS if beam in x and beam in z)
            assert np.array_equal(x[key][:], y[key][:])
            assert not np.array_equal(x[key][:], z[key][:])


@pytest.mark.dear("a whole sector")
def test_segments_stay_in_the_area(tmp_path: Path) -> None:
    for path in simulate(tmp_path, area=AREA, every=100, most=3):
        with h5py.File(path) as file:
            for beam in set(BEAMS) & set(file):
                d = file[f"{beam}/land_ice_segments"]
                assert inside(d["latitude"][:], d["longitude"][:], AREA).all()


def test_an_area_may_cross_the_antimeridian() -> None:
    latitude, longitude = np.full(4, -80.0), np.array([175.0, -175.0, 0.0, 160.0])
    assert inside(latitude, longitude, (170.0, -85.0, -170.0, -75.0)).tolist() == [True, True, False, False]


def test_an_area_without_tracks_is_refused() -> None:
    with pytest.raises(InputError):
        passes(Scene(area=(0.0, 10.0, 10.0, 20.0), regions=(11,)))


@pytest.mark.dear("twelve granules of full size")
def test_the_planted_change_is_found_again(tmp_path: Path) -> None:
    """Mean of h_li - dem_h by cycle, near the centre of the change: what `change` says."""
    planted = Change()
    area = (planted.longitude - 1, planted.latitude - 0.3, planted.longitude + 1, planted.latitude + 0.3)
    found, expected = [], []
    for cycle in (10, 20):
        difference, truth = [], []
        for path in simulate(tmp_path / str(cycle), cycles=(cycle,), area=area, every=10, most=8):
            with h5py.File(path) as file:
                for beam in set(BEAMS) & set(file):
                    d = file[f"{beam}/land_ice_segments"]
                    good = d["atl06_quality_summary"][:] == 0
                    difference.append((d["h_li"][:].astype(float) - d["dem/dem_h"][:])[good])
                    where = d["latitude"][:][good], d["longitude"][:][good]
                    truth.append(change(*where, years(d["delta_time"][:][good]), planted))
        found.append(np.concatenate(difference).mean())
        expected.append(np.concatenate(truth).mean())
    assert np.allclose(found, expected, atol=0.05)
    assert found[1] - found[0] < -5.0  # ten cycles are two and a half years at 3 m a year


def test_the_surface_is_an_ice_sheet() -> None:
    latitude, longitude = np.array([-81.0, -79.5, 72.5, 0.0]), np.array([75.0, -112.0, -38.0, 0.0])
    height = dem(latitude, longitude)
    assert np.all(height[:3] > 1500)
    assert height[3] == 0.0


def test_maggjob_reads_what_is_simulated(tmp_path: Path) -> None:
    from maggjob.catalog.local import from_files

    paths = simulate(tmp_path / "granules", area=AREA, every=200, most=4)
    config = maggjob.load_config("atl06_dem.yaml")
    catalog = from_files([str(tmp_path / "granules")], config.recipe())
    reports = [maggjob.map_cell(task) for task in maggjob.tasks(config, catalog=catalog)]
    tally = maggjob.reduce_tally(reports)
    assert tally.cells["failed"] == tally.cells["partial"] == 0
    assert tally.granules["used"] == len(paths)
    assert tally.segments["outside"] == 0


def test_footprints_hold_the_beams() -> None:
    from shapely import Polygon, points

    one = Pass(858, 22, 11)
    to_plane = Transformer.from_crs(4326, 3031, always_xy=True)
    outline = Polygon(np.column_stack(to_plane.transform(*np.array(footprint(one, points=60)).T)))
    for offset in OFFSETS:
        latitude, longitude = ground_track(858, one.angles(0.05), offset)
        within = outline.buffer(200.0).contains(points(np.column_stack(to_plane.transform(longitude, latitude))))
        assert np.all(within)


@pytest.mark.dear("records of hundreds of granules")
def test_records_are_those_of_cmr(tmp_path: Path) -> None:
    paths = simulate(tmp_path, area=AREA, every=200, most=2)
    answer = cmr_records(paths)
    assert answer["hits"] == 2
    for path, item in zip(paths, answer["items"], strict=True):
        umm = item["umm"]
        assert umm["GranuleUR"] == path.name
        assert {u["Type"] for u in umm["RelatedUrls"]} == {"GET DATA", "GET DATA VIA DIRECT ACCESS"}
        assert all(u["URL"].endswith(path.name) for u in umm["RelatedUrls"])
        assert umm["DataGranule"]["ArchiveAndDistributionInformation"][0]["SizeInBytes"] == path.stat().st_size


def test_names_of_a_cycle_are_of_its_time() -> None:
    assert granule_name(Pass(1, 22, 10)).startswith("ATL06_202312")
    assert granule_name(Pass(1, 2, 10)).startswith("ATL06_20181228")


@pytest.mark.parametrize("area", [(-105.0, -75.0, -104.0, -74.9), (-105.0, -75.0, -104.5, -74.5)])
def test_a_small_area_has_all_its_passes(area: tuple[float, float, float, float]) -> None:
    """Held against every eighth track and all of its beams at steps of 200 m, where one comes near at all."""
    rgts = tuple(range(1, 1388, 8))
    near = (area[0] - 5, area[1] - 1, area[2] + 5, area[3] + 1)  # 100 km and more, at steps of 11 km

    def crosses(one: Pass) -> bool:
        if not inside(*ground_track(one.rgt, one.angles(0.1), 0.0), near).any():
            return False
        return any(inside(*ground_track(one.rgt, one.angles(0.002), offset), area).any() for offset in OFFSETS)

    expected = {(rgt, region) for rgt in rgts for region in (10, 12) if crosses(Pass(rgt, 22, region))}
    try:
        found = {(p.rgt, p.region) for p in passes(Scene(area=area, rgts=rgts, regions=(10, 12)))}
    except InputError:
        found = set()
    assert found == expected
    assert expected


@pytest.mark.parametrize(
    "options", [{"cycles": (0,)}, {"cycles": (-500,)}, {"regions": (99,)}, {"rgts": (1388,)}, {"seed": -1}]
)
def test_what_does_not_exist_is_not_simulated(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        simulate(tmp_path / "granules", area=AREA, **options)
    assert not (tmp_path / "granules").exists()
