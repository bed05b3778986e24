"""Areas of interest: everything a user may write, and everything that is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, strategies as st
from pyproj import Transformer

from maggjob.errors import InputError
from maggjob.grid.areas import BASINS, Area, outlines, parse_area
from tests.strategies import few

BOX = [[10, -80], [50, -80], [50, -70], [10, -70], [10, -80]]
ROUND = [[-180, -65], [-90, -65], [0, -65], [90, -65]]


def geojson(*rings: Any, kind: str = "Polygon") -> dict[str, Any]:
    return {"type": kind, "coordinates": [np.asarray(ring, float).tolist() for ring in rings]}


def multi(*polygons: Any) -> dict[str, Any]:
    return {"type": "MultiPolygon", "coordinates": [geojson(*rings)["coordinates"] for rings in polygons]}


def same(one: Area, other: Area, share: float = 1e-6) -> bool:
    """Return True if two areas differ by less than a share of them."""
    whole = one.south.area + one.north.area
    apart = one.south.symmetric_difference(other.south).area + one.north.symmetric_difference(other.north).area
    return whole > 0 and apart <= share * whole


def circle(latitude: float, crs: int) -> shapely.Polygon:
    """A parallel in a polar plane, by 3,600 points."""
    longitude = np.arange(0.0, 360.0, 0.1)
    transform = Transformer.from_crs(4326, crs, always_xy=True).transform
    return shapely.Polygon(np.column_stack(transform(longitude, np.full(3600, latitude))))


def sizes(area: Area) -> tuple[float, float]:
    """Return the sizes of the southern and the northern part in the plane, square metres."""
    return float(area.south.area), float(area.north.area)


# What can be said in several ways

SPELLINGS = {
    "across 180": (
        "170,-80,-170,-70",
        " 170, -80, -170, -70 ",
        [170, -80, -170, -70],
        (170.0, -80.0, 190.0, -70.0),
        "-190,-80,-170,-70",
        geojson([[170, -80], [190, -80], [190, -70], [170, -70], [170, -80]]),
        geojson([[-190, -80], [-170, -80], [-170, -70], [-190, -70], [-190, -80]]),
        geojson([[530, -80], [550, -80], [550, -70], [530, -70], [530, -80]]),
        multi(
            [[[170, -80], [180, -80], [180, -70], [170, -70], [170, -80]]],
            [[[-180, -80], [-170, -80], [-170, -70], [-180, -70], [-180, -80]]],
        ),
    ),
    "wide": (
        "-170,-80,170,-65",
        "190,-80,170,-65",
        geojson([[-170, -80], [0, -80], [170, -80], [170, -65], [0, -65], [-170, -65], [-170, -80]]),
        geojson([[-170, -80], [-20, -80], [99, -80], [170, -80], [170, -65], [50, -65], [-60, -65], [-170, -65]]),
        multi(
            [[[-170, -80], [0, -80], [0, -65], [-170, -65], [-170, -80]]],
            [[[0, -80], [170, -80], [170, -65], [0, -65], [0, -80]]],
        ),
    ),
    "a cap": (
        "south-of:-65",
        "-180,-90,180,-65",
        "0,-90,360,-65",
        geojson([[-180, -65], [180, -65], [180, -90], [-180, -90], [-180, -65]]),
        geojson([[180, -90], [-180, -90], [-180, -65], [180, -65], [180, -90]]),
        geojson([*ROUND, [180, -65], [180, -90], [-180, -90], [-180, -65]]),
        geojson([*ROUND, [-180, -65]]),
        geojson(ROUND),
        geojson([*ROUND, [180, -65]]),
        geojson([*ROUND, [180, -65], [-180, -65]]),
        geojson([[0, -65], [90, -65], [180, -65], [270, -65], [360, -65]]),
        geojson([[-120, -65], [0, -65], [120, -65], [-120, -65]]),
    ),
    "a ring between parallels": (
        "-180,-80,180,-70",
        geojson([[-180, -80], [180, -80], [180, -70], [-180, -70], [-180, -80]]),
        geojson([[180, -70], [180, -80], [-180, -80], [-180, -70], [180, -70]]),
        geojson([[x, -70] for x in range(-180, 180, 60)], [[x, -80] for x in range(-150, 210, 60)]),
    ),
    "a box": (
        "10,-80,50,-70",
        geojson(BOX),
        geojson(BOX[::-1]),
        geojson(BOX[:-1]),
        geojson([[*point, 1234.5] for point in BOX]),
        geojson([[10, -80], [50, -80], [50, -80], [50, -70], [10, -70], [10, -80]]),
        {"type": "Feature", "properties": None, "geometry": geojson(BOX)},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": geojson(BOX)}]},
        {"type": "GeometryCollection", "geometries": [geojson(BOX)]},
        {
            "type": "FeatureCollection",
            "features": [{"type": "Feature", "geometry": None}, {"type": "Feature", "geometry": geojson(BOX)}],
        },
        multi([BOX], [[[20, -78], [30, -78], [30, -72], [20, -72], [20, -78]]]),
    ),
    "the north": ("north-of:60", "-180,60,180,90", geojson([[0, 60], [120, 60], [-120, 60]])),
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, every in SPELLINGS.items() for i in range(1, len(every))]
)
def test_one_area_however_it_is_said(name: str, number: int) -> None:
    assert same(parse_area(SPELLINGS[name][0]), parse_area(SPELLINGS[name][number]))


@pytest.mark.parametrize(("text", "crs"), [("south-of:-65", 3031), ("south-of:-71.3", 3031), ("north-of:66.6", 3413)])
def test_a_cap_is_a_circle(text: str, crs: int) -> None:
    area = parse_area(text)
    want = circle(float(text.partition(":")[2]), crs)
    part = area.south if crs == 3031 else area.north
    assert part.symmetric_difference(want).area < 1e-5 * want.area
    assert (area.north if crs == 3031 else area.south).is_empty


def test_a_hole_is_left_out() -> None:
    hole = [[20, -78], [30, -78], [30, -72], [20, -72], [20, -78]]
    with_hole, whole = parse_area(geojson(BOX, hole)), parse_area(geojson(BOX))
    cut = parse_area("20,-78,30,-72")
    assert sizes(with_hole)[0] == pytest.approx(sizes(whole)[0] - sizes(cut)[0], rel=1e-9)
    assert not shapely.intersects(with_hole.south, cut.south.centroid)


def test_a_hole_beside_takes_nothing() -> None:
    hole = [[120, -78], [130, -78], [130, -72], [120, -72], [120, -78]]
    assert same(parse_area(geojson(BOX, hole)), parse_area(geojson(BOX)))


def test_a_hole_round_the_pole() -> None:
    area = parse_area(geojson([[x, -65] for x in (0, 120, 240)], [[x, -75] for x in (60, 180, -60)]))
    assert not shapely.intersects_xy(area.south, 0, 0)
    assert sizes(area)[0] == pytest.approx(circle(-65, 3031).area - circle(-75, 3031).area, rel=1e-5)


def test_a_box_over_the_equator_has_two_parts() -> None:
    area = parse_area("20,-12,70,15")
    assert same(Area("", south=area.south), parse_area("20,-12,70,0"))
    assert same(Area("", north=area.north), parse_area("20,0,70,15"))


@pytest.mark.parametrize(
    ("text", "south", "north"),
    [
        ("10,-80,50,-70", -80, -70),
        ("-170,-80,170,-65", -80, -65),
        ("south-of:-65", -90, -65),
        ("north-of:60", 60, 90),
        ("20,-12,70,15", -12, 15),
        ("-180,-80,180,-70", -80, -70),
        ("-180,-90,180,90", -90, 90),
    ],
)
def test_latitudes(text: str, south: float, north: float) -> None:
    assert parse_area(text).latitudes() == pytest.approx((south, north), abs=0.1)


@few
@given(
    st.integers(-360, 359),
    st.integers(1, 359),
    st.integers(-90, 89),
    st.integers(1, 90),
)
def test_a_box_has_the_size_that_its_sides_give(west: int, width: int, south: int, height: int) -> None:
    """A box is a sector between two circles in the plane; pyproj gives their radii."""
    north = min(90, south + height)
    east = west + width
    east -= 360 if east > 360 else 0
    area = parse_area([west, south, east, north])
    for part, crs, (low, high) in (
        (area.south, 3031, (south, min(north, 0))),
        (area.north, 3413, (max(south, 0), north)),
    ):
        if low >= high:
            assert part.is_empty
            continue
        transform = Transformer.from_crs(4326, crs, always_xy=True).transform
        inner, outer = sorted(float(np.hypot(*transform(0.0, latitude))) for latitude in (low, high))
        assert part.area == pytest.approx(np.radians(width) / 2 * (outer**2 - inner**2), rel=1e-5)


# Names


@pytest.mark.parametrize("name", ["antarctica", "grounded", "greenland", "basins:2,17", "basins:27"])
def test_built_in(name: str) -> None:
    area = parse_area(name)
    assert area.name == name
    assert all(part.is_valid for part in (area.south, area.north))
    assert area.south.is_empty == (name == "greenland")
    assert area.north.is_empty == (name != "greenland")


@pytest.mark.dear("unions of whole basins")
def test_grounded_is_all_basins_and_antarctica_holds_them() -> None:
    grounded = parse_area("grounded")
    assert same(grounded, parse_area(f"basins:{','.join(map(str, BASINS))}"))
    assert parse_area("antarctica").south.contains(grounded.south)
    assert 11.5e12 < sizes(grounded)[0] < 12.3e12  # 11.9 million square kilometres


def test_natural_earth_lies_inside_of_the_built_in_areas(shared: Path) -> None:
    folder = shared / "outlines"
    ice = [parse_area(path).south for path in sorted(folder.glob("*antarctic*"))]
    assert len(ice) == 2
    inside = parse_area("antarctica").south
    assert inside.contains(shapely.union_all(ice))
    # The margin is 50 km, in a plane that is stretched by 3 % at most.
    assert shapely.distance(inside.boundary, shapely.union_all(ice)) > 45e3
    greenland = parse_area(folder / "ne_50m_land_greenland.geojson")
    assert parse_area("greenland").north.contains(greenland.north)
    assert greenland.south.is_empty
    assert sizes(greenland)[1] == pytest.approx(2.13e12, rel=0.03)


def test_outlines_are_valid() -> None:
    assert sorted(outlines()) == sorted(["antarctica", "greenland", *(f"basin-{i}" for i in BASINS)])
    assert all(shape.is_valid and shape.area > 1e9 for shape in outlines().values())


# What is refused

LINE = {"type": "LineString", "coordinates": [[0, -70], [10, -70]]}
BAD: dict[str, tuple[Any, str]] = {
    "unknown name": ("atlantis", "antarctica, grounded, greenland"),
    "nothing": ("", "empty"),
    "a value too many": ("antarctica:3", "unknown"),
    "no object": (None, "unknown"),
    "basin 0": ("basins:0", "basin 0 does not exist; basins go from 1 to 27"),
    "basin 28": ("basins:1,28", "basin 28 does not exist"),
    "no basin": ("basins:", "not numbers"),
    "half a basin": ("basins:1.5", "not numbers"),
    "a gap between basins": ("basins:1,,2", "not numbers"),
    "south of the north pole": ("south-of:90", "not between -90 and 90"),
    "south of nothing": ("south-of:", "not 1 number"),
    "south of two": ("south-of:-60,-70", "not 1 number"),
    "south of no number": ("south-of:nan", "not 1 number"),
    "three numbers": ("1,2,3", "not 4 numbers"),
    "three numbers in a list": ([1, 2, 3], "west, south, east and north"),
    "letters in a list": (["a", 1, 2, 3], "west, south, east and north"),
    "latitudes swapped": ("10,-60,20,-70", "south -60.0 must lie below north -70.0"),
    "no height": ("10,-60,20,-60", "must lie below"),
    "no width": ("10,-70,10,-60", "west 10.0 and east 10.0 must differ"),
    "no width across 180": ("180,-80,-180,-70", "west.*east.*same|must differ"),
    "no number": ([float("nan"), -70, 20, -60], "four numbers"),
    "no number as text": ("nan,-70,20,-60", "not 4 numbers"),
    "latitude -95": ("10,-95,20,-60", "within 90 degrees"),
    "latitude 95 in a ring": (geojson([[0, 70], [10, 95], [10, 80]]), "latitude 95.0; longitude comes first"),
    "latitude first": (geojson([[-70, 10], [-80, 10], [-80, 100]]), "longitude comes first"),
    "longitude 1000": (geojson([[0, -70], [1000, -70], [10, -60]]), "longitude 1000"),
    "over a full turn": ("0,-80,361,-70", "360"),
    "a point": ({"type": "Point", "coordinates": [0, -70]}, "'Point' is not a polygon"),
    "a line": (LINE, "'LineString' is not a polygon"),
    "a line among polygons": ({"type": "GeometryCollection", "geometries": [geojson(BOX), LINE]}, "'LineString'"),
    "no type": ({}, "not a polygon"),
    "an odd type": ({"type": ["Polygon"]}, "not a polygon"),
    "an empty collection": ({"type": "FeatureCollection", "features": []}, "contains no polygon"),
    "no features": ({"type": "FeatureCollection"}, "features"),
    "features that are none": ({"type": "FeatureCollection", "features": None}, "check the GeoJSON"),
    "a feature that is none": ({"type": "FeatureCollection", "features": [None]}, "not a polygon"),
    "a feature of nothing": ({"type": "Feature", "geometry": None}, "contains no polygon"),
    "a feature without geometry": ({"type": "Feature"}, "geometry"),
    "no coordinates": ({"type": "Polygon"}, "coordinates"),
    "empty coordinates": ({"type": "Polygon", "coordinates": []}, "polygon"),
    "coordinates that are none": ({"type": "Polygon", "coordinates": None}, "check the GeoJSON"),
    "no polygons": ({"type": "MultiPolygon", "coordinates": []}, "contains no polygon"),
    "a polygon of nothing": ({"type": "MultiPolygon", "coordinates": [[]]}, "polygon"),
    "a polygon that is none": ({"type": "MultiPolygon", "coordinates": [None]}, "check the GeoJSON"),
    "an empty ring": ({"type": "Polygon", "coordinates": [[]]}, "ring"),
    "letters": ({"type": "Polygon", "coordinates": ["abc"]}, "not a list of .longitude, latitude."),
    "numbers only": ({"type": "Polygon", "coordinates": [[1, 2, 3]]}, "not a list of .longitude, latitude."),
    "two points": (geojson([[0, -70], [10, -70], [0, -70]]), "a ring of 2 points"),
    "one point": (geojson([[0, -70]] * 4), "a ring of 1 point"),
    "a line as a ring": (geojson([[0, -70], [5, -70], [10, -70], [0, -70]]), "crosses itself"),
    "not finite": (geojson([[0, -70], [10, float("nan")], [10, -80]]), "finite"),
    "a bow tie": (geojson([[0, -70], [10, -80], [10, -70], [0, -80], [0, -70]]), "crosses itself"),
    "a long edge": (geojson([[-150, -80], [150, -80], [150, -70], [-150, -70]]), "300 degrees.*170 to 190.*add points"),
    "a longer edge": (geojson([[0, -80], [200, -80], [200, -70], [0, -70]]), "200 degrees"),
    "round the pole and over the equator": (geojson([[0, -5], [120, 5], [-120, -5]]), "crosses the equator"),
    "all hole": (geojson(BOX, BOX), "nothing lies inside it"),
    "a spiral that meets itself": (
        geojson([[x, -70] for x in range(0, 541, 90)] + [[x, -68] for x in range(540, -1, -90)]),
        "crosses itself",
    ),
    "a missing file": ("no/such/area.geojson", "no such file"),
    "a missing shapefile": ("area.shp", "no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_areas(case: str) -> None:
    asked, message = BAD[case]
    with pytest.raises(InputError, match=f"^area .*{message}"):
        parse_area(asked)


# Files


@pytest.mark.parametrize("suffix", ["geojson", "json"])
def test_a_file_of_geojson(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"area.{suffix}"
    path.write_text(json.dumps(geojson(BOX)))
    assert same(parse_area(path), parse_area("10,-80,50,-70"))
    assert same(parse_area(str(path)), parse_area(path))
    assert parse_area(path).name == str(path)


@pytest.mark.parametrize(
    ("content", "message"), [(b"x", "not GeoJSON"), (b"\xff\xfe", "not GeoJSON"), (b"[]", "polygon")]
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "area.geojson"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"area.geojson: .*{message}"):
        parse_area(path)


def write(path: Path, shapes: list[Any], crs: str | None, kind: str = "Polygon") -> Path:
    pyogrio = pytest.importorskip("pyogrio")
    wkb = shapely.to_wkb(np.array(shapes, dtype=object))
    pyogrio.raw.write(path, wkb, [], [], geometry_type=kind, crs=crs)
    return path


SQUARES = {
    "round the pole": shapely.box(-1e6, -1e6, 1e6, 1e6),
    "across 180": shapely.box(-5e5, -1.5e6, 5e5, -5e5),
    "at the side": shapely.box(1e6, 0.5e6, 2e6, 1.5e6),
    "with a corner at the pole": shapely.box(0, 0, 1e6, 1e6),
    "with a side over the pole": shapely.box(-1e6, -1e6, 0, 1e6),
    "with a side on 180": shapely.box(0, -2e6, 1e6, -1e6),
    "with a hole round the pole": shapely.box(-1e6, -1e6, 1e6, 1e6).difference(shapely.box(-3e5, -3e5, 3e5, 3e5)),
    "with a hole across 180": shapely.box(-5e5, -1.5e6, 5e5, -5e5).difference(shapely.box(-2e5, -1.2e6, 2e5, -9e5)),
}


@pytest.mark.parametrize("suffix", ["shp", "gpkg", "fgb"])
@pytest.mark.parametrize("case", SQUARES)
def test_a_file_in_a_polar_projection(tmp_path: Path, case: str, suffix: str) -> None:
    south = parse_area(write(tmp_path / f"south.{suffix}", [SQUARES[case]], "EPSG:3031"))
    assert south.north.is_empty
    assert south.south.symmetric_difference(SQUARES[case]).area < 2e-5 * SQUARES[case].area
    if suffix == "gpkg":
        north = parse_area(write(tmp_path / f"north.{suffix}", [SQUARES[case]], "EPSG:3413"))
        assert north.south.is_empty
        assert north.north.symmetric_difference(SQUARES[case]).area < 2e-5 * SQUARES[case].area


def test_a_file_in_degrees(tmp_path: Path) -> None:
    parts = [shapely.box(10, -80, 30, -70), shapely.box(30, -80, 50, -70)]
    for suffix in ("shp", "gpkg"):
        assert same(parse_area(write(tmp_path / f"parts.{suffix}", parts, "EPSG:4326")), parse_area("10,-80,50,-70"))
    across = write(tmp_path / "across.gpkg", [shapely.box(170, -80, 190, -70)], "EPSG:4326")
    assert same(parse_area(across), parse_area("170,-80,-170,-70"))
    nothing = write(tmp_path / "nothing.gpkg", [None, shapely.Polygon(), parts[0]], "EPSG:4326")
    assert same(parse_area(nothing), parse_area("10,-80,30,-70"))


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_bad_files_of_shapes(tmp_path: Path) -> None:
    box = shapely.box(10, -80, 30, -70)
    with pytest.raises(InputError, match="no coordinate reference system"):
        parse_area(write(tmp_path / "area.shp", [box], None))
    with pytest.raises(InputError, match="'Point' is not a polygon"):
        parse_area(write(tmp_path / "point.gpkg", [shapely.Point(0, -80)], "EPSG:4326", "Point"))
    (tmp_path / "garbage.gpkg").write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"garbage\.gpkg: cannot be read"):
        parse_area(tmp_path / "garbage.gpkg")


def test_without_pyogrio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "area.gpkg", [shapely.box(10, -80, 30, -70)], "EPSG:4326")
    monkeypatch.setattr("maggjob.grid.area_files.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install pyogrio"):
        parse_area(path)
