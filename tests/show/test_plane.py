"""The plane of a map: where its points are, and which cells they lie in."""

import healpix_geo
import healpy
import numpy as np
import pytest
from pyproj import Geod, Transformer

from maggjob.errors import InputError
from maggjob.grid.areas import NORTH, SOUTH, parse_area
from maggjob.grid.coverage import area_cells
from maggjob.grid.healpix import Grid
from maggjob.show.map_lines import COAST, GROUNDING, crossings, graticule, outlines
from maggjob.show.plane import FEWEST, MOST, Frame, Lookup, area_frame, frame_of, geographic, hemisphere

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("crs", [SOUTH, NORTH])
def test_points_are_where_proj_says(crs: int) -> None:
    x, y = RNG.uniform(-6e6, 6e6, (2, 5000))
    # Also very close to the pole.
    x[:1000], y[:1000] = x[:1000] * 1e-6, y[:1000] * 1e-6
    latitude, longitude = geographic(crs, x, y)
    exact_longitude, exact_latitude = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    apart = Geod(ellps="WGS84").inv(longitude, latitude, exact_longitude, exact_latitude)[2]
    assert np.max(apart) < 1e-3


def test_what_lies_beyond_the_other_hemisphere_is_nowhere() -> None:
    latitude, _ = geographic(SOUTH, np.array([0.0, 2e7]), np.array([1e6, 0.0]))
    assert np.isfinite(latitude).tolist() == [True, False]


@pytest.mark.dear(
    "exact outlines of thousands of cells; the rest is in make test",
    keep=(
        "True-authalic-3031",
        "False-authalic-3031",
        "True-authalic-3413",
        "False-authalic-3413",
        "False-geodetic-spherical-3031",
        "False-geodetic-spherical-3413",
    ),
)
@pytest.mark.parametrize("crs", [SOUTH, NORTH])
@pytest.mark.parametrize("latitude", ["authalic", "geodetic-spherical"])
@pytest.mark.parametrize("whole", [True, False])
def test_every_pixel_shows_its_cell(crs: int, latitude: str, whole: bool) -> None:
    """healpy and healpix-geo know nothing of maggjob, and pyproj says where the pixels are."""
    grid = Grid(4, 8, latitude)  # type: ignore[arg-type]
    parents = area_cells("south-of:-70" if crs == SOUTH else "north-of:70", grid.parent_order, grid.latitude)
    ids = ((parents[:, None] << grid.shift) + np.arange(grid.children)).ravel()
    ids = ids if whole else np.sort(RNG.choice(ids, len(ids) // 3, replace=False))
    frame = Frame(crs, (-2.4e6, 2.6e6, -2.5e6, 2.5e6), 90, 90)
    found = np.full((90, 90), -9)
    for rows, north, east in frame.points(1):
        found[rows] = Lookup(ids, grid).rows(north, east)
    x = frame.extent[0] + (np.arange(90) + 0.5) * frame.pixel
    y = frame.extent[3] - (np.arange(90) + 0.5) * frame.pixel
    east, north = Transformer.from_crs(crs, 4326, always_xy=True).transform(*np.meshgrid(x, y))
    if latitude == "geodetic-spherical":
        cells = healpy.ang2pix(256, east, north, nest=True, lonlat=True)
    else:
        cells = healpix_geo.nested.lonlat_to_healpix(east.ravel(), north.ravel(), 8, "WGS84").reshape(90, 90)
    rank = {cell: row for row, cell in enumerate(ids.tolist())}
    expected = np.array([rank.get(int(cell), -1) for cell in cells.ravel()]).reshape(90, 90)
    assert (found == expected).all()
    assert 0.1 < np.mean(found >= 0) < 0.95


def test_strips_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame(SOUTH, (-1e6, 1.3e6, -2e6, 1e6), 23, 30)
    (one,) = frame.points(2)
    monkeypatch.setattr("maggjob.show.plane.STRIP", 23 * 4 * 7)
    several = list(frame.points(2))
    assert len(several) == 5
    assert [rows.start for rows, _, _ in several] == [0, 7, 14, 21, 28]
    for number in (1, 2):
        np.testing.assert_array_equal(np.concatenate([strip[number] for strip in several]), one[number])


def test_a_frame_has_the_pixels_that_its_cells_need() -> None:
    antarctica = frame_of((-2.6e6, 2.8e6, -2.2e6, 2.3e6), SOUTH, 12)
    assert antarctica.width == MOST
    assert antarctica.pixel < 1600.0
    small = frame_of((0.0, 100e3, 0.0, 60e3), SOUTH, 12)
    assert max(small.width, small.height) == FEWEST
    stripe = frame_of((0.0, 900e3, 0.0, 10e3), NORTH, 9)
    assert stripe.height > stripe.width / 2
    assert stripe.extent[2] < 0 < 10e3 < stripe.extent[3]


def test_the_scale_is_true_where_the_projection_is() -> None:
    (_, y) = Transformer.from_crs(4326, SOUTH, always_xy=True).transform(0.0, -71.0)
    assert Frame(SOUTH, (-1e3, 1e3, y - 1e3, y + 1e3), 10, 10).stretch == pytest.approx(1.0, abs=1e-5)
    assert Frame(SOUTH, (-1e3, 1e3, -1e3, 1e3), 10, 10).stretch == pytest.approx(0.9728, abs=1e-4)


def test_the_hemisphere_is_that_of_most_cells() -> None:
    grid = Grid(4, 8)
    south, north = area_cells("south-of:-80", 4), area_cells("north-of:85", 4)
    parents = np.union1d(south, north)
    crs, here = hemisphere(parents, grid)
    assert crs == SOUTH
    assert parents[here].tolist() == south.tolist()


def test_an_area_of_the_other_hemisphere_is_refused() -> None:
    with pytest.raises(InputError, match="northern hemisphere"):
        area_frame(parse_area("-50,-80,-40,-75"), NORTH)


def test_coasts_are_there() -> None:
    """The coast passes places that anybody can look up, within a few kilometres."""
    to_south = Transformer.from_crs(4326, SOUTH, always_xy=True).transform
    to_north = Transformer.from_crs(4326, NORTH, always_xy=True).transform
    # The front of the Ross Ice Shelf at Cape Crozier, Cape Adare; Cape Farewell, Cape Morris Jesup.
    for crs, at in ((SOUTH, to_south(169.4, -77.5)), (SOUTH, to_south(170.25, -71.28))):
        assert min(np.hypot(*(ring - at).T).min() for ring in outlines(crs, COAST)) < 12e3
    for at in (to_north(-43.9, 59.77), to_north(-33.4, 83.63)):
        assert min(np.hypot(*(ring - at).T).min() for ring in outlines(NORTH, COAST)) < 12e3
    # The ice shelves lie between the coast and the grounding line.
    assert len(outlines(SOUTH, GROUNDING)) >= 1
    assert outlines(NORTH, GROUNDING) == ()


@pytest.mark.parametrize(
    ("extent", "crs", "labels"),
    [
        ((-3e6, 3e6, -3e6, 3e6), SOUTH, {"0°", "180°", "90°W", "90°E", "70°S", "80°S"}),
        ((-5e4, 5e4, -1.4e6, -1.3e6), SOUTH, {"180°", "178°W", "178°E"}),
        ((-1e6, 1e6, -3.4e6, -0.6e6), NORTH, {"45°W", "70°N"}),
    ],
)
def test_the_graticule_is_labelled(extent: tuple[float, float, float, float], crs: int, labels: set[str]) -> None:
    frame = Frame(crs, extent, 100, 100)
    lines = graticule(frame)
    assert labels <= {line.label for line in lines}
    for line in lines:
        for side, x, y in crossings(line.points, frame):
            edge = {"left": (x, extent[0]), "right": (x, extent[1]), "bottom": (y, extent[2]), "top": (y, extent[3])}
            assert edge[side][0] == pytest.approx(edge[side][1], abs=1.0)
            latitude, longitude = geographic(crs, np.array([x]), np.array([y]))
            value = float(line.label.rstrip("NSEW°"))
            measured = abs(longitude[0]) if line.meridian else abs(latitude[0])
            assert measured == pytest.approx(value, abs=0.05)
