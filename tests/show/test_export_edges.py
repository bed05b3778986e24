"""Exports at the edges: odd reference systems, poles, the antimeridian, exact numbers, full disks and signals."""

import os
import resource
import signal
import subprocess
import sys
import time
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

import maggjob
from maggjob.errors import InputError
from maggjob.grid.healpix import Grid
from maggjob.show.export_grid import default_resolution
from tests.show.synthetic_store import write_store
from tests.show.test_export import HEIGHT, SPHERE, expected, parents_at, random_pixels, read_cells

COARSE = Grid(3, 8, "geodetic-spherical")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    cells = parents_at((-103.0, -75.2), (-101.0, -75.8))
    return str(write_store(tmp_path_factory.mktemp("south") / "map.zarr", cells, SPHERE, HEIGHT))


def everywhere(a: np.ndarray, b: np.ndarray, t: int) -> np.ndarray:
    return np.ones(len(a), np.int32)


def in_cells(shapes: np.ndarray, ids: np.ndarray, crs: Any, places: np.ndarray, order: int) -> np.ndarray:
    """Whether the polygon of the cell that healpy finds holds each place (longitude, latitude)."""
    of = dict(zip(ids.tolist(), shapes, strict=True))
    to_there = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    cells = healpy.ang2pix(2**order, *places.T, nest=True, lonlat=True).tolist()
    points = shapely.points(np.column_stack(to_there.transform(*places.T)))
    return np.array([shapely.covers(of[cell], point) for cell, point in zip(cells, points, strict=True)])


def test_numbers_are_exact_in_every_kind_of_file(tmp_path: Path) -> None:
    def count(a: np.ndarray, b: np.ndarray, t: int) -> np.ndarray:
        return 4_000_000_001 + np.arange(len(a), dtype=np.int64) * 7

    floats: Any = {"time_mean": (lambda a, b, t: 187654321.125 + a, {"units": "s"}), "h": (lambda a, b, t: a / 3, {})}
    cells = parents_at((-103.0, -75.2))
    store = write_store(tmp_path / "map.zarr", cells, Grid(6, 8), floats, count=count, dtype="f8")
    with xr.open_zarr(store, group="8") as own:
        want = {name: own[name].values for name in ("time_mean", "h", "count")}
    table = pd.read_csv(maggjob.export(store, tmp_path / "x.csv"))
    columns, _, _ = read_cells(maggjob.export(store, tmp_path / "x.parquet"))
    with rasterio.open(maggjob.export(store, tmp_path / "x.tif", resolution=300)) as file:
        bands = {name: file.read(i) for i, name in enumerate(file.descriptions, 1)}
    with xr.open_dataset(maggjob.export(store, tmp_path / "x.nc", resolution=300), engine="h5netcdf") as grid:
        for name, values in want.items():
            np.testing.assert_array_equal(table[name], values)
            np.testing.assert_array_equal(columns[name], values)
            assert set(bands[name][np.isfinite(bands[name])].tolist()) == set(values.astype(float).tolist())
            np.testing.assert_array_equal(grid[name].values, bands[name])


def test_a_plane_of_the_other_pole_has_the_values(store: str, tmp_path: Path) -> None:
    path = maggjob.export(store, tmp_path / "map.tif", ["h_mean"], crs="EPSG:3413", resolution=200_000)
    with rasterio.open(path) as file:
        columns, rows = random_pixels(file.width, file.height)
        x, y = file.transform @ (columns + 0.5, rows + 0.5)
        found = file.read(1)[rows, columns]
        np.testing.assert_array_equal(found, expected(store, x, y, file.crs.to_wkt()).astype(np.float32))
        assert np.isfinite(found).sum() > 100


@pytest.mark.parametrize("crs", ["EPSG:4978", "EPSG:5773", "EPSG:99999", "nonsense"])
@pytest.mark.parametrize("end", ["tif", "parquet"])
def test_what_is_no_map_is_refused(store: str, tmp_path: Path, crs: str, end: str) -> None:
    with pytest.raises(InputError, match=r"crs '.*such as EPSG:3031"):
        maggjob.export(store, tmp_path / f"map.{end}", crs=crs)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("crs", "metres"),
    [
        ("EPSG:3031", 1.0),
        ("+proj=stere +lat_0=-90 +lat_ts=-71 +units=km +datum=WGS84", 1000.0),
        ("EPSG:2225", 1200 / 3937),
        ("EPSG:4326", np.pi / 180 * 6371e3),
        ("EPSG:4807", np.pi / 200 * 6371e3),
    ],
)
def test_a_pixel_is_half_a_cell_wide_in_any_unit(crs: str, metres: float) -> None:
    cell = np.sqrt(4 * np.pi / (12 * 4**12)) * 6371e3
    assert default_resolution(pyproj.CRS(crs), 12) * metres == pytest.approx(cell / 2, rel=0.3)


@pytest.mark.parametrize("resolution", [1e-310, 1e-9, 1e300, 0.0, -1.0, float("nan"), float("inf")])
def test_a_resolution_that_cannot_be_is_refused(store: str, tmp_path: Path, resolution: float) -> None:
    with pytest.raises(InputError, match="resolution"):
        maggjob.export(store, tmp_path / "map.tif", resolution=resolution)
    assert list(tmp_path.iterdir()) == []


def test_both_hemispheres_need_a_reference_system(tmp_path: Path) -> None:
    cells = parents_at((-103.0, -75.2), (-101.0, -75.8), (-40.0, 72.0))
    store = str(write_store(tmp_path / "map.zarr", cells, SPHERE, HEIGHT))
    with pytest.raises(InputError, match="both hemispheres: give --crs EPSG:4326"):
        maggjob.export(store, tmp_path / "map.tif")
    for aoi, code in (((-45.0, 70.0, -35.0, 74.0), 3413), ((-105.0, -77.0, -100.0, -74.0), 3031)):
        with rasterio.open(maggjob.export(store, tmp_path / f"{code}.tif", ["h_mean"], aoi=aoi)) as file:
            assert (file.crs.to_epsg(), np.isfinite(file.read(1)).sum() > 100) == (code, True)
    with pytest.raises(InputError, match=r"the area of .*map\.zarr has cells in both hemispheres"):
        maggjob.export(store, tmp_path / "map.tif", aoi=(-110.0, -80.0, -30.0, 80.0))
    with rasterio.open(maggjob.export(store, tmp_path / "map.tif", ["h_mean"], crs="EPSG:4326")) as file:
        found = file.read(1)
        assert (file.bounds.bottom < -76, file.bounds.top > 72) == (True, True)
        north = int((file.bounds.top - 60) / file.res[1])
        assert (np.isfinite(found[:north]).sum(), np.isfinite(found[north:]).sum()) > (100, 100)


@pytest.mark.dear("one system stands for all", keep=("EPSG:4807",))
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4807", "+proj=longlat +pm=180 +datum=WGS84", "EPSG:3031"])
def test_polygons_hold_the_centres_of_their_cells(store: str, tmp_path: Path, crs: str) -> None:
    columns, shapes, own = read_cells(maggjob.export(store, tmp_path / "x.parquet", crs=crs))
    places = np.column_stack([columns["longitude"], columns["latitude"]])
    assert own == pyproj.CRS(crs)
    assert in_cells(shapes, columns["cell_ids"], own, places, 9).all()


@pytest.mark.dear("hundreds of polygons per case", keep=("EPSG:4326--90.0",))
@pytest.mark.parametrize("pole", [-90.0, 90.0])
@pytest.mark.parametrize("crs", ["EPSG:4326", "+proj=longlat +pm=30 +datum=WGS84"])
def test_polygons_leave_no_hole_at_a_pole(tmp_path: Path, pole: float, crs: str) -> None:
    cells = parents_at(*((lon, pole * 0.999) for lon in (-135.0, -45.0, 45.0, 135.0)))
    store = write_store(tmp_path / "map.zarr", cells, SPHERE, HEIGHT, count=everywhere)
    columns, shapes, own = read_cells(maggjob.export(store, tmp_path / "x.parquet", crs=crs))
    rng = np.random.default_rng(1)
    away = 10.0 ** rng.uniform(-4, -0.7, 400)
    places = np.column_stack([rng.uniform(-180, 180, 400), pole - np.sign(pole) * away])
    # The sides of cells are curves: beside one, the neighbour holds the point.
    assert in_cells(shapes, columns["cell_ids"], own, places, 9).mean() > 0.97
    whole = shapely.union_all(shapely.buffer(shapes, 1e-9))
    to_there = pyproj.Transformer.from_crs(4326, own, always_xy=True)
    assert shapely.covers(whole, shapely.points(np.column_stack(to_there.transform(*places.T)))).all()


@pytest.mark.dear("hundreds of polygons per case", keep=("EPSG:3857",))
@pytest.mark.parametrize("crs", ["EPSG:3857", "EPSG:4326", "+proj=eqearth +datum=WGS84"])
def test_polygons_across_the_antimeridian_are_split(tmp_path: Path, crs: str) -> None:
    cells = parents_at(*((lon, lat) for lon in (179.0, 180.0, -179.0) for lat in (30.0, 31.0)))
    store = write_store(tmp_path / "map.zarr", cells, SPHERE, HEIGHT, count=everywhere)
    columns, shapes, own = read_cells(maggjob.export(store, tmp_path / "x.parquet", crs=crs))
    assert shapely.is_valid(shapes).all()
    parts = shapely.get_parts(shapes)
    left, _, right, _ = shapely.bounds(parts).T
    usual = np.median(right - left)
    assert (right - left).max() < 4 * usual
    assert len(parts) > len(shapes)
    assert shapely.union_all(shapes).area == pytest.approx(shapely.area(shapes).sum(), rel=1e-6)
    places = np.column_stack([columns["longitude"], columns["latitude"]])
    # Half cells at the edge have their centre on it.
    assert in_cells(shapes, columns["cell_ids"], own, places, 9).mean() > 0.97


def test_the_state_of_a_cell_is_no_data(tmp_path: Path) -> None:
    cells = parents_at((-103.0, -75.2))
    # All read in part: zarr leaves out shards of zeros.
    flags = np.ones(64, np.int8)
    grid = Grid(6, 9, "geodetic-spherical")
    store = write_store(tmp_path / "map.zarr", cells, grid, HEIGHT, flags=flags)
    with xr.open_zarr(store, group="9") as own:
        there = int((own["count"] > 0).sum())
    assert 0 < there < 64
    assert len(pd.read_csv(maggjob.export(store, tmp_path / "x.csv"))) == there


def test_a_geotiff_keeps_its_reference_system_or_is_not_written(store: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a GeoTIFF cannot hold the crs"):
        maggjob.export(store, tmp_path / "map.tif", crs="+proj=healpix")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.dear("a process per kind of file", keep=("nc",))
@pytest.mark.parametrize("end", ["tif", "nc", "parquet", "csv", "html", "png"])
def test_a_full_disk_is_one_line_and_leaves_nothing(store: str, tmp_path: Path, end: str) -> None:
    command = "view" if end in ("html", "png") else "export"

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = subprocess.run(
        [sys.executable, "-m", "maggjob", command, store, "-o", f"x.{end}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        preexec_fn=little,
        env=os.environ | {"MPLCONFIGDIR": str(tmp_path.parent), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(told) == 1
    assert "cannot write" in told[0]
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.dear("starts an export and stops it")
@pytest.mark.parametrize("end", ["tif", "nc", "parquet"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_half_of_a_file(store: str, tmp_path: Path, end: str, number: signal.Signals) -> None:
    fine = [] if end == "parquet" else ["--resolution", "12"]
    # A function that writes slowly: the signal comes while it does.
    slow = "import time, maggjob.show.export_options as o; own = o.Selection.values\n"
    slow += "def values(*a):\n    time.sleep(0.3)\n    return own(*a)\no.Selection.values = values\n"
    slow += "import sys; from maggjob.cli.commands import main\n"
    slow += f"sys.argv = {['maggjob', 'export', store, '-o', f'x.{end}', *fine]!r}\nmain()"
    process = subprocess.Popen([sys.executable, "-c", slow], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.iterdir()) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    left = sorted(path.name for path in tmp_path.iterdir())
    # It may have been done by then.
    assert left in ([], [f"x.{end}"])
    if not left:
        assert process.returncode == 3, said
        assert "Traceback" not in said
