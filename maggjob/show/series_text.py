"""The plan and the result of a series as text."""

from maggjob.pipeline.series import SeriesResult
from maggjob.planning.series import PODAAC_YEAR, SeriesPlan
from maggjob.show.bill_text import bill_lines


def plan_lines(plan: SeriesPlan) -> list[str]:
    """Return the lines about a plan.

    Parameters
    ----------
    plan : SeriesPlan
    """
    missing = f", such as {plan.missing[0]}" if plan.missing else ""
    return [
        f"days          {plan.start} to {plan.end}",
        f"granules      {len(plan.listing.granules):,}, read by {plan.driver}",
        f"missing       {len(plan.missing):,} of one every {plan.config.interval}{missing}",
        f"doubled       {len(plan.listing.doubled):,}",
        f"output        {plan.store}",
        f"Lambda        about {plan.choice.brief} (a year by PO.DAAC's own job: ${PODAAC_YEAR})",
        *(f"  {line.what:<12}{line.quantity:>12,.1f} {line.unit:<9} ${line.dollars:.4f}" for line in plan.bill()),
    ]


def result_lines(result: SeriesResult) -> list[str]:
    """Return the lines about a result.

    Parameters
    ----------
    result : SeriesResult
    """
    told, summary = result.summary["series"], result.summary
    states = ", ".join(f"{told[state]:,} {state}" for state in ("used", "empty", "failed"))
    lines = [
        f"granules      {told['granules']:,}: {states} ({told['taken']:,} of an earlier run)",
        f"times         {told['times']:,}: {told['missing']:,} missing, {told['doubled']:,} granules doubled",
    ]
    for reason, errors in told["errors"].items():
        lines.append(f"  {reason:<12}{errors['count']:,}: {errors['examples'][0]['message']}")
    lines += [f"slow          {told['read_by_h5py']:,} granules read by h5py"] if told["read_by_h5py"] else []
    for stage in summary.get("stages", []):
        lines.append(f"Lambda        {stage['name']}: {stage['calls']:,} calls, ${stage['dollars']:.4f}")
    lines += bill_lines(summary)
    read = f"{told['bytes_read'] / 1e6:,.1f} MB in {told['requests']:,} requests"
    lines += [
        f"time          {summary['wall_time_s']:.1f} s, {told['worker_time_s']:.1f} s in all workers",
        f"read          {read}",
    ]
    if not summary["published"]:
        return [*lines, "output        nothing: no granule could be read"]
    return [*lines, f"output        {result.plan.store}, {summary['netcdf']}, {summary['picture']}"]
