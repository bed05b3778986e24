"""``maggjob view``: pictures and pages by the end of their name, and one line for what cannot be shown."""

from pathlib import Path

import pytest
import zarr

from maggjob.grid.coverage import area_cells
from maggjob.grid.healpix import Grid
from tests.show.synthetic_store import HEIGHTS, consolidate, write_store
from tests.typed import maggjob

COMPLETE, BAD_INPUT = 0, 1


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """./map.zarr, with two cycles."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("maggjob.show.plane.FEWEST", 300)
    write_store(folder / "map.zarr", area_cells("-106,-76,-98,-74"), Grid(6, 9), HEIGHTS, cycles=(18, 19))
    return "map.zarr"


@pytest.mark.dear("a picture and a page")
def test_the_end_of_the_name_decides(store: str) -> None:
    starts = {"map.png": b"\x89PNG", "map.svg": b"<?xml", "view.html": b"<!DOCTYPE html>"}
    for name, start in starts.items():
        done = maggjob("view", store, "-o", name, "--variable", "h_mean")
        assert (done.returncode, done.stderr) == (COMPLETE, "")
        assert done.stdout.startswith(f"{name}: ")
        assert Path(name).read_bytes().startswith(start)
    done = maggjob("view", store, "--time", "18", "--variables", "count, h_mean", "--aoi", "-102,-75.5,-100,-75")
    assert done.returncode == COMPLETE
    assert Path("map.png").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--variable", "h_mode"], "error: map.zarr has no variable 'h_mode'; it has count, h_mean, h_sigma"),
        (["--cycle", "7"], "error: there is no cycle 7; there are 18, 19"),
        (["--aoi", "20,-80,25,-75"], "error: map.zarr has no cells in the area 20,-80,25,-75"),
        (["--group", "3"], "error: map.zarr has no group '3'; it has 9"),
        (["-o", "map.tiff"], "error: cannot write map.tiff: give a name that ends in .png, .pdf, .svg or .html"),
        (["-o", "there/map.png"], "error: cannot write there/map.png: there is no folder there; make it first"),
        (["-o", "view.html", "--cycle", "18"], "error: a page shows every time; leave --time, --cycle and --month out"),
        (["-o", "view.html", "--variable", "h_mode"], "error: map.zarr has no variable 'h_mode'"),
    ],
)
def test_what_cannot_be_shown_is_told_in_one_line(store: str, options: list[str], message: str) -> None:
    done = maggjob("view", store, *options)
    assert done.returncode == BAD_INPUT
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["map.zarr"]


def test_stores_that_are_no_results_are_told_of(store: str) -> None:
    assert maggjob("view", "nothing.zarr").stderr.startswith(
        "error: no result found at nothing.zarr: run 'maggjob run'"
    )
    group = zarr.open_group(store, mode="r+", use_consolidated=False)["9"]
    del group.attrs["tally"]
    consolidate(Path(store))
    for name in ("map.png", "view.html"):
        done = maggjob("view", store, "-o", name)
        assert done.returncode == BAD_INPUT
        assert "is not a map of cells that this version of maggjob made: group 9 has no tally" in done.stderr
    assert [path.name for path in Path().iterdir()] == ["map.zarr"]
