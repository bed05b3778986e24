"""From a search to a catalog, with a CMR of our own; what is kept of its answers, and what is refused."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from urllib3.util import Retry

from maggjob.catalog.catalog import Catalog
from maggjob.catalog.search import from_pages, make_query, newest, search_catalog
from maggjob.config.source import Search
from maggjob.errors import CatalogError, InputError
from maggjob.grid.areas import parse_area
from maggjob.grid.coverage import area_cells
from maggjob.grid.healpix import Grid
from maggjob.icesat2.orbit import OFFSETS, cycle_start, ground_track, region_angles
from maggjob.simulator.scene import cmr_records
from tests.cmr_server import HTML, Cmr, entry, faulty, name_of, record, serve
from tests.oracle import nested

GRID = Grid(4, 10)  # few cells, which are found at once
RGTS = (3, 400, 800, 1200)
NAMES = [name_of(rgt, region=region) for rgt in RGTS for region in (10, 11, 12)]


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of this test's own for answers; five granules a page; no waiting between attempts."""
    monkeypatch.setenv("MAGGJOB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("maggjob.catalog.cmr.PAGE", 5)
    monkeypatch.setattr("maggjob.catalog.cmr.TIMEOUT", (60.0, 60.0))
    monkeypatch.setattr("maggjob.catalog.cmr.RETRY", Retry(total=1, backoff_factor=0, raise_on_status=False))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    """Twelve granules of cycle 22 over Antarctica."""
    return [record(name) for name in NAMES]


@pytest.fixture
def cmr(items: list[dict[str, Any]]) -> Iterator[Cmr]:
    every = copy.deepcopy(items)
    with serve(Cmr(every, [entry(item) for item in every])) as running:
        yield running


def search(cmr: Cmr, **changes: Any) -> Search:
    when = {} if {"cycle", "cycles", "start"} & changes.keys() else {"cycle": 22}
    return Search(endpoint=cmr.endpoint, **when, **changes)


def find(cmr: Cmr, **changes: Any) -> Catalog:
    return search_catalog(search(cmr, **changes), GRID)


def ids(catalog: Catalog) -> list[str]:
    return [granule.id for granule in catalog.granules]


def stems(names: list[str]) -> list[str]:
    return sorted(name.removesuffix(".h5") for name in names)


def kept(cache: Path) -> list[Path]:
    """Return the names of all files in the folder of answers, half-written ones included."""
    return sorted(path for path in cache.rglob("*") if path.is_file())


# The whole path


def test_from_search_to_catalog(cmr: Cmr, cache: Path) -> None:
    told: list[tuple[int, int]] = []
    catalog = search_catalog(search(cmr), GRID, watch=lambda *now: told.append(now))
    assert ids(catalog) == stems(NAMES)
    assert told == [(5, 12), (10, 12), (12, 12)]
    assert len(cmr.seen) == 3  # footprints were there: the JSON form is not asked for
    assert (catalog.order, catalog.latitude) == (4, "authalic")
    assert catalog.provenance["listed"] == catalog.provenance["of_the_search"] == 12
    assert catalog.provenance["older_revisions"] == 0
    assert catalog.provenance["footprints_by_track"] == []
    assert catalog.notes() == []
    assert catalog.provenance["query"]["endpoint"] == cmr.endpoint
    assert all(granule.size == 61_234_567 for granule in catalog.granules)
    assert all(set(granule.urls) == {"s3", "https"} for granule in catalog.granules)
    assert kept(cache) == []


@pytest.mark.dear("2 CPU-seconds; its neighbours cover the same lines")
def test_cells_hold_the_true_segments(cmr: Cmr) -> None:
    catalog = search_catalog(search(cmr), Grid())
    assert set(catalog.cells) <= set(area_cells(parse_area("antarctica"), 6, "authalic").tolist())
    assert all(list(granules) == sorted(set(granules)) for granules in catalog.cells.values())
    there = {(position, cell) for cell, granules in catalog.cells.items() for position in granules}
    of_area, true = area_cells(parse_area("antarctica"), 6, "authalic"), set()
    for name in NAMES:
        position = ids(catalog).index(name.removesuffix(".h5"))
        track = name.split("_")[2]
        angles = np.arange(*region_angles()[int(track[6:])], 0.01)
        for offset in OFFSETS:
            cells = np.unique(nested(*ground_track(int(track[:4]), angles, offset), 6, "authalic"))
            true |= {(position, cell) for cell in cells[np.isin(cells, of_area)].tolist()}
    assert true <= there
    assert len(there) < 1.08 * len(true)
    assert all(
        granule.cells is not None and granule.cells >= sum(i in of for of in catalog.cells.values())
        for i, granule in enumerate(catalog.granules)
    )


def test_footprints_are_those_of_the_granules(cmr: Cmr, items: list[dict[str, Any]]) -> None:
    cmr.items.append(record(name_of(7, region=3)))  # Greenland's: not among the granules in the end
    catalog = find(cmr)
    assert catalog.footprints is not None
    assert catalog.footprints.owner.tolist() == list(range(12))
    by_name = {item["umm"]["GranuleUR"].removesuffix(".h5"): item for item in items}
    for name, ring in zip(ids(catalog), catalog.footprints.rings(), strict=True):
        shape = by_name[name]["umm"]["SpatialExtent"]["HorizontalSpatialDomain"]["Geometry"]["GPolygons"][0]
        points = [(p["Longitude"], p["Latitude"]) for p in shape["Boundary"]["Points"]]
        assert ring.tolist() == [list(point) for point in points]


@pytest.mark.dear("several searches; the usual grid is in make test")
def test_other_grids_and_areas(cmr: Cmr) -> None:
    everywhere, few = find(cmr), find(cmr, aoi="basins:2,17")
    assert set(few.cells) < set(everywhere.cells)
    assert few.provenance["area"] == "basins:2,17"
    for cell, granules in few.cells.items():
        names = [ids(few)[i] for i in granules]
        assert names == [ids(everywhere)[i] for i in everywhere.cells[cell]]
    healpy = search_catalog(search(cmr), Grid(5, 11, "geodetic-spherical"))
    assert healpy.order == 5
    assert set(healpy.cells) <= set(area_cells(parse_area("antarctica"), 5, "geodetic-spherical").tolist())
    assert find(cmr, swath_buffer_km=50).pairs > 1.1 * everywhere.pairs


# What is asked for


def test_the_query(cmr: Cmr) -> None:
    find(cmr)
    (asked,) = {json.dumps(one, sort_keys=True) for one in cmr.asked}
    query = json.loads(asked)
    assert query["short_name"] == "ATL06"
    assert query["version"] == "007"
    assert query["provider"] == "NSIDC_CPRD"
    west, south, east, north = map(float, query["bounding_box"].split(","))
    assert (west, south, east) == (-180, -90, 180)
    assert -60 < north < -55
    first, last = (datetime.fromisoformat(moment) for moment in query["temporal[]"].split(","))
    # Cycle 22 began on 2023-12-18 and cycle 23 on 2024-03-18.
    assert datetime(2023, 11, 25, tzinfo=UTC) < first < datetime(2023, 12, 16, tzinfo=UTC)
    assert datetime(2024, 3, 20, tzinfo=UTC) < last < datetime(2024, 4, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("aoi", "south", "north"),
    [
        ("greenland", (54, 59.7), (84, 90)),
        ([170, -80, -170, -70], (-84, -82), (-68, -66)),
        ("north-of:88", (84, 86), (90, 90)),
    ],
)
def test_the_band_of_latitudes(aoi: Any, south: tuple[float, float], north: tuple[float, float]) -> None:
    query = make_query(Search(cycle=22, aoi=aoi), parse_area(aoi))
    assert south[0] <= query.south <= south[1]
    assert north[0] <= query.north <= north[1]


@pytest.mark.dear("tracks of a whole cycle; one stands for all", keep=("22-2023-12-18",))
@pytest.mark.parametrize(("cycle", "day"), [(2, "2018-12-28"), (22, "2023-12-18"), (23, "2024-03-18")])
def test_when_cycles_begin(cycle: int, day: str) -> None:
    assert abs((cycle_start(cycle) - datetime.fromisoformat(day).date()).days) <= 2
    query = make_query(Search(cycle=cycle), parse_area("grounded"))
    assert query.start[:10] < day < query.stop[:10]


@pytest.mark.dear("tracks of a whole cycle")
def test_a_cycle_is_what_the_name_says(cmr: Cmr) -> None:
    """Granules of the cycles before and after lie in the window of dates."""
    others = [name_of(1380, cycle=21), name_of(5, cycle=23)]
    cmr.items += [record(name) for name in others]
    assert ids(find(cmr)) == stems(NAMES)
    assert ids(find(cmr, cycle=21)) == stems(others[:1])
    assert ids(find(cmr, cycles=(21, 22))) == stems([*NAMES, others[0]])
    assert ids(find(cmr, cycles="22-23")) == stems([*NAMES, others[1]])
    # A granule whose time is wrong is still of its cycle.
    odd = name_of(9).replace("_2023", "_2021")
    cmr.items.append(record(odd))
    assert odd.removesuffix(".h5") in ids(find(cmr))


def test_days(cmr: Cmr) -> None:
    days = sorted({name[6:14] for name in NAMES})
    assert len(days) > 2
    first = datetime.strptime(days[0], "%Y%m%d").replace(tzinfo=UTC).date()
    assert ids(find(cmr, start=first, end=first)) == stems([name for name in NAMES if name[6:14] == days[0]])
    assert cmr.asked[-1]["temporal[]"] == f"{first}T00:00:00Z,{first}T23:59:59Z"
    over = find(cmr, start=first, end=first + timedelta(days=400))
    assert ids(over) == stems(NAMES)
    del cmr.items[0]["umm"]["TemporalExtent"]
    with pytest.raises(CatalogError, match="CMR gives no time for it"):
        find(cmr, start=first, end=first + timedelta(days=30))


def test_other_products_and_versions_are_left_out(cmr: Cmr) -> None:
    cmr.items += [record(name_of(9, version="006")), record(name_of(9).replace("ATL06", "ATL08"))]
    catalog = find(cmr)
    assert ids(catalog) == stems(NAMES)
    assert (catalog.provenance["listed"], catalog.provenance["of_the_search"]) == (14, 12)
    assert len(ids(find(cmr, version=6))) == 1
    assert cmr.asked[-1]["version"] == "006"


def test_older_revisions_are_left_out_and_noted(cmr: Cmr) -> None:
    newer = NAMES[4].replace("_007_01", "_007_02")
    cmr.items.insert(0, record(newer))
    cmr.items.append(record(NAMES[4].replace("_007_01", "_007_10")))
    catalog = find(cmr)
    names = stems([*(n for n in NAMES if n != NAMES[4]), NAMES[4].replace("_007_01", "_007_10")])
    assert ids(catalog) == names
    assert catalog.provenance["older_revisions"] == 2
    assert "2 older revisions" in catalog.notes()[0]


def test_two_of_one_name_are_refused() -> None:
    answer = from_records([record(NAMES[0], concept="G1"), record(NAMES[0], concept="G2"), record(NAMES[1])])
    with pytest.raises(CatalogError, match="is listed twice"):
        newest(answer)


def from_records(items: list[dict[str, Any]]) -> list[Any]:
    from maggjob.catalog.records import from_umm

    return [from_umm(item) for item in items]


# Footprints that are missing or bad


def test_records_without_a_footprint_take_the_json_form_s(cmr: Cmr) -> None:
    with_rings = find(cmr)
    for item in cmr.items[::2]:
        item["umm"]["SpatialExtent"]["HorizontalSpatialDomain"] = {"Orbit": {"StartLatitude": -50.0}}
    catalog = find(cmr)
    assert catalog.cells == with_rings.cells
    assert catalog.provenance["footprints_by_track"] == []
    assert [seen.path for seen in cmr.seen[3:]] == ["/search/granules.umm_json"] * 3 + ["/search/granules.json"] * 3


@pytest.mark.parametrize("how", ["neither has one", "the JSON form lacks the granule", "it crosses itself"])
def test_a_granule_without_any_footprint_is_kept(cmr: Cmr, how: str) -> None:
    with_rings = find(cmr)
    domain = cmr.items[3]["umm"]["SpatialExtent"]["HorizontalSpatialDomain"]
    if how == "it crosses itself":
        points = domain["Geometry"]["GPolygons"][0]["Boundary"]["Points"]
        points[3], points[20] = points[20], points[3]
    else:
        domain.clear()
        if how == "neither has one":
            cmr.entries[3].pop("polygons")
        else:
            cmr.entries.pop(3)
    catalog = find(cmr)
    modelled = NAMES[3].removesuffix(".h5")
    assert ids(catalog) == stems(NAMES)
    assert catalog.provenance["footprints_by_track"] == [modelled]
    assert f"1 granules have no usable footprint, such as {modelled}" in catalog.notes()[0]
    for cell, granules in with_rings.cells.items():  # wider than CMR's: nothing is lost
        assert set(granules) <= set(catalog.cells[cell])
    assert catalog.pairs < 1.2 * with_rings.pairs


def test_every_footprint_missing(cmr: Cmr) -> None:
    for item in cmr.items:
        item["umm"].pop("SpatialExtent")
    cmr.entries.clear()
    catalog = find(cmr)
    assert len(catalog.granules) == len(catalog.provenance["footprints_by_track"]) == 12


# What is refused


def test_a_granule_twice(cmr: Cmr, cache: Path) -> None:
    cmr.items.append(copy.deepcopy(cmr.items[0]))
    with pytest.raises(CatalogError, match=f"granule {NAMES[0].removesuffix('.h5')} is listed twice"):
        find(cmr)


def test_a_page_with_one_granule_again(cmr: Cmr) -> None:
    cmr.faults = {1: faulty(again=True)}
    with pytest.raises(CatalogError, match="is listed twice"):
        find(cmr)


@pytest.mark.parametrize("aoi", ["greenland", [100, 30, 100.2, 30.2], [-5.0, -40.0, -4.9, -39.9]])
def test_an_area_without_granules(cmr: Cmr, aoi: Any) -> None:
    with pytest.raises(CatalogError, match="none of the 12 granules found touches the area"):
        find(cmr, aoi=aoi)


def test_no_granules(cmr: Cmr) -> None:
    with pytest.raises(CatalogError, match=r"CMR lists 12 granules, none of ATL06 version 007 of cycle 21"):
        find(cmr, cycle=21)
    with pytest.raises(CatalogError, match="none of ATL06 version 005"):
        find(cmr, version="005")
    cmr.items.clear()
    with pytest.raises(CatalogError, match="CMR lists 0 granules"):
        find(cmr, cycle=20)


def test_a_product_that_is_not_icesat_s(cmr: Cmr) -> None:
    for url in cmr.items[0]["umm"]["RelatedUrls"]:
        url["URL"] = url["URL"].replace(NAMES[0], "other.h5")
    with pytest.raises(CatalogError, match="granule other: its name gives no track"):
        find(cmr)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cycle": 0}, "greater than or equal to 1"),
        ({"cycle": 100}, "less than or equal to 99"),
        ({"cycle": "x"}, "valid integer"),
        ({"cycle": 22, "cycles": (21, 22)}, "give one of"),
        ({"cycle": 22, "start": "2024-01-01", "end": "2024-02-01"}, "give one of"),
        ({"cycles": (22, 21)}, "must ascend"),
        ({"cycles": (0, 3)}, "from 1"),
        ({"cycles": "20-21-22"}, "cycles"),
        ({"start": "2024-02-01", "end": "2024-01-01"}, "start 2024-02-01 is after end 2024-01-01; swap them"),
        ({"start": "2024-02-01"}, "both start and end"),
        ({"end": "2024-02-01"}, "both start and end"),
        ({"start": "2024-02-31", "end": "2024-03-01"}, "start"),
        ({"cycle": 22, "version": "7a"}, "version"),
        ({"cycle": 22, "version": 1000}, "version"),
        ({"cycle": 22, "short_name": "MOD10"}, "short_name"),
        ({"cycle": 22, "provider": "NSIDC&x=1"}, "provider"),
        ({"cycle": 22, "swath_buffer_km": -1}, "swath_buffer_km"),
        ({"cycle": 22, "swath_buffer_km": float("nan")}, "swath_buffer_km"),
        ({"cycle": 22, "sort": "x"}, "sort"),
    ],
)
def test_searches_that_are_none(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Search(**given)


def test_spellings_of_a_search() -> None:
    assert Search(cycle=22, version=7).version == Search(cycle=22, version="7").version == "007"
    assert Search(cycles="21-22").cycle_range == Search(cycles=[21, 22]).cycle_range == (21, 22)
    assert Search(cycle=22).cycle_range == (22, 22)
    assert Search(start="2024-01-01", end="2024-01-01").cycle_range is None


def test_a_cycle_that_has_not_begun(cmr: Cmr) -> None:
    for span in ({"cycle": 99}, {"cycles": (22, 99)}):
        with pytest.raises(InputError, match="cycle 99 begins only about 2043"):
            find(cmr, **span)
    assert cmr.seen == []


def test_a_bad_area_is_refused_before_anything_is_asked(cmr: Cmr) -> None:
    with pytest.raises(InputError, match="atlantis"):
        find(cmr, aoi="atlantis")
    assert cmr.seen == []


def test_cmr_over_http(cache: Path) -> None:
    with pytest.raises(InputError, match="https://"):
        search_catalog(Search(cycle=22, endpoint="http://cmr.example.com/search/"), GRID)
    assert kept(cache) == []


# What is kept


def test_each_search_asks(cmr: Cmr) -> None:
    first = find(cmr)
    asked = len(cmr.seen)
    assert find(cmr).digest == first.digest
    assert len(cmr.seen) == 2 * asked


# Recorded pages


def test_recorded_pages(items: list[dict[str, Any]], cmr: Cmr, tmp_path: Path) -> None:
    paths = [tmp_path / f"page{i}.json" for i in range(3)]
    for i, path in enumerate(paths):
        path.write_text(json.dumps({"hits": 12, "items": items[5 * i : 5 * i + 5]}))
    recorded = search_catalog(Search(cycle=22), GRID, listing=from_pages(paths))
    assert recorded.digest == find(cmr).digest
    with pytest.raises(CatalogError, match=r"the pages hold 10 granules, but state \[12\]"):
        from_pages(paths[:2])
    paths[1].write_text(json.dumps({"hits": 13, "items": items[5:10]}))
    with pytest.raises(CatalogError, match=r"state \[12, 13\]"):
        from_pages(paths)


def test_records_of_the_simulator(tmp_path: Path) -> None:
    granules = [tmp_path / name_of(rgt, version="006") for rgt in (3, 4)]
    for granule in granules:
        granule.write_bytes(b"x" * 1000)
    (tmp_path / "page.json").write_text(json.dumps(cmr_records(granules)))
    answer = from_pages([tmp_path / "page.json"])
    catalog = search_catalog(Search(cycle=22, version="006"), GRID, listing=answer)
    assert ids(catalog) == sorted(granule.stem for granule in granules)
    assert [granule.size for granule in catalog.granules] == [1000, 1000]


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"items": []}', b'{"hits": "x", "items": []}', HTML])
def test_pages_that_are_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "page.json").write_bytes(content)
    with pytest.raises(CatalogError, match=r"page.json: not a page of CMR's UMM-JSON"):
        from_pages([tmp_path / "page.json"])
    with pytest.raises(CatalogError, match=r"absent.json: not a page"):
        from_pages([tmp_path / "absent.json"])
