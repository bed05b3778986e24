"""Statistics by child against a loop over children: numpy for order statistics, math.fsum for sums."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from maggjob.config.load import load_config
from maggjob.errors import ConfigError, StatisticError
from maggjob.statistics.checks import bad_weights, unusable
from maggjob.statistics.compute import _slabs, compute, fill_children
from maggjob.statistics.functions import FUNCTIONS, Statistic
from tests import strategies
from tests.strategies import Rows, few, many

EPS = 2.0**-52
INVERSE_VARIANCE = "1.0 / s**2"
PLAIN = [name for name in FUNCTIONS if name != "fit"]
"""Functions of one column; fits have tests of their own."""
H_SIGMA = Statistic("h_sigma", expression="1.0 / np.sqrt(np.sum(1.0 / s**2))", dtype="float64")


def of(function: str, **rest: object) -> Statistic:
    """A statistic of the column h, in float64 where nothing else is said."""
    return Statistic("x", **({"function": function, "source": "h", "dtype": "float64"} | rest))  # type: ignore[arg-type]


def values_of(statistic: Statistic, rows: Rows) -> np.ndarray:
    """One statistic of all children that have segments."""
    present, values = compute([statistic], rows.columns, rows.child, rows.children)
    assert present.tolist() == [child for child, _ in rows.groups()]
    assert values["x"].dtype == statistic.dtype
    return values["x"]


def in_one_child(values: np.ndarray) -> Rows:
    """Rows that all lie in child 0."""
    return Rows(np.zeros(len(values), np.int64), 1, {"h": values})


# --- Order statistics: to the last bit ---

ORDER_STATISTICS = {"min": np.min, "max": np.max, "median": np.median}


@pytest.mark.parametrize("name", ORDER_STATISTICS)
@many
@given(rows=st.one_of(strategies.rows(), strategies.rows(strategies.large, "f8")))
def test_order_statistics_are_numpys_to_the_last_bit(name: str, rows: Rows) -> None:
    expected = [ORDER_STATISTICS[name](columns["h"]) for _, columns in rows.groups()]
    assert values_of(of(name), rows).tolist() == expected


@many
@given(
    rows=st.one_of(strategies.rows(), strategies.rows(strategies.large, "f8")),
    q=st.one_of(st.floats(0, 1), st.sampled_from((0.0, 0.25, 0.5, 0.75, 1.0, 1 / 3, 5e-324, math.nextafter(1, 0)))),
)
def test_quantiles_are_numpys_to_the_last_bit(rows: Rows, q: float) -> None:
    expected = [np.quantile(columns["h"], q) for _, columns in rows.groups()]
    assert values_of(of("quantile", q=q), rows).tolist() == expected


@pytest.mark.parametrize("q", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 100, 101])
def test_quantiles_of_every_length_are_numpys(q: float, n: int) -> None:
    values = np.random.default_rng(n).normal(1000, 300, n).astype("f4")
    assert values_of(of("quantile", q=q), in_one_child(values)).tolist() == [np.quantile(values.astype("f8"), q)]


@few
@given(strategies.rows())
def test_float32_order_statistics_are_rounded_once(rows: Rows) -> None:
    expected = [np.float32(np.quantile(columns["h"], 0.25)) for _, columns in rows.groups()]
    assert values_of(of("quantile", q=0.25, dtype="float32"), rows).tolist() == expected


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", ">i4", ">f8"])
@pytest.mark.parametrize("name", ["min", "max", "median"])
def test_columns_of_every_type_become_float64_first(name: str, dtype: str) -> None:
    limit = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    values = np.array([limit.max, limit.max - 1, limit.min, 1], dtype)
    expected = ORDER_STATISTICS[name](values.astype(np.float64))
    assert values_of(of(name), in_one_child(values)).tolist() == [expected]


# --- Counts ---


@many
@given(strategies.rows(st.sampled_from((0.0, 1.0, 2.5, -7.0, 8999.0))))
def test_counts_are_those_of_the_loop(rows: Rows) -> None:
    groups = [columns["h"] for _, columns in rows.groups()]
    for name in ("len", "count"):
        assert values_of(of(name, source=None, dtype="int32"), rows).tolist() == [len(h) for h in groups]
    assert values_of(of("nunique", dtype="int32"), rows).tolist() == [len(set(h.tolist())) for h in groups]


def test_ground_tracks_are_counted_once() -> None:
    rows = Rows(
        np.array([0, 0, 0, 1, 1]), 4, {"rgt": np.array([850, 850, 858, 1, 1]), "beam": np.array([0, 5, 0, 2, 2])}
    )
    tracks = of("nunique", source="6 * rgt + beam", dtype="int32")
    assert values_of(tracks, rows).tolist() == [3, 1]


def test_neighbouring_groups_do_not_share_a_value() -> None:
    rows = Rows(np.array([0, 1, 2]), 4, {"h": np.array([5.0, 5.0, 5.0])})
    assert values_of(of("nunique", dtype="int32"), rows).tolist() == [1, 1, 1]


def test_a_count_never_becomes_another_number() -> None:
    config = load_config("atl06.yaml").model_dump()
    config["aggregation"]["variables"] = {"x": {"function": "len", "dtype": "int16"}}
    with pytest.raises((ConfigError, StatisticError)):  # refused at once, or when it does not fit
        values_of(load_config(config).recipe().statistics[0], in_one_child(np.zeros(40_000)))


# --- Sums: as near to math.fsum as rounding allows ---


def differs(got: float, exact: float, slack: float) -> bool:
    """Return True if a float32 is off by more than one unit in the last place and the slack."""
    nearest = np.float32(exact)
    return not abs(float(got) - float(nearest)) <= float(np.spacing(np.abs(nearest))) + slack


@many
@given(strategies.rows())
def test_sums_and_means_are_those_of_fsum(rows: Rows) -> None:
    sums, means = (values_of(of(name, dtype="float32"), rows) for name in ("sum", "mean"))
    plain = values_of(of("average", dtype="float32"), rows)
    assert plain.tolist() == means.tolist()
    for i, (_, columns) in enumerate(rows.groups()):
        h = columns["h"]
        slack = len(h) * EPS * math.fsum(np.abs(h))
        assert not differs(sums[i], math.fsum(h), slack)
        assert not differs(means[i], math.fsum(h) / len(h), slack / len(h))


@many
@given(strategies.rows())
def test_weighted_means_are_those_of_fsum(rows: Rows) -> None:
    means = values_of(of("average", weights=INVERSE_VARIANCE, dtype="float32"), rows)
    for got, (_, columns) in zip(means, rows.groups(), strict=True):
        h, w = columns["h"], 1.0 / columns["s"] ** 2
        slack = 4 * len(h) * EPS * math.fsum(w * np.abs(h)) / math.fsum(w)
        assert not differs(got, math.fsum(w * h) / math.fsum(w), slack)


@pytest.mark.parametrize("ddof", [0, 1, 3])
@few
@given(rows=strategies.rows())
def test_variances_are_those_of_fsum(ddof: int, rows: Rows) -> None:
    variances = values_of(of("var", ddof=ddof, dtype="float32"), rows)
    deviations = values_of(of("std", ddof=ddof, dtype="float32"), rows)
    for i, (_, columns) in enumerate(rows.groups()):
        h, n = columns["h"], len(columns["h"])
        if n <= ddof:
            assert np.isnan(variances[i])
            assert np.isnan(deviations[i])
            continue
        mean = math.fsum(h) / n
        exact = math.fsum((h - mean) ** 2) / (n - ddof)
        off = 2 * n * EPS * float(np.abs(h).max())  # how far the mean, and so each difference, may be off
        slack = (2 * off * math.sqrt(exact) + off**2) * n / (n - ddof) + n * EPS * exact
        assert not differs(variances[i], exact, slack)
        assert not differs(deviations[i], math.sqrt(exact), 2 * off + n * EPS * math.sqrt(exact))


@many
@given(strategies.rows())
def test_formal_errors_are_those_of_fsum(rows: Rows) -> None:
    _, values = compute([H_SIGMA], rows.columns, rows.child, rows.children)
    expected = [1.0 / math.sqrt(math.fsum(1.0 / c["s"] ** 2)) for _, c in rows.groups()]
    np.testing.assert_allclose(values["h_sigma"], expected, rtol=100 * EPS)


def exact_statistics(h: np.ndarray, s: np.ndarray) -> dict[str, float]:
    """Return the statistics that are sums, exactly."""
    w = 1.0 / s**2
    total, mean = math.fsum(w), math.fsum(h) / len(h)
    return {
        "mean": math.fsum(w * h) / total,
        "sigma": 1.0 / math.sqrt(total),
        "variance": math.fsum((h - mean) ** 2) / len(h),
    }


def crowded_cell(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return half a million segments in 65,536 children: child, height and uncertainty, in no order."""
    rng, children, n = np.random.default_rng(seed), 4**8, 500_000
    child = rng.integers(0, children, n)
    h = rng.uniform(0, 3500, children)[child] + rng.normal(0, 20, n)
    return child, h.astype("f4"), rng.uniform(0.01, 0.5, n).astype("f4")


@pytest.mark.dear("millions of sums against exact ones")
def test_of_many_children_fewer_than_one_in_100_000_are_rounded_otherwise() -> None:
    statistics = [
        Statistic("mean", function="average", source="h", weights=INVERSE_VARIANCE),
        Statistic("sigma", expression=H_SIGMA.expression),
        Statistic("variance", function="var", source="h"),
    ]
    groups, otherwise = 0, dict.fromkeys(("mean", "sigma", "variance"), 0)
    for seed in range(4):
        child, h, s = crowded_cell(seed)
        present, values = compute(statistics, {"h": h, "s": s}, child, 4**8)
        order = np.argsort(child, kind="stable")
        edges = np.flatnonzero(np.diff(child[order], prepend=-1))
        assert present.tolist() == child[order][edges].tolist()
        each = zip(*(np.split(v[order].astype("f8"), edges[1:]) for v in (h, s)), strict=True)
        truth = [exact_statistics(*group) for group in each]
        groups += len(truth)
        for name, got in values.items():
            nearest = np.array([t[name] for t in truth]).astype("f4")
            assert (np.abs(got - nearest) <= np.spacing(np.abs(nearest))).all(), name
            otherwise[name] += int(np.count_nonzero(got != nearest))
    assert groups > 250_000
    assert all(n < 1e-5 * groups for n in otherwise.values()), otherwise


def test_heights_are_not_summed_in_float32() -> None:
    values = np.full(100_000, 3000.1, "f4")
    assert values_of(of("mean", dtype="float32"), in_one_child(values)).tolist() == [values[0]]


# --- Laying out ---


@few
@given(strategies.rows())
def test_every_child_has_its_value_or_the_fill(rows: Rows) -> None:
    statistics = [
        Statistic("count", function="len", dtype="int32", fill_value=0.0),
        Statistic("low", function="min", source="h"),
        Statistic("high", function="max", source="h", dtype="float64", fill_value=-9999.0),
    ]
    full = fill_children(*compute(statistics, rows.columns, rows.child, rows.children), statistics, rows.children)
    assert {name: (v.dtype.name, v.shape) for name, v in full.items()} == {
        "count": ("int32", (rows.children,)),
        "low": ("float32", (rows.children,)),
        "high": ("float64", (rows.children,)),
    }
    groups = {child: columns["h"] for child, columns in rows.groups()}
    empty = np.ones(rows.children, bool)
    empty[list(groups)] = False
    assert (full["count"][empty] == 0).all()
    assert np.isnan(full["low"][empty]).all()
    assert (full["high"][empty] == -9999).all()
    for child, h in groups.items():
        assert [full[name][child] for name in full] == [len(h), h.min(), h.max()]


def test_without_segments_all_is_fill() -> None:
    statistics = load_config("atl06.yaml").recipe().statistics
    columns = {"h_li": np.empty(0, "f4"), "s_li": np.empty(0, "f4")}
    present, values = compute(statistics, columns, np.empty(0, np.int64), 4096)
    assert len(present) == 0
    assert {name: v.dtype.name for name, v in values.items()} == {s.name: s.dtype for s in statistics}
    full = fill_children(present, values, statistics, 4096)
    assert (full.pop("count") == 0).all()
    assert all(np.isnan(v).all() for v in full.values())


def test_one_segment_in_every_child() -> None:
    children = 4**8
    h = np.random.default_rng(1).permutation(children).astype("f4")
    child = np.random.default_rng(2).permutation(children)
    rows = {"h": h, "s": np.ones(children, "f4")}
    statistics = [
        Statistic(name, function=name, source=None if name in ("len", "count") else "h", weights="s", dtype="float64")
        for name in PLAIN
    ]
    present, values = compute(statistics, rows, child, children)
    assert (present == np.arange(children)).all()
    same, zero, one = np.empty(children), np.zeros(children), np.ones(children)
    same[child] = h
    expected = dict.fromkeys(PLAIN, same) | {"var": zero, "std": zero, "len": one, "count": one, "nunique": one}
    expected |= {"mad": zero, "nmad": zero, "mode": same + 0.5, "skewness": np.full(children, np.nan)}
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)


@pytest.mark.parametrize("children", [1, 255, 256, 257, 65535, 65536, 65537, 4**10])
def test_the_last_child_is_not_lost(children: int) -> None:
    rows = Rows(np.array([children - 1, 0, children - 1]), children, {"h": np.array([1.0, 2.0, 3.0])})
    expected = [4.0, 2.0][::-1] if children > 1 else [6.0]
    assert values_of(of("sum"), rows).tolist() == expected


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint16", "uint8"])
def test_children_may_be_any_integers(dtype: str) -> None:
    rows = Rows(np.array([3, 1, 3], dtype), 4, {"h": np.array([1.0, 2.0, 4.0])})
    assert values_of(of("mean"), rows).tolist() == [2.0, 2.5]


@few
@given(strategies.rows(), st.randoms(use_true_random=False))
def test_the_order_of_segments_matters_to_no_order_statistic(rows: Rows, random: object) -> None:
    order = list(range(len(rows.child)))
    random.shuffle(order)  # type: ignore[attr-defined]
    other = Rows(rows.child[order], rows.children, {name: values[order] for name, values in rows.columns.items()})
    for statistic in (of("min"), of("median"), of("quantile", q=0.3), of("nunique"), of("len")):
        assert values_of(statistic, rows).tolist() == values_of(statistic, other).tolist()


@few
@given(strategies.rows())
def test_inputs_stay_as_they_were(rows: Rows) -> None:
    before = {name: values.copy() for name, values in rows.columns.items()} | {"child": rows.child.copy()}
    for array in (rows.child, *rows.columns.values()):
        array.setflags(write=False)
    statistics = [
        *(Statistic(name, function=name, source="h", weights="s**-2", dtype="float64") for name in PLAIN),
        Statistic("weighted", function="average", source="h - s", weights=INVERSE_VARIANCE),
        H_SIGMA,
    ]
    compute(statistics, rows.columns, rows.child, rows.children)
    for name, values in before.items():
        np.testing.assert_array_equal(rows.columns.get(name, rows.child), values)


def test_a_source_may_be_an_expression() -> None:
    rows = Rows(np.array([0, 1, 0]), 4, {"h": np.array([3.0, 5.0, 7.0]), "s": np.array([1, 2, 4], "i2")})
    assert values_of(of("max", source="h - s"), rows).tolist() == [3.0, 3.0]


@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"len", "count"}))
def test_a_function_without_a_source_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"x: .* needs a source"):
        values_of(of(name, source=None), in_one_child(np.ones(1)))


# --- What screening asks of statistics ---


def weighted(weights: str) -> Statistic:
    return of("average", weights=weights)


@pytest.mark.parametrize(
    ("weights", "bad"),
    [
        ("1.0 / s**2", [False, True, True, True, True, True]),
        ("s**-2", [False, True, True, True, True, True]),
        ("1.0 / np.square(s)", [False, True, True, True, True, True]),
        ("1.0 / s", [False, True, True, True, True, True]),
        ("s", [False, True, True, True, True, True]),
        ("np.abs(s) + 1", [False, False, False, True, True, True]),  # says itself that a sign has no meaning
    ],
)
def test_a_weight_must_be_finite_and_positive(weights: str, bad: list[bool]) -> None:
    columns: Mapping[str, np.ndarray] = {"s": np.array([0.1, 0.0, -0.1, math.nan, math.inf, -math.inf], "f4")}
    assert bad_weights([weighted(weights)], columns, 6).tolist() == bad


def test_a_weight_that_is_too_small_is_bad() -> None:
    columns = {"s": np.array([1e-200, 1.0, 1e200])}
    assert bad_weights([weighted(INVERSE_VARIANCE)], columns, 3).tolist() == [True, False, True]


def test_without_weights_none_is_bad() -> None:
    columns = {"h": np.array([math.nan, 1.0]), "s": np.array([-1.0, 0.0])}
    assert bad_weights([of("mean"), H_SIGMA], columns, 2).tolist() == [False, False]


@pytest.mark.parametrize(
    "statistic", [of("mean", source="1 / h"), Statistic("x", expression="np.sum(np.log(h)) + np.sum(h)")]
)
def test_what_is_reduced_must_be_finite(statistic: Statistic) -> None:
    assert unusable([statistic], {"h": np.array([1.0, 0.0, 2.0])}, 3)[0].tolist() == [False, True, False]


def test_counts_ask_for_nothing() -> None:
    assert [bad.tolist() for bad in unusable([of("len", source=None)], {}, 2)] == [[False, False], [False, False]]


def test_a_statistic_knows_its_columns() -> None:
    assert of("average", source="h - dem_h", weights=INVERSE_VARIANCE).columns == {"h", "dem_h", "s"}
    assert H_SIGMA.columns == {"s"}
    assert of("len", source=None).columns == frozenset()


@many
@given(strategies.rows(), st.integers(1, 20))
def test_slabs_change_nothing(rows: Rows, size: int) -> None:
    statistics = [
        Statistic("count", "len", dtype="int32", fill_value=0),
        Statistic("q25", "quantile", source="h", q=0.25),
        Statistic("mean", "average", source="h", weights="1.0 / s**2", dtype="float64"),
        Statistic("sigma", expression="1.0 / np.sqrt(np.sum(1.0 / s**2))", dtype="float64"),
    ]
    arguments = (statistics, rows.columns, rows.child, rows.children)
    present, whole = compute(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maggjob.statistics.compute.SLAB_ROWS", size)
        again, parts = compute(*arguments)
    assert again.tolist() == present.tolist()
    for name, values in whole.items():
        assert parts[name].dtype == values.dtype
        assert parts[name].tobytes() == values.tobytes()


@many
@given(
    st.lists(st.one_of(st.integers(0, 3), st.integers(0, 200)), min_size=1, max_size=40),
    st.integers(1, 50),
    st.randoms(),
)
def test_slabs_hold_each_child_whole_and_are_as_large_as_they_may_be(sizes: list[int], size: int, random: Any) -> None:
    child = np.repeat(np.arange(len(sizes)), sizes)
    random.shuffle(child)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maggjob.statistics.compute.SLAB_ROWS", size)
        found = list(_slabs(child, {"n": np.arange(len(child))}, np.array(sizes), 0, len(sizes), {}))
    children = [set(groups.child.tolist()) for groups in found]
    assert all(max(one) < min(other) for one, other in pairwise(children))
    assert sum(len(groups.child) for groups in found) == len(child)
    for groups in found:
        np.testing.assert_array_equal(child[groups.columns["n"]], groups.child)
        assert (np.diff(groups.columns["n"]) > 0).all()  # in their order, on which the last bits of sums depend
        assert len(groups.child) <= max(size, 2 * max(sizes))
