"""What a run would do, or did, as text. A summary is made of ``summary.json``'s content alone."""

from collections.abc import Mapping
from typing import Any

from maggjob.planning import Plan


def _counts(counts: Mapping[str, int], first: str) -> str:
    """``8 planned: 5 complete, 2 empty, ...``; states that none is in are left out."""
    others = ", ".join(f"{n:,} {state}" for state, n in counts.items() if state != first and n)
    return f"{counts[first]:,}" + (f": {others}" if others else "")


def summary(result: Mapping[str, Any]) -> str:
    """The last lines that a run prints.

    Parameters
    ----------
    result : mapping
        From `RunResult.to_dict`, or read back from summary.json.
    """
    cells, wall = result["cells"], max(result["wall_time_s"], 1e-9)
    granules = {"all": sum(result["granules"].values())} | dict(result["granules"])
    segments = {"rows": result["segments"]["rows"]} | dict(result["segments"])
    lines = [
        f"cells         {_counts(cells, 'planned')} ({result['cells_with_data']:,} with data)",
        f"granules      {_counts(granules, 'all')}",
        f"segments      {_counts(segments, 'rows')}",
        f"observations  {result['total_obs']:,}",
    ]
    for reason, error in result["errors"].items():
        example = error["examples"][0]
        last_line = str(example["message"]).strip().splitlines()[-1]
        lines.append(f"failed        {error['count']:,} x {reason}, such as {example['what']}: {last_line}")
    kept = "not replaced, as the new result is not complete (--allow-partial does)"
    result_state = f"group {result['group']}" if result["published"] else kept
    lines += [
        f"time          {wall:.1f} s, {cells['planned'] / wall:.1f} cells a second",
        f"work          {result['worker_time_s']:.1f} s in all workers",
        f"workers       {result['workers']} on {result['backend']}, {result['peak_memory'] / 2**20:,.0f} MB at most",
        f"read          {result['bytes_read'] / 1e6:,.1f} MB in {result['requests']:,} requests",
        f"output        {result['store_path']}, {result_state}",
        f"parts         {result['parts_path']} (remove them with 'maggjob clean {result['store_path']}')",
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
