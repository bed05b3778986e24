"""Configurations: what loads, what is refused and how it is said, and what decides the numbers."""

import copy
import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

import maggjob
from maggjob.config.load import builtin_configs, load_config, make_search
from maggjob.config.schema import Config, digest_of
from maggjob.errors import ConfigError
from maggjob.grid.healpix import Grid
from maggjob.model.recipe import RowFilter
from tests.strategies import few, many

NINE = "count h_min h_max h_mean h_sigma h_variance h_q25 h_q50 h_q75".split()

OLDER = """
data_source:
  reader: h5coro
  groups: [gt1l, gt1r, gt2l, gt2r, gt3l, gt3r]
  coordinates:
    latitude: "/{group}/land_ice_segments/latitude"
    longitude: "/{group}/land_ice_segments/longitude"
  variables:
    h_li: "/{group}/land_ice_segments/h_li"
    s_li: "/{group}/land_ice_segments/h_li_sigma"
  quality_filter:
    dataset: "/{group}/land_ice_segments/atl06_quality_summary"
    value: 0
aggregation:
  coordinates:
    cell_ids:
      dtype: uint64
      fill_value: 0
    morton:
      dtype: int64
      fill_value: 0
  variables:
    count: {function: len, source: h_li, dtype: int32, fill_value: 0}
    h_min: {function: min, source: h_li, dtype: float32}
    h_max: {function: max, source: h_li, dtype: float32}
    h_mean: {function: average, source: h_li, params: {weights: "1.0 / s_li**2"}, dtype: float32}
    h_sigma: {expression: "1.0 / np.sqrt(np.sum(1.0 / s_li**2))", dtype: float32}
    h_variance: {function: var, source: h_li, dtype: float32}
    h_q25: {function: quantile, source: h_li, params: {q: 0.25}, dtype: float32}
    h_q50: {function: quantile, source: h_li, params: {q: 0.50}, dtype: float32}
    h_q75: {function: quantile, source: h_li, params: {q: 0.75}, dtype: float32}
output:
  grid:
    type: healpix
    indexing_scheme: nested
    child_order: 12
"""
NEWER = """
data_source:
  reader: h5coro
  driver: s3
  groups: [gt1l, gt1r, gt2l, gt2r, gt3l, gt3r]
  coordinates:
    latitude: "/{group}/land_ice_segments/latitude"
    longitude: "/{group}/land_ice_segments/longitude"
  variables:
    h_li: "/{group}/land_ice_segments/h_li"
    s_li: "/{group}/land_ice_segments/h_li_sigma"
  quality_filter:
    dataset: "/{group}/land_ice_segments/atl06_quality_summary"
    value: 0
aggregation:
  handoff: arrow
  coordinates:
    morton:
      dtype: uint64
      fill_value: 0
  variables:
    count: {function: len, source: h_li, dtype: int32, fill_value: 0}
    h_min: {function: min, source: h_li, dtype: float32}
    h_max: {function: max, source: h_li, dtype: float32}
    h_mean: {function: average, source: h_li, params: {weights: "1.0 / s_li**2"}, dtype: float32}
    h_sigma: {expression: "1.0 / np.sqrt(np.sum(1.0 / s_li**2))", dtype: float32}
    h_variance: {function: var, source: h_li, dtype: float32}
    h_q25: {function: quantile, source: h_li, params: {q: 0.25}, dtype: float32}
    h_q50: {function: quantile, source: h_li, params: {q: 0.50}, dtype: float32}
    h_q75: {function: quantile, source: h_li, params: {q: 0.75}, dtype: float32}
output:
  grid:
    type: healpix
    indexing_scheme: nested
    parent_order: 6
    child_order: 12
"""
BASE: dict[str, Any] = yaml.safe_load(NEWER)
ABSENT = "(removed)"


def changed(*changes: tuple[str, object]) -> dict[str, Any]:
    """The newer configuration with values replaced, given or taken away; ``a.b.c`` is a path of keys."""
    content = copy.deepcopy(BASE)
    for path, value in changes:
        *folders, last = path.split(".")
        place = content
        for key in folders:
            place = place.setdefault(key, {})
        if value is ABSENT:
            del place[last]
        else:
            place[last] = value
    return content


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(tmp_path: Path, content: object) -> str:
    """The message with which a file of this content is refused."""
    path = written(tmp_path, yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


# --- What loads ---


@pytest.mark.parametrize("name", ["atl06.yaml", "atl06_dem.yaml"])
def test_built_in_configurations_load(name: str) -> None:
    config = load_config(name)
    assert name in builtin_configs()
    assert config.grid == Grid(6, 12, "authalic")
    assert config.aggregation.variables["count"].dtype == "int32"


def test_the_built_in_configuration_has_the_nine_statistics() -> None:
    assert list(load_config("atl06.yaml").aggregation.variables) == NINE


def test_every_built_in_file_is_valid() -> None:
    assert set(builtin_configs()) >= {"atl06.yaml", "atl06_dem.yaml"}
    for path in builtin_configs().values():
        assert isinstance(load_config(path), Config)


@pytest.mark.parametrize(("text", "morton", "driver"), [(OLDER, "int64", "s3"), (NEWER, "uint64", "s3")])
def test_files_of_the_system_before_load_unchanged(tmp_path: Path, text: str, morton: str, driver: str) -> None:
    config = load_config(written(tmp_path, text))
    assert list(config.aggregation.variables) == NINE
    assert config.aggregation.coordinates.morton is not None
    assert config.aggregation.coordinates.morton.dtype == morton
    assert config.aggregation.coordinates.cell_ids.dtype == "uint64"
    assert config.data_source.driver == driver
    assert config.grid == Grid(6, 12, "authalic")


def test_files_of_the_system_before_compute_what_ours_does(tmp_path: Path) -> None:
    ours = load_config("atl06.yaml").recipe()
    for text in (OLDER, NEWER):
        theirs = load_config(written(tmp_path, text)).recipe()
        assert repr(replace(theirs, reader="auto")) == repr(ours)  # repr: NaN equals nothing


def test_a_file_comes_before_a_built_in_name(tmp_path: Path) -> None:
    (tmp_path / "atl06.yaml").write_text(yaml.safe_dump(changed(("output.grid.child_order", 9))))
    assert load_config("atl06.yaml").grid.child_order == 9  # the working directory is tmp_path


def test_a_mapping_and_a_config_are_taken_as_they_are() -> None:
    config = load_config(BASE)
    assert load_config(config) is config
    assert config == load_config(copy.deepcopy(BASE))
    assert maggjob.load_config is load_config


def test_loading_leaves_a_mapping_alone() -> None:
    content = changed()
    load_config(content)
    assert content == BASE


def test_a_configuration_is_frozen() -> None:
    config = load_config(BASE)
    with pytest.raises(ValueError, match="frozen"):
        config.output.grid.child_order = 3


def test_a_utf8_file_loads(tmp_path: Path) -> None:
    text = NEWER.replace("{function: min,", '{attrs: {long_name: "Höhe, Übersicht"}, function: min,')
    config = load_config(written(tmp_path, text))
    assert config.aggregation.variables["h_min"].attrs == {"long_name": "Höhe, Übersicht"}


def test_merge_keys_are_no_duplicates(tmp_path: Path) -> None:
    text = NEWER.replace("h_min: {", "h_min: &low {").replace(
        "h_max: {function: max, source: h_li, dtype: float32}", "h_max: {<<: *low, function: max}"
    )
    assert load_config(written(tmp_path, text)).aggregation.variables["h_max"].function == "max"


# --- What is refused: file, key path, value, what is allowed ---

V = "aggregation.variables"
LONG_PATH = "/{group}/x"


def filters(*conditions: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"dataset": LONG_PATH, "op": "==", "value": 1} | condition for condition in conditions]


BAD: dict[str, tuple[str, object, tuple[str, ...]]] = {
    # what: key path, value, what the message must hold besides file and key path
    "unknown key at the top": ("colour", "red", ("data_source, aggregation, output, catalog",)),
    "unknown key of a source": ("data_source.drivr", "s3", ("driver",)),
    "unknown key of coordinates": ("data_source.coordinates.height", "/{group}/h", ("latitude, longitude, time",)),
    "unknown key of the quality filter": ("data_source.quality_filter.op", "==", ("dataset, value",)),
    "unknown key of a variable": (f"{V}.h_min.func", "min", ("function, expression",)),
    "unknown key of a coordinate": ("aggregation.coordinates.morton.type", "int64", ("dtype, fill_value",)),
    "unknown key of a grid": ("output.grid.order", 6, ("parent_order, child_order",)),
    "unknown key of the output": ("output.path", "x.zarr", ("store",)),
    "no source": ("data_source", ABSENT, ("missing",)),
    "no statistics": ("aggregation.variables", ABSENT, ("missing",)),
    "no latitude": ("data_source.coordinates.latitude", ABSENT, ("missing",)),
    "a source that is a list": ("data_source", [1], ("[1]",)),
    "a source that is nothing": ("data_source", None, ("None",)),
    "another reader": ("data_source.reader", "netcdf4", ("'netcdf4'", "'h5coro'")),
    "another driver": ("data_source.driver", "ftp", ("'ftp'", "'https'")),
    "a source that is no root": ("data_source.sources", ["s3://mine/below"], ("s3://mine/below", "s3://BUCKET")),
    "a beam that is text": ("data_source.groups", "gt1l", ("'gt1l'",)),
    "no beams": ("data_source.groups", [], ("[]",)),
    "a beam twice": ("data_source.groups", ["gt1l", "gt1l"], ("gt1l", "once")),
    "a beam that is a path": ("data_source.groups", ["../gt1l"], ("'../gt1l'",)),
    "no columns": ("data_source.variables", {}, ("at least 1",)),
    "a column without the beam": ("data_source.variables.h_li", "/gt1l/h_li", ("'/gt1l/h_li'", "{group}")),
    "a column with the beam twice": ("data_source.variables.h_li", "/{group}/{group}", ("'/{group}/{group}'",)),
    "a column with something else": ("data_source.variables.h_li", "/{group}/{x}", ("'/{group}/{x}'",)),
    "a column of a number": ("data_source.variables.h_li", 3, ("3",)),
    "a column called int": ("data_source.variables.int", 3, ("3",)),
    "a column that is built in": ("data_source.variables.rgt", LONG_PATH, ("rgt", "built in", "beam")),
    "a column that is no name": ("data_source.variables.h li", LONG_PATH, ("'h li'",)),
    "a quality that is a word": ("data_source.quality_filter.value", "good", ("'good'",)),
    "a filter with another op": ("data_source.filters", filters({"op": "=>"}), ("filters.0.op", "'=>'", "'in'")),
    "in with a number": ("data_source.filters", filters({"op": "in", "value": 77}), ("filters.0", "77", "list")),
    "== with a list": ("data_source.filters", filters({"value": [77]}), ("filters.0", "77", "single number")),
    "a list with a word": ("data_source.filters", filters({"op": "in", "value": [1, "x"]}), ("filters.0", "'x'")),
    "a filter called kept": ("data_source.filters", filters({"name": "kept"}), ("'kept'", "name")),
    "a filter called quality": ("data_source.filters", filters({"name": "quality"}), ("'quality'",)),
    "a filter on no column": (
        "data_source.filters",
        [{"column": "nope", "op": ">", "value": 1}],
        ("filters.0.column", "'nope'", "h_li", "strong"),
    ),
    "a filter on an unknown column": (
        "data_source.filters",
        [{"expression": "nope > 3"}],
        ("filters.0.expression", "'nope'", "h_li"),
    ),
    "an expression that is no condition": (
        "data_source.filters",
        [{"expression": "h_li + 1"}],
        ("filters.0", "'h_li + 1'", "no condition", "h_li + 1 < 100"),
    ),
    "a condition on cells": (
        "data_source.filters",
        [{"expression": "np.mean(h_li) > 1"}],
        ("filters.0", "per segment"),
    ),
    "a condition that is compared": (
        "data_source.filters",
        [{"expression": "h_li > 1", "op": ">", "value": 0}],
        ("filters.0", "'h_li > 1'", "leave out"),
    ),
    "a filter on two things": (
        "data_source.filters",
        [{"column": "h_li", "dataset": LONG_PATH, "op": ">", "value": 2}],
        ("filters.0", "'dataset', 'column' and 'expression'"),
    ),
    "between in the wrong order": (
        "data_source.filters",
        [{"column": "h_li", "op": "between", "value": [2, 1]}],
        ("filters.0", "[2, 1]", "lower"),
    ),
    "a filter without a value": ("data_source.filters", [{"column": "h_li", "op": ">"}], ("filters.0", "'value'")),
    "a time that is none": (
        "data_source.filters",
        [{"column": "time", "op": ">", "value": "yesterday"}],
        ("filters.0", "'yesterday'", "2024-01-31"),
    ),
    "a rule for a coordinate": (
        "data_source.coordinates.latitude",
        {"dataset": LONG_PATH, "missing": "omit"},
        ("coordinates.latitude", "path"),
    ),
    "another rule": (
        "data_source.variables.h_li",
        {"dataset": LONG_PATH, "missing": "keep"},
        ("variables.h_li.missing", "'keep'", "drop, omit"),
    ),
    "a misspelled rule": (
        "data_source.variables.h_li",
        {"dataset": LONG_PATH, "mising": 0},
        ("variables.h_li.mising", "missing", "dataset"),
    ),
    "a column of a column": ("data_source.variables.h_li", "/{group}/x[a]", ("'/{group}/x[a]'",)),
    "a product that is none": ("data_source.product", "ATL6", ("'ATL6'",)),
    "a bin without width": (
        f"{V}.h_min",
        {"function": "mode", "source": "h_li", "params": {"bin_width": 0}},
        ("h_min", "bin_width is 0", "above 0"),
    ),
    "a mode without bins": (f"{V}.h_min.function", "mode", ("h_min", "bin_width")),
    "a median without weights": (f"{V}.h_min.function", "weighted_median", ("h_min", "weights")),
    "a bias that is a word": (
        f"{V}.h_min",
        {"function": "skewness", "source": "h_li", "params": {"bias": "no"}},
        ("'no'", "true or false"),
    ),
    "several q beyond 1": (f"{V}.h_q25.params", {"q": [0.5, 2]}, ("(0.5, 2)", "from 0 to 1")),
    "no q among several": (f"{V}.h_q25.params", {"q": []}, ("()", "from 0 to 1")),
    "a name that quantiles take": (f"{V}.h_q25.params.q", [0.5, 0.5], ("(0.5, 0.5)", "once")),
    "a count of no segments": (f"{V}.h_min.min_count", 0, ("min_count", "0", "1")),
    "an order of no grid": (f"{V}.h_min.orders", [11], ("h_min.orders", "11", "12")),
    "an attribute of ours": ("output.attrs", {"dggs": "x"}, ("output.attrs", "dggs", "leave it out")),
    "two filters of a name": ("data_source.filters", filters({}, {}), ("'x'", "name")),
    "a filter without the beam": ("data_source.filters", filters({"dataset": "/gt1l/x"}), ("'/gt1l/x'",)),
    "another handoff": ("aggregation.handoff", "spark", ("'spark'", "'arrow'")),
    "signed cell_ids": ("aggregation.coordinates.cell_ids.dtype", "int64", ("'int64'", "uint64")),
    "a morton of floats": ("aggregation.coordinates.morton.dtype", "float32", ("'float32'", "'uint64'")),
    "a negative fill of cell_ids": (
        "aggregation.coordinates.cell_ids",
        {"dtype": "uint64", "fill_value": -1},
        ("fill_value", "-1"),
    ),
    "a negative fill of packed words": ("aggregation.coordinates.morton.fill_value", -1, ("-1",)),
    "a statistic called as a coordinate": (f"{V}.cell_ids", {"function": "len"}, ("'cell_ids'", "coordinate")),
    "a statistic that is no name": (f"{V}.h-min", {"function": "len"}, ("'h-min'",)),
    "a statistic of nothing": (f"{V}.h_min", {}, ("'function' or 'expression'",)),
    "a statistic of both": (f"{V}.h_min.expression", "np.min(h_li)", ("'function' or 'expression'",)),
    "an unknown statistic": (f"{V}.h_min.function", "modus", ("'modus'", "average", "quantile")),
    "a statistic without source": (f"{V}.h_min.source", ABSENT, ("min", "'source'")),
    "an unknown column": (f"{V}.h_min.source", "h_lii", ("'h_lii'", "h_li, s_li", "beam")),
    "an unknown column in weights": (f"{V}.h_mean.params.weights", "1 / s", ("'s'", "h_li, s_li")),
    "an unknown column in an expression": (f"{V}.h_sigma.expression", "np.sum(z)", ("'z'", "h_li, s_li")),
    "a source that is reduced": (f"{V}.h_min.source", "np.mean(h_li)", ("'np.mean(h_li)'",)),
    "weights that are one number": (f"{V}.h_mean.params.weights", 2, ("h_mean: 2 does not",)),
    "an expression of rows": (f"{V}.h_sigma.expression", "h_li * 2", ("'h_li * 2'", "np.mean")),
    "an expression of no columns": (f"{V}.h_sigma.expression", "1 + 1", ("'1 + 1'",)),
    "an expression with a source": (f"{V}.h_sigma.source", "h_li", ("'source'",)),
    "code in an expression": (f"{V}.h_sigma.expression", "__import__('os').getcwd()", ("__import__", "np.sqrt")),
    "code in a source": (f"{V}.h_min.source", "h_li.__class__", ("__class__", "np.sqrt")),
    "code in weights": (f"{V}.h_mean.params.weights", "[].append(1)", ("append", "np.sqrt")),
    "no syntax": (f"{V}.h_sigma.expression", "np.sum(h_li", ("'np.sum(h_li'",)),
    "an unknown parameter": (f"{V}.h_min.params", {"q": 0.5}, ("'q'", "none")),
    "a misspelled parameter": (f"{V}.h_q25.params", {"q": 0.5, "methd": "linear"}, ("'methd'", "method, q")),
    "no q": (f"{V}.h_q25.params", {}, ("q",)),
    "a q beyond 1": (f"{V}.h_q25.params", {"q": 25}, ("25", "from 0 to 1")),
    "a q that is NaN": (f"{V}.h_q25.params", {"q": math.nan}, ("nan", "from 0 to 1")),
    "a q that is a word": (f"{V}.h_q25.params", {"q": "low"}, ("'low'", "from 0 to 1")),
    "another method": (f"{V}.h_q25.params", {"q": 0.5, "method": "nearest"}, ("'nearest'", "linear")),
    "a negative ddof": (f"{V}.h_variance.params", {"ddof": -1}, ("-1", "at least 0")),
    "half a ddof": (f"{V}.h_variance.params", {"ddof": 0.5}, ("0.5", "integer")),
    "another dtype": (f"{V}.h_min.dtype", "float16", ("'float16'", "'float32'")),
    "a mean of whole numbers": (f"{V}.h_mean.dtype", "int32", ("int32", "float32")),
    "a whole expression": (f"{V}.h_sigma.dtype", "int32", ("int32", "float32")),
    "a fill that is a word": (f"{V}.h_min.fill_value", "none", ("'none'",)),
    "half a count": (f"{V}.count.fill_value", 0.5, ("0.5", "int32")),
    "a count of NaN": (f"{V}.count.fill_value", "NaN", ("nan", "int32")),
    "an infinite count": (f"{V}.count.fill_value", math.inf, ("inf", "int32")),
    "a count that does not fit": (f"{V}.count.fill_value", 2**31, (str(2**31), "int32")),
    "a count that fits nowhere": (f"{V}.count.fill_value", 1e300, ("1e+300", "int32")),
    "a negative unsigned count": (
        f"{V}.count",
        {"function": "len", "dtype": "uint16", "fill_value": -1},
        ("-1", "uint16"),
    ),
    "a fill that float32 does not hold": (f"{V}.h_min.fill_value", 1e300, ("1e+300", "float32")),
    "attributes of a mapping": (f"{V}.h_min.attrs", {"units": {"m": 1}}, ("units",)),
    "another grid": ("output.grid.type", "rectilinear", ("'rectilinear'", "'healpix'")),
    "another numbering": ("output.grid.indexing_scheme", "ring", ("'ring'", "'nested'")),
    "another latitude": ("output.grid.latitude", "geodetic", ("'geodetic'", "'authalic'", "'geodetic-spherical'")),
    "a negative order": ("output.grid.parent_order", -1, ("-1", "0")),
    "an order beyond 29": ("output.grid.child_order", 30, ("30", "29")),
    "half an order": ("output.grid.parent_order", 6.5, ("6.5",)),
    "orders too far apart": ("output.grid.child_order", 17, ("17", "0 to 10")),
    "orders the wrong way round": ("output.grid.child_order", 5, ("5", "0 to 10")),
    "a store of a list": ("output.store", ["a"], ("['a']",)),
    "a catalog of a number": ("catalog", 3, ("3",)),
    "an unknown key of a search": ("search.cylce", 22, ("unknown key", "cycle, cycles, start, end, aoi")),
    "cycle 0": ("search.cycle", 0, ("0", "1")),
    "cycle 100": ("search.cycle", 100, ("100", "99")),
    "half a cycle": ("search.cycle", 22.5, ("22.5",)),
    "cycles of one": ("search.cycles", [22], ("search.cycles.1", "missing")),
    "cycles without an end": ("search.cycles", "22-", ()),
    "a start that is no day": ("search.start", "2024-02-30", ("2024-02-30",)),
    "a version in letters": ("search.version", "latest", ("latest",)),
    "a product of another mission": ("search.short_name", "MOD10", ("MOD10",)),
    "a buffer below nothing": ("search.swath_buffer_km", -1, ("-1", "0")),
    "a buffer without end": ("search.swath_buffer_km", math.inf, ("inf",)),
    "an endpoint of a number": ("search.endpoint", 3, ("3",)),
}


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({"cycle": 22, "cycles": [21, 22]}, "one of cycle, cycles, or start and end"),
        ({"cycle": 22, "start": "2024-01-01", "end": "2024-01-02"}, "one of cycle, cycles, or start and end"),
        ({"cycles": [22, 21]}, "22-21"),
        ({"cycles": [0, 21]}, "0-21"),
        ({"cycles": [98, 100]}, "98-100"),
        ({"start": "2024-01-01"}, "both start and end"),
        ({"end": "2024-01-01"}, "both start and end"),
        ({"start": "2024-01-02", "end": "2024-01-01"}, "2024-01-02 is after end 2024-01-01"),
    ],
    ids=str,
)
def test_a_search_that_contradicts_itself_is_refused(tmp_path: Path, search: dict[str, Any], said: str) -> None:
    message = refusal(tmp_path, changed(("search", search)))
    assert "search" in message
    assert said in message
    with pytest.raises(ConfigError, match="search") as raised:
        make_search(search)
    assert said in str(raised.value)


def test_a_search_is_read_in_any_spelling(tmp_path: Path) -> None:
    """YAML takes 007 for the number 7, and dates for dates."""
    text = yaml.safe_dump(BASE) + "search: {cycles: 21-22, version: 007, aoi: [-110, -77, -98, -73]}\n"
    search = load_config(written(tmp_path, text)).search
    assert search is not None
    assert (search.cycle_range, search.version, search.aoi) == ((21, 22), "007", (-110, -77, -98, -73))
    dated = load_config(changed(("search", yaml.safe_load("{start: 2024-01-01, end: '2024-01-31'}")))).search
    assert dated is not None
    assert (str(dated.start), str(dated.end), dated.cycle_range) == ("2024-01-01", "2024-01-31", None)
    assert make_search({"cycle": 22}).cycle_range == (22, 22)


def test_a_catalog_and_a_search_are_one_too_many(tmp_path: Path) -> None:
    message = refusal(tmp_path, changed(("catalog", "catalog.json"), ("search.cycle", 22)))
    assert "catalog and search both select granules" in message


def place_of(path: str) -> str:
    """Return the key that a message must name: the statistic, or elsewhere the key itself."""
    keys = path.split(".")
    return ".".join(keys[:3] if path.startswith(V) else keys)


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_is_said_with_its_place_and_value(tmp_path: Path, what: str) -> None:
    path, value, parts = BAD[what]
    message = refusal(tmp_path, changed((path, value)))
    assert place_of(path) in message.replace(": ", ".").replace("'", "")  # some say "a.b: c ..." for a.b.c
    for part in parts:
        assert part in message


def test_decimal_ids_of_a_high_order_do_not_fit(tmp_path: Path) -> None:
    content = changed(
        ("output.grid.parent_order", 12),
        ("output.grid.child_order", 19),
        ("aggregation.coordinates.morton.dtype", "int64"),
    )
    message = refusal(tmp_path, content)
    for part in ("aggregation.coordinates.morton.dtype", "order 19", "uint64"):
        assert part in message


def test_several_faults_are_counted(tmp_path: Path) -> None:
    message = refusal(tmp_path, changed(("colour", 1), ("output.path", 2), ("data_source.driver", "ftp")))
    assert "(and 2 more)" in message


def test_a_mapping_is_refused_as_a_file_is() -> None:
    with pytest.raises(ConfigError, match=r"^configuration: data_source\.driver is 'ftp'"):
        load_config(changed(("data_source.driver", "ftp")))


def test_a_large_value_is_shown_in_brief(tmp_path: Path) -> None:
    lines = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 4)}]" for i in range(1, 8)]
    text = "\n".join(["a0: &a0 [x, x]", *lines, "data_source: *a7"])
    with pytest.raises(ConfigError) as caught:
        load_config(written(tmp_path, text))
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("name", ["no/such.yaml", "atl07.yaml", "", ".", "x\0y", "n" * 5000, Path("nothing")])
def test_a_file_that_is_not_there_is_refused(name: str | Path) -> None:
    with pytest.raises(ConfigError, match=r"are atl06, atl06_cycles"):
        load_config(name)


YAML_FAULTS: dict[str, tuple[str | bytes, str]] = {
    "a key twice": ("catalog: a\noutput: {}\ncatalog: b\n", "'catalog' is given twice"),
    "a key twice, deep": (NEWER.replace("child_order: 12", "parent_order: 7"), "'parent_order' is given twice"),
    "an open bracket": ("data_source: [1, 2\n", "not YAML"),
    "an open quote": ('catalog: "a\n', "not YAML"),
    "a tab": ("data_source:\n\tdriver: s3\n", "not YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "not YAML"),
    "an unknown alias": ("catalog: *nothing\n", "nothing"),
    "Latin-1": ("catalog: Grönland\n".encode("latin-1"), "not YAML"),
    "binary": (bytes(range(256)), "not YAML"),
    "a null byte": ("catalog: a\0b\n", "not YAML"),
    "an object of Python": ("catalog: !!python/object/apply:os.getcwd []\n", "python/object/apply"),
    "a name of Python": ("catalog: !!python/name:os.system\n", "python/name"),
    "a tuple of Python": ("catalog: !!python/tuple [1]\n", "python/tuple"),
    "a tag of its own": ("catalog: !mine x\n", "!mine"),
    "a key that is a list": ("? [1, 2]\n: 3\n", "not YAML"),
    "a date that is none": ("search: {start: 2019-99-99, end: 2019-12-31}\n", "data_source: missing (and 2 more)"),
    "deep brackets": ("catalog: " + "[" * 5000 + "]" * 5000, "not YAML"),
    "a list at the top": ("- data_source\n- output\n", "list"),
    "a word": ("data_source\n", "str"),
    "a number": ("3\n", "int"),
    "nothing": ("", "NoneType"),
    "comments only": ("# nothing\n", "NoneType"),
    "a number for a key": (NEWER + "3: x\n", "3 is 3"),
    "a loop": ("data_source: &a\n  coordinates: *a\n", "data_source"),
}


@pytest.mark.parametrize("what", YAML_FAULTS)
def test_what_is_no_configuration_is_refused(tmp_path: Path, what: str) -> None:
    text, part = YAML_FAULTS[what]
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert part in str(caught.value)


@many
@given(content=st.one_of(st.binary(max_size=80), st.text("[]{}:-,&*!|>'\"#% \nab0~<?", max_size=40).map(str.encode)))
def test_any_file_is_a_configuration_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = written(tmp_path_factory.getbasetemp(), content)
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_config(path)


def places(content: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Path of every value in nested mappings and lists."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, value in inner for place in [(*path, key), *places(value, (*path, key))]]


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(("h_li", "len", "NaN"))
)
junk = st.recursive(
    plain, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(plain, inner, max_size=3)), max_leaves=5
)


@many
@given(place=st.sampled_from(places(BASE)), value=junk, add=st.booleans())
def test_any_value_anywhere_is_taken_or_refused(place: tuple[Any, ...], value: object, add: bool) -> None:
    content = copy.deepcopy(BASE)
    *folders, last = place
    inner: Any = content
    for key in folders:
        inner = inner[key]
    if add and isinstance(inner, dict):
        inner["more"] = value
    else:
        inner[last] = value
    try:
        config = load_config(content)
    except ConfigError:
        return
    assert len(config.digest) == 64
    assert config.recipe().statistics


# --- What it resolves to ---


def test_a_recipe_is_small_and_goes_by_pickle() -> None:
    recipe = load_config("atl06.yaml").recipe()
    frozen = pickle.dumps(recipe)
    assert len(frozen) < 2000
    assert repr(pickle.loads(frozen)) == repr(recipe)


def test_a_recipe_is_of_plain_values() -> None:
    frozen = pickle.dumps(load_config(changed(("data_source.filters", filters({})))).recipe())
    assert b"pydantic" not in frozen
    assert b"maggjob.config.schema" not in frozen


def test_the_recipe_says_what_the_file_says() -> None:
    recipe = load_config("atl06.yaml").recipe()
    assert recipe.groups == ("gt1l", "gt1r", "gt2l", "gt2r", "gt3l", "gt3r")
    assert recipe.path(recipe.latitude, "gt2r") == "gt2r/land_ice_segments/latitude"
    assert recipe.path(recipe.time, "gt1l") == "gt1l/land_ice_segments/delta_time"
    assert [name for name, _ in recipe.columns] == ["h_li", "s_li"]
    assert recipe.filters == (RowFilter("quality", "/{group}/land_ice_segments/atl06_quality_summary", "==", 0),)
    assert [s.name for s in recipe.statistics] == NINE
    count, *others = recipe.statistics
    assert (count.function, count.source, count.dtype, count.fill_value) == ("len", None, "int32", 0.0)
    assert all(s.dtype == "float32" and math.isnan(s.fill_value) for s in others)
    assert [s.q for s in recipe.statistics[-3:]] == [0.25, 0.5, 0.75]


def test_the_anomaly_to_the_dem_is_an_expression_over_rows() -> None:
    statistics = {s.name: s for s in load_config("atl06_dem.yaml").recipe().statistics}
    assert statistics["dh_mean"].columns == {"h_li", "dem_h", "s_li"}
    assert statistics["n_tracks"].columns == {"rgt", "beam"}
    assert statistics["t_mean"].dtype == "float64"


def test_filters_come_after_quality_in_their_order() -> None:
    conditions = [
        {"dataset": "/{group}/a/snr", "op": "<=", "value": 0.02},
        {"dataset": "/{group}/a/source", "op": "in", "value": [0, 1], "name": "signal"},
    ]
    assert load_config(changed(("data_source.filters", conditions))).recipe().filters[1:] == (
        RowFilter("snr", "/{group}/a/snr", "<=", 0.02),
        RowFilter("signal", "/{group}/a/source", "in", (0, 1)),
    )


@pytest.mark.parametrize("name", ["np.min", "numpy.min", "min"])
def test_functions_are_known_with_and_without_numpy(name: str) -> None:
    statistics = load_config(changed((f"{V}.h_min.function", name))).recipe().statistics
    assert statistics[1].function == "min"


@pytest.mark.parametrize("spelling", ["NaN", "nan", math.nan, None])
def test_nan_is_spelled_in_any_way(spelling: object) -> None:
    assert math.isnan(load_config(changed((f"{V}.h_min.fill_value", spelling))).recipe().statistics[1].fill_value)


# --- What decides the numbers ---

PLACES: list[tuple[str, object]] = [
    ("data_source.driver", "https"),
    ("data_source.driver", ABSENT),
    ("data_source.product", "ATL06"),
    ("data_source.product", "ATL08"),
    ("data_source.reader", ABSENT),
    ("data_source.reader", "h5py"),
    ("data_source.sources", ["s3://mine", "s3://ours/"]),
    ("output.store", "s3://bucket/a.zarr"),
    ("catalog", "catalog.json"),
    ("search.cycle", 22),
    ("search.cycles", "21-22"),
    ("search", {"start": "2024-01-01", "end": "2024-01-31", "aoi": "grounded"}),
    ("search", {"short_name": "ATL08", "version": "006", "provider": "OTHER", "swath_buffer_km": 1.5}),
    ("search.endpoint", "https://cmr.uat.earthdata.nasa.gov/search/"),
    ("aggregation.handoff", "pandas"),
    ("aggregation.handoff", ABSENT),
]
DEFAULTS: list[tuple[str, object]] = [
    ("output.grid.type", ABSENT),
    ("output.grid.parent_order", ABSENT),
    ("output.grid.latitude", "authalic"),
    ("data_source.filters", []),
    (f"{V}.h_min.dtype", ABSENT),
    ("aggregation.coordinates.cell_ids", {"dtype": "uint64", "fill_value": 0}),
]
NUMBERS: list[tuple[str, object]] = [
    ("data_source.groups", ["gt1l"]),
    ("data_source.coordinates.latitude", "/{group}/lat"),
    ("data_source.coordinates.longitude", "/{group}/lon"),
    ("data_source.coordinates.time", "/{group}/t"),
    ("data_source.variables.h_li", "/{group}/h"),
    ("data_source.variables.extra", "/{group}/h"),
    ("data_source.quality_filter", ABSENT),
    ("data_source.quality_filter.value", 1),
    ("data_source.quality_filter.dataset", "/{group}/q"),
    ("data_source.filters", filters({})),
    ("data_source.filters", filters({"op": "<="})),
    ("data_source.filters", filters({"value": 2})),
    ("data_source.filters", filters({"name": "other"})),
    ("data_source.filters", filters({"op": "<", "value": math.inf})),
    ("data_source.filters", filters({"op": "<", "value": -math.inf})),
    ("data_source.filters", filters({"op": "in", "value": [1]})),
    ("data_source.filters", filters({"op": "between", "value": [1, 2]})),
    ("data_source.filters", [{"column": "strong"}]),
    ("data_source.filters", [{"column": "rgt", "op": ">", "value": 3}]),
    ("data_source.filters", [{"expression": "abs(h_li) < 100"}]),
    ("data_source.variables.h_li", {"dataset": LONG_PATH, "missing": "omit"}),
    ("data_source.variables.h_li", {"dataset": LONG_PATH, "missing": 0}),
    ("aggregation.coordinates.morton", ABSENT),
    ("aggregation.coordinates.morton.dtype", "int64"),
    ("aggregation.coordinates.morton.fill_value", 1),
    ("aggregation.coordinates.cell_ids", {"dtype": "uint64", "fill_value": 1}),
    (f"{V}.h_min", ABSENT),
    (f"{V}.h_min.function", "max"),
    (f"{V}.h_min.source", "s_li"),
    (f"{V}.h_min.dtype", "float64"),
    (f"{V}.h_min.fill_value", -9999),
    (f"{V}.h_min.fill_value", math.inf),
    (f"{V}.h_min.fill_value", -math.inf),
    (f"{V}.h_min.attrs", {"units": "meters"}),
    (f"{V}.h_min.min_count", 3),
    (f"{V}.h_min.orders", [12]),
    (f"{V}.h_mean.params", {}),
    (f"{V}.h_mean.params.weights", "1.0 / s_li"),
    (f"{V}.h_q25.params.q", 0.26),
    (f"{V}.h_variance.params", {"ddof": 1}),
    (f"{V}.h_sigma.expression", "np.sum(h_li)"),
    (f"{V}.count.dtype", "int64"),
    ("output.grid.parent_order", 5),
    ("output.grid.child_order", 11),
    ("output.grid.child_order", [12, 10]),
    ("output.attrs", {"institution": "mine", "people": ["a", "b"]}),
    ("output.partial", True),
    ("output.time", "cycle"),
    ("output", {"grid": BASE["output"]["grid"], "time": "cycle", "first": 19}),
    ("output.grid.latitude", "geodetic-spherical"),
]


@pytest.mark.parametrize("change", [*PLACES, *DEFAULTS], ids=lambda change: f"{change[0]}={change[1]}")
def test_places_and_defaults_leave_the_digest_alone(change: tuple[str, object]) -> None:
    content = changed(change)
    assert content != BASE
    assert load_config(content).science() == load_config(BASE).science()
    assert load_config(content).digest == load_config(BASE).digest


def test_every_other_change_gives_another_digest() -> None:
    seen = {load_config(BASE).digest: "no change"}
    for path, value in NUMBERS:
        digest = load_config(changed((path, value))).digest
        assert digest not in seen, f"{path}={value} has the digest of {seen[digest]}"
        seen[digest] = f"{path}={value}"


def test_every_key_is_among_those_changes() -> None:
    schema = Config.model_json_schema()
    keys = {key for model in [schema, *schema["$defs"].values()] for key in model.get("properties", {})}
    tried = {key for path, _ in [*PLACES, *DEFAULTS, *NUMBERS] for key in path.split(".")}
    tried |= {key for path, value in PLACES if path == "search" and isinstance(value, dict) for key in value}
    tried |= {"name", "op", "column", "missing"}  # of filters and variables, which are changed as a whole
    tried |= {"outputs", "of", "term"}  # of fits, see tests/config/test_fit.py
    tried |= {"first"}  # of a time axis, which is changed as a whole
    assert keys - tried == {"indexing_scheme"}  # which has but one value


def test_what_decides_the_numbers_is_a_configuration_again() -> None:
    for name in builtin_configs():
        config = load_config(name)
        again = load_config(json.loads(json.dumps(config.science())))
        assert again.digest == config.digest
        assert repr(again.recipe()) == repr(replace(config.recipe(), reader="auto"))


@pytest.mark.parametrize("fill", [-9999, math.inf, -math.inf, math.nan, 0.1])
def test_a_fill_value_survives_json(fill: float) -> None:
    config = load_config(changed((f"{V}.h_min.fill_value", fill)))
    again = load_config(json.loads(json.dumps(config.science())))
    assert repr(again.recipe()) == repr(replace(config.recipe(), reader="auto"))


def test_a_digest_is_sha_256_of_one_spelling() -> None:
    assert digest_of({"b": 1, "a": [1.5, None]}) == digest_of({"a": [1.5, None], "b": 1})
    assert digest_of({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@few
@given(st.permutations(NINE))
def test_the_order_in_a_mapping_is_no_matter_of_the_digest(names: list[str]) -> None:
    content = changed((V, {name: BASE["aggregation"]["variables"][name] for name in names}))
    assert load_config(content).digest == load_config(BASE).digest


def test_a_refused_value_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "made"
    bad: list[Callable[[], Config]] = [
        lambda: load_config(written(tmp_path, f"catalog: !!python/object/apply:os.mkdir ['{target}']\n")),
        lambda: load_config(changed((f"{V}.h_sigma.expression", f"__import__('os').mkdir('{target}')"))),
    ]
    for load in bad:
        with pytest.raises(ConfigError):
            load()
    assert not target.exists()


@pytest.mark.parametrize("name", ["scale_factor", "add_offset", "_FillValue", "missing_value"])
def test_attributes_do_not_change_values(name: str) -> None:
    content = load_config("atl06.yaml").model_dump()
    content["aggregation"]["variables"]["h_mean"]["attrs"] = {name: 0.5}
    with pytest.raises(ConfigError, match=f"h_mean.attrs.*{name}"):
        load_config(content)


@pytest.mark.parametrize("key", ["source", "weights"])
def test_what_is_worked_out_for_each_segment_knows_no_groups(key: str) -> None:
    content = load_config("atl06.yaml").model_dump()
    variable = content["aggregation"]["variables"]["h_mean"]
    (variable if key == "source" else variable["params"])[key] = "h_li - np.mean(h_li)"
    with pytest.raises(ConfigError, match="h_mean"):
        load_config(content)
