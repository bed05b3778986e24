"""Fits in a configuration: what they become, and what is refused."""

import copy
from typing import Any

import pytest

from maggjob.config.load import load_config
from maggjob.errors import ConfigError
from maggjob.model.recipe import Recipe
from maggjob.statistics.fit_model import FitModel

BASE: dict[str, Any] = load_config("atl06_trend.yaml").model_dump(mode="json", exclude_none=True)


def with_trend(change: dict[str, Any] | None = None, **params: Any) -> dict[str, Any]:
    """The built-in configuration with another fit; None as a parameter removes it."""
    plain = copy.deepcopy(BASE)
    trend = plain["aggregation"]["variables"]["trend"]
    trend["params"] = {k: v for k, v in (trend["params"] | params).items() if v is not None}
    trend |= change or {}
    return plain


def test_a_fit_gives_the_variables_that_it_lists() -> None:
    recipe = load_config("atl06_trend.yaml").recipe()
    model = FitModel("trend", ("x", "y", "x * y", "x ** 2", "y ** 2", "t"), 3.0, 8, 3)
    found = {s.name: (s.of, s.term, s.dtype) for s in recipe.statistics if s.fit == model}
    assert list(found) == [
        *("dh_dt", "dh_dt_error", "dh_dt_formal_error", "residual_rms", "passes", "tracks", "cycles", "span"),
        "clipped",
    ]
    assert found["dh_dt"] == ("coefficient", "t", "float32")
    assert found["passes"] == ("passes", "", "int32")
    assert recipe.kept_columns == {"latitude", "longitude", "time", "pass", "h_li"}


def test_a_recipe_with_a_fit_comes_back_from_json() -> None:
    import json

    recipe = load_config("atl06_trend.yaml").recipe()
    assert repr(Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))) == repr(recipe)


def test_a_variable_may_have_the_name_of_a_derived_column() -> None:
    """Older configurations call delta_time t."""
    plain = with_trend()
    plain["data_source"]["variables"]["t"] = "/{group}/land_ice_segments/delta_time"
    recipe = load_config(plain).recipe()
    assert "t" in recipe.kept_columns
    assert "t" not in recipe.bases
    assert "t" not in recipe.built_in


def test_spellings_of_a_term_are_one() -> None:
    plain = with_trend({"outputs": {"a": {"of": "coefficient", "term": " x*y "}, "b": {"of": "error", "term": 1}}})
    found = {s.name: s.term for s in load_config(plain).recipe().statistics if s.fit}
    assert found == {"a": "x * y", "b": "1"}


def test_the_digest_tells_models_apart() -> None:
    digests = {
        load_config(with_trend(**change)).digest for change in ({}, {"clip": 4}, {"min_passes": 9}, {"clip": None})
    }
    assert len(digests) == 4


RATE = {"outputs": {"dh_dt": {"of": "coefficient", "term": "t"}}}
BAD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a term that is no expression": (with_trend(terms=["x", "y +", "t"]), ("trend", "'y +'", "not a valid expression")),
    "a term of nothing": (with_trend(terms=["2", "t"]), ("'2'", "one value per segment")),
    "a term that is reduced": (with_trend(terms=["np.mean(x)", "t"]), ("'np.mean(x)'",)),
    "a term twice": (with_trend(terms=["x*y", "x * y", "t"]), ("'x * y'", "twice")),
    "terms that are no list": (with_trend(terms="t"), ("terms is 't'",)),
    "terms of numbers": (with_trend(terms=[1, 2]), ("terms is [1, 2]",)),
    "an unknown column": (with_trend(terms=["x", "q", "t"]), ("'q'", "known columns are", "pass")),
    "no terms": (with_trend(terms=None), ("terms",)),
    "no term of time": (with_trend(RATE, terms=["x", "y"]), ("dh_dt", "'t'", "add a term of time")),
    "another term": (with_trend({"outputs": {"a": {"of": "error", "term": "x**3"}}}), ("outputs.a", "'x ** 3'")),
    "a coefficient of nothing": (with_trend({"outputs": {"a": {"of": "coefficient"}}}), ("a", "'term'")),
    "a number of a term": (with_trend({"outputs": {"a": {"of": "passes", "term": "t"}}}), ("'term'", "'passes'")),
    "an unknown quantity": (with_trend({"outputs": {"a": {"of": "slope", "term": "t"}}}), ("slope", "coefficient")),
    "no outputs": (with_trend({"outputs": {}}), ("outputs",)),
    "a rate in whole numbers": (
        with_trend({"outputs": {"a": {"of": "error", "term": "t", "dtype": "int32"}}}),
        ("int32", "float32"),
    ),
    "a dtype of the fit": (with_trend({"dtype": "float64"}), ("belong to its outputs",)),
    "outputs of another function": (with_trend({"function": "min", "params": {}}), ("'outputs'", "min")),
    "a clip below one": (with_trend(clip=0.5), ("clip is 0.5",)),
    "a clip that is no number": (with_trend(clip="3s"), ("clip is '3s'",)),
    "half a pass": (with_trend(min_passes=2.5), ("min_passes is 2.5",)),
    "a change within one cycle": (with_trend(min_cycles=1), ("min_cycles is 1", "at least 2")),
    "an unknown parameter": (with_trend(sigma=3), ("sigma", "min_passes")),
    "weights that are no expression": (with_trend(weights="1 +"), ("'1 +'",)),
    "weights that depend on the child": (with_trend(weights="1 / (1 + x**2)"), ("weights", "'x'")),
    "a state of unsigned integers": (
        with_trend({"outputs": {"a": {"of": "state", "dtype": "uint16"}}}),
        ("uint16", "-1", "int16"),
    ),
    "numbers among the terms": (with_trend(terms=[1, "t"]), ("terms is [1, 't']",)),
    "the name of a coordinate": (with_trend({"outputs": {"cell_ids": {"of": "passes"}}}), ("'cell_ids'", "coordinate")),
    "the name of an axis": (with_trend({"outputs": {"time_start": {"of": "passes"}}}), ("'time_start'",)),
    "two variables of one name": (with_trend({"outputs": {"count": {"of": "passes"}}}), ("'count'",)),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_named(what: str) -> None:
    plain, parts = BAD[what]
    with pytest.raises(ConfigError) as caught:
        load_config(plain)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


def test_x_and_y_are_no_filters() -> None:
    plain = with_trend()
    plain["data_source"]["filters"] = [{"expression": "abs(x) < 100"}]
    with pytest.raises(ConfigError, match="'x'"):
        load_config(plain)
