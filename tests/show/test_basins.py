"""Mean rates and volume changes of polygons, against sums over the cells of a store made by a run."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import shapely
import xarray as xr
import xdggs  # noqa: F401
from pyproj import Transformer
from scipy.spatial.distance import cdist

import maggjob
from maggjob.catalog.local import from_files
from maggjob.errors import ExistsError, InputError, StoreError
from maggjob.grid.areas import outlines
from maggjob.show.basins_text import basin_lines, csv_place, write_basins
from tests import runs
from tests.typed import maggjob as typed

ASKED: dict[str, Any] = {"rate": "h_mean", "error": "h_sigma"}
OPTIONS = ("--rate", "h_mean", "--error", "h_sigma")
CELL_KM2 = 510_065_621.724 / (12 * 4**12)


@pytest.fixture(scope="module", params=["authalic", "geodetic-spherical"])
def any_store(request: pytest.FixtureRequest, sector: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store of either latitude convention; its heights stand for rates."""
    folder = tmp_path_factory.mktemp("basins")
    catalog = from_files([str(sector[0].parent)], runs.config(request.param).recipe())
    return runs.do(catalog, str(folder / "map.zarr"), indexes=str(folder / "indexes")).store_path


@pytest.fixture(scope="module")
def store(sector: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("basins")
    catalog = from_files([str(sector[0].parent)], runs.config().recipe())
    return runs.do(catalog, str(folder / "map.zarr"), indexes=str(folder / "indexes")).store_path


@pytest.fixture
def dataset(store: str) -> xr.Dataset:
    return maggjob.open_result(store).load()


def expected(dataset: xr.Dataset, shape: Any, range_km: float) -> tuple[int, float, float, float]:
    """Number of cells, covered area, mean and error of the cells in a polygon of EPSG:3031, all by other means."""
    centres = dataset.dggs.cell_centers()
    longitude, latitude = centres.longitude.values, centres.latitude.values
    x, y = Transformer.from_crs(4326, 3031, always_xy=True).transform(longitude, latitude)
    rows = [
        i
        for i in np.flatnonzero(np.isfinite(dataset.h_mean.values) & np.isfinite(dataset.h_sigma.values))
        if shape.contains(shapely.Point(x[i], y[i]))
    ]
    area = np.full(len(rows), CELL_KM2)
    if dataset.attrs["latitude_convention"] != "authalic":
        # Cells of equal solid angle; the product of the radii of curvature makes areas of them.
        e2 = 2 / 298.257223563 - 298.257223563**-2
        sine = np.sin(np.radians(latitude[rows]))
        area = 4 * math.pi / (12 * 4**12) * 6378.137**2 * (1 - e2) / (1 - e2 * sine**2) ** 2
    weight = area / area.sum()
    mean = math.fsum((weight * dataset.h_mean.values[rows].astype(float)).tolist())
    to_space = Transformer.from_crs(4979, 4978, always_xy=True)
    places = np.column_stack(to_space.transform(longitude[rows], latitude[rows], np.zeros(len(rows)))) / 1e3
    share = np.minimum(cdist(places, places) / range_km, 1.0)
    parts = weight * dataset.h_sigma.values[rows].astype(float)
    return len(rows), float(area.sum()), mean, math.sqrt(parts @ (1 - 1.5 * share + 0.5 * share**3) @ parts)


@pytest.mark.dear("one convention stands for both", keep=("geodetic-spherical",))
def test_a_basin_is_the_sum_of_its_cells(any_store: str) -> None:
    table = maggjob.basins(any_store, **ASKED).set_index("name")
    dataset = maggjob.open_result(any_store).load()
    assert table.index.tolist() == [str(number) for number in range(1, 28)]
    with_cells = table[table.cells > 0]
    assert {"21", "22"} <= set(with_cells.index)
    for name, row in with_cells.iterrows():
        count, area, mean, error = expected(dataset, outlines()[f"basin-{name}"], 50.0)
        assert row.cells == count
        assert row.covered_km2 == pytest.approx(area, rel=1e-8)
        assert row.share == pytest.approx(area / row.area_km2, rel=1e-8)
        assert row.rate == pytest.approx(mean, rel=1e-9)
        assert row.rate_error == pytest.approx(error, rel=1e-6)
        assert (row.volume, row.volume_error) == pytest.approx((mean * area / 1e3, error * area / 1e3), rel=1e-6)
        assert (row.rate_units, row.volume_units, row.filled_km2) == ("meters", "km3", 0.0)
    without = table[table.cells == 0]
    assert without[["rate", "rate_error", "volume", "volume_error"]].isna().all(axis=None)
    assert (without.covered_km2 == 0).all()


def test_the_range_goes_from_independent_to_common_errors(dataset: xr.Dataset) -> None:
    errors = {
        range_km: float(maggjob.basins(dataset, names=["21"], correlation_km=range_km, **ASKED).rate_error[0])
        for range_km in (0, 20, 50, 100, 1e9)
    }
    row = maggjob.basins(dataset, names=["21"], **ASKED).iloc[0]
    inside = maggjob.basins(dataset.assign(h_mean=dataset.h_sigma), names=["21"], **ASKED)
    assert list(errors.values()) == sorted(errors.values())
    assert errors[50] == row.rate_error
    # Of equal weights, the fully correlated error is the mean of the errors.
    assert errors[1e9] == pytest.approx(inside.rate[0], rel=1e-6)
    squares = dataset.assign(h_mean=(dataset.h_sigma.astype(float) ** 2).assign_attrs(units="meters"))
    mean_square = maggjob.basins(squares, names=["21"], **ASKED).rate[0]
    assert errors[0] == pytest.approx(math.sqrt(mean_square / row.cells), rel=1e-6)


def test_a_systematic_error_is_added_in_quadrature(dataset: xr.Dataset) -> None:
    plain, more = (maggjob.basins(dataset, names=["21"], systematic=s, **ASKED).iloc[0] for s in (0.0, 0.3))
    assert more.rate_error == pytest.approx(math.sqrt(plain.rate_error**2 + 0.09))
    assert more.volume_error == pytest.approx(more.rate_error * more.covered_km2 / 1e3)
    assert (plain.systematic, more.systematic, more.rate) == (0.0, 0.3, plain.rate)


def test_what_is_not_covered_is_filled_on_request_only(dataset: xr.Dataset) -> None:
    plain, filled = (
        maggjob.basins(dataset, names=["1", "21"], fill=fill, **ASKED).iloc[1] for fill in ("none", "mean")
    )
    assert plain.filled_km2 == 0
    assert filled.filled_km2 == pytest.approx(plain.area_km2 - plain.covered_km2)
    assert filled.volume == pytest.approx(plain.rate * plain.area_km2 / 1e3)
    assert filled.volume_error == pytest.approx(plain.rate_error * plain.area_km2 / 1e3)
    assert (filled.rate, filled.rate_error, filled.share) == (plain.rate, plain.rate_error, plain.share)
    # Without a mean, nothing is filled.
    assert maggjob.basins(dataset, names=["1", "21"], fill="mean", **ASKED).filled_km2[0] == 0


def test_cells_without_a_rate_or_an_error_do_not_count(dataset: xr.Dataset) -> None:
    whole = maggjob.basins(dataset, names=["21"], **ASKED).iloc[0]
    rng = np.random.default_rng(3)
    no_rate, no_error = (xr.DataArray(rng.random(dataset.sizes["cells"]) < 0.3, dims="cells") for _ in range(2))
    dataset["h_mean"] = dataset.h_mean.where(~no_rate)
    dataset["h_sigma"] = dataset.h_sigma.where(~no_error)
    some = maggjob.basins(dataset, names=["21"], **ASKED).iloc[0]
    count, area, mean, error = expected(dataset, outlines()["basin-21"], 50.0)
    assert 0 < some.cells == count < whole.cells
    assert some.without_error > 0
    fewer = maggjob.basins(dataset.assign(h_sigma=dataset.h_sigma.fillna(1.0)), names=["21"], **ASKED).iloc[0]
    assert fewer.cells == some.cells + some.without_error
    assert (some.covered_km2, some.rate, some.rate_error) == pytest.approx((area, mean, error), rel=1e-6)


def test_a_rate_has_units_of_a_rate(dataset: xr.Dataset) -> None:
    for units, volume in (("m/yr", "km3/yr"), ("m yr-1", "km3 yr-1"), ("m", "km3"), ("meters/year", "km3/year")):
        for name in ("h_mean", "h_sigma"):
            dataset[name].attrs["units"] = units
        row = maggjob.basins(dataset, names=["21"], **ASKED).iloc[0]
        assert (row.rate_units, row.volume_units) == (units, volume)
    dataset.h_sigma.attrs["units"] = "m/yr"
    with pytest.raises(InputError, match="'meters/year', and h_sigma 'm/yr'; give an error in the same units"):
        maggjob.basins(dataset, **ASKED)
    for units in ("K", "mm", "m2", "", "minutes"):
        for name in ("h_mean", "h_sigma"):
            dataset[name].attrs["units"] = units
        with pytest.raises(InputError, match=f"has the units '{units}'; a volume change needs metres"):
            maggjob.basins(dataset, **ASKED)


def test_a_difference_of_cycles_has_basins(dataset: xr.Dataset) -> None:
    rises = dataset[["h_mean", "h_sigma"]].expand_dims(cycle=[3, 4])
    rises = rises.assign(h_mean=rises.h_mean + xr.DataArray([0.0, 2.5], dims="cycle"))
    for name in ("h_mean", "h_sigma"):
        rises[name].attrs["units"] = "m"
    with pytest.raises(InputError, match="h_mean has the dimensions cycle, cells; select one time"):
        maggjob.basins(rises, **ASKED)
    change = maggjob.difference(rises, 3, 4, value="h_mean", error="h_sigma", tracks=None)
    row = maggjob.basins(change, names=["21"], **ASKED).iloc[0]
    assert row.rate == pytest.approx(2.5, abs=1e-3)
    assert row.volume == pytest.approx(2.5 * row.covered_km2 / 1e3, rel=1e-3)
    still = maggjob.basins(dataset, names=["21"], **ASKED).iloc[0]
    assert row.rate_error == pytest.approx(math.sqrt(2) * still.rate_error, rel=1e-5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rate": "dh_dt"}, "has no variable 'dh_dt'; it has count, h_max"),
        ({"error": "sigma"}, "has no variable 'sigma'; it has count, h_max"),
        ({"names": ["1"]}, r"none of the \d+ cells with h_mean counts in polygon '1': give another store"),
        ({"names": ["1", "2"]}, r"in polygon '1' and 1 others"),
        ({"names": ["a"]}, "there is no polygon 'a'"),
        ({"polygons": {"far": [10, 70, 20, 80]}}, "polygon 'far'"),
        ({"correlation_km": -1.0}, "correlation_km is -1.0; give a number that is not negative"),
        ({"correlation_km": math.nan}, "correlation_km is nan"),
        ({"systematic": math.inf}, "systematic is inf"),
        ({"systematic": "a"}, "systematic is 'a'"),
        ({"fill": "all"}, "fill is 'all'; give one of none, mean"),
    ],
)
def test_what_makes_no_sense_is_refused(dataset: xr.Dataset, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        maggjob.basins(dataset, **(ASKED | asked))


def test_a_dataset_that_makes_no_sense_is_refused(dataset: xr.Dataset) -> None:
    nothing = dataset.assign(h_mean=dataset.h_mean.where(False))
    nothing.h_mean.attrs["units"] = "meters"
    with pytest.raises(InputError, match="no cell has a h_mean"):
        maggjob.basins(nothing, **ASKED)
    bare = dataset.assign(h_sigma=dataset.h_sigma.where(False))
    bare.h_sigma.attrs["units"] = "meters"
    with pytest.raises(InputError, match=r"none of the .* cells there have no h_sigma"):
        maggjob.basins(bare, **ASKED)
    wrong = dataset.assign(h_sigma=-dataset.h_sigma)
    wrong.h_sigma.attrs["units"] = "meters"
    with pytest.raises(InputError, match=r"h_sigma is -\d.* give the variable of the standard errors"):
        maggjob.basins(wrong, **ASKED)
    without = dataset.drop_attrs(deep=False)
    with pytest.raises(InputError, match="does not tell its grid"):
        maggjob.basins(without, **ASKED)


# --- The command ---


def test_the_command_prints_the_table_and_writes_it(store: str) -> None:
    done = typed("basins", store, *OPTIONS, "-o", "basins.csv")
    assert (done.returncode, done.stderr) == (0, "")
    table = maggjob.basins(store, **ASKED)
    header, *rows = done.stdout.splitlines()
    assert header.split("  ")[0] == "name"
    assert "rate (meters)" in header
    assert "volume (km3)" in header
    shown = [row.split()[0] for row in rows[: int((table.cells > 0).sum())]]
    assert shown == table.name[table.cells > 0].tolist()
    assert len({len(line) for line in [header, *rows[: len(shown)]]}) == 1, "aligned"
    assert rows[len(shown)].startswith("no cells in 1, 2, 3")
    assert "errors are correlated over 50 km" in rows
    written = pd.read_csv("basins.csv", dtype={"name": str})
    pd.testing.assert_frame_equal(written, table, check_exact=True)
    # Only a table of its own kind is replaced.
    assert typed("basins", store, *OPTIONS, "--names", "21", "-o", "basins.csv").returncode == 0
    assert len(pd.read_csv("basins.csv")) == 1


def test_the_command_prints_json(store: str) -> None:
    done = typed("basins", store, *OPTIONS, "--names", "1, 21", "--fill", "mean", "--systematic", "0.1", "--json")
    rows = json.loads(done.stdout)
    table = maggjob.basins(store, names=["1", "21"], fill="mean", systematic=0.1, **ASKED)
    assert [row["name"] for row in rows] == ["1", "21"]
    assert (rows[0]["rate"], rows[0]["cells"]) == (None, 0)
    for name in ("area_km2", "rate", "rate_error", "volume", "volume_error", "filled_km2"):
        assert rows[1][name] == pytest.approx(table[name][1], rel=1e-12)


def test_the_command_takes_an_area_or_a_file(store: str) -> None:
    done = typed("basins", store, *OPTIONS, "--aoi", "basins:21,22", "--json")
    (row,) = json.loads(done.stdout)
    assert row["name"] == "basins:21,22"
    assert row["cells"] == maggjob.basins(store, names=["21", "22"], **ASKED).cells.sum()
    box = {"type": "Polygon", "coordinates": [[[-106, -76], [-104, -76], [-104, -75], [-106, -75], [-106, -76]]]}
    content = {"type": "Feature", "properties": {"name": "west"}, "geometry": box}
    Path("mine.geojson").write_text(json.dumps(content))
    (of_file,) = json.loads(typed("basins", store, *OPTIONS, "--polygons", "mine.geojson", "--json").stdout)
    (of_box,) = json.loads(typed("basins", store, *OPTIONS, "--aoi", "-106,-76,-104,-75", "--json").stdout)
    assert of_file["name"] == "west"
    # The older spelling, and the one that all commands have.
    for options in (("--each",), ("--names", "west")):
        done = typed("basins", store, *OPTIONS, "--aoi", "mine.geojson", *options, "--json")
        assert json.loads(done.stdout) == [of_file]
    (as_one,) = json.loads(typed("basins", store, *OPTIONS, "--aoi", "mine.geojson", "--json").stdout)
    assert as_one == of_file | {"name": "mine.geojson"}
    assert of_file["cells"] > 0
    for name in ("area_km2", "cells", "rate", "rate_error", "volume"):
        assert of_file[name] == pytest.approx(of_box[name], rel=1e-12)


def test_the_command_refuses_with_one_line(store: str) -> None:
    Path("notes.csv").write_text("mine\n")
    cases = {
        (store,): "has no variable 'dh_dt'",
        (store, *OPTIONS, "--names", "1"): "counts in polygon '1'",
        (store, *OPTIONS, "--aoi", "grounded", "--names", "21"): "leave --names out",
        (store, *OPTIONS, "--aoi", "grounded", "--each"): "leave --each out",
        (store, *OPTIONS, "--aoi", "missing.gpkg", "--names", "west"): "area missing.gpkg: no such file",
        (store, *OPTIONS, "--each"): "give --aoi FILE",
        (store, *OPTIONS, "--aoi", "grounded", "--polygons", "x.gpkg"): "leave --polygons out",
        (store, *OPTIONS, "-o", "notes.csv"): "is not a table of basins",
        (store, *OPTIONS, "-o", "no/such/folder.csv"): "cannot write the table",
        (store, *OPTIONS, "--polygons", "nothing.gpkg"): "nothing.gpkg",
        (store, *OPTIONS, "--group", "9"): "has no group '9'; it has 12",
        ("nothing.zarr", *OPTIONS): "no result found",
    }
    for arguments, said in cases.items():
        done = typed("basins", *arguments)
        assert (done.returncode, done.stdout) == (1, ""), arguments
        assert said in done.stderr
        assert done.stderr.startswith("error: ")
        assert "error in maggjob itself" not in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert Path("notes.csv").read_text() == "mine\n"
    assert [path.name for path in Path().iterdir()] == ["notes.csv"]


def test_an_unfinished_store_is_refused() -> None:
    Path("half.zarr").mkdir()
    Path("half.zarr/chunk").write_bytes(b"")
    with pytest.raises(StoreError, match="did not finish"):
        maggjob.basins("half.zarr", **ASKED)


def test_a_missing_package_is_named(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maggjob.show.dataset.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"maggjob\[view\]"):
        maggjob.basins(store, **ASKED)


def test_the_text_tells_what_is_filled_and_left_out(dataset: xr.Dataset) -> None:
    dataset["h_sigma"] = dataset.h_sigma.where(xr.DataArray(np.arange(dataset.sizes["cells"]) % 2 > 0, dims="cells"))
    table = maggjob.basins(dataset, names=["21"], fill="mean", systematic=0.2, **ASKED)
    header, row, dropped, how = basin_lines(table)
    assert "filled (km2)" in header
    assert f"{table.filled_km2[0]:,.0f}" in row
    assert dropped.startswith(f"{table.without_error[0]:,} cells with a rate but no error")
    assert how == "errors are correlated over 50 km, and 0.2 meters in common"


def test_a_table_is_written_once(dataset: xr.Dataset, tmp_path: Path) -> None:
    table = maggjob.basins(dataset, names=["21"], **ASKED)
    write_basins(table, csv_place(tmp_path / "one.csv"))
    first = (tmp_path / "one.csv").read_bytes()
    write_basins(table, csv_place(tmp_path / "one.csv"))
    assert (tmp_path / "one.csv").read_bytes() == first
    (tmp_path / "two.csv").write_text("name,area\n")
    with pytest.raises(ExistsError):
        csv_place(tmp_path / "two.csv")
