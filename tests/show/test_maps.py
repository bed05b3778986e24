"""Maps: the colours of pixels at known cells, what is written on them, and what is refused."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import zarr
from pyproj import Transformer

import maggjob
from maggjob.errors import ExistsError, InputError, StoreError
from maggjob.grid.coverage import area_cells
from maggjob.grid.healpix import Grid
from maggjob.output.attributes import PARTIAL_ATTRIBUTES
from maggjob.show.cell_result import Variable, read_result
from maggjob.show.colours import PALETTES, scale_of
from maggjob.show.map_sheet import sheet_of
from maggjob.show.map_text import default_variables, heading
from maggjob.show.maps import draw_map, region_of
from tests.show.synthetic_store import HEIGHTS, consolidate, write_store

SMALL = Grid(6, 9)
AREAS = {
    "south": ("-106,-76,-98,-74", Grid(6, 10)),
    "antimeridian": ("175,-79,-170,-76", SMALL),
    "south pole": ("south-of:-88", SMALL),
    "north, spherical": ("-50,70,-40,74", Grid(6, 9, "geodetic-spherical")),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer pixels, so that pictures are cheap."""
    monkeypatch.setattr("maggjob.show.plane.FEWEST", 360)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven cells in the Amundsen Sea sector."""
    path = tmp_path_factory.mktemp("maps") / "map.zarr"
    return write_store(path, area_cells("-106,-76,-98,-74"), SMALL, HEIGHTS)


def colour(kind: str, share: np.ndarray) -> np.ndarray:
    """Colours of a palette by matplotlib, at shares from 0 to 1."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = [f"#{anchor}" for anchor in PALETTES[kind].split()]
    return LinearSegmentedColormap.from_list(kind, colours, 1024)(share)[:, :3]


@pytest.mark.dear("a picture per place", keep=("south", "antimeridian"))
@pytest.mark.parametrize("place", AREAS)
def test_a_cell_has_its_colour_at_its_place(place: str, tmp_path: Path) -> None:
    area, grid = AREAS[place]
    path = write_store(tmp_path / "map.zarr", area_cells(area, grid.parent_order, grid.latitude), grid, HEIGHTS)
    picture = matplotlib.image.imread(draw_map(path, tmp_path / "map.png", ["h_mean"]))[..., :3]
    with maggjob.open_result(path) as ds:
        # xdggs and healpix-geo say where the centres are.
        centres, values = ds.dggs.cell_centers(), ds.h_mean.values
    frame = region_of(read_result(path)).frame
    sheet = sheet_of(frame, 1)
    assert picture.shape[:2] == sheet.size[::-1]
    to_plane = Transformer.from_crs(4326, frame.crs, always_xy=True)
    x, y = to_plane.transform(centres.longitude.values, centres.latitude.values)
    left, bottom = sheet.corner(0, frame)
    column = (left + (x - frame.extent[0]) / frame.pixel).astype(int)
    row = (sheet.size[1] - bottom - frame.height + (frame.extent[3] - y) / frame.pixel).astype(int)
    shown, good = picture[row, column], np.isfinite(values)
    low, high = np.percentile(values[good], (2, 98))
    wanted = np.full((len(values), 3), 0.84)
    wanted[good] = colour("sequential", np.clip((values[good] - low) / (high - low), 0, 1))
    # Lines of the coast, of the graticule and of parent cells pass over some.
    off = np.abs(shown - wanted).max(axis=1)
    assert np.mean(off < 0.02) > 0.85
    assert good.any()


def test_pixels_are_not_resampled(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed is what is in the file, pixel by pixel, where no line passes."""
    from maggjob.show import map_sheet

    kept: list[np.ndarray] = []

    def keep(*arguments: Any) -> list[np.ndarray]:
        kept.extend(images(*arguments))
        return kept

    images = map_sheet.map_images
    monkeypatch.setattr(map_sheet, "map_images", keep)
    path = draw_map(store, tmp_path / "map.png", ["h_mean", "count"])
    picture = (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int)
    frame = region_of(read_result(store)).frame
    sheet = sheet_of(frame, 2)
    for number, image in enumerate(kept):
        left, bottom = sheet.corner(number, frame)
        top = sheet.size[1] - bottom - frame.height
        shown = picture[top : top + frame.height, left : left + frame.width]
        cells = image[..., 3] == 255
        assert np.mean((shown[cells] == image[cells][:, :3]).all(axis=1)) > 0.9


def text_of(store: Path, tmp_path: Path, **asked: Any) -> str:
    """Words of a map, from its SVG."""
    content = draw_map(store, tmp_path / "map.svg", **asked).read_text()
    return " ".join(re.findall(r">([^<>]+)</text>", content)).replace("&#176;", "°")


def test_a_map_says_what_it_shows(store: Path, tmp_path: Path) -> None:
    text = text_of(store, tmp_path)
    for part in (
        "SIMULATED DATA",
        "ICESat-2 ATL06 version 006 land-ice heights by HEALPix cell",
        "cycle 22, 2023-12-18 to 2024-03-15",
        "of 60 granules",
        "11 planned cells: 11 complete",
        "HEALPix order 9 (cells 13 km wide)",
        "EPSG:3031",
        "h_mean: Land Ice height, weighted mean (m)",
        "count: number of segments",
        "planned cell without data",
        "coast",
        "grounding line",
        "75°S",
        "100°W",
    ):
        assert part in text, part


def test_unread_cells_are_hatched(tmp_path: Path) -> None:
    parents = area_cells("-106,-76,-98,-74")
    flags = np.zeros((len(parents), SMALL.children))
    flags[3], flags[5] = 1, 2
    states = {"complete": 9, "partial": 1, "failed": 1}
    path = write_store(tmp_path / "map.zarr", parents, SMALL, HEIGHTS, states=states, flags=flags.ravel())
    assert {state: cells.tolist() for state, cells in read_result(path).unread().items()} == {
        "partial": [parents[3]],
        "failed": [parents[5]],
    }
    text = text_of(path, tmp_path, variables=["h_mean"])
    assert "cell read in part" in text
    assert "cell not read (failed)" in text
    assert "9 complete, 1 partial, 1 failed" in text


def test_the_ledger_tells_which_cells_were_not_read_at_a_time(tmp_path: Path) -> None:
    states = {"complete": 0, "partial": 1, "failed": 1}
    path = write_store(tmp_path / "m.zarr", [45763, 45764], Grid(6, 8), HEIGHTS, cycles=(9, 10), states=states)
    cells = {"cycle09": {"-6134114": "failed", "-6134121": "complete"}, "cycle10": {"-6134121": "partial"}}
    result = replace(read_result(path), ledger=lambda: cells)
    assert {name: found.tolist() for name, found in result.unread(0).items()} == {"failed": [45763]}
    assert {name: found.tolist() for name, found in result.unread(1).items()} == {"partial": [45764]}
    # Without a ledger nothing is known, and nothing is drawn.
    assert read_result(path).unread(0) == {}


def test_a_time_is_drawn(tmp_path: Path) -> None:
    floats = HEIGHTS | {"dh": (lambda a, b, t: np.full(len(a), float(t)), {"units": "meters"})}
    path = write_store(tmp_path / "map.zarr", area_cells("-106,-76,-98,-74"), SMALL, floats, cycles=(18, 19, 20))
    for given, cycle, value in ((None, "20", 2.0), ("cycle18", "18", 0.0), (19, "19", 1.0)):
        assert f"cycle {cycle} of 3" in text_of(path, tmp_path, variables=["dh"], time=given)
        result = read_result(path)
        assert result.times is not None
        assert np.nanmax(result.values("dh", result.times.position(cycle))) == value
    with pytest.raises(InputError, match="there is no cycle 17; there are 18, 19, 20"):
        draw_map(path, tmp_path / "other.png", time="17")
    with pytest.raises(InputError, match="no time axis"):
        draw_map(write_store(tmp_path / "b.zarr", [45763], SMALL, HEIGHTS), tmp_path / "other.png", time="17")
    assert not (tmp_path / "other.png").exists()


def test_a_difference_is_drawn_around_zero_beside_its_error(tmp_path: Path) -> None:
    floats = {
        "dh": (lambda a, b, t: np.where(b > 258, 1.0, 2.0) * t, {"units": "meters"}),
        "dh_error": (lambda a, b, t: np.full(len(a), 0.1), {"units": "meters"}),
    }
    path = write_store(tmp_path / "map.zarr", area_cells("-106,-76,-98,-74"), SMALL, floats, cycles=(18, 19))  # type: ignore[arg-type]
    change = maggjob.difference(maggjob.open_result(path), 18, 19, tracks=None)
    result = read_result(change)
    assert default_variables(result) == ("dh", "dh_error")
    scale = scale_of(result.variable("dh"), result.values("dh"), result.attributes["config"])
    assert (scale.kind, scale.low, scale.high) == ("diverging", -2.0, 2.0)
    assert scale_of(result.variable("dh_error"), result.values("dh_error"), {}).kind == "error"
    assert "dh, cycle 19 minus cycle 18" in text_of(change, tmp_path)


@pytest.mark.parametrize(
    ("values", "end", "arrows"),
    [
        (np.append(np.linspace(0, 1, 1000), 1e6), 1.0, (True, True)),
        (np.full(50, 3.0), 4.0, (False, False)),
        (np.array([np.nan]), 1.0, (False, False)),
    ],
)
def test_outliers_do_not_hide_the_rest(values: np.ndarray, end: float, arrows: tuple[bool, bool]) -> None:
    scale = scale_of(Variable("h", {}, False, False), values, {})
    assert scale.high == pytest.approx(end, rel=0.03)
    assert (scale.below, scale.above) == arrows
    codes = scale.codes(values)
    assert codes.max() <= 255
    assert (codes[~np.isfinite(values)] == 1).all()


def test_what_failed_is_red_and_what_is_complete_green() -> None:
    scale = scale_of(Variable("partial", PARTIAL_ATTRIBUTES, timed=False, whole=True), np.array([0.0, 2.0]), {})
    complete, _, failed = scale.colours()
    assert complete.argmax() == 1
    assert failed.argmax() == 0


def test_flags_have_a_colour_each() -> None:
    attributes = {"flag_values": [-1, 0, 1], "flag_meanings": "no_fit determined few_passes"}
    scale = scale_of(Variable("state", attributes, False, True), np.array([0.0, 1.0]), {})
    assert [word for _, word in scale.flags] == ["no fit", "determined", "few passes"]
    assert scale.codes(np.array([-1.0, 0.0, 1.0, np.nan])).tolist() == [2, 3, 4, 1]


def test_a_map_is_limited_to_an_area(store: Path, tmp_path: Path) -> None:
    whole = region_of(read_result(store))
    part = region_of(read_result(store), "-102,-75.5,-100,-75")
    assert 0 < len(part.parents) < len(whole.parents)
    assert part.frame.width * part.frame.pixel < 0.5 * whole.frame.width * whole.frame.pixel
    with pytest.raises(InputError, match=r"has no cells in the area 20,-80,25,-75; give one that overlaps"):
        draw_map(store, tmp_path / "map.png", aoi="20,-80,25,-75")
    with pytest.raises(InputError, match="southern hemisphere"):
        draw_map(store, tmp_path / "map.png", aoi="greenland")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.dear("a picture")
def test_cells_of_the_other_hemisphere_are_told_of(tmp_path: Path) -> None:
    grid = Grid(3, 6)
    parents = np.union1d(area_cells("south-of:-70", 3), area_cells("-50,75,-40,80", 3))
    path = write_store(tmp_path / "map.zarr", parents, grid, HEIGHTS)
    assert re.search(r"\d cells in the other hemisphere are not shown", text_of(path, tmp_path, variables=["count"]))


@pytest.mark.dear("a picture per kind", keep=("svg",))
@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_map_is_a_file_of_its_kind(store: Path, tmp_path: Path, kind: str) -> None:
    starts = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    first = draw_map(store, tmp_path / f"map.{kind}", ["count"]).read_bytes()
    assert first.startswith(starts[kind])
    # It replaces one of its own kind, with the same bytes.
    assert draw_map(store, tmp_path / f"map.{kind}", ["count"]).read_bytes() == first
    (tmp_path / f"mine.{kind}").write_text("mine")
    with pytest.raises(ExistsError):
        draw_map(store, tmp_path / f"mine.{kind}")
    assert {path.name for path in tmp_path.iterdir()} == {f"map.{kind}", f"mine.{kind}"}


def older(path: Path) -> None:
    group = zarr.open_group(path, mode="r+", use_consolidated=False)["9"]
    del group.attrs["latitude_convention"]
    consolidate(path)


def lossy(path: Path) -> None:
    (path / "9" / "count" / "c" / "0").unlink()


def unfinished(path: Path) -> None:
    (path / "zarr.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (older, "group 9 has no latitude_convention; run 'maggjob run' again"),
        (lossy, "lacks 1 of 1 shards of count"),
        (unfinished, "it is not a Zarr, its run did not finish, or"),
    ],
)
def test_what_is_no_result_is_refused(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = write_store(tmp_path / "map.zarr", [45763], SMALL, HEIGHTS)
    damage(path)
    with pytest.raises(StoreError) as caught:
        draw_map(path, tmp_path / "map.png")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {found.name for found in tmp_path.iterdir()} == {"map.zarr"}


@pytest.mark.parametrize("name", ["map.gif", "map", "nowhere/map.png"])
def test_names_of_other_files_are_refused(name: str, store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        draw_map(store, tmp_path / name)


def test_nothing_is_half_written(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    before = draw_map(store, tmp_path / "map.png", ["count"]).read_bytes()

    def full(_: Figure, path: Path, **__: Any) -> None:
        Path(path).write_bytes(b"\x89PNG half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(InputError, match=r"map\.png: No space left on device; give another place"):
        draw_map(store, tmp_path / "map.png", ["count"])
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]
    assert (tmp_path / "map.png").read_bytes() == before


def test_a_missing_extra_is_named(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.show.maps.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"matplotlib is needed to draw a map; .*pip install 'maggjob\[view\]'"):
        draw_map(store, tmp_path / "map.png")


def test_other_datasets_are_refused() -> None:
    import xarray as xr

    with pytest.raises(InputError, match="no cells of a result"):
        draw_map(xr.Dataset({"a": ("x", [1.0])}), "map.png")


def test_the_title_of_other_results_is_theirs(store: Path) -> None:
    result = read_result(store)
    own = {"title": "ICESat-2 ATL08 by HEALPix cell", "product": ["ATL08"], "product_version": [], "cycles": [3, 4, 7]}
    text = heading(replace(result, attributes=own | {"config": result.attributes["config"]}), 3031)
    assert (text.title, text.simulated) == ("ICESat-2 ATL08 by HEALPix cell", False)
    assert text.details.startswith("cycles 3 to 4, 7 · HEALPix order 9")
