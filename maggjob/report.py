"""What a run did, as text."""

from collections.abc import Mapping

from maggjob.pipeline import RunResult
from maggjob.planning import Plan


def _counts(counts: Mapping[str, int], first: str) -> str:
    """``8 planned: 5 complete, 2 empty, ...``; states that none is in are left out."""
    others = ", ".join(f"{n:,} {state}" for state, n in counts.items() if state != first and n)
    return f"{counts[first]:,}" + (f": {others}" if others else "")


def summary(result: RunResult) -> str:
    """The last lines that a run prints."""
    plain, tally = result.to_dict(), result.tally
    granules = {"all": sum(tally.granules.values())} | dict(tally.granules)
    segments = {"rows": tally.segments["rows"]} | dict(tally.segments)
    lines = [
        f"cells         {_counts(tally.cells, 'planned')} ({plain['cells_with_data']:,} with data)",
        f"granules      {_counts(granules, 'all')}",
        f"segments      {_counts(segments, 'rows')}",
        f"observations  {tally.observations:,}",
    ]
    for reason, error in tally.errors.items():
        example = error["examples"][0]
        first_line = str(example["message"]).strip().splitlines()[-1]
        lines.append(f"failed        {error['count']:,} x {reason}, such as {example['what']}: {first_line}")
    lines += [
        f"time          {result.wall_time_s:.1f} s, {plain['worker_time_s']:.1f} s of work",
        f"workers       {result.workers} on {result.backend}",
        f"read          {plain['bytes_read'] / 1e6:,.1f} MB in {plain['requests']:,} requests",
        f"output        {result.store_path}, group {result.group}",
        f"parts         {plain['parts_path']}",
    ]
    return "\n".join(lines)


def plan_text(plan: Plan) -> str:
    """What a dry run prints."""
    plain = plan.to_dict()
    return "\n".join(
        [
            f"cells     {plain['total_cells']:,}",
            f"granules  {plain['total_granules']:,}, read by {plain['driver']}",
            f"pairs     {plain['total_pairs']:,}",
            f"a cell    {plain['granules_per_cell_avg']:.1f} granules, {plain['granules_per_cell_max']} at most",
            f"window    {plain['window']}",
            f"output    {plain['store_path']}",
        ]
    )
