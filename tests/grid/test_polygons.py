"""Named polygons: which cells lie in them, and how large both are on the ellipsoid."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import Geod, Transformer

from maggjob.errors import InputError
from maggjob.grid.areas import NORTH, SOUTH, Area, outlines, parse_area
from maggjob.grid.coverage import outline
from maggjob.grid.healpix import Latitude, locate
from maggjob.grid.polygons import Centres, cell_areas, named_areas, size_km2

WGS84 = Geod(ellps="WGS84")
EARTH_KM2 = 510_065_621.724
"""Area of the ellipsoid WGS84 (Moritz 2000, Geodetic Reference System 1980, has 510,065,621.7 km2)."""
CONVENTIONS: tuple[Latitude, ...] = ("authalic", "geodetic-spherical")
both = pytest.mark.parametrize("convention", CONVENTIONS)


@both
@pytest.mark.parametrize(("order", "rel"), [(4, 1e-5), (6, 1e-6), (12, 1e-8)])
def test_cells_have_the_area_of_their_outline(convention: Latitude, order: int, rel: float) -> None:
    ids = np.random.default_rng(order).integers(0, 12 << 2 * order, 30)
    rings = outline(ids, order, convention, side=128)
    true = [abs(WGS84.polygon_area_perimeter(ring[:, 0], ring[:, 1])[0]) / 1e6 for ring in rings]
    got = cell_areas(Centres.of(ids, order, convention).latitude, order, convention)
    assert got == pytest.approx(true, rel=rel)


@both
def test_all_cells_together_are_the_earth(convention: Latitude) -> None:
    centres = Centres.of(np.arange(12 << 12), 6, convention)
    assert cell_areas(centres.latitude, 6, convention).sum() == pytest.approx(EARTH_KM2, rel=1e-6)


def test_only_authalic_cells_have_equal_areas() -> None:
    spread = {}
    for convention in CONVENTIONS:
        areas = cell_areas(Centres.of(np.arange(12 << 8), 4, convention).latitude, 4, convention)
        spread[convention] = float(np.ptp(areas) / areas.mean())
    assert spread["authalic"] == 0
    # A degree of latitude is longer at the pole than at the equator by three times the flattening.
    assert spread["geodetic-spherical"] == pytest.approx(4 / 298.257, rel=0.1)


@both
def test_centres_lie_in_their_cells_and_on_the_earth(convention: Latitude) -> None:
    ids = np.random.default_rng(1).integers(0, 12 << 18, 500)
    centres = Centres.of(ids, 9, convention)
    assert np.array_equal(locate(centres.latitude, centres.longitude, 9, convention), ids)
    to_space = Transformer.from_crs(4979, 4978, always_xy=True)
    true = to_space.transform(centres.longitude, centres.latitude, np.zeros(len(ids)))
    assert centres.positions() == pytest.approx(np.column_stack(true) / 1e3, abs=1e-6)


# --- Sizes ---


def cap_km2(latitude: float) -> float:
    """Area of the cap beyond a latitude (Snyder 1987, equation 3-12)."""
    e = math.sqrt(2 / 298.257223563 - 298.257223563**-2)

    def q(sine: float) -> float:
        return (1 - e * e) * (sine / (1 - (e * sine) ** 2) + math.atanh(e * sine) / e)

    return math.pi * 6378.137**2 * (q(1.0) - q(math.sin(math.radians(abs(latitude)))))


@pytest.mark.parametrize("latitude", [-85.0, -65.0, -20.0, 60.0])
def test_a_cap_has_its_area(latitude: float) -> None:
    name = f"south-of:{latitude}" if latitude < 0 else f"north-of:{latitude}"
    assert size_km2(parse_area(name)) == pytest.approx(cap_km2(latitude), rel=2e-6)


def test_a_box_across_the_equator_has_its_area() -> None:
    band = 2 * cap_km2(0) - cap_km2(-10) - cap_km2(15)
    assert size_km2(parse_area("-20,-10,30,15")) == pytest.approx(band * 50 / 360, rel=2e-6)


def geodesic_km2(shape: Any) -> float:
    """Area of a shape in EPSG:3031, by geodesics between points that are close together."""
    to_degrees = Transformer.from_crs(SOUTH, 4326, always_xy=True)
    total = 0.0
    for polygon in shapely.get_parts(shapely.segmentize(shape, 5e3)):
        for ring in (polygon.exterior, *polygon.interiors):
            x, y = shapely.get_coordinates(ring).T
            area = abs(WGS84.polygon_area_perimeter(*to_degrees.transform(x, y))[0]) / 1e6
            total += area if ring is polygon.exterior or ring.equals(polygon.exterior) else -area
    return total


@pytest.mark.parametrize("number", ["2", "17", "22", "24"])
def test_a_basin_has_its_area(number: str) -> None:
    (area,) = named_areas(names=[number])
    assert size_km2(area) == pytest.approx(geodesic_km2(area.south), rel=1e-6)


# --- Cells ---


@both
@pytest.mark.parametrize(
    "box", [(-20, -10, 30, 15), (170, -80, 190, -70), (-180, -90, 180, -60), (10, 0, 60, 50), (1, -50, 91, 0)]
)
def test_the_cells_of_a_box_are_those_with_their_centre_in_it(
    box: tuple[int, int, int, int], convention: Latitude
) -> None:
    """Of cells on the equator, and so on a box's edge, the north has them."""
    west, south, east, north = box
    centres = Centres.of(np.arange(12 << 12), 6, convention)
    across = (centres.longitude - west) % 360 < east - west
    low, high = (limit - 1e-9 if limit == 0 else limit for limit in (south, north))
    true = across & (centres.latitude > low) & (centres.latitude < high)
    assert np.count_nonzero(true) > 20
    assert np.array_equal(centres.within(parse_area(box)), true)


@both
def test_the_cells_of_a_basin_are_those_with_their_centre_in_it(convention: Latitude) -> None:
    centres = Centres.of(np.arange(12 << 14), 7, convention)
    south = np.flatnonzero(centres.latitude < -60)
    to_plane = Transformer.from_crs(4326, SOUTH, always_xy=True)
    points = [
        shapely.Point(to_plane.transform(*place))
        for place in zip(centres.longitude[south], centres.latitude[south], strict=True)
    ]
    owners = np.zeros(len(south), int)
    for number in (1, 3, 21, 22, 27):
        (area,) = named_areas(names=[str(number)])
        inside = centres.within(area)
        true = south[[bool(outlines()[f"basin-{number}"].contains(point)) for point in points]]
        assert len(true) > 10
        assert np.array_equal(np.flatnonzero(inside), true)
        owners += inside[south]
    assert owners.max() == 1


@pytest.mark.dear("the whole ice sheet")
def test_the_cells_of_the_grounded_ice_cover_it() -> None:
    """As many cells too much as too little, to what the docstring of `basins` says."""
    centres = Centres.of(np.arange(12 << 16), 8, "authalic")
    side = math.sqrt(EARTH_KM2 / (12 << 16))
    off = []
    for area in named_areas():
        covered = np.count_nonzero(centres.within(area)) * side**2
        dense = shapely.get_coordinates(shapely.segmentize(area.south, 1e3))
        longitude, latitude = Transformer.from_crs(SOUTH, 4326, always_xy=True).transform(*dense.T)
        crossed = len(np.unique(locate(latitude, longitude, 8, "authalic")))
        off.append((covered - size_km2(area)) / side**2 / math.sqrt(crossed))
    assert 0.15 < math.sqrt(np.mean(np.square(off))) < 0.35


# --- Names and files ---

SQUARE = {"type": "Polygon", "coordinates": [[[10, -80], [50, -80], [50, -70], [10, -70], [10, -80]]]}
OTHER = {"type": "Polygon", "coordinates": [[[60, -80], [70, -80], [70, -70], [60, -70], [60, -80]]]}


def feature(geometry: Any, **texts: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": texts, "geometry": geometry}


def collection(path: Path, *features: Any) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.mark.dear("all basins")
def test_by_default_there_are_27_basins() -> None:
    areas = named_areas()
    assert [area.name for area in areas] == [str(number) for number in range(1, 28)]
    assert sum(map(size_km2, areas)) == pytest.approx(size_km2(parse_area("grounded")), rel=1e-4)


def test_areas_have_the_names_that_they_are_given() -> None:
    areas = named_areas({"a box": [10, -80, 50, -70], "ice": "basins:2", "mine": SQUARE}, ["mine", "ice"])
    assert [area.name for area in areas] == ["mine", "ice"]
    assert areas[0] == Area("mine", south=parse_area(SQUARE).south, north=parse_area(SQUARE).north)


def test_polygons_of_a_file_have_names_and_are_joined_by_them(tmp_path: Path) -> None:
    path = collection(
        tmp_path / "mine.geojson",
        feature(SQUARE, id=1, Name="Pine Island (west)", sector="A"),
        feature(OTHER, id=2, Name="Thwaites", sector="A"),
    )
    assert [area.name for area in named_areas(path)] == ["Pine Island (west)", "Thwaites"]
    (thwaites,) = named_areas(str(path), ["Thwaites"])
    assert size_km2(thwaites) == pytest.approx(size_km2(parse_area(OTHER)), rel=1e-12)
    (sector,) = named_areas(path, ["A"])
    assert size_km2(sector) == pytest.approx(size_km2(parse_area(SQUARE)) + size_km2(parse_area(OTHER)), rel=1e-9)


def test_a_projected_file_may_hold_the_pole_and_cross_180(tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio")
    shapes = {"pole": shapely.box(-1e6, -1e6, 1e6, 1e6), "ross": shapely.box(-5e5, -1.5e6, 5e5, -1.1e6)}
    for suffix in ("gpkg", "shp"):
        path = tmp_path / f"basins.{suffix}"
        wkb, names = shapely.to_wkb(list(shapes.values())), np.array(list(shapes), dtype=object)
        pyogrio.raw.write(path, wkb, [names], ["NAME"], geometry_type="Polygon", crs="EPSG:3031")
        found = named_areas(path)
        assert [area.name for area in found] == ["pole", "ross"]
        for area in found:
            # Edges are straight in the file's plane at points every 5 km, and in degrees between.
            assert area.south.symmetric_difference(shapes[area.name]).area < 1e-5 * area.south.area
    assert parse_area(path).south.area == pytest.approx(shapely.union_all(list(shapes.values())).area, rel=1e-5)


@pytest.mark.parametrize(
    ("features", "names", "message"),
    [
        ([feature(SQUARE, name="a")], ["b"], r"has no region 'b'; it has 1, such as a"),
        ([feature(SQUARE, name="a"), feature(OTHER, name="")], None, "1 of 2 polygons have no name"),
        ([feature(SQUARE)], None, "have no name"),
        ([feature(None, name="a")], None, "'a' has no geometry"),
        ([feature({"type": "Point", "coordinates": [0, -80]}, name="a")], None, "'a': .*'Point' is not a polygon"),
        ([{"type": "Feature", "properties": {"name": "a"}}], None, "not GeoJSON with features"),
        ([], None, "have no name"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    features: list[Any], names: list[str] | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        named_areas(collection(tmp_path / "mine.geojson", *features), names)


def test_what_is_no_polygon_is_refused(tmp_path: Path) -> None:
    wrong: Any = [1, 2, 3, 4]
    with pytest.raises(InputError, match="list: give a file, or a mapping"):
        named_areas(wrong)
    with pytest.raises(InputError, match="there is no polygon '28'; there are 1, 2, "):
        named_areas(names=["2", "28"])
    with pytest.raises(InputError, match="empty"):
        named_areas({})
    with pytest.raises(InputError, match="names are empty"):
        named_areas(names=[])
    with pytest.raises(InputError, match="it is not GeoJSON"):
        named_areas(tmp_path / "nothing.geojson")
    content = {"type": "FeatureCollection", "features": [], "crs": {"properties": {"name": "EPSG:3031"}}}
    (tmp_path / "plane.geojson").write_text(json.dumps(content))
    with pytest.raises(InputError, match="names EPSG:3031"):
        named_areas(tmp_path / "plane.geojson")


def test_northern_areas_are_found_in_their_plane() -> None:
    centres = Centres.of(np.arange(12 << 14), 7, "authalic")
    inside = centres.within(parse_area("greenland"))
    x, y = Transformer.from_crs(4326, NORTH, always_xy=True).transform(centres.longitude, centres.latitude)
    north = centres.latitude > 0
    true = north & shapely.contains_xy(outlines()["greenland"], np.where(north, x, 0.0), np.where(north, y, 0.0))
    assert inside.sum() > 500
    assert np.array_equal(inside, true)
