"""Cells of areas and of footprints, compared with shapely over outlines of cells that mortie did not draw."""

import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import healpix_geo.nested
import healpy
import mortie
import numpy as np
import pytest
import shapely
from hypothesis import given, settings, strategies as st
from pyproj import Transformer

from maggjob.grid.areas import NORTH, SOUTH, parse_area
from maggjob.grid.coverage import Pairs, area_cells, describe_area, footprint_pairs, great_circle
from maggjob.grid.footprints import Footprints
from maggjob.grid.healpix import LATITUDES, Latitude, parse_cell
from maggjob.icesat2.orbit import OFFSETS, TRACKS, Pass, ground_track, region_angles
from maggjob.simulator.scene import footprint
from tests.oracle import nested
from tests.strategies import few

TOLERANCE = 3.0  # metres by which outlines of the two sides may differ: chords of curves
STEPS = {6: 32, 7: 16, 8: 8}  # points along a side of a cell, 3 km apart
POLAR, ALL = 47, -2  # degrees of latitude that the centres of the cells drawn lie beyond
BASINS = "tests/Ant_Grounded_DrainageSystem_Polygons.txt"
both = pytest.mark.parametrize("latitude", LATITUDES)


def outlines(cells: np.ndarray, order: int, latitude: str, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Longitudes and latitudes of the edges of cells."""
    if latitude == "authalic":
        return healpix_geo.nested.vertices(cells.astype(np.uint64), order, ellipsoid="WGS84", step=step)
    vectors = np.moveaxis(healpy.boundaries(1 << order, cells, step=step, nest=True), 1, 2)
    longitude, north = healpy.vec2ang(vectors.reshape(-1, 3), lonlat=True)
    return longitude.reshape(len(cells), -1), north.reshape(len(cells), -1)


def project(longitude: Any, latitude: Any, crs: int) -> np.ndarray:
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(np.fmod(longitude, 360.0), latitude)
    return np.stack([x, y], axis=-1)


@lru_cache(maxsize=4)
def drawn(order: int, latitude: str, crs: int, beyond: int = POLAR) -> tuple[np.ndarray, np.ndarray, shapely.STRtree]:
    """Cells that reach into a hemisphere, their polygons in its plane, and a tree of these.

    Cells of order 6 are those whose centres lie poleward of ``beyond``, coarser ones are all.
    """
    cells = np.arange(12 << 2 * order)
    if order == 6:
        north = healpy.pix2ang(1 << order, cells, nest=True, lonlat=True)[1]
        cells = cells[(-north if crs == SOUTH else north) > beyond]
    return draw(cells, order, latitude, crs)


def draw(cells: np.ndarray, order: int, latitude: str, crs: int) -> tuple[np.ndarray, np.ndarray, shapely.STRtree]:
    """Draw cells in the plane of a hemisphere, those that reach into it."""
    longitude, north = outlines(cells, order, latitude, STEPS.get(order, 32 if order > 4 else 128))
    sign = -1 if crs == SOUTH else 1
    here = ((sign * north).max(axis=1) >= 0) & ((sign * north).min(axis=1) > -60)
    shapes = shapely.polygons(project(longitude[here], north[here], crs))
    return cells[here], shapes, shapely.STRtree(shapes)


def drawn_near(shape: Any, order: int, latitude: str, crs: int) -> tuple[np.ndarray, np.ndarray, shapely.STRtree]:
    """Cells of an order above 6 whose parents of order 6 touch a shape."""
    parents, _, tree = drawn(6, latitude, crs)
    near = parents[tree.query(shape, predicate="dwithin", distance=10 * TOLERANCE)]
    deeper = 2 * (order - 6)
    cells = (near[:, None] << deeper) + np.arange(1 << deeper)
    return draw(np.sort(cells.ravel()), order, latitude, crs)


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """Drawings are hundreds of megabytes: let them go with the last test of this module."""
    yield
    for function in (drawn, basin_cells, cycle):
        function.cache_clear()


def check(found: np.ndarray, wanted: dict[int, Any], order: int, latitude: str, beyond: int = POLAR) -> None:
    """Check that exactly those cells are found that touch what is wanted."""
    assert found.dtype == np.int64
    assert (np.diff(found) > 0).all()
    must, may = set(), set()
    for crs, shape in wanted.items():
        shapely.prepare(shape)
        near = drawn(order, latitude, crs, beyond) if order <= 6 else drawn_near(shape, order, latitude, crs)
        cells, shapes, tree = near
        touch = tree.query(shape, predicate="dwithin", distance=TOLERANCE)
        may |= set(cells[touch].tolist())
        edge = tree.query(shape.boundary, predicate="dwithin", distance=TOLERANCE)
        must |= set(cells[np.setdiff1d(touch, edge)].tolist())
        surely = shapely.intersects(shape, shapely.buffer(shapes[edge], -TOLERANCE))
        must |= set(cells[edge[surely]].tolist())
    assert must
    assert must - set(found.tolist()) == set(), "missed"
    assert set(found.tolist()) - may == set(), "extra"


# Basins


def basins() -> tuple[shapely.Polygon, ...]:
    """The 27 basins at full resolution, in EPSG:3031."""
    table = np.loadtxt(Path(mortie.__file__).parent / BASINS)
    points, number = project(table[:, 1], table[:, 0], SOUTH), table[:, 2].astype(int)
    return tuple(shapely.Polygon(points[number == i]) for i in range(1, 28))


@lru_cache
def basin_cells(latitude: str) -> tuple[frozenset[int], ...]:
    """Cells of order 6 that each basin touches."""
    cells, _, tree = drawn(6, latitude, SOUTH)
    found = []
    for basin in basins():
        shapely.prepare(basin)
        found.append(frozenset(cells[tree.query(basin, predicate="intersects")].tolist()))
    return tuple(found)


@pytest.mark.parametrize(
    ("latitude", "count"),
    [
        ("authalic", 1344),
        pytest.param("geodetic-spherical", 1334, marks=pytest.mark.dear("compares 27 detailed basins once more")),
    ],
)
@pytest.mark.dear("all basins, each of which is looked at alone")
def test_grounded_ice_to_the_cell(latitude: Latitude, count: int) -> None:
    every = frozenset().union(*basin_cells(latitude))
    assert len(every) == count
    assert area_cells(parse_area("grounded"), 6, latitude).tolist() == sorted(every)


@pytest.mark.dear("1 CPU-seconds; its neighbours cover the same lines")
def test_each_basin_to_the_cell() -> None:
    for number, wanted in enumerate(basin_cells("authalic"), 1):
        assert area_cells(parse_area(f"basins:{number}"), 6, "authalic").tolist() == sorted(wanted), number


# Hard areas, drawn by hand in the plane


def along(points: list[tuple[float, float]], crs: int, closed: bool = True) -> np.ndarray:
    """Points in the plane along edges that are straight in longitude and latitude."""
    ring = np.array(points + points[:1] if closed else points, float)
    pieces = [
        a + (b - a) * np.linspace(0, 1, max(20, int(np.abs(b - a).max() * 20)), endpoint=False)[:, None]
        for a, b in pairwise(ring)
    ]
    dense = np.concatenate(pieces)
    return project(dense[:, 0], dense[:, 1], crs)


def ring(points: list[tuple[float, float]], crs: int = SOUTH) -> shapely.Polygon:
    return shapely.Polygon(along(points, crs))


def turn(points: list[tuple[float, float]], crs: int = SOUTH) -> shapely.Polygon:
    """A ring round the pole."""
    return shapely.Polygon(along([*points, (points[0][0] + 360, points[0][1])], crs, closed=False))


def sector(west: float, south: float, east: float, north: float, crs: int = SOUTH) -> shapely.Polygon:
    return ring([(west, south), (east, south), (east, north), (west, north)], crs)


def spiral(turns: float, first: float) -> list[tuple[float, float]]:
    """A strip, 1.5 degrees wide, that winds from 88 to 65 degrees south."""
    share = np.linspace(0, 1, int(turns * 24))
    inner = [(first + 360 * turns * s, -88 + 23 * s) for s in share]
    return inner + [(x, y + 1.5) for x, y in inner[::-1]]


def gj(*rings: list[tuple[float, float]]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(map(float, p)) for p in [*r, r[0]]] for r in rings]}


def cases() -> dict[str, tuple[Any, dict[int, Any]]]:
    star = [(360 * i / 14 - 180, -60.0 if i % 2 else -80.0) for i in range(14)]
    outer, inner = [(x, -65.0) for x in (-170, -50, 70)], [(x, -75.0) for x in (-100, 20, 140)]
    south = [(-170.0, -65.0), (-100.0, -75.0), (-20.0, -70.0)]
    comb = [(x, -70.0 if i % 4 in (0, 3) else -78.0) for i, x in enumerate(range(20, 60, 2))]
    return {
        "wide": ("-170,-80,170,-65", {SOUTH: sector(-170, -80, 170, -65)}),
        "wide, in the north": ("-100,65,170,80", {NORTH: sector(-100, 65, 170, 80, NORTH)}),
        "across 180": ("160,-85,-150,-70", {SOUTH: sector(160, -85, 210, -70)}),
        "across 180, in the north": ("160,62,-150,88", {NORTH: sector(160, 62, 210, 88, NORTH)}),
        "a cap": ("south-of:-71.3", {SOUTH: turn([(0, -71.3), (180, -71.3)])}),
        "a cap in the north": ("north-of:66.6", {NORTH: turn([(0, 66.6), (180, 66.6)], NORTH)}),
        "a wedge": ("10,-90,50,-80", {SOUTH: sector(10, -90, 50, -80)}),
        "half a cap": ("20.3,-90,200.3,-75", {SOUTH: sector(20.3, -90, 200.3, -75)}),
        "round the pole": (gj(outer), {SOUTH: turn(outer)}),
        "round the pole with a hole round it": (gj(outer, inner), {SOUTH: turn(outer).difference(turn(inner))}),
        "a star round the pole": (gj(star), {SOUTH: turn(star)}),
        "a spiral": (gj(spiral(1.9, -360)), {SOUTH: ring(spiral(1.9, -360))}),
        "a spiral of three turns": (gj(spiral(3.2, -630)), {SOUTH: ring(spiral(3.2, -630))}),
        "a comb": (gj([*comb, (60.0, -60.0), (20.0, -60.0)]), {SOUTH: ring([*comb, (60, -60), (20, -60)])}),
        "a sliver along a parallel": ("-120,-75.0001,-60,-75", {SOUTH: sector(-120, -75.0001, -60, -75)}),
        "a sliver along a meridian": ("30,-89,30.001,-65", {SOUTH: sector(30, -89, 30.001, -65)}),
        "a slanted sliver": (
            gj([(-150, -62), (29, -89), (29.01, -89)]),
            {SOUTH: ring([(-150, -62), (29, -89), (29.01, -89)])},
        ),
        "a few metres": ("55.1,-71.0001,55.1001,-71", {SOUTH: sector(55.1, -71.0001, 55.1001, -71)}),
        "two parts": (
            {
                "type": "MultiPolygon",
                "coordinates": [gj(south)["coordinates"], [[[100, 70], [140, 70], [120, 85]]]],
            },
            {SOUTH: ring(south), NORTH: ring([(100, 70), (140, 70), (120, 85)], NORTH)},
        ),
    }


CASES = cases()
ACROSS_EQUATOR = {
    "across the equator": (
        "20,-12,70,15",
        {SOUTH: sector(20, -12, 70, 0), NORTH: sector(20, 0, 70, 15, NORTH)},
    ),
    "most of it": (
        "-30,-12,215,55",
        {SOUTH: sector(-30, -12, 215, 0), NORTH: sector(-30, 0, 215, 55, NORTH)},
    ),
}


again = pytest.mark.dear("every hard area in the other convention; every third of them is in make test")


@pytest.mark.dear("nineteen areas; others are tested beside it")
@pytest.mark.parametrize(
    ("case", "latitude"),
    [
        *((case, "authalic") for case in CASES),
        *(pytest.param(case, "geodetic-spherical", marks=[again]) for i, case in enumerate(CASES, start=2)),
    ],
)
def test_cells_of_hard_areas(case: str, latitude: Latitude) -> None:
    asked, wanted = CASES[case]
    check(area_cells(parse_area(asked), 6, latitude), wanted, 6, latitude)


@pytest.mark.dear("draws half of the earth at order 6 four times; order 5 and below are in make test")
@both
@pytest.mark.parametrize("case", ACROSS_EQUATOR)
def test_cells_of_areas_across_the_equator(case: str, latitude: Latitude) -> None:
    asked, wanted = ACROSS_EQUATOR[case]
    check(area_cells(parse_area(asked), 6, latitude), wanted, 6, latitude, ALL)


all_large = pytest.mark.dear("draws all large cells of both conventions; one order of each is in make test")


@pytest.mark.dear("2 CPU-seconds; its neighbours cover the same lines")
@pytest.mark.parametrize(
    ("order", "latitude"),
    [
        (2, "authalic"),
        (3, "geodetic-spherical"),
        pytest.param(4, "authalic", marks=all_large),
        pytest.param(5, "authalic", marks=all_large),
        pytest.param(5, "geodetic-spherical", marks=all_large),
    ],
)
@pytest.mark.parametrize("case", ["across 180", "round the pole with a hole round it", "a spiral", *ACROSS_EQUATOR])
def test_large_cells_of_hard_areas(case: str, order: int, latitude: Latitude) -> None:
    asked, wanted = (CASES | ACROSS_EQUATOR)[case]
    check(area_cells(parse_area(asked), order, latitude), wanted, order, latitude)


all_small = pytest.mark.dear("draws 100,000 small cells; a sliver and two parts are in make test")


@pytest.mark.dear("1 CPU-seconds; its neighbours cover the same lines")
@pytest.mark.parametrize(
    ("case", "order"),
    [
        pytest.param("a cap in the north", 7, marks=all_small),
        pytest.param("a star round the pole", 7, marks=all_small),
        pytest.param("a spiral", 7, marks=all_small),
        ("a slanted sliver", 8),
        ("two parts", 7),
    ],
)
def test_small_cells_of_hard_areas(case: str, order: int) -> None:
    asked, wanted = CASES[case]
    check(area_cells(parse_area(asked), order, "authalic"), wanted, order, "authalic")


@both
@pytest.mark.dear("all cells of the earth; hard areas are in make test")
def test_the_whole_earth_and_the_largest_cells(latitude: Latitude) -> None:
    everywhere = parse_area("-180,-90,180,90")
    for order in range(4):
        assert len(area_cells(everywhere, order, latitude)) == 12 << 2 * order
    # Base cells 8 to 11 meet at the south pole; 4 to 7 lie round the equator.
    assert area_cells(parse_area("south-of:-60"), 0, latitude).tolist() == [8, 9, 10, 11]
    assert area_cells(parse_area("north-of:-60"), 0, latitude).tolist() == list(range(12))


@pytest.mark.dear("all cells of an ice sheet; the other convention", keep=("authalic",))
@both
def test_finer_cells_lie_in_coarser_ones(latitude: Latitude) -> None:
    area = parse_area("greenland")
    cells = {order: area_cells(area, order, latitude) for order in (3, 5, 7)}
    assert set((cells[5] >> 4).tolist()) == set(cells[3].tolist())
    assert set((cells[7] >> 4).tolist()) == set(cells[5].tolist())


def points_in(shape: shapely.Polygon, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random points inside of a polygon of the plane of longitude and latitude."""
    west, south, east, north = shape.bounds
    points = np.column_stack([rng.uniform(west, east, 40 * count), rng.uniform(south, north, 40 * count)])
    return points[shapely.contains_xy(shape, points)][:count]


@st.composite
def polygons(draw: st.DrawFn) -> shapely.Polygon:
    """A ring that does not cross itself in the plane of longitude and latitude, across 180 or not."""
    west = draw(st.floats(-200, 180))
    south = draw(st.one_of(st.floats(-88, -55), st.floats(50, 75), st.floats(-25, 15)))
    width, height = draw(st.floats(0.01, 150)), draw(st.floats(0.01, 12))
    if draw(st.booleans()):
        return shapely.box(west, south, west + width, south + height)
    radii = np.array(draw(st.lists(st.floats(0.05, 1), min_size=5, max_size=12)))
    angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    x = west + width * (1 + radii * np.cos(angle)) / 2
    y = south + height * (1 + radii * np.sin(angle)) / 2
    return shapely.Polygon(np.column_stack([x, y]))


@settings(few, max_examples=few.max_examples // 2)
@given(polygons(), st.integers(2, 7), st.sampled_from(LATITUDES), st.integers(0, 2**32))
@pytest.mark.dear("a million points")
def test_every_point_has_its_cell_and_every_cell_touches(
    shape: shapely.Polygon, order: int, latitude: Latitude, seed: int
) -> None:
    cells = area_cells(parse_area(json.loads(shapely.to_geojson(shape))), order, latitude)
    points = points_in(shape, 200, np.random.default_rng(seed))
    inside = nested(points[:, 1], points[:, 0], order, latitude)
    assert set(inside.tolist()) <= set(cells.tolist())
    # The other way in the planes, with a ring of our own.
    corners = [(x, y) for x, y in shapely.get_coordinates(shape)[:-1].tolist()]
    planes = [SOUTH] if shape.bounds[3] <= 0 else [NORTH] if shape.bounds[1] >= 0 else [SOUTH, NORTH]
    touched: set[int] = set()
    ids = cells[:: len(cells) // 400 + 1]
    for crs in planes:
        longitude, north = outlines(ids, order, latitude, 32 if order > 4 else 128)
        sign = -1 if crs == SOUTH else 1
        north = sign * np.maximum(sign * north, -60)
        drawing = ring(corners, crs)
        shapely.prepare(drawing)
        near = shapely.dwithin(drawing, shapely.polygons(project(longitude, north, crs)), 50 * TOLERANCE)
        touched |= set(ids[near].tolist())
    assert touched == set(ids.tolist())


def test_what_a_catalog_says_of_an_area() -> None:
    plain = json.loads(json.dumps(describe_area(parse_area("20,-12,70,15"))))
    assert plain["area"] == "20,-12,70,15"
    assert set(plain["outline"]) == {"3031", "3413"}
    for crs, rings in plain["outline"].items():
        south = parse_area("20,-12,70,15").south if crs == "3031" else parse_area("20,-12,70,15").north
        assert shapely.hausdorff_distance(shapely.Polygon(rings[0]), south) < 6e3


# Footprints


@both
def test_real_polar_footprints_are_found(shared: Path, latitude: Latitude) -> None:
    """Each of the nine lies over the pole, and truly touches a cell that naive methods miss."""
    records = json.loads((shared / "cmr" / "mortie_atl06_v007_polar_pairs.json").read_text())
    rings = [np.column_stack([record["lons"], record["lats"]]) for record in records]
    pairs = footprint_pairs(Footprints.of([[one] for one in rings]), 6, latitude)
    assert len(records) == 9
    cells, _, tree = drawn(6, latitude, SOUTH)
    for i, record in enumerate(records):
        found = set(pairs.cell[pairs.granule == i].tolist())
        if latitude == "geodetic-spherical":  # whose ids these are
            assert parse_cell(record["shard_key"], 6) in found
        dense = great_circle(rings[i], 5e3)
        touched = tree.query(shapely.Polygon(project(dense[:, 0], dense[:, 1], SOUTH)), predicate="intersects")
        assert set(cells[touched].tolist()) == found


EVERY = 10  # how many tracks are passed over in make test


@lru_cache
def cycle(every: int) -> tuple[range, list[np.ndarray]]:
    """Every n-th track, and the footprints of its three granules over Antarctica."""
    tracks = range(1, TRACKS + 1, every)
    return tracks, [np.array(footprint(Pass(rgt, 22, region))) for region in (10, 11, 12) for rgt in tracks]


def keys(granule: np.ndarray, cell: np.ndarray) -> np.ndarray:
    return np.unique(granule.astype(np.int64) << 20 | cell.astype(np.int64))


@pytest.mark.parametrize(
    "every",
    [EVERY, pytest.param(1, marks=pytest.mark.dear("all 4161 granules of a cycle; every tenth is in make test"))],
)
def test_no_pair_of_a_cycle_is_missed(every: int) -> None:
    """Compare with the places of all six beams: a track is the first one, turned."""
    tracks, rings = cycle(every)
    pairs = footprint_pairs(Footprints.of([[one] for one in rings]), 6, "authalic")
    true = []
    for position, region in enumerate((10, 11, 12)):
        angles = Pass(1, 22, region).angles(0.01)  # 1.1 km
        first = [ground_track(1, angles, offset) for offset in OFFSETS]
        north, east = (np.concatenate(part) for part in zip(*first, strict=True))
        check_one = ground_track(tracks[-2], angles, OFFSETS[5])
        for number, track in enumerate(tracks):
            longitude = (east - (track - 1) * 360.0 * 91 / TRACKS + 180.0) % 360.0 - 180.0
            if track == tracks[-2]:  # that the turning is right
                assert np.allclose((check_one[1] - longitude[-len(angles) :] + 180) % 360, 180, atol=1e-9)
                assert np.allclose(check_one[0], north[-len(angles) :], atol=1e-12)
            cells = np.unique(nested(north, longitude, 6, "authalic"))
            true.append(np.int64(position * len(tracks) + number) << 20 | cells)
    truth, found = np.concatenate(true), keys(pairs.granule, pairs.cell)
    assert len(truth) > 160_000 / every
    assert len(np.setdiff1d(truth, found)) == 0
    extra = len(np.setdiff1d(found, truth)) / len(truth)
    assert extra <= 0.05, extra
    grounded = area_cells(parse_area("grounded"), 6, "authalic")
    there = truth[np.isin(truth & (1 << 20) - 1, grounded)]
    assert np.isin(there, keys(*vars(pairs.among(grounded)).values())).all()


def against_tree(rings: list[np.ndarray], latitude: Latitude, order: int = 6, beyond: int = POLAR) -> int:
    """Compare footprints' cells with shapely's, and return how many pairs there are."""
    pairs = footprint_pairs(Footprints.of([[one] for one in rings]), order, latitude)
    found = keys(pairs.granule, pairs.cell)
    must, may = [], []
    for crs in (SOUTH, NORTH):
        these = [i for i, one in enumerate(rings) if (one[:, 1].mean() < 0) == (crs == SOUTH)]
        if not these:
            continue
        cells, shapes, tree = drawn(order, latitude, crs, beyond)
        dense = [great_circle(rings[i], 5e3) for i in these]
        prints = np.array([shapely.Polygon(project(one[:, 0], one[:, 1], crs)) for one in dense])
        assert shapely.is_valid(prints).all()
        which, touched = tree.query(prints, predicate="dwithin", distance=300.0)  # mortie's slack is 200
        surely = shapely.intersects(shapely.buffer(prints, -20.0)[which], shapes[touched])
        owner = np.array(these)[which]
        may.append(keys(owner, cells[touched]))
        must.append(keys(owner[surely], cells[touched[surely]]))
    assert len(np.setdiff1d(np.concatenate(must), found)) == 0, "missed"
    assert len(np.setdiff1d(found, np.concatenate(may))) == 0, "extra"
    return len(found)


@pytest.mark.parametrize(
    ("every", "share", "latitude"),
    [
        (EVERY, 3, "authalic"),
        (EVERY, 7, "geodetic-spherical"),
        pytest.param(1, 5, "authalic", marks=pytest.mark.dear("832 footprints; 278 of them are in make test")),
        pytest.param(1, 7, "geodetic-spherical", marks=pytest.mark.dear("595 footprints; 119 are in make test")),
    ],
)
def test_footprints_of_a_cycle_against_a_tree(every: int, share: int, latitude: Latitude) -> None:
    assert against_tree(cycle(every)[1][::share], latitude) > 120_000 / every / share


@pytest.mark.parametrize(
    ("order", "shares", "least"),
    [
        (5, 12, 800),
        pytest.param(6, 72, 15_000, marks=pytest.mark.dear("draws all cells of order 6; order 5 is in make test")),
    ],
)
def test_footprints_across_the_antimeridian(order: int, shares: int, least: int) -> None:
    """A footprint of each region, north and south, turned so that 180 degrees lies at several places within it."""
    rings = []
    for region in region_angles():
        one = np.array(footprint(Pass(1, 22, region)))
        longitude = np.unwrap(one[:, 0], period=360.0)
        for share in np.linspace(0.01, 0.99, shares):
            turned = longitude - longitude.min() - share * np.ptp(longitude)
            turned = np.round(turned % 360.0 - 180.0, 5)
            rings.append(np.column_stack([turned, one[:, 1]]))
            assert np.abs(np.diff(turned)).max() > 180
    assert len(rings) == 14 * shares
    assert against_tree(rings, "authalic", order, ALL) > least


@both
def test_granules_of_several_rings_and_orders(latitude: Latitude) -> None:
    one, other = (np.array(footprint(Pass(rgt, 22, 11))) for rgt in (5, 700))
    apart = footprint_pairs(Footprints.of([[one], [], [other]]), 6, latitude)
    together = footprint_pairs(Footprints.of([[], [one, other]]), 6, latitude)
    assert set(apart.granule.tolist()) == {0, 2}
    assert set(together.granule.tolist()) == {1}
    assert together.cell.tolist() == np.unique(apart.cell).tolist()
    assert (np.diff(together.cell) > 0).all()
    coarse = footprint_pairs(Footprints.of([[one]]), 3, latitude)
    assert set(coarse.cell.tolist()) == set((apart.cell[apart.granule == 0] >> 6).tolist())
    turned = footprint_pairs(Footprints.of([[one[::-1]]]), 6, latitude)
    assert turned.cell.tolist() == apart.cell[apart.granule == 0].tolist()


def test_no_footprints() -> None:
    for none in (Footprints.of([]), Footprints.of([[], []])):
        for buffer in (0.0, 5.0):
            pairs = footprint_pairs(none, 6, "authalic", buffer)
            assert len(pairs.granule) == len(pairs.cell) == 0
            assert pairs.by_cell() == {}


def test_pairs() -> None:
    pairs = Pairs(np.array([0, 0, 1, 3]), np.array([7, 9, 7, 8]))
    assert pairs.by_cell() == {7: (0, 1), 8: (3,), 9: (0,)}
    assert pairs.among(np.array([7, 8])).by_cell() == {7: (0, 1), 8: (3,)}


@pytest.mark.parametrize(
    ("region", "kilometres"),
    [
        pytest.param(1, 2.0, marks=pytest.mark.dear("draws half of the earth at order 6")),
        pytest.param(1, 30.0, marks=pytest.mark.dear("draws half of the earth at order 6")),
        (4, 2.0),
        (4, 30.0),
        pytest.param(10, 30.0, marks=pytest.mark.dear("all of the polar cap")),
        (11, 2.0),
    ],
)
def test_a_wider_swath(region: int, kilometres: float) -> None:
    """Widened by at least so much and by little more: distances on the sphere between points of cells and footprint."""
    one = np.array(footprint(Pass(321, 22, region)))
    rings = Footprints.of([[one]])
    narrow = footprint_pairs(rings, 6, "authalic").cell
    wide = footprint_pairs(rings, 6, "authalic", kilometres).cell
    assert set(narrow.tolist()) <= set(wide.tolist())
    crs = SOUTH if one[:, 1].mean() < 0 else NORTH
    cells, shapes, tree = drawn(6, "authalic", crs, ALL if region == 1 else POLAR)
    dense = great_circle(one, 4e3)
    shape = shapely.Polygon(project(dense[:, 0], dense[:, 1], crs))
    near = tree.query(shape, predicate="dwithin", distance=150e3)
    longitude, north = outlines(cells[near], 6, "authalic", 16)

    def sphere(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x, y = np.radians(x), np.radians(y)
        return 6371.0 * np.stack([np.cos(y) * np.cos(x), np.cos(y) * np.sin(x), np.sin(y)], axis=-1)

    edge = sphere(dense[:, 0], dense[:, 1])
    away = np.array([np.min(np.linalg.norm(edge[:, None] - cell[None], axis=2)) for cell in sphere(longitude, north)])
    away[shapely.intersects(shape, shapes[near])] = 0.0
    found = np.isin(cells[near], wide)
    assert found[away < kilometres].all()  # places between the points are nearer still
    assert not found[away > 1.6 * kilometres + 3.0].any()
    assert len(wide) > len(narrow) or kilometres < 10
