"""From a search to a catalog: CMR is asked once, everything else is worked out here.

One query for all granules of a band of latitudes, never one per cell: CMR leaves granules out of small regions. A
granule without a footprint, or with one that crosses itself, gets one from its ground track (10 km to each side, two
degrees beyond its region), and the catalog names it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from maggjob._version import __version__
from maggjob.catalog.catalog import Catalog, Entry, check_each_once
from maggjob.catalog.cmr import CMR, Query, Watch, pages
from maggjob.catalog.records import Record, from_umm, json_rings, track_ring, usable
from maggjob.config.source import Search
from maggjob.errors import CatalogError, InputError
from maggjob.grid.areas import Area, on_an_ice_sheet, parse_area
from maggjob.grid.coverage import Pairs, area_cells, describe_area, footprint_pairs
from maggjob.grid.footprints import Footprints
from maggjob.grid.healpix import Grid
from maggjob.icesat2.orbit import cycle_start

EITHER_SIDE = timedelta(days=16)
"""Real cycles begin up to two days off the even count, and cycle 1 began late."""
BAND = 3.0
"""Degrees by which the band of latitudes asked for is wider than the area."""
FIXED_BYTES, ROW_BYTES = 1.2e6, 320.0
"""Of native v006 granules: size = FIXED_BYTES + ROW_BYTES * segments, to a third."""


@dataclass(frozen=True)
class Listing:
    """What CMR listed."""

    records: tuple[Record, ...]
    """All of it."""
    searched: str
    """When, UTC, ISO 8601."""
    query: Mapping[str, Any]
    """What was asked."""


def make_query(search: Search, area: Area) -> Query:
    """What CMR is asked for: more than is wanted, as names and footprints decide.

    Raises
    ------
    InputError
        It does not say when, or the cycle has not begun.
    """
    span, first, last = search.cycle_range, search.start, search.end
    if span is not None:
        begin = cycle_start(span[1])
        if begin - EITHER_SIDE > datetime.now(UTC).date():
            raise InputError(f"cycle {span[1]} begins about {begin}; give a cycle that has begun")
        first, last = cycle_start(span[0]) - EITHER_SIDE, cycle_start(span[1] + 1) + EITHER_SIDE
    elif first is None:
        raise InputError("search: say when, with a cycle (such as 22), cycles, or start and end")
    south, north = area.latitudes()
    return Query(
        search.short_name,
        search.version,
        search.provider,
        f"{first}T00:00:00Z",
        f"{last}T23:59:59Z",
        max(-90.0, round(south - BAND, 1)),
        min(90.0, round(north + BAND, 1)),
        search.endpoint or CMR,
    )


def ask(query: Query, watch: Watch | None = None) -> Listing:
    """All that CMR lists.

    Raises
    ------
    CatalogError
        CMR cannot be reached, answers with something else, or its pages do not add up.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    records = [from_umm(item) for page in pages(query, "umm_json", watch) for item in page]
    if any(not record.rings for record in records):  # UMM-JSON may have an orbit where JSON has polygons
        rings = dict(json_rings(entry) for page in pages(query, "json", watch) for entry in page)
        records = [replace(r, rings=r.rings or rings.get(r.concept, ())) for r in records]
    return Listing(tuple(records), started, asdict(query))


def from_pages(paths: Sequence[str | Path]) -> Listing:
    """An answer from recorded pages of UMM-JSON, such as ``maggjob simulate --records`` writes.

    Raises
    ------
    CatalogError
        A file is no page, or the pages hold fewer granules than they say.
    """
    records: list[Record] = []
    hits: set[int] = set()
    for path in paths:
        try:
            page = json.loads(Path(path).read_bytes())
            records += map(from_umm, page["items"])
            hits.add(int(page["hits"]))
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise CatalogError(f"{path}: no page of CMR's UMM-JSON ({type(problem).__name__}: {problem})") from problem
    if hits != {len(records)}:
        raise CatalogError(f"the pages hold {len(records)} granules and say {sorted(hits)}; record them again")
    modified = max(Path(path).stat().st_mtime for path in paths)
    when = datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds")
    return Listing(tuple(records), when, {"recorded": [str(path) for path in paths]})


def wanted(records: Iterable[Record], search: Search) -> list[Record]:
    """Those of the product, and of the cycles by their names, or of the days by their times, if it says when.

    Raises
    ------
    CatalogError
        A name cannot be read, or a time is missing.
    """
    span = search.cycle_range
    found = []
    for record in records:
        name = record.name
        if (name.product, name.version) != (search.short_name, search.version):
            continue
        if span is not None:
            within = span[0] <= name.cycle <= span[1]
        elif search.start is None:
            within = True
        else:
            if record.start is None:
                raise CatalogError(f"granule {record.id}: CMR gives no time of it; search by cycle")
            within = record.start[:10] <= str(search.end) and (record.end or record.start)[:10] >= str(search.start)
        if within:
            found.append(record)
    return found


def newest(records: Sequence[Record]) -> tuple[list[Record], int]:
    """One revision of each granule, and how many older ones were left out.

    Two of one name stay: `check_each_once` refuses them.
    """
    newest_of: dict[str, str] = {}
    for record in records:
        granule = record.id.rsplit("_", 1)[0]
        newest_of[granule] = max(record.id, newest_of.get(granule, ""))
    ids = set(newest_of.values())
    latest = [record for record in records if record.id in ids]
    return latest, len(records) - len(latest)


def to_catalog(listing: Listing, search: Search, area: Area, grid: Grid) -> Catalog:
    """Work out the granules of a listing, and the cells of an area that each touches.

    Raises
    ------
    CatalogError
        If a granule is there twice, or none touches the area.
    """
    of_search = wanted(listing.records, search)
    records, older = newest(of_search)
    records.sort(key=lambda record: record.id)
    if not records:
        raise CatalogError(_none_listed(listing, search))
    outlines = [_outline(record) for record in records]
    footprints = Footprints.of([rings for rings, _ in outlines])
    everywhere = footprint_pairs(footprints, grid.parent_order, grid.latitude, search.swath_buffer_km)
    pairs = everywhere.among(area_cells(area, grid.parent_order, grid.latitude))
    used = np.unique(pairs.granule)
    if len(used) == 0:
        raise CatalogError(
            f"none of the {len(records)} granules found touches the area {area.name}; is there land ice?"
        )
    touched = _cells_with_segments(everywhere, len(records), grid)
    entries = [_entry(records[i], int(touched[i])) for i in used.tolist()]
    check_each_once(entries)
    position = np.searchsorted(used, pairs.granule)
    provenance = {
        "from": "cmr",
        "query": dict(listing.query),
        "searched": listing.searched,
        "search": search.model_dump(mode="json", exclude_none=True, exclude={"aoi"}),
        "listed": len(listing.records),
        "of_the_search": len(of_search),
        "older_revisions": older,
        "footprints_by_track": [record.id for record, (_, by_track) in zip(records, outlines, strict=True) if by_track],
        "on_an_ice_sheet": on_an_ice_sheet(area),
        "versions": {"maggjob": __version__} | {name: version(name) for name in ("mortie", "earthaccess", "shapely")},
        **describe_area(area),
    }
    return Catalog(
        tuple(entries),
        Pairs(position, pairs.cell).by_cell(),
        grid.parent_order,
        grid.latitude,
        provenance,
        Footprints.of([outlines[i][0] for i in used.tolist()]),
    )


def _none_listed(listing: Listing, search: Search) -> str:
    """What to say when nothing that CMR lists is of the search."""
    cycles = search.cycle_range
    when = "" if search.start is None else f" of {search.start} to {search.end}"
    if cycles is not None:
        when = f" of cycle {cycles[0]}" + f" to {cycles[1]}" * (cycles[0] < cycles[1])
    return (
        f"CMR lists {len(listing.records):,} granules, none of {search.short_name} version {search.version}{when}; "
        "check version, provider, cycle and area"
    )


def _cells_with_segments(pairs: Pairs, granules: int, grid: Grid) -> np.ndarray:
    """Cells that each granule is expected to have segments in, shape (granules,): over the sea it has none."""
    ice = np.concatenate([area_cells(name, grid.parent_order, grid.latitude) for name in ("antarctica", "greenland")])
    every, on_ice = (np.bincount(some.granule, minlength=granules) for some in (pairs, pairs.among(ice)))
    return np.where(on_ice > 0, on_ice, every)


def _outline(record: Record) -> tuple[list[np.ndarray], bool]:
    """Rings of a granule, and whether one had to be made from its track: CMR has none, or one that crosses itself."""
    rings = [np.array(ring, np.float64).reshape(-1, 2) for ring in record.rings if usable(ring)]
    by_track = not record.rings or len(rings) < len(record.rings)
    return [*rings, *([track_ring(record.name)] if by_track else [])], by_track


def _entry(record: Record, cells: int) -> Entry:
    rows = None if record.about is None else round(max(record.about - FIXED_BYTES, record.about / 4) / ROW_BYTES)
    return Entry(record.id, dict(record.urls), record.size, rows, cells, record.start, record.end)


def search_catalog(
    search: Search, grid: Grid, *, watch: Watch | None = None, listing: Listing | None = None
) -> Catalog:
    """Ask CMR, and work out which granule touches which cell.

    Parameters
    ----------
    search : Search
    grid : Grid
    watch : callable, optional
        ``watch(granules so far, granules in all)``
    listing : Listing, optional
        To be used instead of asking.

    Raises
    ------
    MaggjobError
        If the area is none, CMR cannot be asked, or nothing touches the area.
    """
    area = parse_area(search.aoi)
    return to_catalog(listing or ask(make_query(search, area), watch), search, area, grid)
