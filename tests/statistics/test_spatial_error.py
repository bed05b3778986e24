"""The standard error of a mean of correlated errors, against the double sum over all pairs."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.spatial.distance import cdist

from maggjob.grid.polygons import Centres
from maggjob.statistics.spatial_error import correlation, error_of_sum

SIDE = 3.183  # km
RNG = np.random.default_rng(5)


def square(first: int, order: int = 11, parent: int = 6) -> np.ndarray:
    """Ids of the children of a cell."""
    count = 4 ** (order - parent)
    return first * count + np.arange(count)


IDS = np.concatenate([square(45763), square(45765), square(45000)])
"""Two neighbouring squares of 100 km, and one far away."""
POSITIONS = Centres.of(IDS, 11, "authalic").positions()
DISTANCES = cdist(POSITIONS, POSITIONS)


def rho(distances: np.ndarray, range_km: float) -> np.ndarray:
    """The spherical model, as geostatistics writes it."""
    share = distances / range_km
    return np.where(distances < range_km, 1 - (3 * share - share**3) / 2, 0.0)


@given(st.integers(1, 300), st.floats(0.1, 1000.0), st.integers(0, 2**32 - 1))
def test_a_few_thousand_cells_are_summed_exactly(count: int, range_km: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(IDS))[:count]
    parts = rng.lognormal(0.0, 1.0, count) * (rng.random(count) < 0.9)
    got = error_of_sum(parts, POSITIONS[chosen], IDS[chosen], SIDE, range_km)
    terms = np.outer(parts, parts) * rho(DISTANCES[np.ix_(chosen, chosen)], range_km)
    assert got == pytest.approx(math.sqrt(math.fsum(terms.ravel().tolist())), rel=1e-9)


PATTERNS = {
    "all alike": np.ones(len(IDS)),
    "each its own": RNG.lognormal(0.0, 1.0, len(IDS)),
    "few": (RNG.random(len(IDS)) < 0.05).astype(float),
    "tracks": (IDS % 64 < 3) * RNG.lognormal(0.0, 0.5, len(IDS)),
    "one large": np.where(np.arange(len(IDS)) == 77, 300.0, 1.0),
    "one block": np.where(np.arange(len(IDS)) < 4, 1.0, 1e-6),
}


@pytest.mark.dear("all pairs of thousands of points; one distance stands for all", keep=("120.0",))
@pytest.mark.parametrize("range_km", [60.0, 120.0, 400.0, 5000.0])
def test_blocks_agree_with_all_pairs(range_km: float) -> None:
    correlations = rho(DISTANCES, range_km)
    for pattern, given_parts in PATTERNS.items():
        parts = given_parts / given_parts.sum()
        true = math.sqrt(parts @ correlations @ parts)
        assert error_of_sum(parts, POSITIONS, IDS, SIDE, range_km, exact=0) == pytest.approx(true, rel=0.005), pattern
        assert error_of_sum(parts, POSITIONS, IDS, SIDE, range_km) == pytest.approx(true, rel=1e-9), pattern


def test_cells_without_range_are_independent() -> None:
    parts = PATTERNS["each its own"]
    independent = math.sqrt(math.fsum((parts**2).tolist()))
    for range_km in (0.0, 1e-9, 0.9 * DISTANCES[DISTANCES > 0].min()):
        assert error_of_sum(parts, POSITIONS, IDS, SIDE, range_km) == pytest.approx(independent, rel=1e-12)


@pytest.mark.parametrize("exact", [0, 10_000])
def test_an_endless_range_correlates_all(exact: int) -> None:
    parts = PATTERNS["each its own"]
    assert error_of_sum(parts, POSITIONS, IDS, SIDE, 1e9, exact) == pytest.approx(parts.sum(), rel=1e-5)


@pytest.mark.dear("all pairs of a large disc")
def test_a_large_disc_has_the_error_of_rolstad() -> None:
    """Rolstad et al. (2009) for an area much larger than that of correlation, pi * range**2: its share divided by 5."""
    order, radius, range_km = 10, 600.0, 50.0
    # The southern base cell from 0 to 90 degrees east.
    ids = square(8, order, 0)
    centres = Centres.of(ids, order, "authalic")
    positions = centres.positions()
    middle = np.argmin(np.abs(centres.latitude + 60) + np.abs(centres.longitude - 45))
    disc = np.linalg.norm(positions - positions[middle], axis=1) < radius
    count, side = int(disc.sum()), math.sqrt(510_065_621.7 / (12 * 4**order))
    assert count * side**2 == pytest.approx(math.pi * radius**2, rel=0.001), "the disc lies within the cells"
    got = error_of_sum(np.full(count, 0.3 / count), positions[disc], ids[disc], side, range_km)
    assert got == pytest.approx(0.3 * math.sqrt(range_km**2 / (5 * radius**2)), rel=0.015)


def test_the_order_of_cells_does_not_matter_nor_do_those_without_error() -> None:
    parts = PATTERNS["few"]
    shuffled = RNG.permutation(len(IDS))
    for exact in (0, 10_000):
        one = error_of_sum(parts, POSITIONS, IDS, SIDE, 80.0, exact)
        other = error_of_sum(parts[shuffled], POSITIONS[shuffled], IDS[shuffled], SIDE, 80.0, exact)
        own = parts > 0
        assert other == pytest.approx(one, rel=1e-12)
        assert error_of_sum(parts[own], POSITIONS[own], IDS[own], SIDE, 80.0, exact) == one
    assert error_of_sum(np.zeros(len(IDS)), POSITIONS, IDS, SIDE, 80.0) == 0.0


def test_the_model_falls_from_one_to_zero() -> None:
    got = correlation(np.array([0.0, 25.0, 50.0, 1e6]), 50.0)
    assert got.tolist() == [1.0, 1 - 0.75 + 0.0625, 0.0, 0.0]
