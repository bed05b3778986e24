"""What is shown of stores that are damaged, of words that mean something elsewhere, and over files that exist."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import zarr
from click.testing import CliRunner

import maggjob
from maggjob.cli.commands import cli
from maggjob.errors import ExistsError, InputError, StoreError
from maggjob.grid.healpix import Grid
from maggjob.show.maps import draw_map
from maggjob.show.page import write_page
from tests.show.synthetic_store import HEIGHTS, write_store
from tests.show.test_export import parents_at

GRID = Grid(6, 8)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cells = parents_at((-103.0, -75.2), (-101.0, -75.8))
    return write_store(tmp_path_factory.mktemp("whole") / "map.zarr", cells, GRID, HEIGHTS)


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "map.zarr"))


SHOWN: dict[str, Callable[[Path], Any]] = {
    "png": lambda store: draw_map(store, "x.png", ["h_mean"]),
    "html": lambda store: write_page(store, "x.html", ["h_mean"]),
    "csv": lambda store: maggjob.export(store, "x.csv", ["h_mean"]),
}
every_kind = pytest.mark.parametrize("kind", SHOWN)


def refused(store: Path, kind: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        SHOWN[kind](store)
    assert not Path(f"x.{kind}").exists()


@every_kind
@pytest.mark.parametrize("content", [b"", b"short", b"\x28\xb5\x2f\xfd" + bytes(40)])
def test_a_damaged_chunk_is_named(store: Path, kind: str, content: bytes) -> None:
    (store / "8" / "h_mean" / "c" / "0").write_bytes(content)
    refused(store, kind, "h_mean cannot be read .*'maggjob verify")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", None),
        ("config", "no JSON"),
        ("config", {}),
        ("config", '{"output": {"grid": {"parent_order": 6, "child_order": []}}}'),
        ("dggs", 5),
        ("dggs", None),
        ("latitude_convention", "geocentric"),
        ("tally", None),
        ("tally", {"cells": None}),
        ("tally", {"observations": "many"}),
        ("number_of_granules", "some"),
        ("cycles", "abc"),
    ],
)
def test_a_damaged_attribute_is_named(store: Path, name: str, value: Any) -> None:
    zarr.open_group(store, mode="r+", use_consolidated=False)["8"].attrs[name] = value
    for file in (store / "zarr.json", store / "8" / "zarr.json"):
        plain = json.loads(file.read_text())
        plain.pop("consolidated_metadata", None)
        file.write_text(json.dumps(plain))
    refused(store, "png", f"the attribute {name} of group 8 is damaged")


@pytest.mark.parametrize("text", ["[]", "null", "{", '{"zarr_format": 3, "node_type": "group", "attributes": []}'])
def test_damaged_metadata_are_told(store: Path, text: str) -> None:
    (store / "zarr.json").write_text(text)
    refused(store, "png", "cannot be opened")


def test_a_file_is_no_store(store: Path) -> None:
    Path("map.json").write_text("{}")
    refused(Path("map.json"), "png", r"map.json is a file: give the folder of a Zarr")


def test_an_integer_with_several_orders_is_whole(tmp_path: Path) -> None:
    """The configuration of a result of several orders names them all."""
    store = write_store(tmp_path / "map.zarr", parents_at((-103.0, -75.2)), GRID, HEIGHTS)
    group = zarr.open_group(store, mode="r+", use_consolidated=False)["8"]
    config = json.loads(str(group.attrs["config"]))
    config["output"]["grid"]["child_order"] = [8, 7]
    group.attrs["config"] = json.dumps(config)
    assert draw_map(store, "x.png", ["h_mean"]).exists()


@pytest.mark.parametrize("words", ["cost $5 and $6", r"$\frac{a$", "$x_$", "% \\ _ ^ { }"])
def test_words_in_a_picture_are_no_formulas(tmp_path: Path, words: str) -> None:
    floats: Any = {"h_mean": (HEIGHTS["h_mean"][0], {"units": words, "long_name": words})}
    store = write_store(
        tmp_path / "map.zarr", parents_at((-103.0, -75.2)), GRID, floats, attributes={"title": words, "product": words}
    )
    text = draw_map(store, tmp_path / "x.svg", ["h_mean"]).read_text()
    assert words.replace("&", "&amp;") in text


@pytest.mark.parametrize("end", ["png", "pdf", "svg", "html"])
def test_only_pictures_and_pages_of_maggjob_are_replaced(whole: Path, end: str) -> None:
    show = write_page if end == "html" else draw_map
    path = Path(f"map.{end}")
    show(whole, path, ["h_mean"])
    first = path.read_bytes()
    show(whole, path, ["count"])
    assert path.read_bytes() != first
    theirs = first[:60].replace(b"maggjob", b"someone") + bytes(200_000)
    path.write_bytes(theirs)
    with pytest.raises(ExistsError, match="maggjob did not make it"):
        show(whole, path, ["h_mean"])
    assert path.read_bytes() == theirs


def test_links_stay_and_protected_files_and_pipes_are_left_alone(whole: Path) -> None:
    draw_map(whole, "real.png", ["h_mean"])
    Path("map.png").symlink_to("real.png")
    before = Path("real.png").read_bytes()
    draw_map(whole, "map.png", ["count"])
    assert Path("map.png").is_symlink()
    assert Path("real.png").read_bytes() != before
    Path("real.png").chmod(0o444)
    with pytest.raises(InputError, match="read-only"):
        draw_map(whole, "real.png", ["h_mean"])
    os.mkfifo("pipe.png")
    with pytest.raises(InputError, match="pipe"):
        draw_map(whole, "pipe.png", ["h_mean"])
    assert Path("pipe.png").is_fifo()


def test_a_page_of_too_many_values_is_refused(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = 2 * len(maggjob.open_result(whole)["count"])
    monkeypatch.setattr("maggjob.show.page.MOST_IN_ALL", values - 1)
    said = f"would hold {values} values; it can hold {values - 1}: give one variable"
    with pytest.raises(InputError, match=said):
        write_page(whole, "view.html", ["h_mean", "count"])
    assert not Path("view.html").exists()
    monkeypatch.setattr("maggjob.show.page.MOST_IN_ALL", values)
    assert write_page(whole, "view.html", ["h_mean", "count"]).exists()


def test_flags_without_a_meaning_have_a_colour(tmp_path: Path) -> None:
    floats: Any = {
        "state": (lambda a, b, t: (b * 100).astype(int) % 3, {"flag_values": [0, 1], "flag_meanings": "good bad"})
    }
    store = write_store(tmp_path / "map.zarr", parents_at((-103.0, -75.2)), GRID, floats)
    text = draw_map(store, tmp_path / "x.svg", ["state"]).read_text()
    assert "2 (no meaning given)" in text
    assert matplotlib.image.imread(draw_map(store, tmp_path / "x.png", ["state"])).ndim == 3


@pytest.mark.parametrize("change", [{"store_path": 5, "totals": None}, {"wall_time_s": "long"}, {"started": "then"}])
def test_a_summary_of_another_version_is_told(sector: list[Path], change: dict[str, Any], tmp_path: Path) -> None:
    catalog = maggjob.make_catalog([str(path) for path in sector[:1]])
    maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial", max_cells=1)
    path = Path("map.zarr.run/summary.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    done = CliRunner().invoke(cli, ["report", "map.zarr", "-o", "report.html"])
    assert isinstance(done.exception, InputError)
    assert "is damaged, or of another version" in str(done.exception)
    assert not Path("report.html").exists()
