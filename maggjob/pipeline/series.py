"""The series job, from a configuration to a time series: map the granules, reduce what they give.

A granule that was read once is not read again: its part stays, and a later end adds only what is new.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maggjob.backend.bill import Prices
from maggjob.backend.outcome import Outcome
from maggjob.backend.settings import settings_of
from maggjob.config.series import SeriesConfig
from maggjob.errors import RETRYABLE, ExistsError
from maggjob.jobs.granule_mean import map_granule, report_of
from maggjob.model.display import Displayed
from maggjob.model.means import MeanReport, MeanTask
from maggjob.model.tasks import Granule
from maggjob.output.publish import publish
from maggjob.output.series_files import (
    DOUBLED,
    FAILED,
    MISSING,
    USED,
    SeriesRow,
    check_installed,
    netcdf_bytes,
    picture,
    series_dataset,
    zarr_objects,
)
from maggjob.output.series_rows import series_ledger, series_rows
from maggjob.output.series_span import DIGEST, SPAN, check_kept, series_attributes, stored_span, whole_span
from maggjob.output.table import put_table
from maggjob.pipeline.reach import check_reach
from maggjob.pipeline.resume import ask_versions
from maggjob.pipeline.session import RunDescription, Session, SessionOptions
from maggjob.pipeline.target import check_folder
from maggjob.planning.cloud import CloudRun
from maggjob.planning.requests import S3Requests
from maggjob.planning.series import OWN, SeriesPlan, plan_series
from maggjob.storage.archive import Archive
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import PARTS, run_folder
from maggjob.storage.urls import is_remote, local_path

if TYPE_CHECKING:
    import xarray as xr

WINDOW = "series"
"""Folder of the parts below that of a run."""
READERS = 32
"""Parts read concurrently."""


@dataclass(frozen=True)
class SeriesOptions(SessionOptions):
    """Options of a run of the series job."""

    overwrite: bool = False
    """Whether to replace a series that was made with another configuration, and to read all granules again."""


@dataclass(frozen=True, repr=False)
class SeriesResult(Displayed):
    """The result of the series job."""

    plan: SeriesPlan
    """What it is made of."""
    reports: tuple[MeanReport, ...]
    """Outcome of each granule."""
    rows: tuple[SeriesRow, ...]
    """The series, and the times without values."""
    taken: int
    """Number of granules that an earlier run had read."""
    summary: Mapping[str, Any]
    """The summary as written."""

    @property
    def complete(self) -> bool:
        """True if every granule was read."""
        return not any(report.state == "failed" for report in self.reports)

    def facts(self) -> dict[str, object]:
        """Return what is shown of a result."""
        return {"store": self.plan.store, "complete": "yes" if self.complete else "no", **self.summary["series"]}


def series(
    config: str | Path | Mapping[str, Any] | SeriesConfig, *, dry_run: bool = False, **options: Any
) -> SeriesResult | SeriesPlan:
    """Make a time series of area-weighted means of gridded granules.

    Days of a series that exists stay, though they are not asked for.

    Parameters
    ----------
    config : str, Path, mapping or SeriesConfig
        Configuration file, name of a built-in one (``mur25_sst.yaml``), or its content.
    dry_run : bool
        If True, only find the granules, and return the plan.
    **options
        ``start``, ``end``, ``files``, ``store`` and ``driver`` as for `maggjob.planning.series.plan_series`; and those
        of `SeriesOptions`: ``backend``, ``max_workers``, ``region``, ``lithops_config``, ``deadline``, ``watch``,
        ``max_cost`` and ``overwrite``.

    Returns
    -------
    SeriesResult or SeriesPlan
        The plan if ``dry_run``.

    Raises
    ------
    MaggjobError
        If the run cannot start. The failure of a granule raises nothing: it is recorded in the result.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate_sst("sst", start="2019-01-01", end="2019-01-05", every=12)
    >>> result = series("mur25_sst.yaml", files="sst", start="2019-01-01", end="2019-01-05", backend="serial")
    >>> len(result.rows), result.complete
    (5, True)
    """
    own = {field.name: options.pop(field.name) for field in fields(SeriesOptions) if field.name in options}
    how, plan = SeriesOptions(**own), plan_series(config, **options)
    session = None if dry_run else Session(_described(plan, how), how)
    region = how.region if session is None else session.region
    if not how.overwrite and (span := whole_span(plan, region)) != (plan.start, plan.end):
        asked, plan = plan, plan_series(config, **options | dict(zip(("start", "end"), span, strict=True)))
        check_kept(plan, asked, region)
        session = None if dry_run else Session(_described(plan, how), how)
    if session is None:
        check_reach(how.backend, _described(plan, how))
        return plan
    check_installed()
    check_series_target(plan, session.region, overwrite=how.overwrite)
    with session:
        check_series_target(plan, session.region, overwrite=how.overwrite)
        return _carry_out(session, plan, how)


def _described(plan: SeriesPlan, how: SeriesOptions) -> RunDescription:
    digests = {"run": plan.digest, "configuration": plan.config.digest}
    granules = plan.listing.granules
    urls = list(map(plan.url, granules))
    return RunDescription(plan.store, WINDOW, {"granules": len(granules)}, digests, urls, cloud=_Cloud(plan, how))


@dataclass(frozen=True)
class _Cloud:
    """What a series takes on Lambda with some number of workers (`maggjob.planning.cloud.CloudEstimate`)."""

    plan: SeriesPlan
    how: SeriesOptions

    @cached_property
    def left(self) -> int:
        """Number of granules that no earlier run has read."""
        folder, names = run_folder(self.plan.store), {one.id for one in self.plan.listing.granules}
        region = settings_of("aws_lambda", 1, 1, self.how.lithops_config, self.how.region).region
        if self.how.overwrite or not exists(folder, region):
            return len(names)
        keys = Folder(folder, region).keys(PARTS)
        return len(names - {key.rpartition("/")[2].removesuffix(".json") for key in keys})

    def __call__(self, workers: int, prices: Prices | None = None) -> CloudRun:
        """Return what the run takes."""
        return self.plan.cloud(workers, prices, left=self.left)


def check_series_target(plan: SeriesPlan, region: str | None, *, overwrite: bool) -> None:
    """Check that the files of a series may be written.

    Parameters
    ----------
    plan : SeriesPlan
    region : str or None
        Region of the bucket.
    overwrite : bool
        Whether a series of another configuration may be replaced.

    Raises
    ------
    ExistsError
        If something is there that is not a series of the same configuration, or one of other days.
    """
    check_folder(run_folder(plan.store), region)
    if not exists(plan.store, region):
        for beside in _beside(plan.store):
            if not is_remote(beside) and local_path(beside).exists():
                raise ExistsError(
                    f"{beside} exists, and is of no series at {plan.store}; move it, or give another store"
                )
        return
    if not is_remote(plan.store) and not local_path(plan.store).is_dir():
        raise ExistsError(f"{plan.store} is a file, not a series of maggjob; give another store")
    digest = series_attributes(plan.store, region).get(DIGEST)
    if digest is None:
        raise ExistsError(f"{plan.store} is not a series of maggjob and is not replaced; give another store")
    if digest != plan.config.digest and not overwrite:
        raise ExistsError(
            f"{plan.store} was made with another configuration or product; give --overwrite (overwrite=True), or "
            "another store"
        )
    span = None if overwrite else stored_span(plan, region)
    if span is not None and not plan.start <= span[0] <= span[1] <= plan.end:
        raise ExistsError(f"{plan.store} was extended meanwhile, to {span[0]} to {span[1]}; run again")


def _beside(store: str) -> tuple[str, str]:
    """Return the paths of the netCDF and of the picture, which lie beside the Zarr."""
    base = store.removesuffix("/").removesuffix(".zarr")
    return f"{base}.nc", f"{base}.png"


def _carry_out(session: Session, plan: SeriesPlan, how: SeriesOptions) -> SeriesResult:
    parts = f"{session.folder}/{PARTS}/{WINDOW}"
    tasks = plan.tasks(parts, session.credentials, session.region)
    known = {} if how.overwrite else _saved(tasks, session)
    left = [task for task in tasks if task.id not in known]
    session.begin("map", taken=len(known))
    mapped = _mapped(session, left, how)
    session.begin("assembly")
    rows, reports = series_rows(plan, [known.get(task.id) or mapped[task.id] for task in tasks])
    told = _told(plan, reports, rows, len(known))
    lost = told["failed"] == len(reports)
    if not lost:
        dataset = series_dataset(plan.config, rows, _units(reports), _attributes(plan, rows))
        session.check_lock()
        _write(plan, session.region, dataset)
    ledger = put_table(series_ledger(plan, reports), Folder(session.folder, session.region))
    beside = dict(zip(("netcdf", "picture"), _beside(plan.store), strict=True))
    session.own_requests += OWN + S3Requests(gets=len(known), puts=len(left))
    summary = session.finish(
        {
            "complete": told["failed"] == 0,
            "published": not lost,
            "simulated": _is_simulated(plan),
            "series": told,
            "ledger_digest": ledger.digest,
            **beside,
        }
    )
    return SeriesResult(plan, reports, rows, len(known), summary)


def _saved(tasks: Sequence[MeanTask], session: Session) -> dict[str, MeanReport]:
    """Return the reports of granules that were read before, and have not changed since, from their parts."""
    folder = Folder(session.folder, session.region)
    there = set(folder.keys(PARTS))
    own = [task for task in tasks if f"{PARTS}/{WINDOW}/{task.id}.json" in there]
    with ThreadPoolExecutor(READERS) as pool:
        contents = pool.map(lambda task: folder.get(f"{PARTS}/{WINDOW}/{task.id}.json"), own)
        found = {task: report_of(task, content) for task, content in zip(own, contents, strict=True)}
    granules = [Granule(task.id, task.url, task.size) for task, report in found.items() if report is not None]
    # Those whose versions nobody tells here, as from outside the region of a bucket, are known by their sizes.
    now = ask_versions(granules, Archive(session.credentials, session.region))
    every = {report.id: report for report in found.values() if report is not None}
    return {name: report for name, report in every.items() if now.get(name, report.version) == report.version}


def _mapped(session: Session, tasks: Sequence[MeanTask], how: SeriesOptions) -> dict[str, MeanReport]:
    """Map granules; those that lack something that another attempt may read are mapped once more."""
    found: dict[str, MeanReport] = {}
    for stage in ("map", "again"):
        again = [task for task in tasks if stage == "map" or found[task.id].reason in RETRYABLE]
        if again:
            outcomes = session.map(stage, map_granule, again, how.watch, begin=False)
            found |= {task.id: _report(task, one) for task, one in zip(again, outcomes, strict=True)}
    return found


def _report(task: MeanTask, outcome: Outcome[MeanReport]) -> MeanReport:
    if outcome.value is not None:
        return outcome.value
    return MeanReport(task.id, "failed", reason=outcome.reason, message=outcome.message)


def _units(reports: Sequence[MeanReport]) -> Mapping[str, str]:
    return next((report.units for report in reports if report.units), {})


def _told(plan: SeriesPlan, reports: Sequence[MeanReport], rows: Sequence[SeriesRow], taken: int) -> dict[str, Any]:
    """Return the counts of a series."""
    states = [report.state for report in reports]
    errors: dict[str, dict[str, Any]] = {}
    for report in reports:
        if report.reason is not None:
            one = errors.setdefault(report.reason, {"count": 0, "examples": []})
            one["count"] += 1
            if len(one["examples"]) < 5:
                one["examples"].append({"granule": report.id, "message": report.message})
    return {
        "start": str(plan.start),
        "end": str(plan.end),
        "times": len(rows),
        "granules": len(reports),
        **{state: states.count(state) for state in ("used", "empty", "failed")},
        "doubled": len(plan.listing.doubled),
        "missing": len(plan.missing),
        "taken": taken,
        "errors": errors,
        "bytes_read": sum(report.bytes_read for report in reports),
        "requests": sum(report.requests for report in reports),
        "worker_time_s": sum(report.seconds for report in reports),
        "read_by_h5py": sum(report.by_h5py for report in reports),
        "projected_dollars": plan.dollars,
    }


def _is_simulated(plan: SeriesPlan) -> bool:
    return any(one.id.endswith("-fv00.0") for one in plan.listing.granules)


def _attributes(plan: SeriesPlan, rows: Sequence[SeriesRow]) -> dict[str, Any]:
    """Return the global attributes, which are the same for every run on the same data."""
    config, states = plan.config, [row.state for row in rows]
    simulated = _is_simulated(plan)
    product = "" if config.search is None else f"{config.search.short_name}: "
    own = {name: list(value) if isinstance(value, tuple) else value for name, value in config.attrs.items()}
    return {
        "Conventions": "CF-1.11",
        "title": f"{'simulated: ' if simulated else product}area-weighted means of {', '.join(config.variables)}",
        "time_coverage_start": str(plan.start),
        "time_coverage_end": str(plan.end),
        "number_of_granules": states.count(USED) + states.count(DOUBLED),
        "number_of_missing_times": states.count(MISSING),
        "number_of_failed_granules": states.count(FAILED),
        "geospatial_lat_min": float(config.region.latitude[0]),
        "geospatial_lat_max": float(config.region.latitude[1]),
        **own,
        DIGEST: config.digest,
        SPAN: f"{plan.start}/{plan.end}",
    }


def _write(plan: SeriesPlan, region: str | None, dataset: "xr.Dataset") -> None:
    """Write the Zarr, and the netCDF and the picture beside it."""
    publish(plan.store, region, zarr_objects(dataset))
    for path, content in zip(_beside(plan.store), (netcdf_bytes(dataset), picture(dataset, plan.config)), strict=True):
        above, _, name = path.rpartition("/")
        Folder(above or ".", region, create=True).put(name, content)
