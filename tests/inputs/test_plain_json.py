"""JSON that cannot be used is a ValueError, and none of it a traceback, wherever a person's file is read."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

import maggjob
from maggjob.errors import InputError
from maggjob.inputs.plain_json import load_json

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "text", [DEEP, "[1e999]", "[-1e999]", "[NaN]", "[Infinity]", "[" + "9" * 5000 + "]", "", "{", "\ufeff"]
)
def test_what_is_no_plain_json_is_refused(text: str) -> None:
    for content in (text, text.encode()):
        with pytest.raises(ValueError, match=r"."):
            load_json(content)


@given(st.recursive(st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists, max_leaves=9))
def test_plain_json_is_read_back(content: Any) -> None:
    assert load_json("\ufeff" + json.dumps(content)) == content
    assert load_json(b"\xef\xbb\xbf" + json.dumps(content).encode()) == content


@pytest.mark.parametrize("text", [DEEP, '{"metadata": 1e999}', '{"metadata": {}, "catalog": {"x": "ab"}}', "\xff"])
def test_files_of_people_that_cannot_be_used_are_bad_input(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(text.encode("latin-1"))
    for use in (
        lambda: maggjob.plan("atl06.yaml", catalog=path),
        lambda: maggjob.find_catalog(records=[path], cycle=1),
        lambda: maggjob.find_catalog(cycle=1, aoi=path),
        lambda: maggjob.load_config(path),
    ):
        with pytest.raises(InputError, match=r"mine\.json"):
            use()


@pytest.mark.parametrize("name", ["x" * 300 + ".h5", "/".join(["y" * 200] * 30)])
def test_a_path_that_is_too_long_is_bad_input(name: str) -> None:
    for use in (
        lambda: maggjob.make_catalog(name),
        lambda: maggjob.plan("atl06.yaml", catalog=name),
        lambda: maggjob.find_catalog(records=[name], cycle=1),
        lambda: maggjob.find_catalog(cycle=1, aoi=name),
    ):
        with pytest.raises(InputError, match=r"longer than"):
            use()
