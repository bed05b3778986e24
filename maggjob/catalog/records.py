"""What CMR knows of a granule: its answers, in UMM-JSON and in JSON, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from maggjob.catalog.catalog import driver_of, granule_id
from maggjob.errors import CatalogError
from maggjob.icesat2.names import GranuleName
from maggjob.icesat2.orbit import region_angles, swath
from maggjob.storage.credentials import DATA_CENTRES
from maggjob.storage.urls import LOOPBACK

HOSTS = ("nasa.gov", "nsidc.org")  # that granules are published on
HTTPS, DIRECT = "GET DATA", "GET DATA VIA DIRECT ACCESS"
UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9}
HALF_WIDTH = 10e3  # metres: beams lie within 6.3 km of the track, and the modelled track within 2 km of the real one
ALONG = 2.0  # degrees of the orbit by which a granule may go beyond its region
FOOTPRINT_SPACING = 1.0  # degrees of the orbit between the points of a modelled footprint


@dataclass(frozen=True)
class Record:
    """A granule as CMR lists it."""

    concept: str
    """CMR's own id of it."""
    id: str
    """Its file name without .h5."""
    urls: Mapping[str, str]
    """Where it is, by driver: s3, https."""
    size: int | None
    """Size in bytes, if CMR gives it exactly."""
    about: float | None
    """Size in bytes, roughly."""
    start: str | None
    """When it begins, UTC, ISO 8601."""
    end: str | None
    """When it ends."""
    rings: tuple[tuple[tuple[float, float], ...], ...]
    """Its outline: longitude and latitude in degrees, joined by great circles; none if CMR gives none."""

    @property
    def name(self) -> GranuleName:
        """What its name says.

        Raises
        ------
        CatalogError
            It is no name of ICESat-2's.
        """
        name = GranuleName.parse(self.id)
        if name is None:
            raise CatalogError(
                f"granule {self.id}: its name gives no track, cycle and region; ask for an ICESat-2 product"
            )
        return name


def from_umm(item: Any) -> Record:
    """A record of CMR's UMM-JSON.

    Raises
    ------
    CatalogError
        It has no name, no URL, or one that is not the archive's.
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
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise CatalogError(
            f"a record of CMR that is no granule's ({type(problem).__name__}: {problem}): {str(item)[:200]}"
        ) from problem
    name = granule_id(next(iter(urls.values())))
    return Record(concept, name, urls, size, about, start, end, tuple(polygons))


def _size(files: Any) -> tuple[int | None, float | None]:
    """Size of a granule in bytes, exactly and roughly."""
    own = [file for file in files if str(file.get("Name", "")).endswith(".h5") or len(files) == 1]
    exact = [file["SizeInBytes"] for file in own if type(file.get("SizeInBytes")) is int and file["SizeInBytes"] > 0]
    rough = [
        float(file["Size"]) * UNITS[file["SizeUnit"]]
        for file in own
        if "Size" in file and file.get("SizeUnit") in UNITS
    ]
    rough = [size for size in rough if 0 < size < 1e15]
    return exact[0] if len(exact) == 1 else None, float(exact[0]) if exact else rough[0] if rough else None


def _urls(concept: str, related: list[tuple[str, str]]) -> dict[str, str]:
    """URLs of a granule by driver, of the types that are its data."""
    urls: dict[str, str] = {}
    for kind, url in related:
        if kind not in (HTTPS, DIRECT) or not urlsplit(url).path.endswith(".h5"):
            continue
        driver = driver_of(url)
        if driver == "file" or not _of_the_archive(url):
            known = ", ".join([*(f"s3://{bucket}" for bucket in DATA_CENTRES), *HOSTS])
            raise CatalogError(f"granule {concept}: {url} is not in the archive ({known}); nothing is read from there")
        if urls.setdefault(driver, url) != url:
            raise CatalogError(f"granule {concept}: two files, {urls[driver]} and {url}")
    if not urls:
        raise CatalogError(f"granule {concept}: CMR lists no .h5 file of it; ask for a product that is HDF5")
    if len({granule_id(url) for url in urls.values()}) > 1:
        raise CatalogError(f"granule {concept}: its URLs name different files: {', '.join(urls.values())}")
    return urls


def _of_the_archive(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "s3":
        return parts.netloc in DATA_CENTRES
    return host in LOOPBACK or any(host == known or host.endswith(f".{known}") for known in HOSTS)


def json_rings(entry: Any) -> tuple[str, tuple[tuple[tuple[float, float], ...], ...]]:
    """Concept and outline of a granule in CMR's JSON, where a ring is written "lat lon lat lon ...".

    Raises
    ------
    CatalogError
        It is no such entry.
    """
    try:
        rings = []
        for polygon in entry.get("polygons", ()):
            numbers = [float(number) for number in polygon[0].split()]
            rings.append(tuple(zip(numbers[1::2], numbers[::2], strict=True)))
        return str(entry["id"]), tuple(rings)
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as problem:
        raise CatalogError(
            f"an entry of CMR that is no granule's ({type(problem).__name__}: {problem}): {str(entry)[:200]}"
        ) from problem


def usable(ring: tuple[tuple[float, float], ...]) -> bool:
    """Whether an outline can be trusted: on the earth, with an inside, and not crossing itself."""
    import mortie

    points = np.array(ring, np.float64).reshape(-1, 2)
    if len(np.unique(points, axis=0)) < 3 or not np.isfinite(points).all():
        return False
    if np.abs(points[:, 1]).max() > 90 or np.abs(points[:, 0]).max() > 360:
        return False
    return bool(mortie.ring_is_simple(np.ascontiguousarray(points[:, 1]), np.ascontiguousarray(points[:, 0])))


def track_ring(name: GranuleName) -> np.ndarray:
    """Outline of a granule by its track and region alone: wide and long enough to hold all of its segments.

    Returns
    -------
    ndarray, shape (points, 2)
        Longitude and latitude in degrees, closed.
    """
    if name.region not in region_angles():
        raise CatalogError(f"granule of track {name.rgt}, cycle {name.cycle}: there is no region {name.region}")
    start, stop = region_angles()[name.region]
    start, stop = start - ALONG, stop + ALONG
    return swath(name.rgt, start, stop, HALF_WIDTH, round((stop - start) / FOOTPRINT_SPACING) + 1)
