"""Cost of the work before the first worker starts: cells of an area, cells of granules, making and loading a catalog.

Prints wall time, CPU time and peak memory beside the limits that the project sets. Each measurement runs in its own
process:

    python -m benchmarks.catalog

``python -m benchmarks.catalog growth`` compares 24 cycles with 1 instead (`benchmarks.growth`).

The granules are a simulated cycle of 1,387 tracks in 14 regions. Where 4,161 granules are measured, these are the ones
over Antarctica. The recorded pages contain records of 11 KB each, the size of CMR's, with footprints of 49 points. The
time to load a catalog is also printed as a ratio to ``json.loads`` of the same file, because the machine may be busy.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

PAGE = 2000
WORLDWIDE = 14_710
"""Granules of a real cycle."""
TRACKS, ANTARCTIC = 1387, (10, 11, 12)
ARCHIVE = "nsidc-cumulus-prod-protected/ATLAS/ATL06/007"
BROWSE = 28
"""Related URLs of pictures per record; they take most of its bytes."""
MB = 2**20


def record(rgt: int, region: int, cycle: int = 22) -> dict[str, Any]:
    """Return a granule as CMR lists it in UMM-JSON, including the fields that maggjob does not use.

    Parameters
    ----------
    rgt, region, cycle : int
        Reference ground track, region and cycle of the granule.
    """
    from maggjob.icesat2.names import EPOCH
    from maggjob.icesat2.orbit import Pass, region_angles, swath

    one = Pass(rgt, cycle, region)
    start = EPOCH + timedelta(seconds=float(one.times(one.angles(360.0))[0]))
    stem = f"ATL06_{start:%Y%m%d%H%M%S}_{rgt:04d}{cycle:02d}{region:02d}_007_01"
    below = f"{ARCHIVE}/{start:%Y/%m/%d}/{stem}"
    ring = swath(rgt, *region_angles()[region], 6300.0, 24).round(5).tolist()
    pictures = [
        {
            "URL": f"https://data.nsidc.earthdatacloud.nasa.gov/nsidc-cumulus-prod-public/{below}_BRW.{number:02d}.jpg",
            "Type": "GET RELATED VISUALIZATION",
            "MimeType": "image/jpeg",
        }
        for number in range(BROWSE)
    ]
    return {
        "meta": {
            "concept-type": "granule",
            "concept-id": f"G{3_000_000_000 + 100 * rgt + region}-NSIDC_CPRD",
            "revision-id": 1,
            "native-id": f"{stem}.h5",
            "provider-id": "NSIDC_CPRD",
            "format": "application/vnd.nasa.cmr.umm+json",
            "revision-date": "2025-11-23T06:14:29.307Z",
        },
        "umm": {
            "TemporalExtent": {
                "RangeDateTime": {
                    "BeginningDateTime": f"{start:%Y-%m-%dT%H:%M:%S.000Z}",
                    "EndingDateTime": f"{start + timedelta(minutes=6):%Y-%m-%dT%H:%M:%S.000Z}",
                }
            },
            "OrbitCalculatedSpatialDomains": [{"OrbitNumber": 28_000 + rgt, "EquatorCrossingLongitude": -40.35812957}],
            "GranuleUR": f"{stem}.h5",
            "SpatialExtent": {
                "HorizontalSpatialDomain": {
                    "Geometry": {
                        "GPolygons": [{"Boundary": {"Points": [{"Longitude": x, "Latitude": y} for x, y in ring]}}]
                    }
                }
            },
            "ProviderDates": [{"Date": "2025-11-04T23:19:23.384Z", "Type": "Insert"}],
            "CollectionReference": {"ShortName": "ATL06", "Version": "007"},
            "RelatedUrls": [
                {"URL": f"https://data.nsidc.earthdatacloud.nasa.gov/{below}.h5", "Type": "GET DATA"},
                {"URL": f"s3://{below}.h5", "Type": "GET DATA VIA DIRECT ACCESS"},
                *pictures,
            ],
            "DataGranule": {
                "DayNightFlag": "Unspecified",
                "Identifiers": [{"Identifier": f"{stem}.h5", "IdentifierType": "ProducerGranuleId"}],
                "ProductionDateTime": "2025-09-08T05:36:40.000Z",
                "ArchiveAndDistributionInformation": [{"Name": f"{stem}.h5", "SizeInBytes": 119_000_000 + 1000 * rgt}],
            },
            "MetadataSpecification": {
                "URL": "https://cdn.earthdata.nasa.gov/umm/granule/v1.6.6",
                "Name": "UMM-G",
                "Version": "1.6.6",
            },
        },
    }


def write_pages(folder: Path) -> None:
    """Write pages with all granules of the three southern regions, and enough others to make up a real cycle."""
    regions = sorted(range(1, 15), key=lambda region: region not in ANTARCTIC)
    every = [(rgt, region) for region in regions for rgt in range(1, TRACKS + 1)]
    chosen = sorted(every[:WORLDWIDE])
    for number, first in enumerate(range(0, len(chosen), PAGE)):
        items = [record(rgt, region) for rgt, region in chosen[first : first + PAGE]]
        page = {"hits": len(chosen), "took": 350, "items": items}
        (folder / f"page{number:02d}.json").write_text(json.dumps(page))


def _used(start: float, before: float) -> str:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu, peak = usage.ru_utime + usage.ru_stime - before, usage.ru_maxrss / 1024
    return f"{time.perf_counter() - start:6.2f} s, {cpu:6.2f} CPU-s, {peak:4.0f} MB peak"


def _clock() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), usage.ru_utime + usage.ru_stime


def cells_of_the_default_area(_: Path) -> None:
    """Measure the time to find the cells of an area from its name."""
    from maggjob.grid.areas import parse_area
    from maggjob.grid.coverage import area_cells

    for name in ("antarctica", "grounded", "greenland"):
        clock = _clock()
        cells = area_cells(parse_area(name), 6, "authalic")
        first = name == "antarctica"
        print(f"cells of {name}: {_used(*clock)}{' (limit 3 s)' if first else ''}; {len(cells):,} cells, authalic")


def granules_to_cells(_: Path) -> None:
    """Measure the time to find the cells that 4,161 footprints touch."""
    from maggjob.grid.coverage import footprint_pairs
    from maggjob.grid.footprints import Footprints
    from maggjob.icesat2.orbit import region_angles, swath

    passes = [(rgt, region) for rgt in range(1, TRACKS + 1) for region in ANTARCTIC]
    rings = [[swath(rgt, *region_angles()[region], 6300.0, 24).round(5)] for rgt, region in passes]
    footprints = Footprints.of(rings)
    for when in ("with imports", "again"):
        clock = _clock()
        pairs = footprint_pairs(footprints, 6, "authalic")
        print(f"{len(rings):,} granules to cells, {when}: {_used(*clock)} (limit 1 s); {len(pairs.cell):,} pairs")


def catalog_of_recorded_pages(folder: Path) -> None:
    """Measure ``maggjob catalog``, without the network."""
    from maggjob.catalog.find import find_catalog

    clock = _clock()
    catalog = find_catalog(records=sorted(folder.glob("page*.json")), cycle=22, aoi="antarctica")
    catalog.write(folder / "catalog.json")
    print(
        f"catalog of {WORLDWIDE:,} recorded granules: {_used(*clock)} (limits 15 s, 500 MB); "
        f"{len(catalog.granules):,} granules, {len(catalog.cells):,} cells, {catalog.pairs:,} pairs"
    )


def load(folder: Path) -> None:
    """Measure the time to load a catalog of 4,161 granules and the 1,344 cells of grounded ice."""
    from maggjob.catalog.file import load_catalog
    from maggjob.config.load import load_config

    path, recipe = folder / "grounded.json", load_config("atl06.yaml").recipe()
    clock = _clock()
    catalog = load_catalog(path, recipe)
    used = _used(*clock)
    start = time.perf_counter()
    json.loads(path.read_text())
    bare, times = time.perf_counter() - start, []
    for _ in range(3):
        start = time.perf_counter()
        load_catalog(path, recipe)
        times.append(time.perf_counter() - start)
    print(
        f"load of {len(catalog.granules):,} granules x {len(catalog.cells):,} cells: {used} (limit 0.5 s), "
        f"again {min(times):.2f} s, {min(times) / bare:.1f} x json.loads; {catalog.pairs:,} pairs, "
        f"{path.stat().st_size / 1e6:.2f} MB"
    )


def plan(folder: Path) -> None:
    """Measure ``maggjob plan`` for the catalog of recorded granules, and print its text."""
    from maggjob.planning.make import plan as make_plan
    from maggjob.show.text import plan_text

    clock = _clock()
    made = make_plan("atl06.yaml", catalog=folder / "catalog.json", store="antarctica.zarr")
    text = plan_text(made)
    print(f"plan of the catalog of recorded granules: {_used(*clock)}\n\n{text}")


def write_grounded(folder: Path) -> None:
    """Write the catalog for `load`: all southern passes, over grounded ice or not, and the cells of grounded ice."""
    from dataclasses import replace

    from maggjob.catalog.find import find_catalog

    catalog = find_catalog(records=sorted(folder.glob("page*.json")), cycle=22, aoi="grounded")
    # Granules without a cell take as much time to load as others.
    if len(catalog.granules) < TRACKS * len(ANTARCTIC):
        wide = find_catalog(records=sorted(folder.glob("page*.json")), cycle=22, aoi="south-of:-50")
        southern = [i for i, g in enumerate(wide.granules) if int(g.id[27:29]) in ANTARCTIC]
        position = {wide.granules[i].id: n for n, i in enumerate(southern)}
        cells = {c: tuple(position[catalog.granules[i].id] for i in some) for c, some in catalog.cells.items()}
        catalog = replace(catalog, granules=tuple(wide.granules[i] for i in southern), cells=cells, footprints=None)
    catalog.write(folder / "grounded.json")


def main() -> None:
    """Print all figures. Each step runs in its own process, started from a small one: peak memory is inherited."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _alone("write_pages", folder)
        sizes = [path.stat().st_size for path in folder.glob("page*.json")]
        print(
            f"recorded: {len(sizes)} pages, {sum(sizes) / MB:.0f} MB, {sum(sizes) / WORLDWIDE / 1e3:.1f} KB per granule"
        )
        for what in ("cells_of_the_default_area", "granules_to_cells", "catalog_of_recorded_pages"):
            _alone(what, folder)
        print(f"size of that catalog, with footprints: {(folder / 'catalog.json').stat().st_size / 1e6:.2f} MB")
        for what in ("write_grounded", "load", "plan"):
            _alone(what, folder)


def _alone(what: str, folder: Path) -> None:
    code = f"import benchmarks.catalog as b; b.{what}(b.Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["growth"]:
        # Its imports would count as memory of the steps above.
        from benchmarks import growth

        growth.main()
    else:
        main()
