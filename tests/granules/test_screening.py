"""Screening: each segment in one state, in the documented order, against a loop over segments."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from maggjob.granules.columns import BeamRows, Column, meets
from maggjob.granules.screening import GranuleRows, screen, time_span
from maggjob.grid.healpix import Grid
from maggjob.model.recipe import Recipe, RowFilter
from maggjob.statistics.functions import Statistic
from tests.strategies import few, many

LARGEST = 3.4028234663852886e38
FILTERS = (
    RowFilter("quality", "/{group}/q", "==", 0),
    RowFilter("steep", "/{group}/slope", "<=", 0.5),
    RowFilter("signal", "/{group}/signal", "in", (1, 2)),
)
RECIPE = Recipe(
    groups=("gt1l",),
    latitude="/{group}/latitude",
    longitude="/{group}/longitude",
    time="/{group}/delta_time",
    columns=(("h", "/{group}/h"), ("s", "/{group}/s"), ("dem", "/{group}/dem")),
    filters=FILTERS,
    statistics=(
        Statistic("count", function="len"),
        Statistic("mean", function="average", source="h", weights="1.0 / s**2"),
        Statistic("ratio", function="mean", source="h / dem"),
        Statistic("tracks", function="nunique", source="6 * rgt + dem"),
    ),
    grid=Grid(),
)
ORDER = ("quality", "steep", "signal", "fill", "bad_weight", "not_finite", "kept")


def state_of(row: dict[str, float], fills: dict[str, float | None]) -> str:
    """The state of one segment, as the documentation has it."""

    def none(name: str) -> bool:
        value = row[name]
        return value == fills[name] or not math.isfinite(value) or abs(value) >= LARGEST

    if none("q") or row["q"] != 0:
        return "quality"
    if none("slope") or row["slope"] > 0.5:
        return "steep"
    if none("signal") or row["signal"] not in (1, 2):
        return "signal"
    if none("h") or none("s") or none("dem"):
        return "fill"
    if row["s"] <= 0:
        return "bad_weight"
    return "not_finite" if row["dem"] == 0 else "kept"


def floats(*usual: float) -> st.SearchStrategy[float]:
    """Return values of a float32 dataset, mostly usual ones."""
    odd = st.sampled_from((math.nan, math.inf, -math.inf, LARGEST, -LARGEST, -9999.0, 0.0, -1.0))
    return st.one_of(st.sampled_from(usual), st.sampled_from(usual), odd)


segments = st.fixed_dictionaries(
    {
        "q": st.sampled_from((0, 0, 0, 1, 127)),
        "slope": floats(0.5, 0.25, -3.0, 0.75),
        "signal": st.sampled_from((1, 2, 1, 2, 3, -1)),
        "h": floats(1000.0, -20.0, 8000.5),
        "s": floats(0.125, 2.0, -0.5),
        "dem": floats(900.0, 0.0),
        "rgt": st.integers(1, 1387),
    }
)
DTYPES = {"q": "i1", "slope": "f4", "signal": "i4", "h": "f4", "s": "f4", "dem": "f4"}
fill_values = st.fixed_dictionaries(
    {
        "q": st.sampled_from((None, 127)),
        "signal": st.sampled_from((None, -1)),
        **{name: st.sampled_from((None, LARGEST, -9999.0, math.nan)) for name in ("slope", "h", "s", "dem")},
    }
)


@many
@given(st.lists(segments, max_size=40), fill_values)
def test_each_segment_is_in_one_state_that_of_the_loop(
    rows: list[dict[str, float]], fills: dict[str, float | None]
) -> None:
    columns = {name: Column(np.array([r[name] for r in rows], dtype), fills[name]) for name, dtype in DTYPES.items()}
    conditions = {"quality": columns.pop("q"), "steep": columns.pop("slope"), "signal": columns.pop("signal")}
    extra = {"rgt": np.array([r["rgt"] for r in rows], "i4")}
    kept, counts = screen(RECIPE, conditions, columns, extra, len(rows))
    states = [state_of(row, fills) for row in rows]
    assert tuple(counts) == ORDER
    assert sum(counts.values()) == len(rows)
    assert counts == {state: states.count(state) for state in ORDER}
    assert kept.dtype == np.bool_
    assert kept.tolist() == [state == "kept" for state in states]


def test_a_segment_that_fails_everything_counts_where_it_is_tried_first() -> None:
    bad = Column(np.array([math.nan], "f4"))
    columns = {"h": bad, "s": bad, "dem": bad}
    for i, condition in enumerate(FILTERS):
        recipe = replace(RECIPE, filters=FILTERS[i:])
        conditions = {f.state: bad for f in recipe.filters}
        _, counts = screen(recipe, conditions, columns, {"rgt": np.ones(1)}, 1)
        assert {state for state, n in counts.items() if n} == {condition.state}


def simple(values: np.ndarray, sigma: np.ndarray, fill: float | None = None) -> dict[str, int]:
    """Counts without filters, for a weighted mean of h."""
    recipe = replace(RECIPE, filters=(), statistics=RECIPE.statistics[:2])
    _, counts = screen(recipe, {}, {"h": Column(values, fill), "s": Column(sigma)}, {}, len(values))
    return {state: n for state, n in counts.items() if n}


def test_no_segments_have_no_states() -> None:
    kept, counts = screen(replace(RECIPE, filters=(), statistics=()), {}, {}, {}, 0)
    assert len(kept) == 0
    assert counts == {"fill": 0, "bad_weight": 0, "not_finite": 0, "kept": 0}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, LARGEST, -LARGEST, -9999.0])
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4"])
def test_what_is_no_height_is_fill(value: float, dtype: str) -> None:
    assert simple(np.array([value, 1.0], dtype), np.ones(2, "f4"), -9999.0) == {"fill": 1, "kept": 1}


def test_float64_beyond_float32_is_fill() -> None:
    assert simple(np.array([3.5e38, 1e300, 1.0]), np.ones(3)) == {"fill": 2, "kept": 1}


@pytest.mark.parametrize(
    ("dtype", "fill"), [("i1", 127), ("u1", 255), ("i4", 2147483647), ("i8", -1), ("u8", 2**64 - 1)]
)
def test_whole_numbers_have_a_fill_value_too(dtype: str, fill: int) -> None:
    assert Column(np.array([fill, 0, 1], dtype), fill).is_fill.tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", ["i1", "u1", "i8", "u8"])
def test_whole_numbers_without_a_fill_value_are_none(dtype: str) -> None:
    limit = np.iinfo(dtype)
    assert not Column(np.array([limit.min, limit.max], dtype)).is_fill.any()


def test_half_precision_has_fills_and_no_warnings() -> None:
    assert Column(np.array([math.nan, math.inf, 1.0], "f2"), 7.0).is_fill.tolist() == [True, True, False]


@pytest.mark.parametrize("sigma", [0.0, -0.0, -0.1, -1e-30])
def test_an_uncertainty_that_is_not_positive_is_a_bad_weight(sigma: float) -> None:
    assert simple(np.ones(2, "f4"), np.array([sigma, 0.1], "f4")) == {"bad_weight": 1, "kept": 1}


@pytest.mark.parametrize("sigma", [math.nan, math.inf, LARGEST])
def test_an_uncertainty_without_value_is_fill(sigma: float) -> None:
    assert simple(np.ones(2, "f4"), np.array([sigma, 0.1], "f4")) == {"fill": 1, "kept": 1}


@pytest.mark.parametrize("weights", ["1.0 / s**2", "s**-2", "1.0 / np.square(s)", "1.0 / s**4"])
def test_no_even_power_hides_a_negative_uncertainty(weights: str) -> None:
    mean = Statistic("mean", function="average", source="h", weights=weights)
    columns = {"h": Column(np.ones(3, "f4")), "s": Column(np.array([-0.1, 0.1, -3.0], "f4"))}
    kept, counts = screen(replace(RECIPE, filters=(), statistics=(mean,)), {}, columns, {}, 3)
    assert counts["bad_weight"] == 2
    assert kept.tolist() == [False, True, False]


def test_a_fill_in_a_column_that_no_statistic_uses_drops_the_segment() -> None:
    recipe = replace(RECIPE, filters=(), statistics=RECIPE.statistics[:1])
    _, counts = screen(recipe, {}, {"unused": Column(np.array([1.0, math.nan]))}, {}, 2)
    assert (counts["fill"], counts["kept"]) == (1, 1)


def test_built_in_columns_have_no_fill() -> None:
    recipe = replace(RECIPE, filters=(), statistics=(Statistic("n", function="nunique", source="beam"),))
    _, counts = screen(recipe, {}, {}, {"beam": np.array([0, 5, 255], "u1")}, 3)
    assert counts == {"fill": 0, "bad_weight": 0, "not_finite": 0, "kept": 3}


@pytest.mark.parametrize("expression", ["np.sum(h / dem)", "np.sqrt(np.mean(1 / dem))", "np.sum(np.log(dem))"])
def test_what_an_expression_reduces_must_be_finite(expression: str) -> None:
    recipe = replace(RECIPE, filters=(), statistics=(Statistic("x", expression=expression),))
    columns = {"h": Column(np.ones(2, "f4")), "dem": Column(np.array([0.0, 3.0], "f4"))}
    kept, counts = screen(recipe, {}, columns, {}, 2)
    assert counts["not_finite"] == 1
    assert kept.tolist() == [False, True]


def test_screening_leaves_its_inputs_alone() -> None:
    values = np.array([math.nan, -1.0, 2.0], "f4")
    values.setflags(write=False)
    simple(values, values)
    np.testing.assert_array_equal(values, np.array([math.nan, -1.0, 2.0], "f4"))


# --- Filters ---

MEETS = {
    "<": lambda value, limit: value < limit,
    "<=": lambda value, limit: value <= limit,
    "==": lambda value, limit: value == limit,
    "!=": lambda value, limit: value != limit,
}


@pytest.mark.parametrize("op", MEETS)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "i8", "f4", "f8"])
@few
@given(values=st.lists(st.integers(0, 127), max_size=20), limit=st.one_of(st.integers(-2, 300), st.just(2.5)))
def test_every_comparison_is_pythons(op: str, dtype: str, values: list[int], limit: float) -> None:
    met = meets(RowFilter("x", "/{group}/x", op, limit), Column(np.array(values, dtype)))
    assert met.dtype == np.bool_
    assert met.tolist() == [MEETS[op](value, limit) for value in values]


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "i8", "f4", "f8"])
@few
@given(
    values=st.lists(st.integers(0, 9), max_size=20),
    members=st.lists(st.one_of(st.integers(-2, 300), st.just(2.5)), max_size=4),
)
def test_in_is_pythons(dtype: str, values: list[int], members: list[float]) -> None:
    met = meets(RowFilter("x", "/{group}/x", "in", tuple(members)), Column(np.array(values, dtype)))
    assert met.tolist() == [value in members for value in values]


@few
@given(st.floats(0, 10))
def test_in_finds_what_equals(value: float) -> None:
    column = Column(np.array([value, 1.0], "f4"))
    equal = meets(RowFilter("x", "/{group}/x", "==", value), column)
    assert meets(RowFilter("x", "/{group}/x", "in", (value,)), column).tolist() == equal.tolist()


@pytest.mark.parametrize(
    ("op", "value"), [("<", LARGEST * 2), ("<=", math.inf), ("==", -9999.0), ("!=", 0), ("in", (-9999.0, LARGEST))]
)
def test_a_fill_passes_no_filter(op: str, value: float | tuple[float, ...]) -> None:
    column = Column(np.array([math.nan, math.inf, -math.inf, LARGEST, -LARGEST, -9999.0], "f4"), -9999.0)
    assert not meets(RowFilter("x", "/{group}/x", op, value), column).any()


def test_a_whole_number_that_is_fill_passes_no_filter() -> None:
    column = Column(np.array([127, 0], "i1"), 127)
    assert meets(RowFilter("x", "/{group}/x", "!=", 1), column).tolist() == [False, True]


def test_an_unknown_comparison_is_refused() -> None:
    with pytest.raises(ValueError, match="filter x: operator '=>'"):
        meets(RowFilter("x", "/{group}/x", "=>", 1), Column(np.ones(1)))


def test_the_time_span_is_that_of_kept_rows_without_fill() -> None:
    """One beam has fill where it is kept, one is not kept, and one lacks times."""
    fill = 1e38

    def beam(group: str, *times: float) -> BeamRows:
        columns = {f"/{group}/delta_time": Column(np.array(times), fill)} if times else {}
        # A dataset of one value comes with whatever is read.
        columns["/orbit_info/sc_orient"] = Column(np.ones(len(times)), None)
        return BeamRows(group, np.zeros(len(times), np.uint16), columns, {})

    beams = [beam("gt1l", 1.0, fill, 5.0, 9.0), beam("gt1r", -7.0, 99.0), beam("gt2l")]
    rows = GranuleRows("ATL06_x", [one.group for one in beams], 6, 0, beams)
    kept = {"gt1l": np.array([False, True, True, False]), "gt2l": np.array([True])}
    paths = {one.group: [f"/{one.group}/delta_time"] for one in beams}
    assert time_span(kept, rows, paths) == (5.0, 5.0)
    assert time_span({"gt1l": np.array([False, True, False, False])}, rows, paths) is None
    assert time_span({**kept, "gt1r": np.array([True, False])}, rows, paths) == (-7.0, 5.0)
