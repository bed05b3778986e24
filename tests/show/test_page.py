"""The page: its data by a reader of their own, its size, and what is refused. A browser drives it in another module."""

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maggjob.errors import ExistsError, InputError
from maggjob.grid.coverage import area_cells
from maggjob.grid.healpix import Grid
from maggjob.show.page import write_page
from tests.show.synthetic_store import HEIGHTS, height, segments, write_store

SMALL = Grid(6, 9)


class Page:
    """A page as a program of another kind would read it."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        (content,) = re.findall(r'<script type="application/json" id="content">(.*?)</script>', self.text)
        self.content = json.loads(content)
        found = re.findall(r'<script type="text/plain" id="block(\d+)">([^<]*)</script>', self.text)
        self.blocks = {int(number): zlib.decompress(base64.b64decode(text)) for number, text in found}

    def integers(self, number: int, count: int, size: int) -> list[int]:
        planes = [self.blocks[number][i * count : (i + 1) * count] for i in range(size)]
        assert len(self.blocks[number]) == count * size
        value, values = 0, []
        for step in zip(*planes, strict=True):
            value = (value + int.from_bytes(bytes(step), "little")) % 256**size
            values.append(value)
        return values

    def cells(self) -> np.ndarray:
        parents = self.integers(self.content["parents"]["block"], self.content["parents"]["count"], 4)
        children = 4 ** (self.content["order"] - self.content["parentOrder"])
        return np.array([parent * children + child for parent in parents for child in range(children)])

    def values(self, name: str, time: int = 0) -> np.ndarray:
        variable = self.variable(name)
        layer = variable["layers"][time]
        mask = [bool(byte >> bit & 1) for byte in self.blocks[layer["mask"]] for bit in range(8)]
        size = {"float32": 4, "whole32": 4, "step16": 2, "table8": 1, "table16": 2}[layer["kind"]]
        codes = self.integers(layer["block"], layer["count"], size)
        if layer["kind"] == "float32":
            good: Any = np.array(codes, np.uint32).view(np.float32)
        elif layer["kind"] == "step16":
            good = (np.array(codes) + layer["lowest"]) * layer["step"]
        elif layer["kind"] == "whole32":
            good = np.array(codes) + layer["lowest"]
        else:
            good = np.array(layer["table"])[codes]
        values = np.full(len(self.cells()), np.nan)
        values[np.array(mask)[: len(values)]] = good
        return values

    def variable(self, name: str) -> Any:
        return next(one for one in self.content["variables"] if one["name"] == name)


@pytest.fixture
def parents() -> np.ndarray:
    return area_cells("-106,-76,-98,-74")


@pytest.mark.parametrize("latitude", ["authalic", "geodetic-spherical"])
def test_a_page_holds_the_values_to_the_last_bit(parents: np.ndarray, latitude: Any, tmp_path: Path) -> None:
    grid = Grid(6, 9, latitude)
    store = write_store(tmp_path / "map.zarr", parents, grid, HEIGHTS)
    page = Page(write_page(store, tmp_path / "view.html"))
    import maggjob

    with maggjob.open_result(store) as ds:
        assert page.cells().tolist() == ds.cell_ids.values.tolist()
        for name in ("h_mean", "h_sigma"):
            np.testing.assert_array_equal(page.values(name), ds[name].values)
        np.testing.assert_array_equal(np.nan_to_num(page.values("count")), ds["count"].values)
    assert [one["name"] for one in page.content["variables"]] == ["h_mean", "count", "h_sigma"]
    assert page.variable("h_mean")["error"] == "h_sigma"
    assert (page.content["crs"], page.content["latitude"]) == (3031, latitude)
    assert not page.content["rounded"]
    assert page.variable("h_mean")["rounding"] == ""


def test_a_page_holds_every_time(parents: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "map.zarr", parents, SMALL, HEIGHTS, cycles=(18, 19, 21))
    page = Page(write_page(store, tmp_path / "view.html"))
    assert page.content["times"]["labels"] == ["18", "19", "21"]
    assert page.content["times"]["first"] == 2
    from maggjob.grid.centers import centers

    at = centers(page.cells(), 9, "authalic")
    for time in range(3):
        counts = segments(*at, time)
        np.testing.assert_array_equal(page.values("h_mean", time), np.where(counts > 0, height(*at, time), np.nan))


def test_unread_cells_are_told_of(parents: np.ndarray, tmp_path: Path) -> None:
    flags = np.zeros((len(parents), SMALL.children))
    flags[3], flags[5] = 1, 2
    states = {"complete": 9, "partial": 1, "failed": 1}
    store = write_store(tmp_path / "map.zarr", parents, SMALL, HEIGHTS, states=states, flags=flags.ravel())
    page = Page(write_page(store, tmp_path / "view.html"))
    assert page.content["unread"] == [{"partial": [3], "failed": [5]}]


def test_values_of_many_cells_are_rounded(parents: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.show.page_data.MOST_EXACT", 500)
    monkeypatch.setattr("maggjob.show.page.MOST_EXACT", 500)
    store = write_store(tmp_path / "map.zarr", parents, SMALL, HEIGHTS)
    page = Page(write_page(store, tmp_path / "view.html"))
    assert page.content["rounded"]
    import maggjob

    with maggjob.open_result(store) as ds:
        exact, counts = ds.h_mean.values, ds["count"].values
    variable = page.variable("h_mean")
    step = float(variable["rounding"].removeprefix("to "))
    span = variable["scale"]["high"] - variable["scale"]["low"]
    assert span / 10000 < step <= span / 2000
    np.testing.assert_allclose(page.values("h_mean"), exact, atol=step / 2 * 1.001)
    found = np.nan_to_num(page.values("count"))
    few = counts <= 16
    np.testing.assert_array_equal(found[few], counts[few])
    np.testing.assert_allclose(found[~few], counts[~few], rtol=0.05)
    assert (found[~few] != counts[~few]).any() or counts.max() < 100


def test_a_page_asks_no_network(parents: np.ndarray, tmp_path: Path) -> None:
    text = write_page(write_store(tmp_path / "m.zarr", parents, SMALL, HEIGHTS), tmp_path / "view.html").read_text()
    assert "default-src 'none'" in text
    assert not re.findall(r"""(?:src|href)\s*=|https?://|@import|url\(""", text)
    assert "%" + "SCRIPT%" not in text


def test_titles_cannot_break_the_page(parents: np.ndarray, tmp_path: Path) -> None:
    wicked = "</script><script>alert(1)</script>"
    store = write_store(tmp_path / "m.zarr", parents, SMALL, HEIGHTS, attributes={"title": wicked})
    page = Page(write_page(store, tmp_path / "view.html"))
    assert wicked not in page.text
    assert page.content["title"].startswith(wicked)


def test_a_page_is_limited_to_an_area(parents: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "map.zarr", parents, SMALL, HEIGHTS)
    page = Page(write_page(store, tmp_path / "view.html", ["count"], aoi="-102,-75.5,-100,-75"))
    assert 0 < page.content["parents"]["count"] < len(parents)
    assert [one["name"] for one in page.content["variables"]] == ["count"]


def test_large_results_show_what_says_most(
    parents: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    floats = HEIGHTS | {"h_max": HEIGHTS["h_mean"]}
    store = write_store(tmp_path / "map.zarr", parents, SMALL, floats)
    cells = len(parents) * SMALL.children
    for most, names in (
        (4, ["h_mean", "count", "h_max", "h_sigma"]),
        (3, ["h_mean", "count", "h_sigma"]),
        (2, ["h_mean", "count"]),
    ):
        monkeypatch.setattr("maggjob.show.page.MOST_VALUES", most * cells)
        page = Page(write_page(store, tmp_path / "view.html"))
        assert [one["name"] for one in page.content["variables"]] == names


def test_bad_input_writes_nothing(parents: np.ndarray, tmp_path: Path) -> None:
    store = write_store(tmp_path / "map.zarr", parents, SMALL, HEIGHTS)
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(InputError, match=r"no variable 'h_mode'; it has count, h_mean, h_sigma"):
        write_page(store, tmp_path / "view.html", ["h_mode"])
    with pytest.raises(InputError, match="no cells in the area"):
        write_page(store, tmp_path / "view.html", aoi="20,-80,25,-75")
    with pytest.raises(ExistsError):
        write_page(store, tmp_path / "mine.html")
    with pytest.raises(InputError, match=r"give a name that ends in \.html"):
        write_page(store, tmp_path / "view.htm")
    assert {path.name for path in tmp_path.iterdir()} == {"map.zarr", "mine.html"}


@pytest.mark.dear("all of Antarctica: 5.5 million cells")
def test_antarctica_has_less_than_15_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def rough(latitude: np.ndarray, longitude: np.ndarray, time: int) -> np.ndarray:
        return height(latitude, longitude, time) + rng.normal(0, 6, len(latitude))

    store = write_store(tmp_path / "map.zarr", area_cells("grounded"), Grid(), {"h_mean": (rough, {"units": "meters"})})
    path = write_page(store, tmp_path / "view.html")
    assert path.stat().st_size < 15e6
    assert Page(path).content["parents"]["count"] * 4096 == 1344 * 4096
