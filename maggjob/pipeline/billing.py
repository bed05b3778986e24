"""What a session's calls on Lambda cost: how many workers, the limit on the cost, and the bill after the run."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from maggjob.backend.bill import BillLine, CostLine, Prices, Stage, join_bills
from maggjob.backend.bills import Bill, aws_caller, keep_bill, payer
from maggjob.backend.settings import BackendSettings, settings_of
from maggjob.backend.spending import SpendGuard, check_limit
from maggjob.errors import AccessError, InputError, StoreError
from maggjob.pipeline.description import RunDescription, SessionOptions
from maggjob.pipeline.reach import check_region
from maggjob.planning.cloud import CloudRun, sum_of
from maggjob.planning.requests import S3Requests, call_requests
from maggjob.planning.workers import choose_workers


def settings_for(backend: str, run: RunDescription, options: SessionOptions) -> BackendSettings:
    """Return where the calls of a run are executed; on Lambda, by how many workers is chosen by cost.

    Parameters
    ----------
    backend : {"localhost", "aws_lambda", "serial"}
        Backend of the calls.
    run : RunDescription
        Description of the work.
    options : SessionOptions
        Options of the run.

    Raises
    ------
    InputError
        If an option or the Lithops configuration cannot be used, or workers could not read the granules from their
        region.
    """
    check_limit(options.max_cost)
    tasks, cloud = next(iter(run.totals.values()), 1), run.cloud

    def choose(limit: int) -> int:
        return limit if cloud is None else choose_workers(cloud, limit).chosen.workers

    given = (tasks, options.max_workers, options.lithops_config, options.region)
    # First, as the choice looks for parts of an earlier attempt in the bucket.
    check_region(settings_of(backend, *given), run)
    return settings_of(backend, *given, choose)


def prices_of(settings: BackendSettings) -> Prices:
    """Return the prices of AWS for the memory of the workers of a run."""
    return Prices(memory_gb=settings.memory_mb / 1024)


def expected_run(run: RunDescription, settings: BackendSettings) -> CloudRun | None:
    """Return what a run is expected to take on Lambda; None if that is unknown, and on other backends.

    Parameters
    ----------
    run : RunDescription
        Description of the work.
    settings : BackendSettings
        Where the calls are executed.
    """
    if run.cloud is None or settings.backend != "aws_lambda":
        return None
    return run.cloud(settings.workers, prices_of(settings))


def guard_for(limit: float | None, settings: BackendSettings, expected: CloudRun | None) -> SpendGuard | None:
    """Return what sums the cost of the calls of a run, and stops it at a limit; None if the backend costs nothing.

    Parameters
    ----------
    limit : float or None
        US dollars; None for no limit.
    settings : BackendSettings
        Where the calls are executed.
    expected : CloudRun or None
        What the run is expected to take.

    Raises
    ------
    InputError
        If the run is expected to cost more than the limit.
    """
    if settings.backend != "aws_lambda":
        return None
    if limit is not None and expected is not None and expected.dollars > limit:
        raise InputError(
            f"the run is expected to cost ${expected.dollars:.4f} on Lambda, more than the limit of ${limit:g}; nothing"
            f" was started: type --max-cost {_above(expected.dollars)} (max_cost), or take fewer cells or granules"
        )
    prices = prices_of(settings)
    each = 3 * prices.put + 4 * prices.get + prices.call + prices.log_mb_a_call * prices.log_mb
    if expected is not None and expected.calls:
        of_seconds = sum(line.dollars for line in expected.bill if line.unit == "GB-s")
        each = max(each, (expected.dollars - of_seconds) / expected.calls)
    return SpendGuard(limit, settings.memory_mb, each, prices)


def _above(dollars: float) -> str:
    """Return a number with two digits that is more than some dollars, as one types it."""
    step = 10.0 ** (len(f"{int(dollars)}") - 2) if dollars >= 1 else 0.01
    return f"{(int(dollars / step) + 1) * step:.4g}"


def bill_of_run(
    stages: Sequence[Stage], own: S3Requests, wall_s: float, expected: CloudRun | None, prices: Prices | None = None
) -> list[BillLine]:
    """Return the bill of a run, line by line, each beside what was expected; nothing if no call was billed.

    Seconds and calls are those that were measured. Requests to buckets are counted from the calls that were made, and
    from what the job says it did (`maggjob.planning.requests`).

    Parameters
    ----------
    stages : sequence of Stage
        The calls by stage.
    own : S3Requests
        Requests of the job, apart from those of Lithops.
    wall_s : float
        Seconds of the run so far.
    expected : CloudRun or None
        What was expected.
    prices : Prices, optional
        By default the prices of `Prices.date`.
    """
    if not stages:
        return []
    prices, calls = prices or Prices(), sum(stage.submitted for stage in stages)
    started, large = sum(stage.cold_starts for stage in stages), sum(stage.large for stage in stages)
    asked = own + call_requests(calls, len(stages), started, large, wall_s)
    requests = (
        CostLine("S3 GET", asked.gets, "requests", prices.get),
        CostLine("S3 PUT", asked.puts, "requests", prices.put),
    )
    bills: Iterable[Sequence[CostLine]] = [*(stage.bill for stage in stages), requests]
    return join_bills(bills, None if expected is None else sum_of(expected.bill))


@cache
def who_pays() -> str | None:
    """Return the name of who runs this, which is asked for once."""
    return payer(caller=aws_caller)


def keep(summary: Mapping[str, Any], settings: BackendSettings) -> str | None:
    """Keep the bill of a run in Lithops' bucket; return why that failed, None if it did not.

    A run does not fail because its bill could not be kept: the summary holds the bill, and says why.

    Parameters
    ----------
    summary : mapping
        Summary of the run, as plain values.
    settings : BackendSettings
        Where the calls were executed.
    """
    if "bill" not in summary or settings.private_bucket is None:
        return None
    lines = {line["what"]: line["dollars"] for line in summary["bill"]}
    bill = Bill(
        summary["user"],
        summary["started"],
        summary["store_path"],
        summary["complete"],
        summary["workers"],
        summary["wall_time_s"],
        summary["dollars"],
        summary["expected_dollars"],
        lines,
    )
    try:
        keep_bill(bill, settings.private_bucket, settings.region)
    except (AccessError, StoreError) as problem:
        return f"the bill was not kept in Lithops' bucket: {problem}"
    return None
