"""The picture of a plan: a panel a hemisphere, with cells, tracks and area where they are."""

import importlib.util
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure

import maggjob
from maggjob import Plan
from maggjob.catalog.catalog import Catalog, Entry
from maggjob.errors import InputError
from maggjob.grid.areas import parse_area
from maggjob.grid.coverage import area_cells, describe_area
from maggjob.grid.footprints import Footprints
from maggjob.icesat2.orbit import ground_track, region_angles, swath
from maggjob.show.plan_map import draw_plan

SOUTHERN, NORTHERN, BOTH = (-110.0, -77.0, -98.0, -73.0), (-45.0, 70.0, -35.0, 74.0), (20.0, -3.0, 26.0, 3.0)


def planned(*areas: tuple[float, float, float, float], tracks: int = 0, region: int = 11, outline: bool = True) -> Plan:
    """Return a plan of all cells of areas, each with one to three granules."""
    parsed = [parse_area(area) for area in areas]
    found = np.concatenate([area_cells(area, 6, "authalic") for area in parsed]).tolist()
    number = max(3, tracks)
    entries = tuple(
        Entry(f"ATL06_20231218031203_{i + 1:04d}22{region:02d}_007_01", {"file": f"{i}.h5"}) for i in range(number)
    )
    cells = {cell: tuple(range(1 + position % 3)) for position, cell in enumerate(sorted(found))}
    provenance: dict[str, Any] = dict(describe_area(parsed[0])) if outline else {}
    rings = [[swath(i + 1, *region_angles()[region], 6300.0, 24)] for i in range(tracks)]
    rings += [[]] * (number - tracks)
    footprints = Footprints.of(rings) if tracks else None
    return maggjob.plan("atl06.yaml", catalog=Catalog(entries, cells, 6, "authalic", provenance, footprints))


def picture(plan: Plan, path: Path) -> np.ndarray:
    """Return the picture, shape (rows, columns, 3), 0 to 255."""
    assert draw_plan(plan, path) == path
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    return (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int)


def red(pixels: np.ndarray) -> int:
    """Pixels of the colour of an area's outline."""
    return int(((pixels[..., 0] > 180) & (pixels[..., 1] < 100) & (pixels[..., 2] < 100)).sum())


def coloured(pixels: np.ndarray) -> int:
    """Pixels that are no shade of grey."""
    return int((np.ptp(pixels, axis=-1) > 40).sum())


@pytest.mark.dear("a picture per hemisphere", keep=("south",))
@pytest.mark.parametrize("area", [SOUTHERN, NORTHERN], ids=["south", "north"])
def test_a_hemisphere_is_a_panel(tmp_path: Path, area: tuple[float, float, float, float]) -> None:
    pixels = picture(planned(area), tmp_path / "plan.png")
    assert coloured(pixels) > 0.1 * pixels.shape[0] * pixels.shape[1]  # cells fill the map
    assert red(pixels) > 200  # the area is drawn
    assert 0.7 < pixels.shape[0] / pixels.shape[1] < 1.4
    if area == SOUTHERN:
        assert red(picture(planned(area, outline=False), tmp_path / "plain.png")) == 0
    # three numbers of granules, three colours of viridis beside those of the bar
    inner = pixels[100:-100, 100 : pixels.shape[1] // 2]
    colours, counts = np.unique(inner.reshape(-1, 3), axis=0, return_counts=True)
    assert (counts[np.ptp(colours, axis=1) > 40] > 1000).sum() >= 3


@pytest.mark.dear("pictures take a second each")
def test_two_hemispheres_are_two_panels(tmp_path: Path) -> None:
    two = picture(planned(SOUTHERN, NORTHERN), tmp_path / "two.png")
    assert two.shape[1] > 1.6 * two.shape[0]  # one is about as wide as high
    left, right = np.array_split(two, 2, axis=1)
    assert coloured(left) > 0.05 * left[..., 0].size
    assert coloured(right) > 0.05 * right[..., 0].size
    equator = picture(planned(BOTH), tmp_path / "equator.png")
    assert equator.shape == two.shape
    assert all(coloured(half) > 100 for half in np.array_split(equator, 2, axis=1))


def test_cells_round_the_pole_and_across_the_antimeridian_are_drawn(tmp_path: Path) -> None:
    for area in ((-180.0, -90.0, 180.0, -86.0), (175.0, -80.0, -175.0, -76.0)):
        pixels = picture(planned(area), tmp_path / "plan.png")
        assert coloured(pixels) > 0.1 * pixels[..., 0].size  # no cell is torn across the map


def artists(plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The axes that were drawn, colour bars left out."""
    kept: list[Figure] = []
    save = Figure.savefig

    def keep(figure: Figure, *args: Any, **options: Any) -> Any:
        kept.append(figure)
        return save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    draw_plan(plan, tmp_path / "plan.png")
    return [axes for axes in kept[-1].axes if axes.get_title()]


@pytest.mark.dear("a picture per hemisphere", keep=("south",))
@pytest.mark.parametrize(("region", "area"), [(11, SOUTHERN), (4, NORTHERN)], ids=["south", "north"])
def test_tracks_are_where_the_granules_fly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, region: int, area: tuple[float, float, float, float]
) -> None:
    from pyproj import Transformer

    crs = 3031 if region == 11 else 3413
    (axes,) = artists(planned(area, tracks=3, region=region), monkeypatch, tmp_path)
    assert axes.get_title() == f"EPSG:{crs}"
    drawn = [line.get_xydata() for line in axes.lines if line.get_color() == "k"]
    assert len(drawn) == 3
    to_plane = Transformer.from_crs(4326, crs, always_xy=True)
    for rgt, line in enumerate(drawn, start=1):
        angles = np.linspace(*region_angles()[region], 60)
        latitude, longitude = ground_track(rgt, angles)
        x, y = to_plane.transform(longitude, latitude)
        away = np.hypot(x[:, None] / 1e3 - line[:, 0], y[:, None] / 1e3 - line[:, 1])
        assert np.nanmin(away, axis=1).max() < 120  # kilometres: half the width of a footprint, and its spacing


def test_only_tracks_of_the_plan_are_drawn_and_not_too_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("maggjob.show.plan_map.TRACKS_DRAWN", 5)
    whole = planned(SOUTHERN, tracks=12)
    every = replace(whole.catalog, cells=dict.fromkeys(whole.catalog.cells, tuple(range(12))))
    (axes,) = artists(replace(whole, catalog=every), monkeypatch, tmp_path)
    assert 3 <= sum(line.get_color() == "k" for line in axes.lines) <= 10
    one = replace(every, cells=dict.fromkeys(every.cells, (7,)))
    (axes,) = artists(replace(whole, catalog=one), monkeypatch, tmp_path)
    assert sum(line.get_color() == "k" for line in axes.lines) == 1


def test_cells_have_the_colour_of_their_granules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pyproj import Transformer

    from tests.oracle import nested

    plan = planned(SOUTHERN)
    (axes,) = artists(plan, monkeypatch, tmp_path)
    (cells,) = (drawn for drawn in axes.collections if drawn.get_array() is not None)
    back = Transformer.from_crs(3031, 4326, always_xy=True)
    for path, count in zip(cells.get_paths(), cells.get_array(), strict=True):
        x, y = path.vertices[:-1].mean(axis=0) * 1e3
        longitude, latitude = back.transform(x, y)
        (cell,) = nested(np.array([latitude]), np.array([longitude]), 6, "authalic").tolist()
        assert len(plan.catalog.cells[cell]) == count
    assert len(cells.get_paths()) == len(plan.cells)


def test_without_matplotlib_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find = importlib.util.find_spec

    def without(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "matplotlib" else find(name, package)

    monkeypatch.setattr("maggjob.show.plan_map.find_spec", without)
    with pytest.raises(InputError, match=r"matplotlib is needed to draw a plan.*pip install"):
        draw_plan(planned(SOUTHERN), tmp_path / "plan.png")
    assert not list(tmp_path.glob("plan*"))


@pytest.mark.parametrize("name", ["nowhere/plan.png", "plan.nonsense", "plan.gif", "plan", "."])
def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path, name: str) -> None:
    """The same holds for one that matplotlib would write under another name, or in another form."""
    (tmp_path / "here").mkdir()
    with pytest.raises(InputError, match=r"cannot draw the plan to .*\.png"):
        draw_plan(planned(SOUTHERN), tmp_path / "here" / name)
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["here"]
