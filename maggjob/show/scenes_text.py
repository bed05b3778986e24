"""The plan and the result of the scenes job as text."""

from maggjob.pipeline.scenes import ScenesResult
from maggjob.planning.scenes import ScenesPlan
from maggjob.show.bill_text import bill_lines


def plan_lines(plan: ScenesPlan) -> list[str]:
    """Return the lines about a plan.

    Parameters
    ----------
    plan : ScenesPlan
    """
    lines = [f"{name:<13} {value}" if len(name) < 14 else f"{name} {value}" for name, value in plan.facts().items()]
    lines += [f"unusable      {name}: {why}" for name, why in list(plan.listing.lost.items())[:5]]
    return [
        *lines,
        *(f"  {one.what:<12}{one.quantity:>12,.1f} {one.unit:<9} ${one.dollars:.4f}" for one in plan.bill()),
    ]


def result_lines(result: ScenesResult) -> list[str]:
    """Return the lines about a result.

    Parameters
    ----------
    result : ScenesResult
    """
    told, summary = result.summary["scenes"], result.summary
    results, scenes, pixels = (
        ", ".join(f"{count:,} {state}" for state, count in told[what].items() if count) or "none"
        for what in ("results", "scenes", "pixels")
    )
    lines = [
        f"results       {results} ({told['taken']:,} of an earlier run)",
        f"scenes        {scenes}; {told['reprojected']:,} reprojected ({result.plan.config.resampling})",
        f"pixels        {pixels}",
        f"no scene      {told['days_without_scenes']:,} days of a region",
    ]
    for reason, errors in told["errors"].items():
        first = errors["examples"][0]
        lines.append(f"  {reason:<12}{errors['count']:,}, such as {first['what']}: {first['message']}")
    billed = [
        f"Lambda        {s['name']}: {s['calls']:,} calls, ${s['dollars']:.4f}" for s in summary.get("stages", [])
    ]
    return [
        *lines,
        *billed,
        *bill_lines(summary),
        f"time          {summary['wall_time_s']:.1f} s, {told['worker_time_s']:.1f} s in all workers",
        f"read          {told['bytes_read'] / 1e6:,.1f} MB in {told['requests']:,} requests",
        f"output        {result.plan.store}: GeoTIFFs by region, index.parquet, contact.png",
    ]
