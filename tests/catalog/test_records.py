"""What CMR's answers say of a granule: real ones, simulated ones, and ones that are not to be trusted."""

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import shapely
from pyproj import Transformer

import maggjob
from maggjob.catalog.records import Record, from_umm, json_rings, track_ring, usable
from maggjob.errors import CatalogError
from maggjob.grid.coverage import great_circle
from maggjob.icesat2.names import GranuleName
from maggjob.icesat2.orbit import BEAMS, OFFSETS, ground_track, region_angles
from maggjob.simulator.scene import cmr_record, cmr_records, simulate
from tests.cmr_server import BUCKET, HOST, entry, name_of, record

BOX = (-105.0, -76.0, -100.0, -75.0)
"""Area of the simulated granules."""
CONCEPT = "G2159085058-NSIDC_ECS"
NAME = "ATL06_20190221121851_08410203_005_01"


@pytest.fixture
def real(shared: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """One granule as CMR truly lists it, in UMM-JSON and in JSON."""
    umm = json.loads((shared / "cmr" / "earthaccess_atl06_umm.json").read_text())["items"]
    plain = json.loads((shared / "cmr" / "earthaccess_atl06.json").read_text())["feed"]["entry"]
    assert len(umm) == len(plain) == 1
    return umm[0], plain[0]


def test_the_real_record_in_both_forms(real: tuple[dict[str, Any], dict[str, Any]]) -> None:
    umm, plain = real
    one = from_umm(umm)
    assert (one.concept, one.id) == (CONCEPT, NAME)
    assert one.urls == {"https": f"https://n5eil01u.ecs.nsidc.org/DP7/ATLAS/ATL06.005/2019.02.21/{NAME}.h5"}
    assert one.rings == ()  # an orbit only
    assert (one.start, one.end) == ("2019-02-21T12:19:05.196Z", "2019-02-21T12:24:16.042Z")
    assert one.name == GranuleName("ATL06", "20190221121851", 841, 2, 3, "005", "01")
    concept, (ring,) = json_rings(plain)
    assert concept == one.concept
    assert ring[0] == ring[-1] == (-47.899339089543176, 58.62975669572381)
    assert len(ring) == 7
    assert usable(ring)


def plane(points: np.ndarray, crs: int) -> np.ndarray:
    return np.column_stack(Transformer.from_crs(4326, crs, always_xy=True).transform(points[:, 0], points[:, 1]))


def test_a_ring_by_track_follows_the_real_one(real: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """CMR's, of six corners for 20 degrees of latitude, is 36 km wide where the beams take 7: it is not held."""
    umm, plain = real
    modelled = track_ring(from_umm(umm).name)
    assert np.array_equal(modelled[0], modelled[-1])
    (ring,) = json_rings(plain)[1]
    drawn, true = (shapely.Polygon(plane(great_circle(np.array(one), 5e3), 3413)) for one in (modelled, ring))
    assert true.intersection(drawn).area > 0.5 * true.area
    assert max(shapely.distance(drawn, shapely.points(shapely.get_coordinates(true)))) < 17e3


def test_a_ring_by_track_holds_real_segments(real_granules: list[Path]) -> None:
    """All of them, of seven granules from four cycles, in the north, the south and between."""
    seen = 0
    for path in real_granules:
        ring = track_ring(Record("", path.stem, {}, None, None, None, None, ()).name)
        crs = 3031 if ring[:, 1].mean() < 0 else 3413
        drawn = shapely.Polygon(plane(great_circle(ring, 2e3), crs))
        segments = segments_of(path)
        seen += len(segments)
        assert shapely.contains_xy(drawn, plane(segments, crs)).all(), path.name
    assert seen > 100_000


def segments_of(path: Path) -> np.ndarray:
    """Return longitude and latitude of all segments of a granule, read with h5py."""
    with h5py.File(path) as file:
        groups = [file[f"{beam}/land_ice_segments"] for beam in BEAMS if f"{beam}/land_ice_segments/latitude" in file]
        parts = [np.column_stack([group["longitude"][:], group["latitude"][:]]) for group in groups]
    points = np.concatenate(parts)
    return points[np.isfinite(points).all(axis=1) & (np.abs(points[:, 1]) <= 90)]


@pytest.mark.parametrize("region", range(1, 15))
def test_a_ring_by_track_holds_all_beams(region: int) -> None:
    ring = track_ring(GranuleName("ATL06", "20240101000000", 700, 22, region, "007", "01"))
    assert usable(tuple(map(tuple, ring.tolist())))
    start, stop = region_angles()[region]
    crs = 3031 if ring[:, 1].mean() < 0 else 3413
    to_plane = Transformer.from_crs(4326, crs, always_xy=True).transform
    drawn = shapely.Polygon(np.column_stack(to_plane(*great_circle(ring, 2e3).T)))
    for offset in OFFSETS:
        latitude, longitude = ground_track(700, np.arange(start, stop, 0.05), offset)
        assert shapely.contains_xy(drawn, np.column_stack(to_plane(longitude, latitude))).all()


def test_no_such_region() -> None:
    with pytest.raises(CatalogError, match="track 5, cycle 22: there is no region 15"):
        track_ring(GranuleName("ATL06", "20240101000000", 5, 22, 15, "007", "01"))


def test_a_simulated_record(tmp_path: Path) -> None:
    path = tmp_path / name_of(5, version="006")
    path.write_bytes(b"12345")
    one = from_umm(cmr_record(path))
    assert one.id == path.stem
    assert one.size == 5
    assert one.about == 5.0
    assert set(one.urls) == {"s3", "https"}
    assert usable(one.rings[0])


def test_a_record() -> None:
    one = from_umm(record(name_of(5), concept="G1-X"))
    below = f"{BUCKET}/ATLAS/ATL06/007/2023/12/18/{name_of(5)}"
    assert one.urls == {"https": f"{HOST}/{below}", "s3": f"s3://{below}"}
    assert (one.size, one.about, one.concept) == (61_234_567, 61_234_567.0, "G1-X")
    assert len(one.rings[0]) == 49


@pytest.mark.parametrize(
    ("files", "size", "about"),
    [
        ([], None, None),
        ([{"Name": "x.h5"}], None, None),
        ([{"Name": "x.h5", "Size": 58.5, "SizeUnit": "MB"}], None, 58.5e6),
        ([{"Name": "x.h5", "Size": 2, "SizeUnit": "GB"}], None, 2e9),
        ([{"Name": "x.h5", "Size": 58.5, "SizeUnit": "NA"}], None, None),
        ([{"Name": "x.h5", "SizeInBytes": 7}, {"Name": "x.dmrpp", "SizeInBytes": 9}], 7, 7.0),
        ([{"Name": "unnamed", "SizeInBytes": 7}], 7, 7.0),
        ([{"Name": "x.h5", "SizeInBytes": 0}], None, None),
        ([{"Name": "x.h5", "SizeInBytes": -7}], None, None),
        ([{"Name": "x.h5", "SizeInBytes": 7.5}], None, None),
        ([{"Name": "x.h5", "SizeInBytes": True}], None, None),
    ],
)
def test_sizes(files: list[dict[str, Any]], size: int | None, about: float | None) -> None:
    item = record(name_of(5))
    item["umm"]["DataGranule"]["ArchiveAndDistributionInformation"] = files
    one = from_umm(item)
    assert (one.size, one.about) == (size, about)


GOOD = f"ATLAS/ATL06/007/2023/12/18/{name_of(5)}"


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ([("GET DATA VIA DIRECT ACCESS", f"s3://elsewhere/{GOOD}")], "not in the archive"),
        ([("GET DATA VIA DIRECT ACCESS", f"s3://{BUCKET}.evil.com/{GOOD}")], "not in the archive"),
        ([("GET DATA", f"https://evil.com/{GOOD}")], "not in the archive"),
        ([("GET DATA", f"https://evilnasa.gov/{GOOD}")], "not in the archive"),
        ([("GET DATA", f"https://data.nasa.gov.evil.com/{GOOD}")], "not in the archive"),
        ([("GET DATA", f"https://nasa.gov@evil.com/{GOOD}")], "user or password"),
        ([("GET DATA", f"https://evil.com#.nasa.gov/{GOOD}")], "no HDF5 file|not in the archive"),
        ([("GET DATA", f"file:///{GOOD}")], "not in the archive"),
        ([("GET DATA", f"/{GOOD}")], "not in the archive"),
        ([("GET DATA", f"ftp://data.nasa.gov/{GOOD}")], "ftp"),
        ([("GET DATA", f"http://data.nasa.gov/{GOOD}")], "http"),
        ([("GET DATA", f"{HOST}/x/../{GOOD}")], "'..' is not read"),
        ([("GET DATA", "http://[::1/x.h5")], "IPv6"),
        ([("GET DATA", f"{HOST}/a/{name_of(5)}"), ("GET DATA", f"{HOST}/b/{name_of(5)}")], "two files"),
        ([("GET DATA", f"{HOST}/{name_of(5)}"), ("GET DATA", f"{HOST}/{name_of(6)}")], "two files"),
        (
            [("GET DATA", f"{HOST}/{name_of(5)}"), ("GET DATA VIA DIRECT ACCESS", f"s3://{BUCKET}/{name_of(6)}")],
            "name different files",
        ),
        ([("GET DATA", f"{HOST}/{name_of(5)}.xml"), ("GET DATA", f"{HOST}/x.pdf")], r"no HDF5 file"),
        ([("VIEW RELATED INFORMATION", f"{HOST}/{name_of(5)}")], r"no HDF5 file"),
        ([], r"no HDF5 file"),
    ],
)
def test_urls_that_are_not_the_archive_s(urls: list[tuple[str, str]], message: str) -> None:
    item = record(name_of(5), concept="G7-X")
    item["umm"]["RelatedUrls"] = [{"Type": kind, "URL": url} for kind, url in urls]
    with pytest.raises(CatalogError, match=message):
        from_umm(item)


def test_a_name_that_says_nothing() -> None:
    item = record(name_of(5))
    for url in item["umm"]["RelatedUrls"]:
        url["URL"] = url["URL"].replace(name_of(5), "BedMachine.h5")
    with pytest.raises(CatalogError, match="granule BedMachine: its name gives no track"):
        _ = from_umm(item).name


JUNK = (None, 5, -1.5, True, "x", "", [], {}, [None], ["x"], [{}], {"a": 1}, float("nan"), "http://[")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in range(min(2, len(value))):
            yield from places(value[i], (*path, i))


def spoiled(value: dict[str, Any]) -> Iterator[Any]:
    """A piece of JSON with each of its parts left out, or something else in its place."""
    for path in places(value):
        for junk in (*JUNK, "left out"):
            changed = copy.deepcopy(value)
            inner: Any = changed
            for key in path[:-1]:
                inner = inner[key]
            if not path:
                changed = junk
            elif junk == "left out":
                del inner[path[-1]]
            else:
                inner[path[-1]] = junk
            yield changed


def test_spoiled_records_are_refused_or_read() -> None:
    good, refused, read = from_umm(record(name_of(5))), 0, 0
    for item in spoiled(record(name_of(5))):
        try:
            one = from_umm(item)
        except CatalogError:
            refused += 1
            continue
        read += 1
        assert one.id == good.id or one.id.endswith(good.id)
        assert set(one.urls.values()) <= set(good.urls.values())
        assert all(isinstance(usable(ring), bool) for ring in one.rings)
        assert one.start is None or isinstance(one.start, str)
        json.dumps(asdict(one))
    assert refused > 100
    assert read > 100


def test_spoiled_entries_are_refused_or_read() -> None:
    good, refused = entry(record(name_of(5))), 0
    for changed in [*spoiled(good), good | {"polygons": [["1 2 3"]]}, good | {"polygons": [["a b"]]}]:
        try:
            concept, rings = json_rings(changed)
        except CatalogError:
            refused += 1
            continue
        assert isinstance(concept, str)
        assert all(len(point) == 2 for ring in rings for point in ring)
    assert refused > 20


@pytest.mark.parametrize(
    ("ring", "good"),
    [
        ([(0, -70), (10, -70), (10, -80), (0, -80), (0, -70)], True),
        ([(0, -70), (10, -70), (10, -80), (0, -80)], True),
        ([(0, -80), (10, -80), (10, -70), (0, -70), (0, -80)], True),
        ([(170, -80), (-170, -80), (-170, -70), (170, -70), (170, -80)], True),
        ([(0, -80), (90, -80), (180, -80), (-90, -80), (0, -80)], True),
        ([(0, -70), (10, -80), (10, -70), (0, -80), (0, -70)], False),
        ([(170, -80), (-170, -70), (-170, -80), (170, -70), (170, -80)], False),
        ([(0, -70), (10, -70), (0, -70)], False),
        ([(0, -70)], False),
        ([], False),
        ([(0, -70), (10, -95), (10, -80), (0, -70)], False),
        ([(0, -70), (1000, -70), (10, -80), (0, -70)], False),
        ([(0, -70), (10, float("nan")), (10, -80), (0, -70)], False),
        ([(0, -70), (float("inf"), -70), (10, -80), (0, -70)], False),
    ],
)
def test_usable(ring: list[tuple[float, float]], good: bool) -> None:
    assert usable(tuple(ring)) is good


@pytest.mark.dear("3 CPU-seconds; its neighbours cover the same lines")
def test_all_odd_records_are_told_at_once_and_the_others_used(tmp_path: Path) -> None:
    paths = simulate(tmp_path, area=(-105.0, -76.0, -100.0, -75.0), every=100, most=3)
    page = cmr_records(paths)
    good = page["items"]
    nameless = json.loads(json.dumps(good[0]).replace(paths[0].stem, "browse_image"))
    linkless = json.loads(json.dumps(good[1]))
    linkless["umm"]["RelatedUrls"] = []
    huge = json.loads(json.dumps(good[1]))
    huge["umm"]["DataGranule"]["ArchiveAndDistributionInformation"][0] = {"Size": 10**400, "SizeUnit": "MB"}
    (tmp_path / "page.json").write_text(json.dumps({"hits": 6, "items": [*good, nameless, linkless, huge]}))
    with pytest.raises(CatalogError, match="3 records cannot be used") as caught:
        maggjob.find_catalog(records=[tmp_path / "page.json"], aoi=BOX)
    assert "browse_image" in str(caught.value)
    assert "no HDF5 file" in str(caught.value)
    catalog = maggjob.find_catalog(records=[tmp_path / "page.json"], aoi=BOX, skip_unreadable=True)
    assert [entry.id for entry in catalog.granules] == [path.stem for path in paths]
    assert "3 granules cannot be read and were left out" in "\n".join(catalog.notes())


@pytest.mark.dear("1 CPU-seconds; its neighbours cover the same lines")
def test_records_that_only_some_searches_can_use(tmp_path: Path) -> None:
    paths = simulate(tmp_path, area=(-105.0, -76.0, -100.0, -75.0), every=100, most=3)
    page = cmr_records(paths)
    good = copy.deepcopy(page["items"])
    nowhere = json.loads(json.dumps(good[0]).replace(f"{paths[0].stem}", f"{paths[0].stem[:27]}99{paths[0].stem[29:]}"))
    nowhere["umm"]["SpatialExtent"] = {}
    timeless = json.loads(json.dumps(good[1]).replace("ATL06_", "processed_ATL06_"))
    timeless["umm"]["TemporalExtent"] = {}
    for item, search, said in (
        (nowhere, {"cycle": 22}, "no region 99"),
        (timeless, {"start": "2018-01-01", "end": "2030-01-01"}, "no time"),
    ):
        (tmp_path / "page.json").write_text(json.dumps({"hits": 3, "items": [*good[1:], item]}))
        if item is timeless:
            (tmp_path / "page.json").write_text(json.dumps({"hits": 3, "items": [good[0], good[2], item]}))
        where = {"records": [tmp_path / "page.json"], "aoi": BOX, **search}
        with pytest.raises(CatalogError, match=said):
            maggjob.find_catalog(**where)
        assert len(maggjob.find_catalog(**where, skip_unreadable=True).granules) == 2
        (tmp_path / "page.json").write_text(json.dumps({"hits": 1, "items": [item]}))
        with pytest.raises(CatalogError, match=said):
            maggjob.find_catalog(**where, skip_unreadable=True)


@pytest.mark.dear("granules in every suffix")
def test_granules_in_other_suffixes_are_listed(tmp_path: Path) -> None:
    paths = simulate(tmp_path, area=(-105.0, -76.0, -100.0, -75.0), every=100, most=3)
    text = json.dumps(cmr_records(paths)).replace(".h5", ".H5")
    (tmp_path / "page.json").write_text(text)
    catalog = maggjob.find_catalog(records=[tmp_path / "page.json"], aoi=BOX)
    assert [(entry.id, entry.size) for entry in catalog.granules] == [(p.stem, p.stat().st_size) for p in paths]
