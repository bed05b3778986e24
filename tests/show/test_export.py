"""Exports, read back by rasterio, xarray and geopandas, with the cell of each pixel from healpy."""

import json
from pathlib import Path
from typing import Any

import healpy
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
import xarray as xr
import zarr
from arro3.io import read_parquet
from click.testing import CliRunner
from rasterio.windows import Window

import maggjob
from maggjob.cli.commands import cli
from maggjob.errors import InputError, MaggjobError, StoreError
from maggjob.grid.healpix import Grid
from tests.show.synthetic_store import height, write_store

SPHERE = Grid(6, 9, "geodetic-spherical")
"""healpy's own convention, so that it is the oracle."""
HEIGHT = {"h_mean": (height, {"units": "meters", "long_name": "mean height"})}


def parents_at(*places: tuple[float, float]) -> list[int]:
    """Parent cells at longitudes and latitudes."""
    return sorted({int(healpy.ang2pix(64, lon, lat, nest=True, lonlat=True)) for lon, lat in places})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    cells = parents_at((-103.0, -75.2), (-101.0, -75.8), (-100.0, -75.2))
    return str(write_store(tmp_path_factory.mktemp("south") / "map.zarr", cells, SPHERE, HEIGHT))


@pytest.fixture(scope="module")
def cycles(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cycles")
    return str(write_store(folder / "map.zarr", parents_at((-103.0, -75.2)), SPHERE, HEIGHT, cycles=(3, 4, 5)))


def arrays(store: str, order: int = 9) -> dict[str, np.ndarray]:
    group = zarr.open_group(store, mode="r")[str(order)]
    return {name: array[...] for name, array in group.arrays()}


def expected(store: str, x: np.ndarray, y: np.ndarray, crs: Any, name: str = "h_mean") -> np.ndarray:
    """Values at points of a plane, by healpy; NaN where there are none."""
    longitude, latitude = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    cells = healpy.ang2pix(2**9, longitude, latitude, nest=True, lonlat=True)
    there = arrays(store)
    known = dict(zip(there["cell_ids"].tolist(), np.where(there["count"] > 0, there[name], np.nan), strict=True))
    return np.array([known.get(int(cell), np.nan) for cell in cells.ravel()]).reshape(x.shape)


def read_cells(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray, pyproj.CRS]:
    """Columns, polygons and reference system of a GeoParquet file."""
    table = read_parquet(path).read_all()
    geo = json.loads(table.schema.metadata_str["geo"])
    columns = {name: np.array(table[name].to_pylist()) for name in table.column_names if name != "geometry"}
    crs = pyproj.CRS.from_json_dict(geo["columns"][geo["primary_column"]]["crs"])
    return columns, shapely.from_wkb(table["geometry"].to_pylist()), crs


def areas(shapes: np.ndarray, crs: int) -> np.ndarray:
    to_xy = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform
    return shapely.area(shapely.transform(shapes, lambda p: np.column_stack(to_xy(p[:, 0], p[:, 1]))))


def random_pixels(width: int, height: int, number: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.integers(0, width, number), rng.integers(0, height, number)


@pytest.mark.parametrize("crs", [None, "EPSG:3031", "EPSG:4326", "EPSG:32713"])
def test_each_pixel_of_a_geotiff_has_the_value_of_its_cell(store: str, crs: str | None, tmp_path: Path) -> None:
    path = maggjob.export(store, tmp_path / "map.tif", crs=crs)
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == int((crs or "EPSG:3031").split(":")[1])
        assert sorted(file.descriptions) == ["count", "h_mean"]
        own = file.descriptions.index("h_mean")
        assert (file.units[own], file.tags(own + 1)["long_name"]) == ("meters", "mean height")
        columns, rows = random_pixels(file.width, file.height)
        x, y = file.transform @ (columns + 0.5, rows + 0.5)
        for band, name in enumerate(file.descriptions, 1):
            found = file.read(band)[rows, columns]
            np.testing.assert_array_equal(found, expected(store, x, y, file.crs.to_wkt(), name).astype(np.float32))
        assert np.isfinite(file.read(1)).sum() > 100


def test_a_geotiff_is_cloud_optimised(store: str, tmp_path: Path) -> None:
    path = maggjob.export(store, tmp_path / "map.tif", ["h_mean"], resolution=250)
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1)
        assert file.block_shapes == [(512, 512)]
        assert np.isnan(file.nodata)
        assert file.read(1, window=Window(0, 0, 10, 10)).shape == (10, 10)
        tally = file.tags()["maggjob_tally"]
    assert "observations" in tally
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]


def test_edges_are_multiples_of_the_resolution_and_hold_every_cell(store: str, tmp_path: Path) -> None:
    path = maggjob.export(store, tmp_path / "map.tif", ["h_mean"], resolution=2000)
    with rasterio.open(path) as file:
        assert all(edge % 2000 == 0 for edge in file.bounds)
        there = arrays(store)
        longitude, latitude = healpy.pix2ang(2**9, there["cell_ids"].astype(int), nest=True, lonlat=True)
        x, y = pyproj.Transformer.from_crs(4326, file.crs.to_wkt(), always_xy=True).transform(longitude, latitude)
        left, bottom, right, top = file.bounds
    assert ((left < x) & (x < right) & (bottom < y) & (y < top)).all()


def test_netcdf_has_the_pixels_of_the_geotiff_and_their_reference_system(store: str, tmp_path: Path) -> None:
    maggjob.export(store, tmp_path / "map.tif", resolution=3000)
    with xr.open_dataset(maggjob.export(store, tmp_path / "map.nc", resolution=3000), engine="h5netcdf") as found:
        assert dict(found.sizes) == {"y": len(found.y), "x": len(found.x)}
        assert found.h_mean.attrs["grid_mapping" if "grid_mapping" in found.h_mean.attrs else "units"]
        assert pyproj.CRS.from_cf(found.crs.attrs).equals(pyproj.CRS.from_epsg(3031), ignore_axis_order=True)
        assert (found.x.attrs["standard_name"], found.h_mean.attrs["units"]) == ("projection_x_coordinate", "meters")
        with rasterio.open(tmp_path / "map.tif") as file:
            for band, name in enumerate(file.descriptions, 1):
                np.testing.assert_array_equal(found[name].values, file.read(band))
            x, y = file.transform @ (np.arange(file.width) + 0.5, np.full(file.width, 0.5))
            np.testing.assert_allclose(found.x.values, x)
            np.testing.assert_allclose(found.y.values[0], y[0])


def test_flags_and_attributes_of_the_user_are_kept(tmp_path: Path) -> None:
    flags = {"flag_values": [0, 1, 2], "flag_meanings": "complete partial failed"}
    own = {"institution": "University of Somewhere", "cycles": [3, 4]}
    floats = {**HEIGHT, "state": (lambda latitude, longitude, time: np.zeros(len(latitude), np.float32), flags)}
    store = write_store(tmp_path / "map.zarr", parents_at((-103.0, -75.2)), SPHERE, floats, attributes=own)
    with xr.open_dataset(maggjob.export(store, tmp_path / "map.nc"), engine="h5netcdf") as found:
        assert found.state.attrs["flag_values"].tolist() == [0, 1, 2]
        assert found.state.attrs["flag_values"].dtype == found.state.dtype
        assert found.state.attrs["flag_meanings"] == "complete partial failed"
        assert found.attrs["institution"] == "University of Somewhere"
        assert json.loads(found.attrs["cycles"]) == [3, 4]
    with rasterio.open(maggjob.export(store, tmp_path / "map.tif")) as file:
        assert file.tags()["institution"] == "University of Somewhere"


def test_a_time_axis_is_bands_of_a_geotiff_and_a_dimension_of_netcdf(cycles: str, tmp_path: Path) -> None:
    with rasterio.open(maggjob.export(cycles, tmp_path / "map.tif", ["h_mean"])) as file:
        assert file.descriptions == ("h_mean 3", "h_mean 4", "h_mean 5")
        bands = file.read()
    with xr.open_dataset(maggjob.export(cycles, tmp_path / "map.nc"), engine="h5netcdf") as found:
        assert found.cycle.values.tolist() == [3, 4, 5]
        np.testing.assert_array_equal(found.h_mean.values, bands)
        there = maggjob.open_result(cycles)
        for name in ("time_start", "time_end"):
            np.testing.assert_array_equal(found[name].values, there[name].values.astype("M8[D]"))
        whole = dict(found.attrs)
    path = maggjob.export(cycles, tmp_path / "one.nc", ["h_mean"], time=4)
    with xr.open_dataset(path, engine="h5netcdf") as found:
        told = ("cycles", "time_coverage_start", "time_coverage_end")
        days = [str(there[name].values[1])[:10] for name in ("time_start", "time_end")]
        assert [found.attrs[name] for name in told] == ["[4]", *days]
        # What is known of all times only is left out.
        assert whole.keys() - found.attrs.keys() == {"number_of_granules"}
    with rasterio.open(maggjob.export(cycles, tmp_path / "one.tif", ["h_mean"], time=4)) as file:
        np.testing.assert_array_equal(file.read(1), bands[1])


def test_geoparquet_has_the_polygon_of_each_cell_with_data(store: str, tmp_path: Path) -> None:
    columns, shapes, crs = read_cells(maggjob.export(store, tmp_path / "map.parquet"))
    there = arrays(store)
    kept = there["count"] > 0
    assert crs.to_epsg() == 3031
    np.testing.assert_array_equal(columns["cell_ids"], there["cell_ids"][kept])
    np.testing.assert_array_equal(columns["h_mean"].astype(np.float32), there["h_mean"][kept])
    np.testing.assert_array_equal(columns["count"], there["count"][kept])
    assert columns["count"].dtype.kind == "i"
    assert shapely.is_valid(shapes).all()
    to_xy = pyproj.Transformer.from_crs(4326, 3031, always_xy=True)
    longitude, latitude = healpy.pix2ang(2**9, columns["cell_ids"].astype(int), nest=True, lonlat=True)
    np.testing.assert_allclose(columns["latitude"], latitude, atol=1e-9)
    assert shapely.contains_xy(shapes, *to_xy.transform(longitude, latitude)).all()
    # Corners by healpy.
    x, y, z = healpy.boundaries(2**9, int(columns["cell_ids"][0]), nest=True)
    corners = to_xy.transform(np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(z)))
    own = shapely.get_coordinates(shapes[0])[:-1]
    apart = np.hypot(*(own[:, None] - np.array(corners).T[None]).transpose(2, 0, 1))
    # Each corner once, to a centimetre.
    assert (apart < 0.01).sum(axis=0).tolist() == (apart < 0.01).sum(axis=1).tolist() == [1, 1, 1, 1]


PLACES = {"antimeridian": (179.99, -31.0), "pole": (-120.0, -89.9), "north": (45.0, 84.0)}


@pytest.mark.parametrize("place", PLACES)
def test_polygons_are_narrow_everywhere(place: str, tmp_path: Path) -> None:
    longitude, latitude = PLACES[place]
    store = write_store(tmp_path / "map.zarr", parents_at((longitude, latitude)), SPHERE, HEIGHT)
    _, shapes, crs = read_cells(maggjob.export(store, tmp_path / "map.parquet", crs="EPSG:4326"))
    assert crs.is_geographic
    assert shapely.is_valid(shapes).all()
    west, _, east, _ = shapely.total_bounds(shapes)
    assert (west >= -180, east <= 180) == (True, True)
    own = areas(shapes, 6932 if latitude < 0 else 6931)
    assert own.max() < 1.5 * np.median(own)
    kinds = {shape.geom_type for shape in shapes}
    assert kinds == ({"Polygon", "MultiPolygon"} if place == "antimeridian" else {"Polygon"})
    # On the polar plane there is no seam.
    _, plane, crs = read_cells(maggjob.export(store, tmp_path / "plane.parquet"))
    assert crs.to_epsg() == (3031 if latitude < 0 else 3413)
    assert shapely.area(plane).max() < 1.5 * np.median(shapely.area(plane))


def test_geopandas_reads_it(store: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: type 'make test-all'")
    geopandas = pytest.importorskip("geopandas")
    path = maggjob.export(store, tmp_path / "map.parquet")
    found = geopandas.read_parquet(path)
    columns, shapes, _ = read_cells(path)
    assert found.crs.to_epsg() == 3031
    np.testing.assert_array_equal(found.cell_ids, columns["cell_ids"])
    assert found.geometry.geom_equals(geopandas.GeoSeries(shapes, crs=3031)).all()


def test_csv_has_a_row_per_cell_and_time_with_all_digits(cycles: str, tmp_path: Path) -> None:
    found = pd.read_csv(maggjob.export(cycles, tmp_path / "map.csv"), dtype={"cell_ids": np.uint64})
    there = arrays(cycles)
    assert list(found.columns)[:4] == ["cell_ids", "latitude", "longitude", "cycle"]
    for number, cycle in enumerate((3, 4, 5)):
        own, kept = found[found.cycle == cycle], there["count"][number] > 0
        np.testing.assert_array_equal(own.cell_ids, there["cell_ids"][kept])
        np.testing.assert_array_equal(own.h_mean.to_numpy().astype(np.float32), there["h_mean"][number][kept])
        np.testing.assert_array_equal(own["count"], there["count"][number][kept])


def test_an_area_keeps_the_cells_whose_centres_lie_in_it(store: str, tmp_path: Path) -> None:
    box = (-103.0, -75.6, -101.0, -75.0)
    found = pd.read_csv(maggjob.export(store, tmp_path / "map.csv", aoi=box))
    every = pd.read_csv(maggjob.export(store, tmp_path / "all.csv"))
    inside = every[every.longitude.between(-103, -101) & every.latitude.between(-75.6, -75.0)]
    assert 0 < len(inside) < len(every)
    pd.testing.assert_frame_equal(found, inside.reset_index(drop=True))
    with rasterio.open(maggjob.export(store, tmp_path / "map.tif", ["count"], aoi=box)) as file:
        values = file.read(1)
        rows, columns = np.nonzero(np.isfinite(values))
        x, y = file.transform @ (columns + 0.5, rows + 0.5)
        longitude, latitude = pyproj.Transformer.from_crs(3031, 4326, always_xy=True).transform(x, y)
    cells = healpy.ang2pix(2**9, longitude, latitude, nest=True, lonlat=True)
    assert set(cells.tolist()) <= set(inside.cell_ids.tolist())


@pytest.mark.filterwarnings("ignore:Failed to open Zarr store")
def test_a_dataset_is_exported_as_well(store: str, tmp_path: Path) -> None:
    heights = maggjob.open_result(store)
    heights["above"] = heights.h_mean - 100
    found = pd.read_csv(maggjob.export(heights, tmp_path / "map.csv", ["above", "h_mean"]))
    np.testing.assert_allclose(found.above, found.h_mean - 100, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"variables": ["h_mode"]}, "has no variable 'h_mode'; it has count, h_mean"),
        ({"variables": []}, "no variable was asked for"),
        ({"aoi": (0.0, 60.0, 10.0, 70.0)}, "no cell of"),
        ({"crs": "EPSG:1"}, "crs 'EPSG:1' is unknown"),
        ({"resolution": 0.0}, "resolution is 0.0"),
        ({"resolution": 0.5}, "is too large; give --resolution"),
        ({"time": 4}, "has no time axis"),
    ],
)
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(
    store: str, options: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as problem:
        maggjob.export(store, tmp_path / "map.tif", **options)
    assert said in str(problem.value)
    assert "\n" not in str(problem.value)
    assert list(tmp_path.iterdir()) == []


def test_the_resolution_that_is_advised_is_accepted(
    store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("maggjob.show.export_grid.MOST_PIXELS", 10_000)
    with pytest.raises(InputError, match="give --resolution") as problem:
        maggjob.export(store, tmp_path / "map.tif", resolution=1000)
    advised = float(str(problem.value).split("--resolution ")[1].split()[0])
    assert maggjob.export(store, tmp_path / "map.tif", resolution=advised).is_file()


@pytest.mark.parametrize(
    ("name", "options"), [("map.csv", {"crs": "EPSG:3031"}), ("map.parquet", {"resolution": 100}), ("map.xlsx", {})]
)
def test_options_that_a_kind_of_file_has_not_are_refused(
    store: str, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError):
        maggjob.export(store, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_kind_is_not_replaced(store: str, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("name,value\nmine,1\n")
    with pytest.raises(MaggjobError, match="not replaced"):
        maggjob.export(store, tmp_path / "map.csv")
    assert (tmp_path / "map.csv").read_text().startswith("name,value")
    maggjob.export(store, tmp_path / "other.csv", ["h_mean"])
    assert (
        maggjob.export(store, tmp_path / "other.csv").read_text().startswith("cell_ids,latitude,longitude,count,h_mean")
    )


def test_a_store_that_is_no_result_is_refused(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "other.zarr", mode="w").create_group("12")
    with pytest.raises(StoreError):
        maggjob.export(tmp_path / "other.zarr", tmp_path / "map.tif")
    assert [p.name for p in tmp_path.iterdir()] == ["other.zarr"]


def test_a_missing_package_is_named(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("maggjob.show.export.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"rasterio is needed to write .tif; .*pip install 'maggjob\[export\]'"):
        maggjob.export(store, tmp_path / "map.tif")


def test_the_command(store: str, tmp_path: Path) -> None:
    out = str(tmp_path / "map.csv")
    done = CliRunner().invoke(
        cli, ["export", store, "-o", out, "--variables", "h_mean", "--variable", "count", "--aoi", "-103,-76,-99,-75"]
    )
    assert done.exit_code == 0, done.output
    assert out in done.output
    assert list(pd.read_csv(out).columns)[3:] == ["h_mean", "count"]
    failed = CliRunner().invoke(cli, ["export", store, "-o", str(tmp_path / "a.tif"), "--variables", "nothing"])
    assert failed.exit_code == 1
