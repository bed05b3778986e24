"""Format plans, catalogs, and the status and summary of a run as text.

The text of a summary needs the content of ``summary.json`` only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from maggjob.backend.bill import Prices
from maggjob.backend.workers import default_workers
from maggjob.catalog.catalog import Catalog
from maggjob.icesat2.names import PRODUCT, window_label
from maggjob.output.verify import Verification
from maggjob.pipeline.history import HistoryEntry
from maggjob.pipeline.status import ENDED, RunNote, Status
from maggjob.pipeline.update import UpdatePlan
from maggjob.planning.cost import KEPT_SHARE, IndexWork, work_of
from maggjob.planning.plan import INDEX_PAYS, Plan
from maggjob.show.bill_text import bill_lines, stage_lines

UNMEASURED = f"estimates     made for {PRODUCT}; sizes and speeds of {{}} are not known"
NOT_OBSERVED = "data          simulated granules, not observations"
"""Line of a plan or summary of simulated granules."""
LAPTOP_MBIT = 50.0
"""Assumed speed of a laptop's connection, Mbit/s."""


def _counts(counts: Mapping[str, int], first: str) -> str:
    """Return the first count and the other nonzero ones as text, such as ``8: 5 complete, 2 empty``."""
    others = ", ".join(f"{n:,} {state}" for state, n in counts.items() if state != first and n)
    return f"{counts[first]:,}" + (f": {others}" if others else "")


def summary(result: Mapping[str, Any]) -> str:
    """Return the summary of a run as text.

    Parameters
    ----------
    result : mapping
        From `RunResult.to_dict`, or the content of summary.json.
    """
    if "cells" not in result:
        return _session_text(result)
    cells, wall = result["cells"], max(result["wall_time_s"], 1e-9)
    granules = {"all": sum(result["granules"].values())} | dict(result["granules"])
    segments = {"rows": result["segments"]["rows"]} | dict(result["segments"])
    lines = [
        f"cells         {_counts(cells, 'planned')} ({result['cells_with_data']:,} with data)",
        f"granules      {_counts(granules, 'all')}",
        f"segments      {_counts(segments, 'rows')}",
        f"observations  {result['total_obs']:,}",
    ]
    lines += [NOT_OBSERVED] if result.get("simulated") else []
    if result.get("found"):
        lines.append(f"found         {result['found']:,} parts of calls that gave no answer: they count as complete")
    lines += [f"absent        no granule has {what}" for what in result.get("absent", ())]
    turning = result.get("in_transition", ())
    lines += (
        [f"transition    {len(turning):,} granules, such as {turning[0]}: strong beams not known"] if turning else []
    )
    for name, children in sorted(result.get("fits", {}).items()):
        lines.append(f"fit           {name}: {', '.join(f'{n:,} {state}' for state, n in children.items() if n)}")
    lines += _error_lines(result["errors"])
    expected, slow = result.get("estimate"), result.get("read_by_h5py", 0)
    quarters = f"; {result['cells_in_quarters']:,} cells in quarters" if result.get("cells_in_quarters") else ""
    kept = "not replaced, because the new result is incomplete (--allow-partial replaces it)"
    result_state = f"group {result['group']}" if result["published"] else kept
    lines += [
        *_index_lines(result),
        *(line for stage in result.get("stages", []) for line in stage_lines(stage)),
        *bill_lines(result),
        f"time          {wall:.1f} s, {cells['planned'] / wall:.1f} cells per second",
        f"work          {result['worker_time_s']:.1f} s in all workers{quarters}",
        *([_held_against(expected, result)] if expected else []),
        f"workers       {result['workers']} on {result['backend']}, {result['peak_memory'] / 2**20:,.0f} MB at most",
        f"read          {result['bytes_read'] / 1e6:,.1f} MB in {result['requests']:,} requests",
        *([f"slow          {slow:,} reads by h5py, of layouts that h5coro cannot read"] if slow else []),
        f"output        {result['store_path']}, {result_state}",
        f"parts         {result['parts_path']} (remove them with 'maggjob clean {result['store_path']}')",
        *_warnings(result),
    ]
    return "\n".join(lines)


def _session_text(result: Mapping[str, Any]) -> str:
    """Return the summary of a run of any other job as text, from the keys that every summary has."""
    lines = []
    for stage, tasks in result["tasks"].items():
        failed = f", {tasks['failed']:,} failed" if tasks["failed"] else ""
        lines.append(f"{stage:<13} {tasks['tasks']:,} tasks: {tasks['done']:,} done{failed}")
        lines += _error_lines(tasks["errors"])
    return "\n".join(
        [
            *lines,
            *(line for name, value in result.items() if name not in OF_SESSION for line in _own_lines(name, value)),
            *(line for stage in result.get("stages", []) for line in stage_lines(stage)),
            *bill_lines(result),
            f"time          {result['wall_time_s']:.1f} s",
            f"workers       {result['workers']} on {result['backend']}",
            f"output        {result['store_path']}",
            *_warnings(result),
        ]
    )


def _warnings(result: Mapping[str, Any]) -> list[str]:
    """Return the lines about what does not concern the result, such as what could not be cleaned up."""
    return [f"warning       {text}" for text in result.get("warnings", ())]


OF_SESSION = frozenset(
    [
        *("store_path", "run_path", "parts_path", "window", "totals", "digests", "backend", "workers", "started"),
        *("wall_time_s", "stages", "tasks", "warnings", "complete", "published", "ledger_digest"),
        *("bill", "dollars", "expected_dollars", "user"),
    ]
)
"""Keys of every summary; the others are the job's own."""


def _own_lines(name: str, value: Any) -> list[str]:
    """Return the lines about a value of a job's own."""
    if not isinstance(value, Mapping):
        return [f"{name:<13} {str(value)[:200]}"]
    errors = value.get("errors", {})
    lines = [f"{name}: {key} {str(one)[:200]}" for key, one in value.items() if key != "errors"]
    known = isinstance(errors, Mapping) and all(isinstance(e, Mapping) and "examples" in e for e in errors.values())
    return lines + (_error_lines(errors) if known else [f"{name}: errors {str(errors)[:200]}"])


def _error_lines(errors: Mapping[str, Any]) -> list[str]:
    """Return one line per reason of failure, with the number of failures and an example."""
    lines = []
    for reason, error in errors.items():
        example = error["examples"][0]
        last_line = str(example["message"]).strip().splitlines()[-1]
        lines.append(f"failed        {error['count']:,} x {reason}, such as {example['what']}: {last_line}")
    return lines


def status_text(status: Status) -> str:
    """Return the status of a run as text; for a finished run, print its `summary`, too."""
    run, silent = status.run, _duration(status.silent_s or 0.0)
    unit = "parts" if run is None else run.unit
    lines = [*_run_lines(run), f"stage         {status.stage}", _parts_line(status)]
    if status.parts_per_minute is not None:
        left = "" if status.left_s is None else f"; {_duration(status.left_s)} left, or less: the longest come first"
        lines.append(f"pace          {status.parts_per_minute:,.1f} {unit} per minute{left}")
    if run is not None and status.stage == "stopped":
        lines.append(f"stopped       {silent} ago, in the stage {run.stage}, by {run.stopped}")
    if status.dollars is not None:
        lines.append(f"cost          ${status.dollars:.6f} on Lambda")
    if status.quiet:
        what = "no part" if status.stage == "map" else "no activity (this stage writes nothing here before its end)"
        again = "if so, run the same command again: it goes on where it stopped"
        lines.append(f"note          {what} for {silent}: the client may have stopped; {again}")
    if status.stage == "unknown":
        lines.append(
            "note          no run.json: a run by hand or of an earlier version of maggjob, whose cells are unknown"
        )
    return "\n".join(lines)


def _run_lines(run: RunNote | None) -> list[str]:
    """Return the lines that identify a run."""
    if run is None:
        return []
    return [
        f"run           {run.window}: {', '.join(f'{count:,} {what}' for what, count in run.totals.items())}",
        f"digests       {', '.join(f'{what} {digest[:12]}' for what, digest in run.digests.items())}",
        f"started       {run.started} on {run.backend}, {run.workers:,} workers at most",
    ]


def _parts_line(status: Status) -> str:
    """Return the line with the number of parts and the time of the last activity."""
    of = "" if status.run is None else f" of {status.run.parts:,} {status.run.unit}"
    if status.parts == 0 and status.stage == "index":
        began = _duration(status.silent_s or 0.0)
        return f"parts         none yet: the granules are indexed first, since {began}"
    if status.parts == 0 and status.stage in ("done", "assembly"):
        return "parts         none: deleted by 'maggjob clean', or the job writes none"
    newest = status.parts > 0 and status.stage in ("map", "unknown")
    going_on = newest or status.stage not in ENDED
    since = f"; {'the newest came' if newest else 'the stage began'} {_duration(status.silent_s or 0.0)} ago"
    return f"parts         {status.parts:,}{of}{since if going_on else ''}"


def _index_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the lines about the index stage: granules per state, time, and problems."""
    index = result.get("index")
    if not index:
        return []
    states = ", ".join(f"{count:,} {state}" for state, count in index["states"].items())
    why = (
        [f"no index      for example {index['problems'][0].strip().splitlines()[-1]}"] if index.get("problems") else []
    )
    if index.get("slow"):
        why.append(f"slow          {index['slow']:,} granules are read by h5py, as h5coro cannot read their layout")
    if index.get("added"):
        why.append(f"added         {index['added']:,} pairs of granule and cell that footprints missed")
    return [f"indexes       {states}, in {index['wall_time_s']:.1f} s, at {index['place']}", *why]


def _held_against(expected: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Return the line that compares the estimate of a run with its outcome."""
    pairs = (
        (f"{expected['observations']:,.0f}", f"{result['total_obs']:,}", "observations"),
        (f"{expected['bytes_read'] / 1e6:,.1f}", f"{result['bytes_read'] / 1e6:,.1f}", "MB"),
        (f"{expected['worker_time_s']:.1f}", f"{result['worker_time_s']:.1f}", "s of work"),
    )
    return "expected      " + ", ".join(f"{before} {unit} (was {after})" for before, after, unit in pairs)


def plan_dict(plan: Plan, workers: int | None = None) -> dict[str, Any]:
    """Return the output of ``maggjob plan --json``: the plan, and its estimates for this machine and Lambda.

    Parameters
    ----------
    plan : Plan
    workers : int, optional
        Maximum number of concurrent workers on Lambda; by default chosen by cost.
    """
    here, plain = default_workers(), plan.to_dict()
    over_https = replace(plan, driver="https").estimate
    on_lambda = plan.choice.chosen if workers is None else plan.cloud(workers)
    transfer = over_https.bytes_read * 8 / (LAPTOP_MBIT * 1e6)
    plain["here"] = {"workers": here, "wall_time_s": plan.estimate.wall_s(here)}
    plain["laptop"] = {
        "megabytes": over_https.bytes_read / 1e6,
        "megabits_a_second": LAPTOP_MBIT,
        "minutes": max(transfer, over_https.wall_s(here)) / 60,
    }
    by_cost = {"chosen_by_cost": workers is None, "fastest": plan.choice.fastest.to_dict()}
    plain["lambda"] = on_lambda.to_dict() | by_cost
    memory = Prices().memory_gb * 2**30
    depths = plan.split_depths(memory)
    pieces = {str(4**depth): depths.count(depth) for depth in sorted(set(depths)) if depth}
    plain["memory"] = {"largest_cell": plan.memory(), "worker": memory, "cells_by_pieces": pieces}
    plain["model"] = {
        "work": asdict(work_of(plan.worth_index)),
        "index": asdict(IndexWork()),
        "prices": asdict(Prices()),
        "kept_share": KEPT_SHARE,
    }
    return plain


def plan_text(plan: Plan, workers: int | None = None) -> str:
    """Return a plan and its estimates as text.

    Parameters
    ----------
    plan : Plan
    workers : int, optional
        Maximum number of concurrent workers on Lambda; by default chosen by cost.
    """
    plain = plan_dict(plan, workers)
    expected, laptop, cloud = plain["estimate"], plain["laptop"], plain["lambda"]
    by_cost, fastest = (", chosen by cost" if cloud["chosen_by_cost"] else ""), cloud["fastest"]
    longest = ", ".join(f"{cell} {time:.1f} s" for cell, time in expected["longest"][:3])
    speed = f"{_duration(60 * laptop['minutes'])} at {laptop['megabits_a_second']:.0f} Mbit/s"
    share = f"{plan.pairs / max(1, len(plan.positions)):.1f} cells per granule; worth building from {INDEX_PAYS:g}"
    setting = f"ARM64, {Prices().memory_gb} GB, {Prices().date}"
    lines = [
        f"cells         {plain['total_cells']:,}",
        f"granules      {plain['total_granules']:,}, read by {plain['driver']}",
        *([NOT_OBSERVED] if plain["simulated"] else []),
        f"pairs         {plain['total_pairs']:,}",
        f"per cell      {plain['granules_per_cell_avg']:.1f} granules, {plain['granules_per_cell_max']} at most",
        f"window        {plain['window']}",
        f"output        {plain['store_path']}",
        f"indexes       {'built' if plan.worth_index else 'none'}: {share}",
        *([UNMEASURED.format(", ".join(plain["unmeasured"]))] if plain["unmeasured"] else []),
        f"observations  about {expected['observations']:,.0f}",
        f"reads         about {expected['bytes_read'] / 1e6:,.0f} MB in {expected['requests']:,.0f} requests",
        f"memory        {plain['memory']['largest_cell'] / 1e6:,.0f} MB for the largest cell{_pieces(plain['memory'])}",
        f"work          about {expected['worker_time_s']:,.0f} s in all workers; longest {longest}",
        f"here          about {_duration(plain['here']['wall_time_s'])} with {plain['here']['workers']} workers",
        f"laptop        about {laptop['megabytes']:,.0f} MB over https, {speed}",
        f"Lambda        about {_duration(cloud['wall_time_s'])} with {cloud['workers']:,} workers{by_cost}; {setting}",
    ]
    lines += [f"  in quarters {cloud['cells_in_quarters']:>12,} cells"] if cloud["cells_in_quarters"] else []
    lines += [
        f"  {line['what']:<12}{line['quantity']:>12,.0f} {line['unit']:<9} ${line['dollars']:.4f}"
        for line in cloud["bill"]
    ]
    lines.append(f"  {'all':<34} ${cloud['dollars']:.4f}")
    quick = f"{_duration(fastest['wall_time_s'])} with {fastest['workers']:,} workers"
    lines.append(f"  {'the fastest: ' + quick:<34} ${fastest['dollars']:.4f}")
    return "\n".join(lines)


def _pieces(memory: Mapping[str, Any]) -> str:
    """Return how many cells are divided so that they fit in a worker on Lambda."""
    some = [f"{count:,} cells in {pieces} pieces" for pieces, count in memory["cells_by_pieces"].items()]
    return f"; {', '.join(some)}, to fit in {memory['worker'] / 2**30:g} GB" if some else ""


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def catalog_text(catalog: Catalog) -> str:
    """Return the content and the origin of a catalog as text."""
    granules, origin = catalog.granules, catalog.provenance
    sizes = [granule.size for granule in granules if granule.size is not None]
    drivers = sorted({driver for granule in granules for driver in granule.urls})
    times = sorted(time for granule in granules for time in (granule.start, granule.end) if time is not None)
    counts = [len(positions) for positions in catalog.cells.values()] or [0]
    lines = [
        f"granules      {len(granules):,}, {window_label(granule.id for granule in granules)}, by {', '.join(drivers)}",
        f"cells         {len(catalog.cells):,} of order {catalog.order}, {catalog.latitude}",
        f"pairs         {catalog.pairs:,}, {min(counts)} to {max(counts)} granules per cell",
        f"size          {sum(sizes) / 1e9:,.1f} GB in {len(sizes):,} granules whose size is known",
        f"digest        {catalog.digest}",
    ]
    lines += [f"times         {times[0]} to {times[-1]}"] if times else []
    lines += [f"area          {origin['area']}"] if "area" in origin else []
    lines += [f"searched      {origin['searched']}, {origin['listed']:,} listed"] if origin.get("from") == "cmr" else []
    for key in ("query", "search", "versions"):
        # Older catalogs may have a string there.
        if isinstance(origin.get(key), Mapping):
            lines.append(f"{key:<14}" + ", ".join(f"{name} {value}" for name, value in origin[key].items()))
    lines += [f"files         {', '.join(origin['from_files'])}"] if "from_files" in origin else []
    return "\n".join([*lines, *(f"note          {note}" for note in catalog.notes())])


def update_dict(update: UpdatePlan) -> dict[str, Any]:
    """Return what an update would do as plain values."""
    return {
        "store_path": update.plan.store_path,
        "run_digest": update.plan.digest,
        "earlier_run_digest": update.old.digest,
        "added": list(update.added),
        "removed": list(update.removed),
        "windows": [one.window for one in update.plan.windows or ()],
        "kept_windows": list(update.kept_windows),
        "mapped": update.mapped,
        "same": len(update.same),
        "lost": update.lost,
        "nothing": update.nothing,
    }


def update_text(update: UpdatePlan) -> str:
    """Return what an update would do as text."""
    if update.nothing:
        return f"{update.plan.store_path}: up to date; there is nothing to do"
    lines = [f"{name:<13} {value}" for name, value in update.facts().items()]
    for what, names in (("new", update.added), ("gone", update.removed)):
        lines += [f"{what:<13} {name}" for name in names[:3]]
        lines += [f"{'':<13} and {len(names) - 3:,} more"] if len(names) > 3 else []
    return "\n".join(lines)


def history_text(entries: Sequence[HistoryEntry]) -> str:
    """Return the history of a result as a table."""
    lines = [f"{'started':<26}{'what':<8}{'windows':<20}{'mapped':>9}{'granules':>10}{'new':>7}{'gone':>6}  digest"]
    for one in entries:
        span = one.windows[0] if len(one.windows) == 1 else f"{one.windows[0]} to {one.windows[-1]}"
        lines.append(
            f"{one.started[:19]:<26}{one.what:<8}{span:<20}{one.mapped:>9,}{one.granules:>10,}{len(one.added):>7,}"
            f"{len(one.removed):>6,}  {one.digest[:12]}{'' if one.complete else ' (incomplete)'}"
        )
    return "\n".join(lines)


def verification_text(found: Verification) -> str:
    """Return the outcome of all checks of a result as a table."""
    lines = []
    for check in found.checks:
        verdict = "not checked" if check.note and not check.checked else "good" if not check.bad else f"{check.bad} bad"
        lines.append(f"{check.name:<13} {check.checked:>8,}  {verdict}" + (f" ({check.note})" if check.note else ""))
        lines += [f"{'':<24}{problem}" for problem in check.problems]
    lines.append(f"{'result':<13} {'':>8}  {'good' if found.good else 'not as it was written'}")
    return "\n".join(lines)
