"""CMR's records of granules, in UMM-JSON and JSON, as plain values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from maggjob.catalog.catalog import SUFFIXES, driver_of, granule_id
from maggjob.catalog.sources import HOSTS, of_the_archive
from maggjob.errors import CatalogError
from maggjob.icesat2.names import GranuleName
from maggjob.icesat2.orbit import region_angles, swath
from maggjob.storage.credentials import DATA_CENTRES

HTTPS, DIRECT = "GET DATA", "GET DATA VIA DIRECT ACCESS"
UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9}
HALF_WIDTH = 10e3
"""Metres. Beams lie within 6.3 km of the track, and the modelled track within 2 km of the real one."""
ALONG = 2.0
"""Degrees along the orbit by which a granule may extend beyond its region."""
MOST_SHOWN = 20
"""Number of unusable records that a message names."""
FOOTPRINT_SPACING = 1.0
"""Degrees along the orbit between two points of a modelled footprint."""


@dataclass(frozen=True)
class Record:
    """A granule as CMR lists it."""

    concept: str
    """CMR's concept id."""
    id: str
    """File name without .h5."""
    urls: Mapping[str, str]
    """URL by driver: s3, https."""
    size: int | None
    """Size in bytes, if CMR gives it exactly."""
    about: float | None
    """Approximate size in bytes."""
    start: str | None
    """Start time, UTC, ISO 8601."""
    end: str | None
    """End time, UTC, ISO 8601."""
    rings: tuple[tuple[tuple[float, float], ...], ...]
    """Outline as longitudes and latitudes in degrees, joined by great circles; empty if CMR gives none."""

    @property
    def name(self) -> GranuleName:
        """The granule's name, parsed.

        Raises
        ------
        CatalogError
            If it is not the name of an ICESat-2 granule.
        """
        name = GranuleName.parse(self.id)
        if name is None:
            raise CatalogError(
                f"granule {self.id}: its name gives no track, cycle and region; ask for an ICESat-2 product"
            )
        return name


def from_umm(item: Any) -> Record:
    """Return the record of one item of CMR's UMM-JSON.

    Raises
    ------
    CatalogError
        If it has no name or no URL, or a URL that does not belong to the archive.
    """
    try:
        meta, umm = item["meta"], item["umm"]
        concept = str(meta.get("concept-id") or meta["native-id"])
        related = [(str(url["Type"]), str(url["URL"])) for url in umm.get("RelatedUrls", ())]
        produced = umm.get("DataGranule", {})
        files = produced.get("ArchiveAndDistributionInformation", ())
        time = umm.get("TemporalExtent", {}).get("RangeDateTime", {})
        geometry = umm.get("SpatialExtent", {}).get("HorizontalSpatialDomain", {}).get("Geometry", {})
        polygons = [
            tuple((float(p["Longitude"]), float(p["Latitude"])) for p in polygon["Boundary"]["Points"])
            for polygon in geometry.get("GPolygons", ())
        ]
        start, end = (
            None if day is None else str(day) for day in (time.get("BeginningDateTime"), time.get("EndingDateTime"))
        )
        size, about = _size(files)
        urls = _urls(concept, related)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as problem:
        raise CatalogError(
            f"CMR gave a record that is not a granule ({type(problem).__name__}: {problem}): {str(item)[:200]}"
        ) from problem
    name = granule_id(next(iter(urls.values())))
    return Record(concept, name, urls, size, about, start, end, tuple(polygons))


def read_records(items: Iterable[Any], *, skip_unreadable: bool = False) -> tuple[list[Record], dict[str, str]]:
    """Return the records of CMR's items, and what is wrong with the others.

    Parameters
    ----------
    items : iterable
        Items of UMM-JSON.
    skip_unreadable : bool
        Whether to leave out records that cannot be used.

    Returns
    -------
    records : list of Record
    unreadable : dict
        Why each of the others cannot be used, by its concept id or number.

    Raises
    ------
    CatalogError
        If some cannot be used, and are not to be left out; the message names all of them.
    """
    records: list[Record] = []
    lost: dict[str, str] = {}
    for number, item in enumerate(items):
        try:
            record = from_umm(item)
            # Raises if it is not the name of a granule.
            _ = record.name
        except CatalogError as problem:
            meta = item.get("meta") if isinstance(item, Mapping) else None
            known = meta.get("concept-id") if isinstance(meta, Mapping) else None
            lost[str(known or f"record {number}")] = str(problem)
            continue
        records.append(record)
    if not skip_unreadable:
        check_none_lost(lost)
    return records, lost


def check_none_lost(lost: Mapping[str, str]) -> None:
    """Check that all records can be used.

    Parameters
    ----------
    lost : mapping
        Why each of the others cannot be used.

    Raises
    ------
    CatalogError
        If there are any; the message names all of them.
    """
    if len(lost) == 1:
        raise CatalogError(f"{next(iter(lost.values()))} (--skip-unreadable leaves it out)")
    if lost:
        told = "".join(f"\n  {why}" for why in list(lost.values())[:MOST_SHOWN])
        more = f"\n  and {len(lost) - MOST_SHOWN} more" if len(lost) > MOST_SHOWN else ""
        raise CatalogError(f"{len(lost)} records cannot be used; --skip-unreadable leaves them out:{told}{more}")


def _size(files: Any) -> tuple[int | None, float | None]:
    """Return the size of a granule in bytes, exact and approximate; None if unknown."""
    own = [file for file in files if str(file.get("Name", "")).lower().endswith(SUFFIXES) or len(files) == 1]
    exact = [file["SizeInBytes"] for file in own if type(file.get("SizeInBytes")) is int and file["SizeInBytes"] > 0]
    rough = [
        float(file["Size"]) * UNITS[file["SizeUnit"]]
        for file in own
        if "Size" in file and file.get("SizeUnit") in UNITS
    ]
    rough = [size for size in rough if 0 < size < 1e15]
    return exact[0] if len(exact) == 1 else None, float(exact[0]) if exact else rough[0] if rough else None


def _urls(concept: str, related: list[tuple[str, str]]) -> dict[str, str]:
    """Return the URLs of a granule's data by driver."""
    urls: dict[str, str] = {}
    for kind, url in related:
        if kind not in (HTTPS, DIRECT) or not urlsplit(url).path.lower().endswith(SUFFIXES):
            continue
        driver = driver_of(url)
        if driver == "file" or not of_the_archive(url):
            known = ", ".join([*(f"s3://{bucket}" for bucket in DATA_CENTRES), *HOSTS])
            raise CatalogError(f"granule {concept}: {url} is not in the archive ({known}); nothing is read from there")
        if urls.setdefault(driver, url) != url:
            raise CatalogError(f"granule {concept}: CMR lists two files, {urls[driver]} and {url}")
    if not urls:
        raise CatalogError(f"granule {concept}: CMR lists no HDF5 file; ask for a product in HDF5")
    if len({granule_id(url) for url in urls.values()}) > 1:
        raise CatalogError(f"granule {concept}: its URLs name different files: {', '.join(urls.values())}")
    return urls


def json_rings(entry: Any) -> tuple[str, tuple[tuple[tuple[float, float], ...], ...]]:
    """Return the concept id and the outline of a granule in CMR's JSON, which writes a ring as "lat lon lat lon ...".

    Raises
    ------
    CatalogError
        If the entry is not a granule.
    """
    try:
        rings = []
        for polygon in entry.get("polygons", ()):
            numbers = [float(number) for number in polygon[0].split()]
            rings.append(tuple(zip(numbers[1::2], numbers[::2], strict=True)))
        return str(entry["id"]), tuple(rings)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError) as problem:
        raise CatalogError(
            f"CMR gave an entry that is not a granule ({type(problem).__name__}: {problem}): {str(entry)[:200]}"
        ) from problem


def usable(ring: tuple[tuple[float, float], ...]) -> bool:
    """Return True if an outline has valid coordinates, three points or more, and does not cross itself."""
    import mortie

    points = np.array(ring, np.float64).reshape(-1, 2)
    if len(np.unique(points, axis=0)) < 3 or not np.isfinite(points).all():
        return False
    if np.abs(points[:, 1]).max() > 90 or np.abs(points[:, 0]).max() > 360:
        return False
    return bool(mortie.ring_is_simple(np.ascontiguousarray(points[:, 1]), np.ascontiguousarray(points[:, 0])))


def check_region(name: GranuleName) -> None:
    """Check that the region in a granule's name exists.

    Raises
    ------
    CatalogError
        If it does not.
    """
    if name.region not in region_angles():
        raise CatalogError(f"granule of track {name.rgt}, cycle {name.cycle}: there is no region {name.region}")


def track_ring(name: GranuleName) -> np.ndarray:
    """Return an outline of a granule from its track and region, large enough to contain all of its segments.

    Returns
    -------
    ndarray, shape (points, 2)
        Longitude and latitude in degrees; the last point is the first.

    Raises
    ------
    CatalogError
        If the region does not exist.
    """
    check_region(name)
    start, stop = region_angles()[name.region]
    start, stop = start - ALONG, stop + ALONG
    return swath(name.rgt, start, stop, HALF_WIDTH, round((stop - start) / FOOTPRINT_SPACING) + 1)
