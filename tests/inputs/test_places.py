"""Paths and URLs as people give them."""

import os
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from maggjob.errors import ExistsError, InputError
from maggjob.inputs.places import expand, local_place, may_replace, store_place


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home folder with a symbolic link to a folder elsewhere."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("BUCKET", "ice")
    monkeypatch.delenv("NOWHERE", raising=False)
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "deep")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("map.zarr", "map.zarr"),
        ("./map.zarr/", "map.zarr"),
        (Path("a") / "map.zarr", "a/map.zarr"),
        ("~/map.zarr", "{here}/home/map.zarr"),
        ("$SCRATCH/map.zarr", "{here}/scratch/map.zarr"),
        ("${SCRATCH}/map.zarr", "{here}/scratch/map.zarr"),
        ("file://{here}/my%20map.zarr", "{here}/my map.zarr"),
        ("../x/map.zarr", "{above}/x/map.zarr"),
        # The folder above a link is that of its target.
        ("{here}/link/../map.zarr", "{here}/far/map.zarr"),
        ("s3://$BUCKET/a/map.zarr/", "s3://ice/a/map.zarr"),
        ("s3://ice/With space+ünï_(1).zarr", "s3://ice/With space+ünï_(1).zarr"),
        ("https://data.example/a.h5", "https://data.example/a.h5"),
        ("odd #?%& name.zarr", "odd #?%& name.zarr"),
    ],
)
def test_a_place_is_given_in_many_ways(home: Path, given: str | Path, plain: str) -> None:
    # The working folder of a test is its temporary folder.
    text = given if isinstance(given, Path) else given.replace("{here}", str(home))
    assert expand(text, "store") == plain.replace("{here}", str(home)).replace("{above}", str(home.parent))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("$NOWHERE/map.zarr", "NOWHERE is not set"),
        ("~nobody-of-that-name/map.zarr", "nobody-of-that-name"),
        (Path("s3://ice/map.zarr"), "s3://ice/map.zarr as text"),
        ("s3:/ice/map.zarr", "s3://ice/map.zarr as text"),
        ("https:/ice/map.zarr", "as text"),
        ("file:map.zarr", "three slashes"),
        ("file://host/map.zarr", "three slashes"),
        ("a\nb.zarr", "control character"),
        ("a\0b.zarr", "control character"),
        ("s3://", "not the name of a bucket"),
        ("s3:///map.zarr", "not the name of a bucket"),
        ("s3://ice/a#b.zarr", "'#'"),
        ("s3://ice/a?b.zarr", r"'\?'"),
        ("s3://ice/a%20b.zarr", "'%'"),
        ("s3://ice/a/../b.zarr", "without them"),
        ("s3://ice//b.zarr", "without them"),
        (b"map.zarr", "give a path"),
        (7, "give a path"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        expand(given, "store")


@pytest.mark.parametrize("given", ["s3://ice", "s3://ice/", "gs://ice/map.zarr", ".", "/", "~", "https://a/map.zarr"])
def test_a_store_has_a_name_of_its_own(given: str) -> None:
    with pytest.raises(InputError, match="store"):
        store_place(given)


def test_a_local_place_is_no_url() -> None:
    with pytest.raises(InputError, match="on this machine"):
        local_place("s3://ice/catalog.json", "catalog")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0$~/:"), min_size=1).map(lambda name: f"x{name}"))
def test_any_other_name_is_taken_as_it_is(name: str) -> None:
    if any(ord(c) < 32 or ord(c) == 127 for c in name):
        with pytest.raises(InputError):
            expand(name, "store")
    else:
        assert expand(name, "store") == name


def test_a_file_of_another_kind_is_not_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "notes.md"
    may_replace(mine, (b"{",), "catalog")
    mine.touch()
    may_replace(mine, (b"{",), "catalog")
    mine.write_text("mine")
    with pytest.raises(ExistsError, match=r"notes\.md"):
        may_replace(mine, (b"{", b"["), "catalog")
    assert os.path.getsize(mine) == 4  # noqa: PTH202
