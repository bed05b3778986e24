"""Looking at a result: the dataset, the picture, the bar."""

import io
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import xarray as xr
import xdggs  # noqa: F401
import zarr

import maggjob
from maggjob.backend.outcome import Outcome
from maggjob.catalog.local import from_files
from maggjob.errors import ExistsError, InputError, StoreError
from maggjob.grid.healpix import parse_cell
from maggjob.model.reports import CellReport
from maggjob.pipeline.cell_map import execute
from maggjob.pipeline.progress import Progress
from maggjob.pipeline.result import RunResult, clean, read_summary
from maggjob.show.cell_result import read_result
from maggjob.show.dataset import open_result
from maggjob.show.maps import draw_map
from maggjob.show.text import plan_text, summary
from maggjob.simulator.scene import simulate
from maggjob.storage.run_folder import KEPT, RUN, VERSIONS


@pytest.fixture(scope="module")
def result(sector: list[Path], tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """A small run on simulated granules."""
    folder = tmp_path_factory.mktemp("view")
    config = maggjob.load_config("atl06.yaml")
    catalog = from_files([str(sector[0].parent)], config.recipe())
    plan = maggjob.plan(config, catalog=catalog, store=str(folder / "map.zarr"))
    return execute(plan, backend="serial")


def test_a_result_opens_decoded_and_chunked(result: RunResult) -> None:
    dataset = open_result(result.store_path)
    assert dataset.dggs.grid_info.level == 12
    assert dataset.h_mean.chunks is not None
    assert int(dataset["count"].sum()) == result.tally.observations


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_it_can_be_written_again(result: RunResult, tmp_path: Path) -> None:
    dataset = open_result(result.store_path)
    # Numbers, strings and lists of them are all that netCDF stores.
    values = [value for of in (dataset, *dataset.variables.values()) for value in of.attrs.values()]
    assert all(
        isinstance(v, str | int | float) for value in values for v in (value if type(value) is list else [value])
    )
    assert json.loads(dataset.attrs["tally"])["observations"] == result.tally.observations
    dataset.to_zarr(tmp_path / "copy.zarr")
    same_cells(xr.open_zarr(tmp_path / "copy.zarr").dggs.decode(), dataset)
    stored = zarr.open_group(result.store_path, path="12", mode="r").attrs
    assert isinstance(stored["tally"], dict)
    assert isinstance(stored["zarr_conventions"], list)


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_it_can_be_written_to_netcdf(result: RunResult, tmp_path: Path, engine: str) -> None:
    pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine))
    dataset = open_result(result.store_path)
    dataset.to_netcdf(tmp_path / "copy.nc", engine=engine)
    same_cells(xr.open_dataset(tmp_path / "copy.nc", engine=engine).dggs.decode(), dataset)


def same_cells(one: xr.Dataset, other: xr.Dataset) -> None:
    assert one.equals(other)
    for axis in ("latitude", "longitude"):
        assert np.array_equal(one.dggs.cell_centers()[axis], other.dggs.cell_centers()[axis])


@pytest.mark.dear("a whole run")
def test_what_is_simulated_is_said_to_be(result: RunResult, tmp_path: Path) -> None:
    dataset = open_result(result.store_path)
    assert dataset.attrs["title"].startswith("simulated")
    assert {"source_doi", "references"}.isdisjoint(dataset.attrs)
    assert "simulated granules" in summary(result.to_dict())
    assert "simulated granules" in plan_text(result.plan)
    draw_map(result.store_path, tmp_path / "map.svg", ("h_mean",))
    assert "SIMULATED DATA" in (tmp_path / "map.svg").read_text()


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        open_result(tmp_path / "nothing.zarr")
    (tmp_path / "half.zarr").mkdir()
    (tmp_path / "half.zarr" / "chunk").write_bytes(b"")
    with pytest.raises(StoreError):
        open_result(tmp_path / "half.zarr")


def test_a_map_shows_the_data_where_they_are(result: RunResult, tmp_path: Path) -> None:
    path = draw_map(result.store_path, tmp_path / "map.png", ("h_mean",))
    picture = matplotlib.image.imread(path)
    colours = np.unique((picture[..., :3] * 255).astype(int).reshape(-1, 3), axis=0)
    assert len(colours) > 100  # a colour map, not an empty frame


def test_a_map_of_what_is_not_there_is_refused(result: RunResult, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="h_mode"):
        draw_map(result.store_path, tmp_path / "map.png", ("h_mode",))
    assert not (tmp_path / "map.png").exists()


def test_the_summary_is_that_of_the_file(result: RunResult) -> None:
    assert summary(read_summary(result.store_path)) == summary(result.to_dict())


def test_cleaning_leaves_the_result_and_the_summary(result: RunResult) -> None:
    before = open_result(result.store_path).h_mean.values
    run = Path(f"{result.store_path}.run")
    lists = [path for path in run.iterdir() if path.name.startswith(("granules-", "shared-", RUN, VERSIONS))]
    assert len(lists) >= 3
    assert clean(result.store_path) == len(result.reports) + len(lists)
    assert {path.name for path in run.rglob("*") if path.is_file()} == set(KEPT)
    assert np.array_equal(open_result(result.store_path).h_mean.values, before, equal_nan=True)
    assert read_summary(result.store_path)["total_obs"] == result.tally.observations
    assert clean(result.store_path) == 0


def test_only_a_finished_run_is_cleaned(tmp_path: Path) -> None:
    (tmp_path / "map.zarr.run" / "parts").mkdir(parents=True)
    (tmp_path / "map.zarr.run" / "parts" / "part.npz").write_bytes(b"all there is")
    with pytest.raises(InputError):
        clean(str(tmp_path / "map.zarr"))
    assert (tmp_path / "map.zarr.run" / "parts" / "part.npz").exists()


def test_a_folder_that_holds_something_is_no_place_for_a_demonstration(tmp_path: Path) -> None:
    from maggjob.cli.demo import demo

    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ExistsError):
        demo(tmp_path, print, Progress)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.dear("draws two maps; one with data is in make test")
def test_a_result_without_data_has_a_map(tmp_path: Path) -> None:
    config = maggjob.load_config("atl06_dem.yaml").model_dump()
    config["data_source"]["filters"] = [{"dataset": "/{group}/land_ice_segments/h_li", "op": "<", "value": -1e6}]
    simulate(tmp_path / "granules", area=(-106.0, -76.0, -102.0, -75.0), every=50, most=2)
    loaded = maggjob.load_config(config)
    catalog = from_files([str(tmp_path / "granules")], loaded.recipe())
    made = execute(maggjob.plan(loaded, catalog=catalog, store="empty.zarr"), backend="serial")
    assert made.tally.cells["empty"] == made.tally.cells["planned"]
    assert draw_map("empty.zarr", tmp_path / "map.png").stat().st_size > 1000


@pytest.mark.dear("whole runs")
def test_only_the_parts_of_what_is_there_are_cleaned(tmp_path: Path) -> None:
    """After a run that did not replace the old result, its parts are all there is of it."""
    simulate(tmp_path / "granules", area=(-106.0, -76.0, -102.0, -75.0), every=50, most=3)
    config = maggjob.load_config("atl06.yaml")
    catalog = from_files([str(tmp_path / "granules")], config.recipe())
    first = execute(maggjob.plan(config, catalog=catalog, store="map.zarr", max_cells=2), backend="serial")
    before = open_result("map.zarr")["count"].values
    broken = next((tmp_path / "granules").glob("*.h5"))
    broken.write_bytes(broken.read_bytes()[:-1])
    plan = maggjob.plan(config, catalog=catalog, store="map.zarr")
    second = execute(plan, backend="serial", overwrite=True)
    assert first.published
    assert not second.published
    assert second.tally.granules["failed"] == 1
    assert np.array_equal(open_result("map.zarr")["count"].values, before)
    with pytest.raises(InputError):
        clean("map.zarr")
    third = execute(plan, backend="serial", overwrite=True, allow_partial=True)
    assert third.published
    unread = {state: cells.tolist() for state, cells in read_result("map.zarr").unread().items()}
    for state in ("partial", "failed"):
        assert unread[state] == sorted(parse_cell(report.cell, 6) for report in third.reports if report.state == state)
    assert int(open_result("map.zarr")["count"].sum()) == third.tally.observations
    assert clean("map.zarr") > 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ended(state: str, kept: int = 0) -> Outcome[CellReport]:
    return Outcome(value=CellReport("w/-6", "-6", "w", state, {"kept": kept}))


@pytest.mark.parametrize("colourless", [True, False])
def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch, colourless: bool) -> None:
    monkeypatch.setenv("NO_COLOR", "1") if colourless else monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with Progress(3, stream) as progress:
        for index, outcome in enumerate((ended("complete", 1234), ended("empty"), Outcome(reason="worker"))):
            progress(index, outcome)
    shown = stream.getvalue()
    assert "3/3" in shown
    assert "1,234 observations, 1 empty, 1 failed" in shown
    assert ("\x1b[" in shown.replace("\x1b[A", "")) is not colourless


def test_elsewhere_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.pipeline.progress.EVERY", 0.0)
    stream = io.StringIO()
    with Progress(2, stream) as progress:
        progress(0, ended("partial", 10))
    assert "1 of 2 cells" in stream.getvalue()
    assert "10 observations, 0 empty, 1 failed" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert "\r" not in stream.getvalue()
