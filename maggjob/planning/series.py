"""The plan of a series: its granules, what exists already, and what it would cost on Lambda."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from maggjob.backend.bill import CostLine, Prices
from maggjob.backend.settings import FAIR_SHARE, QUOTA
from maggjob.catalog.grids import GridGranule, GridListing, expected_days, grids_in, search_grids
from maggjob.config.schema import digest_of
from maggjob.config.series import SeriesConfig, load_series_config
from maggjob.errors import CatalogError, InputError
from maggjob.inputs.places import store_place
from maggjob.model.display import Displayed
from maggjob.model.means import MeanTask
from maggjob.planning.cloud import CloudRun, plain_run
from maggjob.planning.requests import S3Requests
from maggjob.planning.workers import Choice, choose_workers

GRANULE_S = 0.014
"""Seconds of a worker for a granule of MUR25 and its mask, measured (benchmarks/series.py)."""
REQUESTS, LATENCY = 6, 0.03
"""Requests for a granule, one after the other, and seconds until the first byte of each arrives."""
OWN = S3Requests(gets=20, puts=60)
"""Requests of the client that do not grow with the series, about; each granule adds the PUT of its part."""
PODAAC_YEAR = 0.72
"""Dollars of a year of MUR25 by PO.DAAC's own job, as its guide states."""


@dataclass(frozen=True, repr=False)
class SeriesPlan(Displayed):
    """What a series is made of."""

    config: SeriesConfig
    """The configuration."""
    start: date
    """First day."""
    end: date
    """Last day."""
    listing: GridListing
    """Granules of these days."""
    driver: str
    """How they are read: s3, https or file."""
    store: str
    """Path or URL of the Zarr to write."""

    @property
    def missing(self) -> list[date]:
        """Days, or first days of months, of which a granule is expected and none exists."""
        interval = self.config.interval
        there = {one.day.replace(day=1) if interval == "month" else one.day for one in self.listing.granules}
        return [day for day in expected_days(self.start, self.end, interval) if day not in there]

    @property
    def digest(self) -> str:
        """SHA-256 of all that determines the result."""
        granules = [[one.id, one.size] for one in self.listing.granules]
        return digest_of([self.config.digest, str(self.start), str(self.end), granules])

    def url(self, granule: GridGranule) -> str:
        """Return the path or URL of a granule."""
        return granule.urls[self.driver]

    def tasks(self, parts: str, credentials: str | None, region: str | None) -> list[MeanTask]:
        """Return one task per granule.

        Parameters
        ----------
        parts : str
            Folder or prefix of the parts.
        credentials : str or None
            Path or URL of the archive's credentials.
        region : str or None
            Region of the buckets.
        """
        own = (self.config.recipe, parts, credentials, region)
        return [MeanTask(one.id, self.url(one), one.size, str(one.day), *own) for one in self.listing.granules]

    def cloud(self, workers: int, prices: Prices | None = None, *, left: int | None = None) -> CloudRun:
        """Return what the run takes on AWS Lambda, for granules like those of MUR25.

        Parameters
        ----------
        workers : int
            Maximum number of workers at once.
        prices : Prices, optional
            By default the prices of `Prices.date`.
        left : int, optional
            Number of granules that an earlier run has not read; all by default.
        """
        every = len(self.listing.granules)
        calls = every if left is None else left
        own = OWN + S3Requests(gets=every - calls, puts=calls)
        return plain_run([GRANULE_S + REQUESTS * LATENCY] * calls, own, workers, prices)

    @cached_property
    def choice(self) -> Choice:
        """The run on AWS Lambda whose number of workers is chosen by cost, and the fastest one."""
        return choose_workers(self.cloud, FAIR_SHARE, QUOTA)

    def bill(self, prices: Prices | None = None) -> list[CostLine]:
        """Return the expected bill on AWS Lambda, for granules like those of MUR25."""
        return list(self.cloud(self.choice.chosen.workers, prices).bill)

    @property
    def dollars(self) -> float:
        """Expected cost on AWS Lambda, US dollars."""
        return self.choice.chosen.dollars

    def facts(self) -> dict[str, object]:
        """Return what is shown of a plan."""
        return {
            "days": f"{self.start} to {self.end}",
            "granules": f"{len(self.listing.granules):,}, read by {self.driver}",
            "missing": f"{len(self.missing):,} of {len(expected_days(self.start, self.end, self.config.interval)):,}",
            "doubled": len(self.listing.doubled),
            "store": self.store,
            "Lambda": f"{self.choice.brief}; a year of PO.DAAC's job is ${PODAAC_YEAR}",
        }


def plan_series(
    config: str | Path | Mapping[str, Any] | SeriesConfig,
    *,
    start: str | date,
    end: str | date,
    files: str | Path | Sequence[str | Path] | None = None,
    store: str | Path | None = None,
    driver: str | None = None,
) -> SeriesPlan:
    """Find the granules of a series.

    Parameters
    ----------
    config : str, Path, mapping or SeriesConfig
        Configuration file, name of a built-in one, or its content.
    start, end : str or date
        First and last day, UTC, such as 2019-01-01.
    files : str, Path or sequence of them, optional
        Folders, patterns or files, in place of a search of CMR.
    store : str or Path, optional
        The Zarr to write; by default that of the configuration, else ./<name of the configuration>.zarr.
    driver : str, optional
        s3, https or file; by default that of the configuration.

    Raises
    ------
    MaggjobError
        If the configuration or the days are invalid, or there is no granule in these days.
    """
    loaded = load_series_config(config)
    first, last = _day(start, "start"), _day(end, "end")
    if first > last:
        raise InputError(f"start {first} is after end {last}; swap them")
    if files is not None:
        places = [files] if isinstance(files, (str, Path)) else list(files)
        listing, chosen = grids_in([str(place) for place in places], first, last), "file"
    elif loaded.search is None:
        raise InputError("neither files nor a search: give --files, or search: in the configuration")
    else:
        listing, chosen = search_grids(loaded.search, first, last), driver or loaded.driver
    if not listing.granules:
        raise CatalogError(f"no granule from {first} to {last}; check the days, and the product or the files")
    for one in listing.granules:
        if chosen not in one.urls:
            raise InputError(f"granule {one.id} cannot be read by {chosen!r}; known for it are {', '.join(one.urls)}")
    named = store if store is not None else loaded.store
    if named is None:
        if not isinstance(config, (str, Path)):
            raise InputError("no store: give store=, or store: in the configuration")
        named = f"{Path(config).stem}.zarr"
    return SeriesPlan(loaded, first, last, listing, chosen, store_place(named))


def _day(given: str | date, name: str) -> date:
    try:
        return given if isinstance(given, date) else date.fromisoformat(given)
    except ValueError as problem:
        raise InputError(f"{name} is {given!r}; write a day as 2019-01-31") from problem
