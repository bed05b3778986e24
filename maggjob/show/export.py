"""Export a result for other programs: GeoTIFF for QGIS, netCDF, GeoParquet, CSV."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maggjob.errors import InputError
from maggjob.grid.areas import AreaLike
from maggjob.inputs.places import PlaceLike
from maggjob.show.cell_result import read_result
from maggjob.show.export_grid import parse_crs, pixel_grid
from maggjob.show.export_netcdf import write_netcdf
from maggjob.show.export_options import Selection, select
from maggjob.show.export_raster import write_geotiff
from maggjob.show.export_table import write_csv, write_parquet
from maggjob.show.whole_file import place_of, write_whole

if TYPE_CHECKING:
    import xarray as xr

EXTRA = "install the extra 'export': pip install 'maggjob[export]'"
NEEDED = {".tif": "rasterio", ".nc": "h5netcdf", ".parquet": "arro3", ".csv": "pandas"}
"""Package that writes a kind of file, by the end of its name."""
OF_THE_ZARR = ("Conventions", "zarr_conventions", "dggs", "coordinates", "config", "tally", "group", "groups")
"""Attributes of a result that describe its Zarr, or are long; all others are kept."""
OF_ALL_TIMES = (
    "cycles",
    "number_of_granules",
    "number_of_reference_ground_tracks",
    "time_coverage_start",
    "time_coverage_end",
)
"""Attributes that are wrong for some of the times of a result."""


def export(
    store: "str | Path | xr.Dataset",
    out: PlaceLike,
    variables: Sequence[str] | None = None,
    *,
    crs: str | int | None = None,
    resolution: float | None = None,
    aoi: AreaLike | None = None,
    time: str | int | None = None,
    group: str | None = None,
    region: str | None = None,
) -> Path:
    """Write a result as a file for other programs.

    The end of the name decides: ``.tif`` for a cloud-optimised GeoTIFF with a band per variable, ``.nc`` for CF netCDF
    on the same grid, ``.parquet`` for GeoParquet with the polygon of each cell, ``.csv`` for a table. A pixel has the
    value of the cell that its centre lies in: nothing is interpolated. Tables hold the cells that have data.

    Parameters
    ----------
    store : str, Path or xr.Dataset
        The Zarr: a path, or s3://bucket/prefix. Or a Dataset from `maggjob.open_result`, or computed from one, such as
        by `maggjob.difference`.
    out : str or Path
        File to write. A file of the same kind is replaced.
    variables : sequence of str, optional
        Variables to export; all by default.
    crs : str or int, optional
        Coordinate reference system of rasters and polygons, such as ``EPSG:3413``. By default EPSG:3031 in the south
        and EPSG:3413 in the north.
    resolution : float, optional
        Width of a pixel in units of the reference system; by default about half the width of a cell.
    aoi : str, path or tuple, optional
        Area, as `area_cells` takes it: cells whose centres lie in it are exported. All by default.
    time : str or int, optional
        Label on the time axis, such as a cycle; all by default.
    group : str, optional
        Group of the Zarr; by default that of the finest order.
    region : str, optional
        Region of the bucket.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If an argument cannot be used, no cell would be exported, the raster would be too large, or a package is
        missing.
    StoreError
        If the store is not a complete result.
    ExistsError
        If the file exists and is of another kind.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> catalog = maggjob.make_catalog("granules")
    >>> result = maggjob.run("atl06.yaml", catalog=catalog, store="map.zarr", backend="serial")
    >>> export("map.zarr", "map.csv", ["h_mean", "count"]).name
    'map.csv'
    """
    path = place_of(out, tuple(NEEDED))
    end = path.suffix.lower()
    if find_spec(NEEDED[end]) is None:
        raise InputError(f"{NEEDED[end]} is needed to write {end}; {EXTRA}")
    if end not in (".tif", ".nc") and resolution is not None:
        raise InputError(f"resolution is for .tif and .nc; {path.name} has one row per cell: leave it out")
    if end == ".csv" and crs is not None:
        raise InputError("crs is for rasters and polygons; a .csv has latitudes and longitudes: leave it out")
    result = read_result(store, group, region)
    selection = select(result, variables, aoi, time)
    attributes = _attributes(selection)
    if end == ".csv":
        return write_whole(path, lambda beside: write_csv(beside, selection))
    system = parse_crs(crs, selection)
    if end == ".parquet":
        return write_whole(path, lambda beside: write_parquet(beside, selection, system, attributes))
    grid = pixel_grid(selection, system, resolution)
    write = write_geotiff if end == ".tif" else write_netcdf
    return write_whole(path, lambda beside: write(beside, selection, grid, attributes))


def _attributes(selection: Selection) -> dict[str, str]:
    """Return what an export tells about its origin, as text."""
    result = selection.result
    known = {key: value for key, value in result.attributes.items() if key not in OF_THE_ZARR}
    if result.times is not None and len(selection.times) < len(result.times.labels):
        known = {key: value for key, value in known.items() if key not in OF_ALL_TIMES} | _of_times(selection)
    cells = {"healpix_order": result.grid.child_order, "maggjob_tally": result.attributes.get("tally", {})}
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in {**known, **cells}.items()}


def _of_times(selection: Selection) -> dict[str, Any]:
    """Return the attributes of the times that are exported."""
    times = selection.result.times
    if times is None:
        return {}
    spans = [span for i in selection.times if (span := times.spans[i]) is not None]
    coverage = {
        "time_coverage_start": min((first for first, _ in spans), default=""),
        "time_coverage_end": max((last for _, last in spans), default=""),
    }
    labels = [int(times.labels[i]) if times.kind == "cycle" else times.labels[i] for i in selection.times]
    return {f"{times.kind}s": labels, **(coverage if spans else {})}
