"""Centres of cells against healpy and healpix-geo; positions against pyproj."""

import healpy
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from maggjob.grid.centers import centers, child_centers, east_north, geodetic
from maggjob.grid.healpix import Grid, locate


@pytest.mark.parametrize("order", [0, 1, 2, 3, 6, 12, 20, 29])
def test_centers_are_healpys(order: int) -> None:
    every = 12 * 4**order
    ids = np.arange(every) if every <= 768 else np.random.default_rng(order).integers(0, every, 3000)
    latitude, longitude = centers(ids, order, "geodetic-spherical")
    expected_longitude, expected_latitude = healpy.pix2ang(1 << order, ids, nest=True, lonlat=True)
    assert np.abs(latitude - expected_latitude).max() < 1e-12
    aside = (longitude - expected_longitude + 180) % 360 - 180
    assert np.abs(aside * np.cos(np.radians(latitude))).max() < 1e-12


def test_authalic_centers_are_healpix_geos() -> None:
    from healpix_geo import nested

    ids = np.random.default_rng(0).integers(0, 12 * 4**12, 2000)
    latitude, longitude = centers(ids, 12, "authalic")
    expected_longitude, expected_latitude = nested.healpix_to_lonlat(ids.astype(np.uint64), 12, ellipsoid="WGS84")
    # A billionth of a degree is a tenth of a millimetre.
    assert np.abs(latitude - expected_latitude).max() < 1e-8
    assert np.abs((longitude - expected_longitude + 180) % 360 - 180).max() < 1e-9


def test_centers_lie_in_their_cells() -> None:
    for convention in ("authalic", "geodetic-spherical"):
        grid = Grid(6, 10, convention)
        latitude, longitude = child_centers(45763, grid)
        ids = locate(latitude, longitude, 10, convention)
        assert ids.tolist() == list(range(45763 * 256, 45764 * 256))


def test_geodetic_latitudes_are_their_own_inverse() -> None:
    import pyproj

    wgs84 = pyproj.Transformer.from_crs("EPSG:4326", "+proj=cea +lat_ts=0 +ellps=WGS84", always_xy=True)
    true = np.linspace(-89.99, 89.99, 501)
    _, up = wgs84.transform(np.zeros(501), true)
    _, pole = wgs84.transform(0.0, 90.0)
    authalic = np.degrees(np.arcsin(up / pole))
    assert np.abs(geodetic(authalic) - true).max() < 1e-8
    assert geodetic(np.array([-90.0, 0.0, 90.0])).tolist() == [-90.0, 0.0, 90.0]


@settings(max_examples=60, deadline=None)
@given(
    latitude=st.one_of(st.floats(-90, 90), st.just(-90.0), st.just(90.0)),
    longitude=st.floats(-180, 180),
    aside=st.tuples(st.floats(-0.01, 0.01), st.floats(-180, 540)),
)
def test_east_and_north_are_those_of_the_local_frame(
    latitude: float, longitude: float, aside: tuple[float, float]
) -> None:
    import pyproj

    lat = max(-90.0, min(90.0, latitude + aside[0]))
    lon = aside[1] if abs(latitude) > 89.9 else longitude + aside[0]
    geocentric = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    point = np.array(geocentric.transform(lon, lat, 0.0))
    center = np.array(geocentric.transform(longitude, latitude, 0.0))
    la, lo = np.radians(latitude), np.radians(longitude)
    east = np.array([-np.sin(lo), np.cos(lo), 0.0])
    north = np.array([-np.sin(la) * np.cos(lo), -np.sin(la) * np.sin(lo), np.cos(la)])
    found = east_north(*(np.array([one]) for one in (lat, lon, latitude, longitude)))
    assert found[0][0] == pytest.approx((point - center) @ east, abs=1e-6)
    assert found[1][0] == pytest.approx((point - center) @ north, abs=1e-6)
