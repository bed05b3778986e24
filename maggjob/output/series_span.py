"""The days of a series that exists: those that a command does not ask for stay in it."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from maggjob.catalog.grids import expected_days
from maggjob.errors import ExistsError
from maggjob.inputs.plain_json import load_json
from maggjob.output.table import ledger
from maggjob.planning.series import SeriesPlan
from maggjob.storage.folder import Folder, exists
from maggjob.storage.urls import is_remote, local_path

DIGEST = "series_digest"
"""Attribute of a result: the digest of its configuration."""
SPAN = "series_days"
"""Attribute of a result: its first and last day, with a slash between."""


def series_attributes(store: str, region: str | None) -> Mapping[str, Any]:
    """Return the attributes of a series; none if there is nothing, or something else.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    region : str or None
        Region of the bucket.
    """
    if not exists(store, region) or not (is_remote(store) or local_path(store).is_dir()):
        return {}
    content = Folder(store, region).find("zarr.json")
    try:
        attributes = None if content is None else load_json(content, finite=False)["attributes"]
    except (ValueError, KeyError, TypeError):
        return {}
    return attributes if isinstance(attributes, dict) and DIGEST in attributes else {}


def stored_span(plan: SeriesPlan, region: str | None) -> tuple[date, date] | None:
    """Return the first and last day of the series that exists at the store of a plan; None without one of its kind.

    Parameters
    ----------
    plan : SeriesPlan
    region : str or None
        Region of the bucket.
    """
    attributes = series_attributes(plan.store, region)
    if attributes.get(DIGEST) != plan.config.digest:
        return None
    try:
        first, _, last = str(attributes.get(SPAN)).partition("/")
        return date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise ExistsError(
            f"{plan.store}: its attribute {SPAN} is {attributes.get(SPAN)!r}, not two days; give --overwrite "
            "(overwrite=True), or another store"
        ) from None


def whole_span(plan: SeriesPlan, region: str | None) -> tuple[date, date]:
    """Return the first and last day of the series with those of the plan.

    Parameters
    ----------
    plan : SeriesPlan
        What is asked for.
    region : str or None
        Region of the bucket.

    Raises
    ------
    ExistsError
        If there were expected days between that are in neither.
    """
    stored = stored_span(plan, region)
    if stored is None:
        return plan.start, plan.end
    (first, last), one, interval = stored, timedelta(days=1), plan.config.interval
    after = plan.start > last
    gap = expected_days(*((last + one, plan.start - one) if after else (plan.end + one, first - one)), interval)
    known = {*expected_days(first, last, interval), *expected_days(plan.start, plan.end, interval)}
    if set(gap) - known:
        asked = f"--start {last + one}" if after else f"--end {first - one}"
        raise ExistsError(
            f"{plan.store} holds {first} to {last}, and {plan.start} to {plan.end} leaves a gap; give {asked}, or "
            "another store"
        )
    return min(first, plan.start), max(last, plan.end)


def check_kept(plan: SeriesPlan, asked: SeriesPlan, region: str | None) -> None:
    """Check that granules of days that were not asked for are still listed, so that none of these days is lost.

    Parameters
    ----------
    plan : SeriesPlan
        Plan of all days of the series.
    asked : SeriesPlan
        Plan of the days that were asked for.
    region : str or None
        Region of the bucket.

    Raises
    ------
    ExistsError
        If one is not.
    """
    table = ledger(plan.store, region)
    read = {str(day) for day in table.cell[table.state.isin(["used", "empty", "failed"])]}
    listed = {str(one.day) for one in plan.listing.granules}
    lost = [day for day in sorted(read - listed) if not str(asked.start) <= day <= str(asked.end)]
    if lost:
        raise ExistsError(
            f"{plan.store} holds {plan.start} to {plan.end}, but no granule of {lost[0]} is listed now ({len(lost)} "
            f"such days); give all its files with --files, --start {plan.start} --end {plan.end} if these days may go, "
            "or another store"
        )
