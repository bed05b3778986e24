"""Robust statistics, integers, counts and missing values, against numpy and scipy on each child."""

import math
from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, strategies as st

from maggjob.errors import StatisticError
from maggjob.statistics.checks import unusable
from maggjob.statistics.compute import compute
from maggjob.statistics.functions import Statistic
from tests import strategies
from tests.strategies import Rows, few, many


def of(function: str, **rest: Any) -> Statistic:
    return Statistic("x", **({"function": function, "source": "h", "dtype": "float64"} | rest))


def values_of(statistic: Statistic, rows: Rows) -> np.ndarray:
    present, values = compute([statistic], rows.columns, rows.child, rows.children)
    assert present.tolist() == [child for child, _ in rows.groups()]
    return values["x"]


def reduced(expression: str, rows: Rows) -> np.ndarray:
    return values_of(Statistic("x", expression=expression, dtype="float64"), rows)


@many
@given(strategies.rows())
def test_mad_is_scipys(rows: Rows) -> None:
    expected = [scipy.stats.median_abs_deviation(columns["h"]) for _, columns in rows.groups()]
    assert values_of(of("mad"), rows).tolist() == expected
    np.testing.assert_allclose(values_of(of("nmad"), rows), 1.4826 * np.array(expected), rtol=1e-15)


@many
@given(strategies.rows(), st.booleans())
def test_skewness_is_scipys(rows: Rows, bias: bool) -> None:
    got = values_of(of("skewness", bias=bias), rows)
    for value, (_, columns) in zip(got, rows.groups(), strict=True):
        h = columns["h"]
        with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:
            patch.setattr("warnings.warn", lambda *given, **more: None)
            expected = scipy.stats.skew(h, bias=bias)
        if not bias and len(h) < 3:
            # scipy gives the biased value where the other is not defined.
            assert math.isnan(value)
        elif len(set(h)) == 1:
            assert math.isnan(value)
        elif h.std() > 1e-6 * np.abs(h).max():
            np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)


@many
@given(strategies.rows(), st.sampled_from((0.1, 1.0, 7.5, 100.0)))
def test_the_mode_is_the_center_of_the_fullest_bin(rows: Rows, width: float) -> None:
    expected = []
    for _, columns in rows.groups():
        counts = Counter(np.floor(columns["h"] / width).tolist())
        fullest = max(counts.values())
        expected.append((min(k for k, n in counts.items() if n == fullest) + 0.5) * width)
    assert values_of(of("mode", bin_width=width), rows).tolist() == expected


@many
@given(strategies.rows())
def test_the_weighted_median_is_the_lower_one(rows: Rows) -> None:
    got = values_of(of("weighted_median", weights="s"), rows)
    for value, (_, columns) in zip(got, rows.groups(), strict=True):
        pairs = sorted(zip(columns["h"].tolist(), map(Fraction, columns["s"].tolist()), strict=True))
        total, below = sum(w for _, w in pairs), Fraction(0)
        below_value = sum((w for h, w in pairs if h < value), Fraction(0))
        up_to = sum((w for h, w in pairs if h <= value), below)
        # Sums of floating-point weights are rounded: half is half within that.
        slack = total * len(pairs) / 2**50
        assert value in columns["h"]
        assert below_value < total / 2 + slack
        assert up_to >= total / 2 - slack


def test_weights_decide_the_weighted_median() -> None:
    rows = Rows(np.zeros(4, int), 1, {"h": np.array([4.0, 1.0, 3.0, 2.0]), "s": np.array([1.0, 1.0, 1.0, 1.0])})
    assert values_of(of("weighted_median", weights="s"), rows).tolist() == [2.0]
    heavy = Rows(np.zeros(4, int), 1, {"h": rows.columns["h"], "s": np.array([9.0, 1.0, 1.0, 1.0])})
    assert values_of(of("weighted_median", weights="s"), heavy).tolist() == [4.0]


# --- Expressions


@many
@given(strategies.rows())
def test_expressions_reduce_as_numpy_does(rows: Rows) -> None:
    groups = [columns for _, columns in rows.groups()]
    assert reduced("np.median(h)", rows).tolist() == [np.median(c["h"]) for c in groups]
    np.testing.assert_allclose(reduced("np.std(h)", rows), [c["h"].std() for c in groups], rtol=1e-9, atol=1e-9)
    assert reduced("np.sum(h > 10)", rows).tolist() == [(c["h"] > 10).sum() for c in groups]
    assert reduced("np.sum((h > 10) & (s < 1) | (h == 0))", rows).tolist() == [
        ((c["h"] > 10) & (c["s"] < 1) | (c["h"] == 0)).sum() for c in groups
    ]
    assert reduced("np.sum(0 < h <= 50)", rows).tolist() == [((c["h"] > 0) & (c["h"] <= 50)).sum() for c in groups]
    assert reduced("np.max(np.where(h < 0, 0 - h, np.minimum(h, 5)))", rows).tolist() == [
        np.where(c["h"] < 0, -c["h"], np.minimum(c["h"], 5)).max() for c in groups
    ]
    assert reduced("np.max(np.floor(h) % 7)", rows).tolist() == [(np.floor(c["h"]) % 7).max() for c in groups]
    assert reduced("np.sum(not h > np.mean(h))", rows).tolist() == [(~(c["h"] > c["h"].mean())).sum() for c in groups]
    assert reduced("np.maximum(np.min(h), len(h))", rows).tolist() == [max(c["h"].min(), len(c["h"])) for c in groups]


def test_a_condition_on_nan_is_never_met() -> None:
    rows = Rows(np.zeros(3, int), 1, {"h": np.array([np.nan, 1.0, 2.0])})
    for condition in ("h < 5", "h != 5", "h == h", "h >= 0"):
        assert reduced(f"np.sum({condition})", rows).tolist() == [2.0]


# --- Integers


@few
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-(2**62), 2**62)), min_size=1, max_size=60))
def test_integers_keep_all_their_digits(pairs: list[tuple[int, int]]) -> None:
    child, h = np.array([c for c, _ in pairs]), np.array([v for _, v in pairs])
    for name, reduce in (("min", min), ("max", max)):
        _, values = compute([of(name, dtype="int64", fill_value=0)], {"h": h}, child, 4)
        assert values["x"].tolist() == [reduce(v for c, v in pairs if c == one) for one in sorted(set(child.tolist()))]


@few
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=60))
def test_unsigned_integers_keep_all_their_digits(values: list[int]) -> None:
    h, child = np.array(values, np.uint64), np.zeros(len(values), int)
    for name, expected in (("min", min(values)), ("max", max(values))):
        assert compute([of(name, dtype="uint64", fill_value=0)], {"h": h}, child, 1)[1]["x"].tolist() == [expected]
    if sum(values) < 2**64 - 2**12:
        assert compute([of("sum", dtype="uint64", fill_value=0)], {"h": h}, child, 1)[1]["x"].tolist() == [sum(values)]
    else:
        with pytest.raises(StatisticError):
            compute([of("sum", dtype="uint64", fill_value=0)], {"h": h}, child, 1)


def test_sums_of_integers_are_exact_or_an_error() -> None:
    h, child = np.array([2**53, 1, 1]), np.zeros(3, int)
    assert compute([of("sum", dtype="int64", fill_value=0)], {"h": h}, child, 1)[1]["x"].tolist() == [2**53 + 2]
    with pytest.raises(StatisticError, match="x: "):
        compute([of("sum", dtype="int64", fill_value=0)], {"h": np.full(3, 2**62)}, child, 1)
    with pytest.raises(StatisticError, match="int16"):
        compute([of("sum", dtype="int16", fill_value=0)], {"h": np.full(3, 20_000)}, child, 1)


def test_what_is_no_whole_number_is_no_integer() -> None:
    with pytest.raises(StatisticError, match=r"1\.5 is no whole number"):
        compute([of("max", dtype="int32", fill_value=0)], {"h": np.array([1.5])}, np.zeros(1, int), 1)


# --- Too few, missing and too large


@many
@given(strategies.rows(), st.integers(1, 5))
def test_too_few_segments_give_the_fill_value(rows: Rows, least: int) -> None:
    got = values_of(of("mean", min_count=least, fill_value=-1.0), rows)
    plain = values_of(of("mean"), rows)
    sizes = [len(columns["h"]) for _, columns in rows.groups()]
    assert got.tolist() == [m if n >= least else -1.0 for m, n in zip(plain.tolist(), sizes, strict=True)]


@many
@given(strategies.rows(), st.randoms(use_true_random=False))
def test_missing_values_are_left_out_of_what_uses_them(rows: Rows, random: Any) -> None:
    tide = np.array([math.nan if random.random() < 0.5 else random.gauss(0, 1) for _ in rows.child])
    columns = {**rows.columns, "tide": tide}
    statistics = [
        Statistic("all", "mean", source="h", dtype="float64"),
        Statistic("low", "mean", source="h - tide", dtype="float64"),
        Statistic("tides", "count", source="tide", dtype="int32", fill_value=0),
        Statistic("most", expression="np.max(tide)", dtype="float64"),
    ]
    present, values = compute(statistics, columns, rows.child, rows.children, omit={"tide"})
    assert list(values) == ["all", "low", "tides", "most"]
    for place, child in enumerate(present.tolist()):
        own, there = rows.child == child, (rows.child == child) & ~np.isnan(tide)
        np.testing.assert_allclose(values["all"][place], rows.columns["h"][own].astype("f8").mean(), rtol=1e-9)
        assert values["tides"][place] == there.sum()
        if there.any():
            expected = (rows.columns["h"][there].astype("f8") - tide[there]).mean()
            np.testing.assert_allclose(values["low"][place], expected, rtol=1e-9, atol=1e-9)
            assert values["most"][place] == tide[there].max()
        else:
            assert math.isnan(values["low"][place])
            assert math.isnan(values["most"][place])


@pytest.mark.parametrize(
    ("statistic", "limit"),
    [
        (of("var", dtype="float32"), 9.3e18),
        (of("std", dtype="float32"), 9.3e18),
        (of("max", dtype="float64"), math.inf),
        (of("max", dtype="int16"), 32768),
        (Statistic("x", expression="np.sum(h)", dtype="float32"), 3e31),
        (of("len", source=None), math.inf),
        (of("nunique", dtype="int16"), math.inf),
    ],
)
def test_one_wild_value_is_too_large(statistic: Statistic, limit: float) -> None:
    h = np.array([1.0, 1e30, -1e30, 1e300, 20_000.0, -40_000.0])
    infinite, large = unusable([statistic], {"h": h}, len(h))
    assert not infinite.any()
    assert large.tolist() == (np.abs(h) > limit).tolist()
