"""Runs of a track are the cells of its points, each binned by itself; and what spares most of them is true."""

import math
from typing import Any

import healpy
import mortie
import numpy as np
import pytest
from hypothesis import given, strategies as st

from maggjob.grid.healpix import INVALID, Latitude, locate, valid_coordinates
from maggjob.grid.tracks import FINER, NARROWEST, _margins, locate_runs
from tests import strategies
from tests.strategies import many


@st.composite
def tracks(draw: st.DrawFn, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Points one after the other, a part of a cell apart, not quite on a line, from anywhere or a corner of a cell."""
    cell = math.degrees(1.0 / (1 << order))
    step = cell * 10 ** draw(st.floats(-4, 0))
    count, seed = draw(st.integers(0, 120)), draw(st.integers(0, 2**32))
    random = np.random.default_rng(seed)
    latitude, longitude = draw(strategies.latitudes), draw(strategies.longitudes)
    if draw(st.booleans()):
        nside, id_ = 1 << min(order, 20), draw(st.integers(0, (12 << 2 * min(order, 20)) - 1))
        x, y, z = healpy.boundaries(nside, id_, step=1, nest=True)[:, draw(st.integers(0, 3))]
        latitude, longitude = math.degrees(math.asin(min(1, max(-1, z)))), math.degrees(math.atan2(y, x))
    heading = draw(st.floats(0, 2 * math.pi))
    along = step * (np.arange(count) - count * draw(st.floats(0, 1)))
    aside = step * draw(st.sampled_from((0, 0.1, 10))) * random.standard_normal(count)
    north = along * math.cos(heading) - aside * math.sin(heading)
    east = along * math.sin(heading) + aside * math.cos(heading)
    lat = latitude + north
    lon = longitude + east / max(1e-3, math.cos(math.radians(latitude)))
    over = np.abs(lat) > 90
    lat[over], lon[over] = np.sign(lat[over]) * 180 - lat[over], lon[over] + 180
    lat = np.clip(lat, -90, 90)
    for place, value in draw(st.lists(st.tuples(st.integers(0, 119), strategies.bad_latitudes), max_size=2)):
        lat[place:][:1] = value
    return lat, lon


@many
@given(st.data(), st.sampled_from((0, 3, 9, 12, 18, 21, 22, 27, 28, 29)), strategies.conventions)
def test_runs_of_a_track_are_the_cells_of_its_points(data: st.DataObject, order: int, convention: Latitude) -> None:
    latitude, longitude = data.draw(tracks(order))
    ids, lengths = locate_runs(latitude, longitude, order, convention)
    good = valid_coordinates(latitude, longitude)
    every = np.repeat(ids, lengths)
    assert (ids[1:] != ids[:-1]).all()
    np.testing.assert_array_equal(every == INVALID, ~good)
    np.testing.assert_array_equal(every[good], locate(latitude[good], longitude[good], order, convention))


def test_few_points_of_a_straight_track_are_binned(monkeypatch: pytest.MonkeyPatch) -> None:
    binned = []

    def counted(points: np.ndarray, *rest: Any, **options: Any) -> np.ndarray:
        binned.append(len(points))
        return geo2mort(points, *rest, **options)

    geo2mort = mortie.geo2mort
    monkeypatch.setattr(mortie, "geo2mort", counted)
    latitude = -75 + 1.8e-4 * np.arange(20_000)  # 20 m
    ids, _ = locate_runs(latitude, -100 + 1e-5 * np.arange(20_000), 12, "authalic")
    assert len(ids) > 200
    assert sum(binned) < 10_000


@pytest.mark.parametrize("order", [0, 2, 5, 8])
def test_nothing_is_nearer_to_the_edge_of_a_cell_than_is_taken_for_sure(order: int) -> None:
    """Centres of fine cells against the edges of theirs, on the sphere and in the cell's own coordinates."""
    random, nside, finer, least = np.random.default_rng(order), 1 << order, 1 << order + FINER, 9.0
    sides = [(nside - 1, place) for place in range(0, nside, max(1, nside // 8))]  # along an edge of a base cell
    others = random.integers(0, nside, (12, 2)).tolist()
    for face, (x, y) in enumerate([*sides, *((y, x) for x, y in sides), *others]):
        cell = int(healpy.xyf2pix(nside, x, y, face % 12, nest=True))
        within = random.choice(1 << 2 * FINER, 300, replace=False)
        edge = healpy.boundaries(nside, cell, step=1000, nest=True).T
        fine = np.array(healpy.pix2vec(finer, (cell << 2 * FINER) + within, nest=True)).T
        nearest = np.sqrt(np.maximum(0, 2 - 2 * (fine @ edge.T).max(axis=1)))  # chords: shorter than arcs
        least = min(least, (nearest * finer / (_margins()[within] + 0.5)).min())
    assert least > NARROWEST
    assert order == 0 or least < 0.71  # it is not far from the truth


def test_margins_are_those_of_the_edges() -> None:
    x, y, _ = healpy.pix2xyf(1 << FINER, np.arange(1 << 2 * FINER), nest=True)
    assert _margins().tolist() == np.minimum.reduce([x, y, 63 - x, 63 - y]).tolist()
