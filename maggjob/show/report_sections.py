"""The sections of a report's page, each a function from an overview to HTML. Everything that is told is escaped."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import yaml

from maggjob.pipeline.overview import Comparison, Failure, RunOverview
from maggjob.show.timeline import KINDS, StagePicture, running_at_once, running_svg, ticks

GOOD, BAD, SOME = "good", "bad", "some"
STATES = {
    "complete": GOOD,
    "used": GOOD,
    "kept": GOOD,
    "done": GOOD,
    "partial": SOME,
    "failed": BAD,
    "unread": BAD,
}
"""Colour of a state in a bar; others are grey."""
SHADES = 4
"""Shades of grey of the other states."""


def size_text(number: float) -> str:
    """Return a number of bytes as text.

    Examples
    --------
    >>> size_text(103_993_240)
    '104.0 MB'
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number:,.0f} B"


def time_text(seconds: float) -> str:
    """Return a duration as text.

    Examples
    --------
    >>> time_text(95.0), time_text(0.25)
    ('1 min 35 s', '0.25 s')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def value_text(value: object) -> str:
    """Return a value that a job counted as text.

    Examples
    --------
    >>> value_text({"used": 18, "failed": 1200}), value_text(3.55393395), value_text(True)
    ('18 used, 1,200 failed', '3.55393', 'yes')
    """
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.6g}"
        case Mapping():
            return ", ".join(f"{value_text(one)} {key}" for key, one in value.items())
        case list():
            return ", ".join(map(value_text, value))
    return str(value)


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int] = (), *, kind: str = "plain"
) -> str:
    """Return a table; its cells are escaped.

    Parameters
    ----------
    head : sequence of str
        Names of the columns; empty for a table without a head.
    rows : iterable of sequence of str
    numbers : iterable of int
        Columns that are aligned to the right.
    kind : str
        Class of the table: plain; values, with long words; or stack, whose rows become paragraphs on a phone.
    """
    right = set(numbers)

    def cells(tag: str, values: Sequence[str]) -> str:
        marks = (' class="n"' if i in right else "" for i in range(len(values)))
        return "".join(f"<{tag}{mark}>{escape(value)}</{tag}>" for mark, value in zip(marks, values, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    top = f"<thead><tr>{cells('th', head)}</tr></thead>" if head else ""
    return f'<div class="wide"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def counts_bar(title: str, counts: Mapping[str, int], whole: int) -> str:
    """Return counts by state as one bar with a legend.

    Parameters
    ----------
    title : str
        What is counted.
    counts : mapping
        Number by state.
    whole : int
        Their sum.
    """
    grey, parts, keys = 0, [], []
    for state, count in counts.items():
        if not count:
            continue
        kind = STATES.get(state)
        if kind is None:
            kind, grey = f"other{grey % SHADES}", grey + 1
        share = 100 * count / max(1, whole)
        parts.append(f'<i class="{kind}" style="width:{share:.3f}%"></i>')
        words = escape(state.replace("_", " "))
        keys.append(f'<span><i class="{kind}"></i>{words} <b>{count:,}</b> <small>{share:.3g}%</small></span>')
    head = f'<div class="counts"><h3>{escape(title)} <b>{whole:,}</b></h3>'
    return f'{head}<div class="bar">{"".join(parts)}</div><div class="keys">{"".join(keys)}</div></div>'


def tally_section(overview: RunOverview) -> str:
    """Return the counts of the ledger; of other jobs those of the tasks, and their own values."""
    summary = overview.summary
    if "cells" not in summary:
        return _tasks(summary)
    cells, segments = dict(summary["cells"]), dict(summary["segments"])
    planned, rows = cells.pop("planned"), segments.pop("rows")
    parts = [
        counts_bar("cells", cells, planned),
        counts_bar("granules", summary["granules"], sum(summary["granules"].values())),
        counts_bar("segments", segments, rows),
    ]
    parts += [
        counts_bar(f"fit {name}", states, sum(states.values())) for name, states in (summary.get("fits") or {}).items()
    ]
    lines = [f"no granule has {what}" for what in summary.get("absent", ())]
    turning = summary.get("in_transition", ())
    lines += [f"{len(turning):,} granules whose strong beams are not known, such as {turning[0]}"] if turning else []
    return "".join(parts) + "".join(f"<p>{escape(line)}</p>" for line in lines)


def _tasks(summary: Mapping[str, Any]) -> str:
    parts = [
        counts_bar(f"tasks of {stage}", {"done": tasks["done"], "failed": tasks["failed"]}, tasks["tasks"])
        for stage, tasks in summary["tasks"].items()
    ]
    own = {
        key: value
        for job in ("series", "scenes")
        if isinstance(summary.get(job), Mapping)
        for key, value in summary[job].items()
        if key != "errors"
    }
    rows = [(key.replace("_", " "), value_text(value)) for key, value in own.items()]
    return "".join(parts) + (table((), rows, kind="values") if rows else "")


def timeline_section(overview: RunOverview) -> str:
    """Return the timeline of all calls."""
    if not overview.calls:
        return ""
    last = max(stage.began + stage.took for stage in overview.calls)
    end = max(1000 * overview.summary["wall_time_s"], last, 1.0)
    pictures = [StagePicture(stage) for stage in overview.calls]
    axis = "".join(f'<span style="left:{100 * at:.2f}%">{escape(text)}</span>' for at, text in ticks(end))
    grid = "".join(f'<u style="left:{100 * at:.2f}%"></u>' for at, _ in ticks(end))
    running = running_at_once(overview.calls, end)
    kinds = {kind for picture in pictures for kind in picture.shown}
    legend = "".join(
        f'<span><i class="{kind}"></i>{escape(words)}</span>' for kind, words in KINDS.items() if kind in kinds
    )
    workers = overview.summary["workers"]
    parts = [
        f"<h3>calls at once <small>{running.max(initial=0.0):,.0f} at most, of {workers:,} workers</small></h3>",
        f'<div class="plot short">{grid}{running_svg(running)}</div>',
    ]
    for picture in pictures:
        parts.append(f"<h3>{escape(picture.calls.stage)} <small>{escape(_stage_words(picture))}</small></h3>")
        parts.append(f'<div class="plot" style="height:{_height(picture)}px">{grid}{picture.svg(end)}</div>')
    return f'<div class="time">{"".join(parts)}<div class="axis">{axis}</div></div><div class="keys">{legend}</div>'


def _height(picture: StagePicture) -> int:
    """Return the height of a stage in pixels: rows are seen one by one if they are few."""
    rows = len(picture.rows)
    return max(14, min(9 * rows, 120 + rows // 2))


def _stage_words(picture: StagePicture) -> str:
    calls = picture.calls
    ran = sorted(ran for ran, began in zip(calls.ran, calls.started, strict=True) if began is not None)
    words = [f"{len(calls):,} calls"]
    if ran:
        words.append(f"median {time_text(ran[len(ran) // 2] / 1000)}, longest {time_text(ran[-1] / 1000)}")
    words += [f"{count:,} {what}" for what, count in picture.counts().items() if count]
    words += [f"{picture.per_row} calls per line"] if picture.per_row > 1 else []
    return ", ".join(words)


def phases_section(overview: RunOverview) -> str:
    """Return where the time went."""
    whole = max(sum(phase.seconds for phase in overview.phases), 1e-9)
    rows = []
    for phase in overview.phases:
        share = 100 * phase.seconds / whole
        calls = "" if phase.calls is None else f"{phase.calls:,} calls"
        rows.append(
            f"<tr><td>{escape(phase.name)}</td><td class=meter><i style='width:{share:.2f}%'></i></td>"
            f"<td class=n>{time_text(phase.seconds)}</td><td class=n>{share:.0f}%</td><td class=n>{calls}</td></tr>"
        )
    note = "other: planning, lists of tasks, the ledger, metadata, and what lies between the stages"
    return f'<div class="wide"><table><tbody>{"".join(rows)}</tbody></table></div><p class="soft">{note}</p>'


def estimate_section(overview: RunOverview) -> str:
    """Return the estimate beside the outcome; only the outcome, if nothing was estimated."""
    if not overview.estimate:
        return ""
    if all(one.expected is None for one in overview.estimate):
        return table((), [(one.what, _quantity(one, one.actual)) for one in overview.estimate], (1,))
    rows = []
    for one in overview.estimate:
        before = "not estimated" if one.expected is None else _quantity(one, one.expected)
        ratio = f"{one.actual / one.expected:.2f}" if one.expected else ""
        rows.append((one.what, before, _quantity(one, one.actual), ratio))
    return table(("", "expected", "was", "ratio"), rows, (1, 2, 3))


def _quantity(one: Comparison, value: float) -> str:
    match one.unit:
        case "bytes":
            return size_text(value)
        case "s":
            return time_text(value)
        case "dollars":
            return f"${value:.4f}"
    return f"{value:,.0f}"


def cost_section(overview: RunOverview) -> str:
    """Return the cost of the calls on Lambda, by line."""
    if not overview.bill:
        return ""
    rows = [
        (
            row.what,
            f"{row.quantity:,.1f} {row.unit}",
            f"${row.dollars:.6f}",
            "" if row.expected is None else f"${row.expected:.6f}",
        )
        for row in overview.bill
    ]
    known = any(row.expected is not None for row in overview.bill)
    rows.append(("all", "", f"${overview.dollars:.6f}", ""))
    head = ("", "quantity", "cost", "expected")
    return table(head, rows, (1, 2, 3)) if known else table(head[:3], [row[:3] for row in rows], (1, 2))


def slowest_section(overview: RunOverview) -> str:
    """Return the cells that took longest."""
    rows = [
        (
            one.cell,
            one.state,
            time_text(one.seconds),
            f"{one.granules:,}",
            f"{one.observations:,}",
            size_text(one.bytes_read),
            str(one.attempts),
        )
        for one in overview.slowest
    ]
    head = ("cell", "state", "time", "granules", "observations", "read", "attempts")
    return table(head, rows, (2, 3, 4, 5, 6)) if rows else ""


def failures_section(overview: RunOverview) -> str:
    """Return all reasons of failures, with the first granules of each."""
    if not overview.failures:
        return '<p class="soft">nothing failed</p>'
    return "".join(_failure(one) for one in overview.failures)


def _failure(one: Failure) -> str:
    rows = [
        (entry.id, f"{entry.cells:,} {'cell' if entry.cells == 1 else 'cells'}", entry.message) for entry in one.listed
    ]
    left = one.granules - len(rows)
    more = f'<p class="soft">and {left:,} more: the ledger lists all of them</p>' if left > 0 else ""
    several = f", {one.granules:,} granules" if one.granules != one.count else ""
    head = f"<summary><b>{escape(one.reason)}</b> {one.count:,} times{several}</summary>"
    return f"<details open>{head}{table((), rows, kind='stack')}{more}</details>"


def origin_section(overview: RunOverview) -> str:
    """Return where the result is, what determines it, and what it was made with."""
    summary, stored = overview.summary, overview.stored
    rows = [("result", str(summary["store_path"])), ("folder of the run", str(summary["run_path"]))]
    if stored:
        rows.append(("stored", f"{stored['objects']:,} objects, {size_text(stored['bytes'])}"))
        rows.append(("parts", f"{stored['parts']:,}, {size_text(stored['part_bytes'])}, unless they were deleted"))
    rows += [(f"digest: {name}", str(digest)) for name, digest in summary["digests"].items()]
    rows += [(f"version: {name}", text) for name, text in (summary.get("versions") or {}).items()]
    parts = [table((), rows, kind="values")]
    if overview.configuration is not None:
        text = yaml.safe_dump(dict(overview.configuration), sort_keys=False, allow_unicode=True, width=100)
        parts.append(f"<details><summary>configuration</summary><pre>{escape(text)}</pre></details>")
    return "".join(parts)
