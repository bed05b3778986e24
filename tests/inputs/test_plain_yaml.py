"""YAML as people read it."""

import math
from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

import maggjob
from maggjob.errors import ConfigError
from maggjob.inputs.plain_yaml import load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("012", 12),
        ("-08", -8),
        ("0o12", 10),
        ("0xff", 255),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("1_000", "1_000"),
        ("2024-01-31", "2024-01-31"),
        ("0b11", "0b11"),
        ("=", "="),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = load_yaml(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(load_yaml("key: .NaN")["key"])


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    # Plain JSON has no infinity.
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="ascii")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text("xyz", min_size=1), PLAIN, max_size=4))
def test_what_is_written_as_json_is_read_back(content: dict[str, Any]) -> None:
    import json

    assert load_yaml(json.dumps(content, allow_nan=False)) == content


@pytest.mark.parametrize("text", ["{a: 1, a: 2}", "!!python/tuple [1]", "[", "a: !mine x"])
def test_what_is_not_plain_is_refused(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml(text)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("{cycle: 012}", {"cycle": 12}),
        ("{cycle: 22, version: 007}", {"cycle": 22, "version": "007"}),
        ("{start: 2024-01-31, end: 2024-02-01}", {"start": date(2024, 1, 31), "end": date(2024, 2, 1)}),
        ("{cycle: yes}", "cycle"),
        ("{cycle: true}", "cycle"),
        ("{cycle: 1:30}", "cycle"),
        ("{cycle: 12.0}", "cycle"),
        ("{cycle: '12'}", "cycle"),
        ("{start: 86400, end: 172800}", "start"),
        ("{start: 2024-01-31T00:00:00, end: 2024-02-01}", "start"),
        ("{cycle: 2, swath_buffer_km: true}", "swath_buffer_km"),
        ("{cycle: 2, swath_buffer_km: '3'}", "swath_buffer_km"),
        ("{cycle: 2, aoi: [1, 2, yes, 4]}", "aoi"),
        ("{cylce: 2}", "did you mean 'cycle'"),
    ],
)
def test_a_search_takes_numbers_as_numbers(tmp_path: Any, search: str, found: Any) -> None:
    plain = maggjob.load_config("atl06.yaml").model_dump(mode="json", exclude_unset=True)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(plain) + f"\nsearch: {search}\n")
    if isinstance(found, str):
        with pytest.raises(ConfigError, match=found):
            maggjob.load_config(tmp_path / "mine.yaml")
    else:
        loaded = maggjob.load_config(tmp_path / "mine.yaml").search
        assert loaded is not None
        assert loaded.model_dump(exclude_unset=True) == found


def test_a_misspelt_key_is_told() -> None:
    plain = maggjob.load_config("atl06.yaml").model_dump(mode="json", exclude_unset=True)
    plain["data_sorce"] = plain.pop("data_source")
    with pytest.raises(ConfigError, match="did you mean 'data_source'"):
        maggjob.load_config(plain)
