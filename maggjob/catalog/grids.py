"""Granules of gridded products: from NASA's CMR, or from files. Each has one time, and no cells."""

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from maggjob.catalog.cmr import CMR, Watch, finish, pages
from maggjob.catalog.sources import of_the_archive
from maggjob.config.series import GridSearch
from maggjob.errors import CatalogError
from maggjob.inputs.places import local_place

SUFFIXES = (".nc", ".nc4", ".h5", ".hdf5", ".he5")
DAY_IN_NAME = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_]?([01]\d)[-_]?([0-3]\d)")
"""A day in a file's name: 20190101, 2019-01-01 or 2019_01_01, perhaps with a time behind it."""
TYPES = {"GET DATA": "https", "GET DATA VIA DIRECT ACCESS": "s3"}
"""Types of CMR's URLs, and the driver that reads each."""


@dataclass(frozen=True)
class GridGranule:
    """A granule of a gridded product."""

    id: str
    """Name of its file without the suffix."""
    urls: Mapping[str, str]
    """Path or URL by driver: s3, https or file."""
    day: date
    """Its day, UTC."""
    size: int | None = None
    """Size in bytes, if it is known exactly."""


@dataclass(frozen=True)
class GridListing:
    """The granules of a product within some days."""

    granules: tuple[GridGranule, ...]
    """Granules, by day and name."""
    doubled: Mapping[str, str] = field(default_factory=dict)
    """Granules that are not used, and the one of the same day that is: the last by name."""
    passed_over: Mapping[str, str] = field(default_factory=dict)
    """Files that were not taken, and why."""


@dataclass(frozen=True)
class GridQuery:
    """A query to CMR for granules of a gridded product."""

    search: GridSearch
    """What is asked for."""
    start: date
    """First day."""
    end: date
    """Last day."""

    @property
    def endpoint(self) -> str:
        """URL of CMR's search service."""
        return self.search.endpoint or CMR

    def build(self, form: str) -> Any:
        """Return the query as an earthaccess object.

        Parameters
        ----------
        form : str
            Form of the answer: ``umm_json`` or ``json``.
        """
        from earthaccess.search import DataGranules

        query = DataGranules().short_name(self.search.short_name)
        if self.search.provider is not None:
            query = query.provider(self.search.provider)
        if self.search.version is not None:
            query = query.version(self.search.version)
        return finish(query.temporal(f"{self.start}T00:00:00Z", f"{self.end}T23:59:59Z"), self.endpoint, form)


def search_grids(search: GridSearch, start: date, end: date, watch: Watch | None = None) -> GridListing:
    """Ask CMR for the granules of some days.

    Parameters
    ----------
    search : GridSearch
    start, end : date
        First and last day, UTC.
    watch : callable, optional
        Called after each page of CMR's answer.

    Raises
    ------
    CatalogError
        If CMR cannot be reached, or a record cannot be used.
    """
    query = GridQuery(search, start, end)
    found = [_from_umm(item) for page in pages(query, "umm_json", watch) for item in page]
    # CMR lists what touches the days, such as a granule that ends at midnight.
    return _each_day_once([one for one in found if start <= one.day <= end], {})


def _from_umm(item: Any) -> GridGranule:
    try:
        umm = item["umm"]
        related = [(TYPES.get(str(url["Type"])), str(url["URL"])) for url in umm.get("RelatedUrls", ())]
        urls = {driver: url for driver, url in related if driver and url.lower().endswith(SUFFIXES)}
        extent = umm["TemporalExtent"]
        moment = extent.get("SingleDateTime") or extent["RangeDateTime"]["BeginningDateTime"]
        files = umm.get("DataGranule", {}).get("ArchiveAndDistributionInformation", ())
        sizes = [one["SizeInBytes"] for one in files if str(one.get("Name", "")).lower().endswith(SUFFIXES)]
        day = date.fromisoformat(str(moment)[:10])
        name = _stem(next(iter(urls.values()))) if urls else str(umm.get("GranuleUR"))
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as problem:
        raise CatalogError(
            f"CMR gave a record that is not a granule ({type(problem).__name__}: {problem}): {str(item)[:200]}"
        ) from problem
    if not urls:
        raise CatalogError(f"granule {name}: CMR lists no netCDF or HDF5 file; ask for a gridded product")
    for url in urls.values():
        if not of_the_archive(url):
            raise CatalogError(f"granule {name}: {url} is not in NASA's archive; nothing is read from there")
    return GridGranule(name, urls, day, sizes[0] if len(sizes) == 1 and isinstance(sizes[0], int) else None)


def grids_in(places: Sequence[str], start: date, end: date) -> GridListing:
    """List the granules of some days in folders and patterns.

    Parameters
    ----------
    places : sequence of str
        Folders, patterns or files.
    start, end : date
        First and last day, UTC; the day of a file is the first one in its name.

    Raises
    ------
    CatalogError
        If one of the places holds no file of a grid.
    """
    found: dict[Path, GridGranule] = {}
    passed: dict[str, str] = {}
    for place in places:
        path = local_place(place, "granules")
        below = path.rglob("*") if path.is_dir() else map(Path, glob.glob(str(path), recursive=True))
        files = [file for file in sorted(below) if file.is_file() and file.name.lower().endswith(SUFFIXES)]
        if not files:
            raise CatalogError(f"no granules at {place}: give a folder with .nc files, or a pattern in quotes")
        for file in files:
            day = _day_of(file.name)
            if day is None:
                passed[str(file)] = "its name holds no day"
            elif start <= day <= end:
                found[file.resolve()] = GridGranule(
                    _stem(file.name), {"file": str(file.absolute())}, day, file.stat().st_size
                )
    return _each_day_once(list(found.values()), passed)


def _stem(url: str) -> str:
    name = url.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if name.lower().endswith(SUFFIXES) else name


def _day_of(name: str) -> date | None:
    """Return the first day in a file's name."""
    for found in DAY_IN_NAME.finditer(name):
        try:
            return date(*map(int, found.groups()))
        except ValueError:
            continue
    return None


def _each_day_once(granules: Sequence[GridGranule], passed: Mapping[str, str]) -> GridListing:
    """Take one granule of each day, the last by name: a later version or time of production."""
    best: dict[date, GridGranule] = {}
    doubled: dict[str, str] = {}
    for one in sorted(granules, key=lambda one: one.id):
        before = best.get(one.day)
        best[one.day] = one
        if before is not None and before.id != one.id:
            doubled[before.id] = one.id
    return GridListing(tuple(best[day] for day in sorted(best)), doubled, dict(passed))


def expected_days(start: date, end: date, interval: str) -> list[date]:
    """Return the days of which granules are expected.

    Parameters
    ----------
    start, end : date
        First and last day.
    interval : {"day", "month", "none"}
        Every day, the first day of every month, or none.
    """
    every = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    if interval == "month":
        return sorted({day.replace(day=1) for day in every})
    return every if interval == "day" else []
