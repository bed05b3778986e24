"""The page in a real browser: what it computes, and what pointers, fingers, keys and buttons do.

One browser starts for all of it; ``make browser`` installs it on Debian.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import healpix_geo
import healpy
import matplotlib.image
import numpy as np
import pytest
from pyproj import Transformer

from maggjob.grid.coverage import area_cells
from maggjob.grid.healpix import Grid, format_cell
from maggjob.show.cell_result import CellResult, read_result
from maggjob.show.colours import scale_of
from maggjob.show.page import write_page
from tests.browser import DESK, PHONE, Browser, browser, find_chromium
from tests.show.synthetic_store import HEIGHTS, write_store

pytestmark = [
    pytest.mark.dear("starts a browser; test_page.py reads the page without one"),
    pytest.mark.skipif(find_chromium() is None, reason="no Chromium here: make browser installs it on Debian"),
]
MINUS = "\N{MINUS SIGN}"
AREA = "-106,-76,-98,-74"
FLOATS: Any = {
    "dh": (lambda a, b, t: np.cos(a) + 0.5 * t - 0.5, {"units": "meters", "long_name": "mean height above the DEM"}),
    "dh_error": (lambda a, b, t: np.full(len(a), 0.1 + 0.01 * t), {"units": "meters"}),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("browser")) as one:
        yield one


@pytest.fixture(scope="module")
def cycles(tmp_path_factory: pytest.TempPathFactory) -> CellResult:
    """Three cycles of eleven cells, one of which was read in part, and one not at all; beside it is its page."""
    parents, grid = area_cells(AREA), Grid(6, 10)
    flags = np.zeros((3, len(parents), grid.children))
    flags[:, 3], flags[:, 5] = 1, 2
    path = tmp_path_factory.mktemp("cycles") / "dh.zarr"
    states = {"complete": 9, "partial": 1, "failed": 1}
    write_store(path, parents, grid, FLOATS, cycles=(18, 19, 20), states=states, flags=flags.reshape(3, -1))
    write_page(path, path.parent / "view.html")
    return read_result(path)


def page_of(result: CellResult) -> Path:
    return Path(result.name).parent / "view.html"


def view(page: Browser) -> dict[str, float]:
    page.settle()
    return page.evaluate("maggjob.state.view")


def middle(page: Browser) -> tuple[float, float]:
    """The middle of the map, in the page."""
    box = json.loads(page.evaluate("JSON.stringify(document.getElementById('map').getBoundingClientRect())"))
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def expected(result: CellResult, longitude: float, latitude: float, time: int) -> dict[str, Any]:
    """What healpix-geo and the result say of a point."""
    order = result.grid.child_order
    cell = int(healpix_geo.nested.lonlat_to_healpix(np.array([longitude]), np.array([latitude]), order, "WGS84")[0])
    row = int(np.searchsorted(result.ids, cell))
    assert result.ids[row] == cell
    found = {name: result.values(name, time)[row] for name in ("dh", "dh_error", "count")}
    return {"id": str(cell), "parent": format_cell(cell >> result.grid.shift, result.grid.parent_order)} | found


@pytest.mark.parametrize("crs", [3031, 3413])
def test_positions_and_cells_are_those_of_proj_and_healpix(page: Browser, cycles: CellResult, crs: int) -> None:
    page.open(page_of(cycles))
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-4e6, 4e6, (2, 400))
    x[:100], y[:100] = x[:100] * 1e-5, y[:100] * 1e-5
    east, north = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    points = json.dumps(np.column_stack([x, y]).tolist())
    found = np.array(
        page.evaluate(f"(p => {points}.map(([x, y]) => p.inverse(x, y)))(makeProjection({crs}))"), dtype=np.float64
    )
    assert np.abs(found[:, 1] - north).max() < 1e-8
    assert np.abs((found[:, 0] - east + 180) % 360 - 180).max() < 1e-8
    back = f"(p => {json.dumps(found.tolist())}.map(([a, b]) => p.forward(a, b)))(makeProjection({crs}))"
    np.testing.assert_allclose(page.evaluate(back), np.column_stack([x, y]), atol=0.01)
    # Cells of the whole sphere, in both conventions.
    north, east = np.degrees(np.arcsin(rng.uniform(-1, 1, 3000))), rng.uniform(-180, 180, 3000)
    places = json.dumps(np.column_stack([east, north]).tolist())
    for latitude in ("geodetic-spherical", "authalic"):
        script = f"""{places}.map(([east, north]) => {{
            const [parent, child] = cellAt(...faceOf(sineOnSphere(north, "{latitude}"), east), 6, 12);
            return nestedId(parent, child, 6, 12); }})"""
        if latitude == "authalic":
            cells = healpix_geo.nested.lonlat_to_healpix(east, north, 12, "WGS84")
        else:
            cells = healpy.ang2pix(4096, east, north, nest=True, lonlat=True)
        assert [int(cell) for cell in page.evaluate(script)] == cells.tolist()


def test_pixels_show_their_cells(page: Browser, cycles: CellResult) -> None:
    """Colours on the screen are those of the values, at every tenth pixel of the map."""
    page.open(page_of(cycles))
    page.evaluate("document.getElementById('lines').style.visibility = 'hidden'")
    time = page.evaluate("maggjob.state.time")
    box = json.loads(page.evaluate("JSON.stringify(document.getElementById('map').getBoundingClientRect())"))
    picture = matplotlib.image.imread(io.BytesIO(page.screenshot()))
    column, row = np.meshgrid(np.arange(80, int(box["width"]) - 4, 10), np.arange(10, int(box["height"]) - 60, 10))
    shown = view(page)
    x = shown["x"] + (column + 0.5 - box["width"] / 2) * shown["scale"]
    y = shown["y"] - (row + 0.5 - box["height"] / 2) * shown["scale"]
    east, north = Transformer.from_crs(3031, 4326, always_xy=True).transform(x.ravel(), y.ravel())
    cells = healpix_geo.nested.lonlat_to_healpix(east, north, 10, "WGS84").astype(np.int64)
    at = np.minimum(np.searchsorted(cycles.ids, cells), len(cycles.ids) - 1)
    planned = cycles.ids[at] == cells
    hatched = np.isin(cells >> cycles.grid.shift, cycles.parents[[3, 5]])
    values = cycles.values("dh", time)[at]
    every = np.concatenate([cycles.values("dh", i) for i in range(3)])
    scale = scale_of(cycles.variable("dh"), every, cycles.attributes["config"])
    wanted = np.vstack([np.full((2, 3), 0.84), scale.colours()])[scale.codes(values)]
    pixels = picture[row.ravel() + int(box["y"]), column.ravel() + int(box["x"]), :3]
    plain = planned & ~hatched
    assert 500 < plain.sum() < len(plain)
    # Borders of parent cells are darker.
    assert np.mean(np.abs(pixels - wanted)[plain].max(axis=1) < 0.02) > 0.95
    page.evaluate("document.getElementById('lines').style.visibility = ''")


def test_a_mouse_asks_pans_and_zooms(page: Browser, cycles: CellResult) -> None:
    page.open(page_of(cycles))
    x, y = middle(page)
    page.mouse("mouseMoved", x, y)
    page.wait("!document.getElementById('tip').hidden")
    before = view(page)
    tip = page.evaluate("document.getElementById('tip').textContent")
    east, north = Transformer.from_crs(3031, 4326, always_xy=True).transform(before["x"], before["y"])
    told = expected(cycles, east, north, 2)
    assert told["id"] in tip
    assert told["parent"] in tip
    assert f"{abs(north):.3f}°S" in tip
    if np.isfinite(told["dh"]):
        assert f"{told['dh']:.2f} ± 0.12 m".replace("-", MINUS) in tip
        assert f"{int(told['count'])} segments" in tip
    page.drag((x, y), (x + 120, y - 40))
    moved = view(page)
    assert moved["x"] == pytest.approx(before["x"] - 120 * before["scale"], rel=1e-6)
    assert moved["y"] == pytest.approx(before["y"] - 40 * before["scale"], rel=1e-6)
    page.mouse("mouseWheel", x + 50, y + 30, deltaX=0, deltaY=-180)
    page.wait(f"maggjob.state.view.scale < {moved['scale'] * 0.9}")
    closer = view(page)
    # The point under the pointer stays where it is; the middle of the map may be half a pixel off.
    pixel = moved["scale"]
    assert closer["x"] + 50 * closer["scale"] == pytest.approx(moved["x"] + 50 * pixel, abs=pixel)
    assert closer["y"] - 30 * closer["scale"] == pytest.approx(moved["y"] - 30 * pixel, abs=pixel)
    page.evaluate("document.getElementById('all').click()")
    assert view(page) == before
    assert page.complaints() == []


def test_values_of_every_cell_are_those_of_the_result(page: Browser, cycles: CellResult) -> None:
    page.open(page_of(cycles))
    for name in ("dh", "count"):
        for time in (0, 2):
            found = page.evaluate(
                f"valuesOf(named('{name}'), {time}).then((v) => Array.from(v, (x) => x === x ? x : null))"
            )
            np.testing.assert_array_equal(np.array(found, np.float64), cycles.values(name, time))


def test_variables_and_times_are_switched(page: Browser, cycles: CellResult) -> None:
    page.open(page_of(cycles))
    assert page.evaluate("maggjob.state.shown") == "dh/2"
    before = page.screenshot()
    page.evaluate("document.getElementById('before').click()")
    page.wait("maggjob.state.shown === 'dh/1'")
    page.settle()
    assert page.screenshot() != before
    assert page.evaluate("document.getElementById('time').selectedOptions[0].textContent").startswith("19 (2022-")
    choose = "(s => { s.value = 'count'; s.dispatchEvent(new Event('change')); })(document.getElementById('variable'))"
    page.evaluate(choose)
    page.wait("maggjob.state.shown === 'count/1'")
    page.settle()
    assert page.evaluate("document.getElementById('label').textContent") == "number of segments"
    keys = page.evaluate("document.getElementById('keys').textContent")
    for word in ("planned, no data", "read in part", "failed, not read", "grounding line"):
        assert word in keys


def test_a_click_shows_the_time_series(page: Browser, cycles: CellResult) -> None:
    page.open(page_of(cycles))
    told = page.evaluate("""(async () => {
        const map = document.getElementById('map');
        for (let x = 300; x < map.clientWidth; x += 7) {
            const told = await maggjob.ask(x, 400);
            const first = told.row < 0 ? NaN : (await valuesOf(named('dh'), 0))[told.row];
            if (Number.isFinite(told.value) && Number.isFinite(first)) return { x, ...told };
        } })()""")
    box = json.loads(page.evaluate("JSON.stringify(document.getElementById('map').getBoundingClientRect())"))
    page.click(box["x"] + told["x"], box["y"] + 400)
    page.wait("!document.getElementById('series').hidden")
    assert told["id"] in page.evaluate("document.querySelector('#series h2').textContent")
    row = int(np.searchsorted(cycles.ids, int(told["id"])))
    numbers = page.evaluate(
        "[...document.querySelectorAll('#chart tr')].map((row) => row.textContent.replace(/\\s+/g, ' '))"
    )
    assert len(numbers) == 3
    for time, text in enumerate(numbers):
        value = cycles.values("dh", time)[row]
        assert cycles.times is not None
        assert text.startswith(cycles.times.labels[time])
        assert ("no data" in text) if np.isnan(value) else (f"{value:.2f} ±".replace("-", MINUS) in text)
    assert page.evaluate("document.querySelectorAll('#chart circle').length") >= 2


def test_keys_do_what_the_mouse_does(page: Browser, cycles: CellResult) -> None:
    page.open(page_of(cycles))
    page.evaluate("document.getElementById('map').focus()")
    before = view(page)
    page.key("ArrowRight", 39)
    page.key("+", 187)
    after = view(page)
    assert after["x"] == pytest.approx(before["x"] + 60 * before["scale"])
    assert after["scale"] == pytest.approx(before["scale"] / 1.6)
    assert not page.evaluate("document.getElementById('cross').hidden")
    page.wait("!document.getElementById('tip').hidden")
    page.key("0", 48)
    assert view(page) == before


def test_fingers_pinch_and_tap(page: Browser, cycles: CellResult) -> None:
    page.open(page_of(cycles), PHONE)
    x, y = middle(page)
    before = view(page)
    page.touch("touchStart", (x - 40, y), (x + 40, y))
    page.touch("touchMove", (x - 80, y), (x + 80, y))
    page.touch("touchEnd")
    page.wait(f"maggjob.state.view.scale < {before['scale'] * 0.7}")
    closer = view(page)
    assert closer["scale"] == pytest.approx(before["scale"] / 2, rel=0.05)
    page.touch("touchStart", (x + 10, y + 10))
    page.touch("touchEnd")
    page.wait("!document.getElementById('tip').hidden")
    assert "cell" in page.evaluate("document.getElementById('tip').textContent")
    # Nothing is wider than the screen, and buttons are large enough for fingers.
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert (
        page.evaluate("Math.min(...[...document.querySelectorAll('#zoom button, select')].map((b) => b.offsetHeight))")
        >= 40
    )


def test_it_needs_no_network(page: Browser, cycles: CellResult) -> None:
    page.open(page_of(cycles))
    assert [url for url in page.requests() if not url.startswith("file://")] == []
    assert page.complaints() == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_coarser_order_is_drawn_from_afar(page: Browser, tmp_path: Path, size: Any) -> None:
    # Two small areas, far from each other.
    parents = np.union1d(area_cells("-102,-76,-98,-75"), area_cells("78,-76,82,-75"))
    store = write_store(tmp_path / "map.zarr", parents, Grid(6, 12), HEIGHTS)
    page.open(write_page(store, tmp_path / "view.html", ["h_mean", "count"]), size)
    drawn = page.evaluate("maggjob.orderDrawn()")
    assert drawn < 12
    said = page.evaluate("document.getElementById('drawn').textContent")
    assert said.startswith(f"Drawn: order {drawn}")
    assert "means of the cells of order 12" in said
    values = read_result(store).values("h_mean").astype(np.float32)
    found = np.array(page.evaluate(f"Array.from(cells.levelAt({drawn}).values, (x) => x === x ? x : null)"), np.float64)
    # Means of all cells with data, not means of means.
    blocks = values.astype(np.float64).reshape(len(found), -1)
    there = np.isfinite(blocks).any(axis=1)
    assert (np.isfinite(blocks).any(axis=1) & ~np.isfinite(blocks).all(axis=1)).any()
    assert (np.isfinite(found) == there).all()
    np.testing.assert_allclose(found[there], np.nanmean(blocks[there], axis=1), rtol=1e-5)
    page.evaluate("maggjob.setView({ ...maggjob.state.view, scale: 300 })")
    page.settle()
    assert page.evaluate("maggjob.orderDrawn()") == 12
    assert "Cells of order 12" in page.evaluate("document.getElementById('drawn').textContent")


EVIL = '<img src=x onerror="window.PWNED=1">'


def test_words_of_a_result_are_no_program(page: Browser, tmp_path: Path) -> None:
    words: Any = {"units": EVIL, "long_name": f"%CONTENT% %BLOCKS% {EVIL}"}
    flags: Any = {"flag_values": [0.0, 1.0], "flag_meanings": EVIL.replace(" ", "/") + " none"}
    floats: Any = {
        "dh": (lambda a, b, t: a + t, words),
        "dh_error": (lambda a, b, t: a - a + 1.0, words),
        "state": (lambda a, b, t: a - a, flags),
    }
    title = {"title": f"100%CONTENT% %STYLE% %SCRIPT% </title>{EVIL}"}
    store = write_store(tmp_path / "map.zarr", area_cells(AREA), Grid(6, 8), floats, cycles=(20, 21), attributes=title)
    page.open(write_page(store, tmp_path / "view.html"))
    assert page.evaluate("document.getElementById('title').textContent").startswith("100%CONTENT% %STYLE%")
    for name in floats:
        page.evaluate(f"state.variable = named('{name}'); show()")
        page.settle()
        at = middle(page)
        page.mouse("mouseMoved", *at)
        page.wait("!document.getElementById('tip').hidden")
        page.evaluate(f"showSeries({at[0]}, {at[1]})")
        page.settle()
        page.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate("window.PWNED === undefined")
    # Nor would a browser run it if it came into the page.
    page.evaluate(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(EVIL)})")
    page.evaluate("new Promise((done) => setTimeout(done, 200))")
    assert page.evaluate("window.PWNED === undefined")


def values_in(page: Browser, name: str) -> np.ndarray:
    script = f"valuesOf(named('{name}'), 0).then((v) => Array.from(v, (x) => x === x ? x : null))"
    return np.array(page.evaluate(script), np.float64)


def test_values_of_few_cells_are_exact(page: Browser, tmp_path: Path) -> None:
    floats: Any = {
        "time_mean": (lambda a, b, t: 187654321.125 + a, {"units": "s"}),
        "tiny": (lambda a, b, t: 1.5e-8 + 1e-10 * a, {}),
        "huge": (lambda a, b, t: a * 1e300, {}),
    }

    def count(a: np.ndarray, b: np.ndarray, t: int) -> np.ndarray:
        return 4_000_000_001 + np.arange(len(a), dtype=np.int64) * 7_000_001

    store = write_store(tmp_path / "map.zarr", area_cells(AREA), Grid(6, 8), floats, count=count, dtype="f8")
    page.open(write_page(store, tmp_path / "view.html"))
    result = read_result(store)
    for name in (*floats, "count"):
        assert (values_in(page, name) == result.values(name)).all()
    page.evaluate("state.variable = named('tiny'); show()")
    page.settle()
    page.mouse("mouseMoved", *middle(page))
    page.wait("!document.getElementById('tip').hidden")
    assert f"e{MINUS}9" in page.evaluate("document.querySelector('#tip b').textContent")


def test_an_outlier_does_not_blur_the_other_values(
    page: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maggjob.show.page_data.MOST_EXACT", 10)

    def spoilt(a: np.ndarray, b: np.ndarray, t: int) -> np.ndarray:
        found = 1000 + a
        found[[3, 100]] = 1e30, -1e6
        return found

    store = write_store(
        tmp_path / "map.zarr",
        area_cells(AREA),
        Grid(6, 8),
        {"h_mean": (spoilt, {})},
        count=lambda a, b, t: a.astype(int) ** 0,
    )
    page.open(write_page(store, tmp_path / "view.html"))
    own, found = read_result(store).values("h_mean"), values_in(page, "h_mean")
    assert found[3] == np.float32(1e30)
    assert found[100] == pytest.approx(-1e6, abs=0.01)
    assert np.nanmax(np.abs(found - own)[np.abs(own) < 1e5]) < 0.01
