"""Cells: where coordinates lie, by two other libraries, and the forms in which a cell is written."""

import math
from typing import Any

import healpy
import mortie
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from maggjob.errors import CellError
from maggjob.grid.healpix import (
    INVALID,
    LATITUDES,
    OUTSIDE,
    Grid,
    Latitude,
    child_index,
    ellipsoid,
    format_cell,
    locate,
    nested_children,
    nested_to_decimal,
    nested_to_word,
    parse_cell,
    surrounds,
    valid_coordinates,
)
from tests import strategies
from tests.oracle import nested
from tests.strategies import few, many

NANODEGREE = 1e-9  # 0.1 mm on the ground: as far as two libraries may round apart
KNOWN = 45763, "-6134114", 14034060863816597510  # one cell of order 6: nested id, decimal id, packed word


def cells_within(reach: float, latitude: float, longitude: float, order: int, convention: str) -> set[int]:
    """Cells within so many degrees of a point, by the other libraries."""
    north = np.clip(latitude + reach * np.array([-1, 0, 1]), -90, 90)
    turn = min(180.0, reach / max(math.cos(math.radians(latitude)), 1e-30))
    lat, lon = np.meshgrid(north, longitude + turn * np.linspace(-1, 1, 17))
    return set(nested(lat.ravel(), lon.ravel(), order, convention).tolist())


def on_edges(latitude: np.ndarray, longitude: np.ndarray, order: int, convention: Latitude) -> int:
    """Points in another cell than the other library says; each must lie on an edge of its cell."""
    ours, theirs = locate(latitude, longitude, order, convention), nested(latitude, longitude, order, convention)
    assert ours.dtype == np.int64
    assert ours.shape == latitude.shape
    differing = np.flatnonzero(ours != theirs)
    for i in differing:
        near = cells_within(NANODEGREE, float(latitude[i]), float(longitude[i]), order, convention)
        where = f"{latitude[i]!r}, {longitude[i]!r} at order {order}, {convention}"
        assert int(ours[i]) in near, f"{where}: cell {ours[i]}, the other library says {theirs[i]}"
    return len(differing)


def on_sphere(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points spread evenly, latitudes and longitudes."""
    rng = np.random.default_rng(seed)
    return np.degrees(np.arcsin(rng.uniform(-1, 1, n))), rng.uniform(-180, 180, n)


@many
@given(strategies.points(), strategies.orders, strategies.conventions)
@example((np.array([90.0, -90.0]), np.array([0.0, 0.0])), 18, "authalic")
@example((np.array([90.0, -90.0]), np.array([180.0, -180.0])), 18, "geodetic-spherical")
def test_a_point_lies_where_other_libraries_say(
    where: tuple[np.ndarray, np.ndarray], order: int, convention: Latitude
) -> None:
    on_edges(*where, order, convention)


@pytest.mark.parametrize("convention", LATITUDES)
@pytest.mark.parametrize("order", [0, 1, 6, 12, 18])
def test_random_points_agree_all_but_never_on_edges(order: int, convention: Latitude) -> None:
    assert on_edges(*on_sphere(20_000, order), order, convention) <= 1


@pytest.mark.parametrize("convention", LATITUDES)
@pytest.mark.parametrize("sign", [1, -1])
def test_rings_around_the_pole_agree(sign: int, convention: Latitude) -> None:
    colatitude = np.repeat(10.0 ** np.arange(-7, 1), 24)
    longitude = np.tile(np.arange(-180, 180, 15) + 7.5, 8)  # off the meridians that are edges
    assert on_edges(sign * (90 - colatitude), longitude, 18, convention) == 0


@few
@given(
    st.floats(-89, 89),
    st.integers(-180 * 2**20, 180 * 2**20),
    st.sampled_from((-360.0, 360.0)),
    strategies.orders,
    strategies.conventions,
)
def test_a_whole_turn_leads_back(latitude: float, part: int, turn: float, order: int, convention: Latitude) -> None:
    longitude = part / 2**20  # so many binary places that a turn adds no rounding
    found = {
        int(locate(np.array([latitude]), np.array([x]), order, convention)[0]) for x in (longitude, longitude + turn)
    }
    if len(found) > 1:  # 180 and -180 may fall to either side of an edge
        assert found <= cells_within(NANODEGREE, latitude, longitude, order, convention)


@pytest.mark.parametrize("convention", LATITUDES)
@pytest.mark.parametrize(("longitude", "same"), [(359.9, -0.1), (361.0, 1.0), (180.1, -179.9), (-540.1, 179.9)])
def test_longitudes_wrap(longitude: float, same: float, convention: Latitude) -> None:
    latitude = np.array([-75.25])
    ours = locate(latitude, np.array([longitude]), 9, convention)
    assert ours.tolist() == nested(latitude, np.array([same]), 9, convention).tolist()


def test_the_conventions_differ() -> None:
    where = np.array([-45.0]), np.array([10.0])
    assert locate(*where, 12, "authalic") != locate(*where, 12, "geodetic-spherical")


@pytest.mark.parametrize("convention", LATITUDES)
def test_no_points_lie_in_no_cells(convention: Latitude) -> None:
    nothing = locate(np.empty(0), np.empty(0), 12, convention)
    assert (nothing.dtype, nothing.shape) == (np.int64, (0,))


@many
@given(st.one_of(strategies.latitudes, strategies.bad_latitudes), st.floats())
def test_valid_is_what_the_limits_say(latitude: float, longitude: float) -> None:
    good = -90 <= latitude <= 90 and -720 <= longitude <= 720
    assert valid_coordinates(np.array([latitude]), np.array([longitude])).tolist() == [good]


@many
@given(strategies.points(valid_only=False), strategies.conventions, st.integers(0, 12), st.integers(0, 6))
def test_child_index_is_the_loop_over_segments(
    where: tuple[np.ndarray, np.ndarray], convention: Latitude, parent_order: int, between: int
) -> None:
    latitude, longitude = where
    grid = Grid(parent_order, parent_order + between, convention)
    valid = np.array([-90 <= a <= 90 and -720 <= b <= 720 for a, b in zip(latitude, longitude, strict=True)])
    ids = np.full(len(latitude), -1)
    ids[valid] = nested(latitude[valid], longitude[valid], grid.child_order, convention)
    cell = int(ids[valid][0] // 4**between) if valid.any() else 0
    child = child_index(latitude, longitude, cell, grid)
    assert child.dtype == np.int64
    for i, got in enumerate(child.tolist()):
        if not valid[i]:
            assert got == INVALID
            continue
        near = cells_within(NANODEGREE, float(latitude[i]), float(longitude[i]), grid.child_order, convention)
        assert got in {c % 4**between if c // 4**between == cell else OUTSIDE for c in near | {int(ids[i])}}


@few
@given(strategies.points(valid_only=False))
def test_invalid_coordinates_never_reach_mortie(where: tuple[np.ndarray, np.ndarray]) -> None:
    seen: list[float] = []
    real = mortie.geo2mort

    def watched(lat: np.ndarray, lon: np.ndarray, **rest: Any) -> Any:
        seen.extend([*np.abs(lat).tolist(), *(np.abs(lon) / 2).tolist()])
        return real(lat, lon, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mortie, "geo2mort", watched)
        child_index(*where, 0, Grid(0, 6))
    assert all(value <= 90 for value in seen)  # NaN is not


@pytest.mark.parametrize("latitude", [math.nan, math.inf, -math.inf, 95.0, -95.0, 3.4028235e38])
@pytest.mark.parametrize("convention", LATITUDES)
def test_a_latitude_that_is_none_is_invalid(latitude: float, convention: Latitude) -> None:
    grid = Grid(0, 6, convention)
    assert child_index(np.array([latitude]), np.array([0.0]), 0, grid).tolist() == [INVALID]


@pytest.mark.parametrize("longitude", [math.nan, math.inf, -math.inf, 721.0, 3.4028235e38])
def test_a_longitude_that_is_none_is_invalid(longitude: float) -> None:
    assert child_index(np.array([0.0]), np.array([longitude]), 0, Grid(0, 6)).tolist() == [INVALID]


def test_child_index_leaves_its_inputs_alone() -> None:
    latitude, longitude = np.array([-75.0, math.nan, 10.0]), np.array([359.0, 0.0, -500.0])
    before = latitude.copy(), longitude.copy()
    child_index(latitude, longitude, 0, Grid(0, 6))
    np.testing.assert_array_equal((latitude, longitude), before)


# --- Forms of ids ---


@many
@given(strategies.cells())
def test_every_form_leads_back(cell: tuple[int, int]) -> None:
    order, nested_id = cell
    decimal = format_cell(nested_id, order)
    word = int(nested_to_word(np.array([nested_id]), order)[0])
    for form in (decimal, int(decimal), f"{order}/{nested_id}", (order, nested_id), [order, nested_id]):
        assert parse_cell(form, order) == nested_id
    if set(str(word)) - set("1234"):  # else it may be read as a decimal id of order 18
        assert parse_cell(word, order) == parse_cell(str(word), order) == nested_id


@many
@given(strategies.cells())
def test_mortie_writes_the_same_word(cell: tuple[int, int]) -> None:
    order, nested_id = cell
    words = nested_to_word(np.array([nested_id]), order)
    assert words.dtype == np.uint64
    assert int(words[0]) == int(mortie.decimal_to_word(format_cell(nested_id, order)))


@many
@given(strategies.cells())
def test_decimal_ids_are_the_same_as_text_and_as_array(cell: tuple[int, int]) -> None:
    order, nested_id = cell
    ids = nested_to_decimal(np.array([nested_id]), order)
    assert ids.dtype == np.int64
    assert str(ids[0]) == format_cell(nested_id, order)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_all_decimal_ids_of_an_order_differ(order: int) -> None:
    count = 12 << 2 * order
    assert len(set(nested_to_decimal(np.arange(count), order).tolist())) == count


@pytest.mark.parametrize("form", [*KNOWN[1:], -6134114, "6/45763", (6, 45763), " -6134114 ", np.int64(-6134114)])
def test_the_known_cell_in_every_form(form: object) -> None:
    assert parse_cell(form, 6) == KNOWN[0]


def test_the_known_cell_is_written_as_known() -> None:
    nested_id, decimal, word = KNOWN
    assert format_cell(nested_id, 6) == decimal
    assert int(nested_to_word(np.array([nested_id]), 6)[0]) == word


@pytest.mark.parametrize(
    ("order", "nested_id", "word"), [(8, 691183, 13312341431344431112), (10, 3902106, 5443332424421343242)]
)
def test_a_word_whose_digits_look_decimal_is_a_word(order: int, nested_id: int, word: int) -> None:
    assert int(nested_to_word(np.array([nested_id]), order)[0]) == word
    assert parse_cell(word, order) == nested_id


@pytest.mark.parametrize(
    "form",
    [
        "",
        "-",
        "x",
        "7134114",  # no base cell
        "-6134115",  # no digit of a child
        "-613411",  # order 5
        "-61341144",  # order 7
        "--6134114",
        "-6134114.0",
        "6134114p",
        "5/45763",
        "6/49152",
        "6/-1",
        "6/",
        "/45763",
        "6/45763/1",
        "6/45_763",
        "\uff16/45763",  # digits that only Python takes for digits
        14034060863816597511,  # a word of order 7
        14034060863816597510 + 64,  # stray bits
        -14034060863816597510,
        2**64,
        45763,  # a nested id without its order
        0,
        None,
        True,
        3.5,
        (6,),
        (6, 45763, 0),
        ("a", "b"),
    ],
)
def test_what_is_no_cell_is_refused(form: object) -> None:
    with pytest.raises(CellError, match="-6111111"):  # an example of what is allowed
        parse_cell(form, 6)


@many
@given(st.one_of(st.text(max_size=30), st.integers(), st.integers(1 << 60, 13 << 60)), strategies.orders)
def test_anything_is_a_cell_or_a_cell_error(form: object, order: int) -> None:
    try:
        nested_id = parse_cell(form, order)
    except CellError:
        return
    assert 0 <= nested_id < 12 << 2 * order


def test_decimal_ids_end_at_order_18() -> None:
    assert nested_to_decimal(np.array([(12 << 36) - 1]), 18).tolist() == [-6444444444444444444]
    with pytest.raises(CellError, match="order 19"):
        nested_to_decimal(np.array([0]), 19)


@pytest.mark.parametrize("order", [19, 29])
def test_higher_orders_have_decimal_ids_as_text(order: int) -> None:
    last = (12 << 2 * order) - 1
    assert format_cell(last, order) == "-6" + order * "4"
    assert parse_cell(format_cell(last, order), order) == last


# --- Grids ---


@few
@given(st.integers(0, 12), st.integers(0, 6), strategies.conventions)
def test_a_grid_counts_its_children(parent_order: int, between: int, convention: Latitude) -> None:
    grid = Grid(parent_order, parent_order + between, convention)
    assert grid.children == 4**between


@few
@given(st.integers(0, 12), st.integers(0, 4), st.data())
def test_children_are_the_ids_that_lead_to_their_parent(parent_order: int, between: int, data: st.DataObject) -> None:
    grid = Grid(parent_order, parent_order + between)
    parents = data.draw(st.lists(st.integers(0, (12 << 2 * grid.parent_order) - 1), max_size=5))
    children = nested_children(np.array(parents, np.int64), grid)
    assert children.dtype == np.uint64
    assert children.tolist() == [[p * 4**between + i for i in range(4**between)] for p in parents]


def test_the_ids_of_the_highest_order_fit() -> None:
    grid = Grid(28, 29)
    assert nested_children(np.array([(12 << 2 * grid.parent_order) - 1]), grid)[0, -1] == (12 << 58) - 1


def test_authalic_is_the_ellipsoid_wgs84() -> None:
    assert ellipsoid("authalic") == {
        "name": "WGS84",
        "semimajor_axis": 6378137.0,
        "inverse_flattening": 298.257223563,
    }


def test_geodetic_spherical_is_a_sphere() -> None:
    spoken = ellipsoid("geodetic-spherical")
    assert spoken["name"] == "sphere"
    assert spoken["radius"] > 0


@many
@given(
    strategies.points(),
    st.integers(0, 9),
    strategies.conventions,
)
def test_a_cell_lies_in_its_box(where: tuple[np.ndarray, np.ndarray], order: int, latitude: Any) -> None:
    ids = nested(*where, order, latitude)
    everything = np.ones(1, bool)
    for cell, lat, lon in zip(ids.tolist(), *where, strict=True):
        box = surrounds(cell, Grid(order, order, latitude))
        assert box.south <= lat <= box.north
        for turn in (-360.0, 0.0, 360.0):
            assert box.among(np.array([lat]), np.array([lon + turn]), everything).tolist() == [0]


@pytest.mark.parametrize("order", [0, 1, 4, 6])
def test_the_centre_of_a_box_is_that_of_its_cell(order: int) -> None:
    """The reference is healpy, cell by cell."""
    cells = np.arange(12 << 2 * order)[:: max(1, 4**order // 64)]
    longitude, latitude = healpy.pix2ang(1 << order, cells, nest=True, lonlat=True)
    for cell, lon, lat in zip(cells.tolist(), longitude, latitude, strict=True):
        box = surrounds(cell, Grid(order, order, "geodetic-spherical"))
        assert (box.south + box.north) / 2 == pytest.approx(lat, abs=1e-8)
        assert (box.longitude - lon + 180) % 360 - 180 == pytest.approx(0, abs=1e-8)


def test_the_box_of_a_small_cell_is_narrow() -> None:
    box = surrounds(45763, Grid(6, 12))
    assert box.north - box.south < 3.0
    assert box.reach < 180.0


@many
@given(strategies.points(), st.integers(0, 29), strategies.conventions)
def test_ids_are_those_that_mortie_makes_of_its_words(where: Any, order: int, convention: Latitude) -> None:
    where = where[0], np.clip(where[1], -179, 179)  # what is wrapped before is another matter
    words = mortie.geo2mort(*where, order=order, latitude=convention)
    expected = mortie.mort2healpix(words)[0]
    np.testing.assert_array_equal(locate(*where, order, convention), np.asarray(expected, np.int64))
