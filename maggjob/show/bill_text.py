"""What runs have cost, as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from maggjob.backend.bills import Bill, by_user


def stage_lines(stage: Mapping[str, Any]) -> list[str]:
    """Return the lines about the time and cost of a stage's calls on Lambda.

    Parameters
    ----------
    stage : mapping
        One of the stages of a summary, as plain values.
    """
    again = stage["submitted"] - stage["calls"]
    notes = {"cold starts": stage["cold_starts"], "submitted again": again, "throttled": stage["throttled"]}
    notes |= {"failed": stage["failed"], "of unknown cost": stage["unbilled"]}
    said = ", ".join(f"{count:,} {what}" for what, count in notes.items() if count)
    queue = f"queued {stage['queued_s']:.1f} s, {stage['longest_queued_s']:.1f} s at most"
    billed = f"billed {stage['billed_s']:,.1f} s, {stage['gb_s']:,.1f} GB-s"
    lines = [f"{stage['name'] + ' calls':<13} {stage['calls']:,}{f' ({said})' if said else ''}; {queue}; {billed}"]
    lines += [
        f"  {line['what']:<12}{line['quantity']:>12,.1f} {line['unit']:<9} ${line['dollars']:.6f}"
        for line in stage["bill"]
    ]
    return [*lines, *(f"  {problem}" for problem in stage["problems"])]


def bill_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the lines about what a run has cost on Lambda, each beside what the plan expected.

    Parameters
    ----------
    result : mapping
        A summary, as plain values.
    """
    if not result.get("bill"):
        return []
    expected = result["expected_dollars"]
    before = "" if expected is None else f", ${expected:.4f} expected"
    who = f", {result['user']}" if result["user"] else ""
    lines = [f"bill          ${result['dollars']:.4f} on Lambda{before}{who}"]
    for line in result["bill"]:
        aside = "" if line["expected"] is None else f"  (${line['expected']:.4f})"
        lines.append(f"  {line['what']:<12}{line['quantity']:>12,.1f} {line['unit']:<9} ${line['dollars']:.4f}{aside}")
    return lines


def bills_text(bills: Sequence[Bill]) -> str:
    """Return the sums of some bills by user as a table.

    Parameters
    ----------
    bills : sequence of Bill
    """
    if not bills:
        return "no bills: no run has been made since then"
    sums = by_user(bills)
    lines = [f"{'user':<24}{'runs':>8}{'dollars':>12}"]
    lines += [f"{user:<24}{runs:>8,}{dollars:>12.4f}" for user, (runs, dollars) in sums.items()]
    total = sum(bill.dollars for bill in bills)
    return "\n".join([*lines, f"{'all':<24}{len(bills):>8,}{total:>12.4f}"])
