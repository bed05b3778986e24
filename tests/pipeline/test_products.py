"""Other products by configuration alone: files in the layouts of ATL08, ATL07, ATL11 and ATL03, against numpy."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import maggjob
from maggjob.errors import ConfigError
from maggjob.pipeline.result import RunResult
from maggjob.show.text import plan_text

FILL = np.float32(3.4028235e38)
BEAMS = ("gt1l", "gt1r")
ROWS = 300


def dataset(group: h5py.Group, name: str, values: np.ndarray, units: str = "meters") -> None:
    made = group.create_dataset(name, data=values, chunks=(100, *values.shape[1:]), compression="gzip")
    made.attrs["units"] = np.bytes_(units)
    made.attrs["long_name"] = np.bytes_(name.rsplit("/", 1)[-1].replace("_", " "))
    if values.dtype == np.float32:
        made.attrs["_FillValue"] = FILL


def track(seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    return -75.0 - 1e-3 * np.arange(ROWS), -100.0 + 0.01 * seed + 6e-4 * np.arange(ROWS), np.random.default_rng(seed)


def atl08(path: Path) -> dict[str, np.ndarray]:
    """Write an ATL08 granule: positions in single precision, canopy for one segment in four."""
    columns: dict[str, list[np.ndarray]] = {"h": [], "canopy": [], "best": [], "removal": []}
    with h5py.File(path, "w") as file:
        for seed, beam in enumerate(BEAMS):
            latitude, longitude, draw = track(seed)
            land = file.create_group(f"{beam}/land_segments")
            dataset(land, "latitude", latitude.astype("f4"))
            dataset(land, "longitude", longitude.astype("f4"))
            dataset(land, "delta_time", 36e6 + np.arange(ROWS, dtype="f8"))
            h = draw.normal(50, 5, ROWS).astype("f4")
            h[::11] = FILL
            canopy = draw.uniform(2, 30, ROWS).astype("f4")
            canopy[draw.random(ROWS) < 0.75] = FILL
            best = draw.normal(50, 1, (ROWS, 5)).astype("f4")
            removal = (draw.random(ROWS) < 0.1).astype("i1")
            dataset(land, "terrain/h_te_best_fit", h)
            dataset(land, "terrain/h_te_uncertainty", h)
            dataset(land, "terrain/h_te_best_fit_20m", best)
            dataset(land, "canopy/h_canopy", canopy)
            dataset(land, "night_flag", (draw.random(ROWS) < 0.5).astype("i1"), "1")
            dataset(land, "dem_removal_flag", removal, "1")
            for name, values in (("h", h), ("canopy", canopy), ("best", best), ("removal", removal)):
                columns[name].append(values)
    return {name: np.concatenate(values) for name, values in columns.items()}


def run(paths: list[Path] | Path, content: Any, **options: Any) -> RunResult:
    catalog = maggjob.make_catalog(paths if isinstance(paths, Path) else [str(p) for p in paths], content)
    given = {"backend": "serial", "store": "map.zarr", "indexes": "indexes"} | options
    done = maggjob.run(content, catalog=catalog, **given)
    assert isinstance(done, RunResult)
    return done


@pytest.mark.parametrize("index", [False, True])
def test_terrain_and_canopy_are_mapped_together(tmp_path: Path, index: bool) -> None:
    rows = atl08(tmp_path / "ATL08_20190222031203_08500211_006_01.h5")
    done = run(tmp_path, "atl08.yaml", index=index)
    good = rows["removal"] == 0
    assert done.complete
    assert done.tally.observations == good.sum()
    assert done.tally.segments["dem_removal"] == (~good).sum()
    opened = maggjob.open_result("map.zarr").load()
    assert int(opened.terrain_count.sum()) == (good & (rows["h"] < 1e38)).sum()
    assert int(opened.canopy_count.sum()) == (good & (rows["canopy"] < 1e38)).sum()
    assert opened.attrs["title"] == "ICESat-2 land and canopy heights by HEALPix cell"
    assert opened.terrain_median.attrs["units"] == "meters"
    assert opened.terrain_median.attrs["long_name"] == "h te best fit, median"
    assert {"canopy_h50", "canopy_h95", "canopy_h98"} <= set(opened)
    assert bool(((opened.canopy_count == 0) & (opened.terrain_count > 0)).any())


def test_a_column_of_a_point_variable(tmp_path: Path) -> None:
    rows = atl08(tmp_path / "ATL08_20190222031203_08500211_006_01.h5")
    content = maggjob.load_config("atl08.yaml").model_dump()
    content["data_source"]["variables"]["h_te"]["dataset"] = "/{group}/land_segments/terrain/h_te_best_fit_20m[2]"
    done = run(tmp_path, content, index=True)
    assert done.to_dict()["read_by_h5py"] > 0
    opened = maggjob.open_result("map.zarr").load()
    good = rows["removal"] == 0
    there = (opened.terrain_count > 0).values
    assert int(opened.terrain_count.sum()) == good.sum()
    low, high = rows["best"][good, 2].min(), rows["best"][good, 2].max()
    assert low <= opened.terrain_median.values[there].min() <= opened.terrain_median.values[there].max() <= high


def test_the_product_of_the_configuration_is_taken_from_a_folder(tmp_path: Path) -> None:
    from tests.granule_files import write_granule

    atl08(tmp_path / "ATL08_20190222031203_08500211_006_01.h5")
    write_granule(tmp_path / "ATL06_20190222031203_08500211_006_01.h5")
    for name in ("atl08.yaml", "atl06.yaml"):
        (entry,) = maggjob.make_catalog(tmp_path, name).granules
        assert entry.id.startswith(name[:5].upper())


def test_a_plan_says_what_is_not_known_of_a_product(tmp_path: Path) -> None:
    atl08(tmp_path / "ATL08_20190222031203_08500211_006_01.h5")
    plan = maggjob.plan("atl08.yaml", catalog=maggjob.make_catalog(tmp_path, "atl08.yaml"), store="map.zarr")
    assert "sizes and speeds of ATL08 are not known" in plan_text(plan)


def simple(groups: list[str], above: str, height: str, **more: str) -> dict[str, Any]:
    return {
        "data_source": {
            "groups": groups,
            "coordinates": {"latitude": f"{above}/latitude", "longitude": f"{above}/longitude"} | more,
            "variables": {"h": {"dataset": height, "missing": "omit"}},
        },
        "aggregation": {
            "variables": {
                "count": {"function": "count", "source": "h", "dtype": "int32", "fill_value": 0},
                "h_median": {"function": "median", "source": "h"},
            }
        },
    }


@pytest.mark.parametrize("index", [False, True])
def test_sea_ice_of_both_hemispheres(tmp_path: Path, index: bool) -> None:
    """ATL07 keeps beam groups without segments, and its names tell the hemisphere."""
    total = 0
    for number, name in enumerate(
        ("ATL07-01_20190222031203_08500201_006_01.h5", "ATL07-02_20190222031203_08500211_006_01.h5")
    ):
        with h5py.File(tmp_path / name, "w") as file:
            file.create_group("gt1r/sea_ice_segments/heights")
            latitude, longitude, draw = track(number)
            ice = file.create_group("gt1l/sea_ice_segments")
            dataset(ice, "latitude", latitude)
            dataset(ice, "longitude", longitude)
            dataset(ice, "delta_time", 36e6 + np.arange(ROWS, dtype="f8"))
            dataset(ice, "heights/height_segment_height", draw.normal(0, 1, ROWS).astype("f4"))
            total += ROWS
    content = simple(
        ["gt1l", "gt1r"], "/{group}/sea_ice_segments", "/{group}/sea_ice_segments/heights/height_segment_height"
    )
    done = run(tmp_path, content, index=index)
    assert done.complete
    assert done.tally.observations == total
    opened = maggjob.open_result("map.zarr")
    assert opened.attrs["title"] == "ICESat-2 ATL07 by HEALPix cell"
    assert opened.attrs["cycles"] == [2]


@pytest.mark.parametrize("index", [False, True])
def test_a_cycle_of_land_ice_along_tracks(tmp_path: Path, index: bool) -> None:
    """ATL11 has three pairs of beams, a column per cycle, and names without a time."""
    expected = 0
    with h5py.File(tmp_path / "ATL11_085011_0318_006_01.h5", "w") as file:
        for number, pair in enumerate(("pt1", "pt2", "pt3")):
            latitude, longitude, draw = track(number)
            group = file.create_group(pair)
            dataset(group, "latitude", latitude)
            dataset(group, "longitude", longitude)
            dataset(group, "delta_time", np.full((ROWS, 16), 36e6))
            h = draw.normal(1000, 10, (ROWS, 16)).astype("f4")
            h[draw.random((ROWS, 16)) < 0.3] = FILL
            dataset(group, "h_corr", h)
            expected += int((h[:, 3] < 1e38).sum())
    content = simple(["pt1", "pt2", "pt3"], "/{group}", "/{group}/h_corr[3]")
    content["data_source"]["coordinates"]["time"] = "/{group}/delta_time[3]"
    done = run(tmp_path, content, index=index)
    assert done.complete
    opened = maggjob.open_result("map.zarr")
    assert int(opened["count"].sum()) == expected
    assert opened.attrs["title"] == "ICESat-2 ATL11 by HEALPix cell"
    assert opened.attrs["time_coverage_start"].startswith("2019-02")
    content["data_source"]["filters"] = [{"column": "strong"}]
    with pytest.raises(ConfigError, match="'pt1'"):
        maggjob.load_config(content)


def test_reference_photons(tmp_path: Path) -> None:
    """ATL03 by its geolocation segments: one reference photon for each 20 m."""
    with h5py.File(tmp_path / "ATL03_20190222031203_08500211_006_01.h5", "w") as file:
        latitude, longitude, draw = track(0)
        group = file.create_group("gt1l/geolocation")
        dataset(group, "reference_photon_lat", latitude)
        dataset(group, "reference_photon_lon", longitude)
        dataset(group, "delta_time", 36e6 + np.arange(ROWS, dtype="f8"))
        dataset(group, "solar_elevation", draw.normal(0, 1, ROWS).astype("f4"), "degrees")
    content = simple(["gt1l"], "/{group}/geolocation", "/{group}/geolocation/solar_elevation")
    content["data_source"]["coordinates"] = {
        "latitude": "/{group}/geolocation/reference_photon_lat",
        "longitude": "/{group}/geolocation/reference_photon_lon",
    }
    done = run(tmp_path, content, index=True)
    assert done.tally.observations == ROWS
    assert xr.open_zarr("map.zarr", group="12").h_median.attrs["units"] == "degrees"
