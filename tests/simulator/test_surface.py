"""The invented surface: its planted changes, and the rate that an analysis should find."""

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, strategies as st
from pyproj import Geod

from maggjob.errors import InputError
from maggjob.simulator.scene import simulate
from maggjob.simulator.surface import Change, change, planted_rate, years

SPHERE = Geod(a=6371e3, b=6371e3)
CHANGES = st.builds(
    Change,
    latitude=st.floats(-85.0, -60.0),
    longitude=st.floats(-180.0, 180.0),
    rate=st.floats(-5.0, 5.0),
    radius=st.floats(20e3, 500e3),
    since=st.floats(2015.0, 2021.0),
    acceleration=st.floats(-1.0, 1.0),
    annual=st.floats(-2.0, 2.0),
)
PLANTED = st.one_of(CHANGES, st.lists(CHANGES, max_size=3).map(tuple))
YEARS = st.lists(st.floats(2018.0, 2028.0), min_size=2, max_size=12).filter(lambda years: np.ptp(years) > 0.1)


def expected(latitude: float, longitude: float, year: float, planted: Change | tuple[Change, ...]) -> float:
    """The change at one place and time, by the formula of the docstring and pyproj's distance on a sphere."""
    total = 0.0
    for one in (planted,) if isinstance(planted, Change) else planted:
        _, _, far = SPHERE.inv(one.longitude, one.latitude, longitude, latitude)
        t = max(0.0, year - one.since)
        motion = one.rate * t + one.acceleration * t * t / 2 + one.annual * math.sin(2 * math.pi * t)
        total += motion * math.exp(-((far / one.radius) ** 2))
    return total


@given(PLANTED, st.lists(st.tuples(st.floats(-86.0, -58.0), st.floats(-180.0, 180.0)), max_size=5), YEARS)
def test_the_change_is_that_of_its_formula(
    planted: Change | tuple[Change, ...], places: list[tuple[float, float]], times: list[float]
) -> None:
    """And `planted_rate` is the slope that numpy fits to it."""
    latitude, longitude = np.array(places).reshape(-1, 2).T
    heights = np.array([[expected(*place, year, planted) for year in times] for place in places])
    heights = heights.reshape(len(places), len(times))
    for i, year in enumerate(times):
        assert np.allclose(change(latitude, longitude, np.full(len(places), year), planted), heights[:, i], atol=1e-6)
    found = planted_rate(latitude, longitude, planted, np.array(times))
    assert found.shape == (len(places),)
    if places:
        centre = np.array(times) - np.mean(times)
        assert np.allclose(found, np.polyfit(centre, heights.T, 1)[0], rtol=1e-6, atol=1e-5)


def test_a_constant_rate_is_found_at_any_times() -> None:
    one = Change(rate=-3.0, acceleration=0.0)
    place = np.array([one.latitude]), np.array([one.longitude])
    for times in ([2019.0, 2030.0], [2020.1, 2020.2, 2024.0]):
        assert planted_rate(*place, one, np.array(times)) == pytest.approx(-3.0)


def test_an_acceleration_and_whole_years_give_the_mean_rate() -> None:
    """Between 2020 and 2024, the rate of 1 m/yr in 2019 grows by 0.5 m/yr each year: 2.5 m/yr in the middle."""
    one = Change(rate=1.0, acceleration=0.5, annual=3.0)
    times = np.array([2020.0, 2021.0, 2022.0, 2023.0, 2024.0])
    assert planted_rate(np.array([one.latitude]), np.array([one.longitude]), one, times) == pytest.approx(2.5)


@pytest.mark.parametrize("times", [[], [2020.0], [2020.0, 2020.0], [2020.0, math.nan], [2020.0, math.inf]])
def test_no_rate_without_two_times(times: list[float]) -> None:
    with pytest.raises(InputError, match=r"no line fits through the years .*; give two different ones"):
        planted_rate(np.array([-75.0]), np.array([-100.0]), Change(), np.array(times))


@pytest.mark.dear("a surface of thousands of points; test_trend finds the planted rate")
def test_heights_move_as_planted(tmp_path: Path) -> None:
    """In files: what several patterns add to the heights of no change."""
    two = (
        Change(rate=-2.0, acceleration=0.4, annual=1.5),
        Change(latitude=-76.0, longitude=-110.0, rate=4.0, radius=200e3, since=2020.0),
    )
    options: dict[str, Any] = {"rgts": (264, 820), "regions": (10, 12), "every": 200, "cycles": (4, 15)}
    still = simulate(tmp_path / "still", planted=(), **options)
    moved = simulate(tmp_path / "moved", planted=two, **options)
    seen = 0
    for before, after in zip(still, moved, strict=True):
        with h5py.File(before) as x, h5py.File(after) as y:
            for beam in (name for name in x if name.startswith("gt")):
                d = x[f"{beam}/land_ice_segments"]
                a, b = d["h_li"][:].astype(float), y[f"{beam}/land_ice_segments/h_li"][:].astype(float)
                place = zip(d["latitude"][:], d["longitude"][:], years(d["delta_time"][:]), strict=True)
                truth = np.array([expected(*one, two) for one in place])
                good = a < 3e38
                assert np.allclose((b - a)[good], truth[good], atol=2e-3)
                seen += int(good.sum())
    assert seen > 300
