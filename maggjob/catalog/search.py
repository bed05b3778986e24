"""From a search to a catalog: CMR is asked once, and the cells of each granule are computed here.

One query asks for all granules in a band of latitudes. One query per cell would miss granules, because CMR omits some
for small regions. A granule whose footprint is missing or crosses itself gets one from its ground track (10 km to each
side, two degrees beyond its region), and the catalog lists its name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from maggjob._version import __version__
from maggjob.catalog.catalog import Catalog, Entry, check_each_once, split_newest
from maggjob.catalog.cmr import CMR, Query, Watch, pages
from maggjob.catalog.records import Record, check_none_lost, check_region, json_rings, read_records, track_ring, usable
from maggjob.config.source import Search
from maggjob.errors import CatalogError, InputError
from maggjob.grid.areas import Area, on_an_ice_sheet, parse_area
from maggjob.grid.coverage import Pairs, area_cells, describe_area, footprint_pairs
from maggjob.grid.footprints import Footprints
from maggjob.grid.healpix import Grid
from maggjob.icesat2.names import PRODUCT
from maggjob.icesat2.orbit import cycle_start
from maggjob.inputs.places import local_place
from maggjob.inputs.plain_json import load_json

EITHER_SIDE = timedelta(days=16)
"""Days added on either side of a cycle: real cycles begin up to two days off the regular count, and cycle 1 late."""
BAND = 3.0
"""Degrees of latitude by which the query is wider than the area, on either side."""
FIXED_BYTES, ROW_BYTES = 1.2e6, 320.0
"""Size of a native v006 granule of ATL06: FIXED_BYTES + ROW_BYTES * segments, within a third."""


@dataclass(frozen=True)
class Listing:
    """CMR's answer to a query."""

    records: tuple[Record, ...]
    """All granules that CMR listed."""
    searched: str
    """Time of the query, UTC, ISO 8601."""
    query: Mapping[str, Any]
    """The query as plain values."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Why records that were left out cannot be used, by concept id."""


def make_query(search: Search, area: Area) -> Query:
    """Return the query to CMR for a search.

    It asks for more than is wanted: the names and footprints of the granules decide afterwards.

    Parameters
    ----------
    search : Search
        Product and time.
    area : Area
        Its latitudes bound the query.

    Raises
    ------
    InputError
        If the search gives no time, or its cycle has not begun.
    """
    span, first, last = search.cycle_range, search.start, search.end
    if span is not None:
        begin = cycle_start(span[1])
        if begin - EITHER_SIDE > datetime.now(UTC).date():
            raise InputError(f"cycle {span[1]} begins only about {begin}; give a cycle that has begun")
        first, last = cycle_start(span[0]) - EITHER_SIDE, cycle_start(span[1] + 1) + EITHER_SIDE
    elif first is None:
        raise InputError("search: no time is given; give cycle (such as 22), cycles, or start and end")
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


def ask(query: Query, watch: Watch | None = None, *, skip_unreadable: bool = False) -> Listing:
    """Ask CMR, and return all granules that it lists.

    Parameters
    ----------
    query : Query
    watch : callable, optional
        ``watch(granules so far, granules in total)``
    skip_unreadable : bool
        Whether to leave out records that cannot be used.

    Raises
    ------
    CatalogError
        If CMR cannot be reached, its answer is not a list of granules, or its pages are incomplete.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    items = [item for page in pages(query, "umm_json", watch) for item in page]
    records, lost = read_records(items, skip_unreadable=skip_unreadable)
    # UMM-JSON may give only an orbit where JSON gives polygons.
    if any(not record.rings for record in records):
        rings = dict(json_rings(entry) for page in pages(query, "json", watch) for entry in page)
        records = [replace(r, rings=r.rings or rings.get(r.concept, ())) for r in records]
    return Listing(tuple(records), started, asdict(query), lost)


def from_pages(paths: Sequence[str | Path], *, skip_unreadable: bool = False) -> Listing:
    """Read a listing from recorded pages of UMM-JSON, such as ``maggjob simulate --records`` writes.

    Parameters
    ----------
    paths : sequence of str or Path
    skip_unreadable : bool
        Whether to leave out records that cannot be used.

    Raises
    ------
    CatalogError
        If a file is not such a page, or the pages do not hold the number of granules that they state.
    """
    items: list[Any] = []
    hits: set[int] = set()
    for path in paths:
        try:
            page = load_json(local_place(path, "records").read_bytes())
            items += page["items"]
            hits.add(int(page["hits"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as problem:
            raise CatalogError(
                f"{path}: not a page of CMR's UMM-JSON ({type(problem).__name__}: {problem}); record it again"
            ) from problem
    if hits != {len(items)}:
        raise CatalogError(f"the pages hold {len(items)} granules, but state {sorted(hits)}; record them again")
    records, lost = read_records(items, skip_unreadable=skip_unreadable)
    modified = max(local_place(path, "records").stat().st_mtime for path in paths)
    when = datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds")
    return Listing(tuple(records), when, {"recorded": [str(path) for path in paths]}, lost)


def wanted(records: Iterable[Record], search: Search) -> tuple[list[Record], dict[str, str]]:
    """Return the records of the product and version that match the cycles or days of a search.

    Cycles are compared with the granules' names, days with their times.

    Parameters
    ----------
    records : iterable of Record
    search : Search
        Every time matches if it gives none.

    Returns
    -------
    found : list of Record
    lost : dict
        Why some cannot be used, by concept id: they have no time, or neither an outline nor a region.
    """
    found: list[Record] = []
    lost: dict[str, str] = {}
    for record in records:
        if (record.name.product, record.name.version) != (search.short_name, search.version):
            continue
        try:
            if _within(record, search):
                # Without an outline, the region gives one.
                if not record.rings:
                    check_region(record.name)
                found.append(record)
        except CatalogError as problem:
            lost[record.concept] = str(problem)
    return found, lost


def _within(record: Record, search: Search) -> bool:
    """Return True if a record is of the cycles or days of a search."""
    span = search.cycle_range
    if span is not None:
        return span[0] <= record.name.cycle <= span[1]
    if search.start is None:
        return True
    if record.start is None:
        raise CatalogError(f"granule {record.id}: CMR gives no time for it; search by cycle")
    return record.start[:10] <= str(search.end) and (record.end or record.start)[:10] >= str(search.start)


def newest(records: Sequence[Record]) -> tuple[list[Record], int]:
    """Return the newest revision of each granule, and the number of older ones left out.

    Raises
    ------
    CatalogError
        If a granule is listed twice.
    """
    urls = [str(next(iter(record.urls.values()), record.concept)) for record in records]
    kept, older = split_newest([record.id for record in records], urls)
    return [records[position] for position in kept], len(older)


def to_catalog(listing: Listing, search: Search, area: Area, grid: Grid, *, skip_unreadable: bool = False) -> Catalog:
    """Make a catalog of the granules of a listing that touch an area.

    Parameters
    ----------
    listing : Listing
        CMR's answer.
    search : Search
        Product, time, and the swath's buffer in kilometres.
    area : Area
        Cells that it touches are kept.
    grid : Grid
    skip_unreadable : bool
        Whether to leave out records that cannot be used.

    Raises
    ------
    CatalogError
        If a record cannot be used, a granule is listed twice, or none touches the area.
    """
    of_search, lost = wanted(listing.records, search)
    if not skip_unreadable:
        check_none_lost(lost)
    lost = {**listing.unreadable, **lost}
    records, older = newest(of_search)
    records.sort(key=lambda record: record.id)
    if not records:
        check_none_lost(lost)
        raise CatalogError(_none_listed(listing, search))
    outlines = [_outline(record) for record in records]
    footprints = Footprints.of([rings for rings, _ in outlines])
    everywhere = footprint_pairs(footprints, grid.parent_order, grid.latitude, search.swath_buffer_km)
    wanted_cells = area_cells(area, grid.parent_order, grid.latitude)
    pairs = everywhere.among(wanted_cells)
    used = np.unique(pairs.granule)
    if len(used) == 0:
        raise CatalogError(
            f"none of the {len(records)} granules found touches the area {area.name}; check that it has land ice"
        )
    touched = _cells_with_segments(everywhere, len(records), grid)
    entries = [_entry(records[i], int(touched[i])) for i in used.tolist()]
    check_each_once(entries)
    position = np.searchsorted(used, pairs.granule)
    provenance = _asked(listing, search, area) | {
        "area_cells": wanted_cells.tolist(),
        "of_the_search": len(of_search),
        "older_revisions": older,
        **({"unreadable": lost} if lost else {}),
        "footprints_by_track": [record.id for record, (_, by_track) in zip(records, outlines, strict=True) if by_track],
    }
    return Catalog(
        tuple(entries),
        Pairs(position, pairs.cell).by_cell(),
        grid.parent_order,
        grid.latitude,
        provenance,
        Footprints.of([outlines[i][0] for i in used.tolist()]),
    )


def _asked(listing: Listing, search: Search, area: Area) -> dict[str, Any]:
    """Return what a catalog tells of the query that it was made by."""
    return {
        "from": "cmr",
        "query": dict(listing.query),
        "searched": listing.searched,
        "search": search.model_dump(mode="json", exclude_none=True, exclude={"aoi"}),
        "listed": len(listing.records),
        "on_an_ice_sheet": on_an_ice_sheet(area),
        "versions": {"maggjob": __version__} | {name: version(name) for name in ("mortie", "earthaccess", "shapely")},
        **describe_area(area),
    }


def _none_listed(listing: Listing, search: Search) -> str:
    """Return the message for a listing without any granule of the search."""
    cycles = search.cycle_range
    when = "" if search.start is None else f" of {search.start} to {search.end}"
    if cycles is not None:
        when = f" of cycle {cycles[0]}" + f" to {cycles[1]}" * (cycles[0] < cycles[1])
    return (
        f"CMR lists {len(listing.records):,} granules, none of {search.short_name} version {search.version}{when}; "
        "check version, provider, cycle and area"
    )


def _cells_with_segments(pairs: Pairs, granules: int, grid: Grid) -> np.ndarray:
    """Estimate the number of cells with segments of each granule, shape (granules,): cells over the sea have none."""
    ice = np.concatenate([area_cells(name, grid.parent_order, grid.latitude) for name in ("antarctica", "greenland")])
    every, on_ice = (np.bincount(some.granule, minlength=granules) for some in (pairs, pairs.among(ice)))
    return np.where(on_ice > 0, on_ice, every)


def _outline(record: Record) -> tuple[list[np.ndarray], bool]:
    """Return the rings of a granule, and True if one was made from its track because CMR's is missing or unusable."""
    rings = [np.array(ring, np.float64).reshape(-1, 2) for ring in record.rings if usable(ring)]
    by_track = not record.rings or len(rings) < len(record.rings)
    return [*rings, *([track_ring(record.name)] if by_track else [])], by_track


def _entry(record: Record, cells: int) -> Entry:
    # Of other products it is not known how many segments a size stands for.
    known = record.about is not None and record.name.product == PRODUCT
    rows = round(max(record.about - FIXED_BYTES, record.about / 4) / ROW_BYTES) if known and record.about else None
    return Entry(record.id, dict(record.urls), record.size, rows, cells, record.start, record.end)


def search_catalog(
    search: Search,
    grid: Grid,
    *,
    watch: Watch | None = None,
    listing: Listing | None = None,
    skip_unreadable: bool = False,
) -> Catalog:
    """Ask CMR, and make a catalog of the granules that touch the area of a search.

    Parameters
    ----------
    search : Search
        Product, time and area.
    grid : Grid
    watch : callable, optional
        ``watch(granules so far, granules in total)``
    listing : Listing, optional
        Used instead of asking CMR.
    skip_unreadable : bool
        Whether to leave out records that cannot be used.

    Raises
    ------
    MaggjobError
        If the area is invalid, CMR cannot be reached, or no granule touches the area.
    """
    area = parse_area(search.aoi)
    found = listing or ask(make_query(search, area), watch, skip_unreadable=skip_unreadable)
    return to_catalog(found, search, area, grid, skip_unreadable=skip_unreadable)
