"""The folds of the ledger: nothing is lost, nothing counts twice, and the order of reports does not matter."""

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from maggjob.model.ledger import (
    EXAMPLES,
    SEVERITY,
    add_counts,
    cell_state,
    join_spans,
    reduce_tally,
    tally_tasks,
    with_granules,
    worst,
)
from maggjob.model.reports import CELL_STATES, CellReport, GranuleReport

STATES = st.sampled_from(sorted(SEVERITY))


@st.composite
def reports(draw: st.DrawFn) -> list[GranuleReport]:
    """Reports of one granule by several cells: its rows are the same wherever it was read."""
    rows = draw(st.integers(0, 50))
    found = []
    for _ in range(draw(st.integers(1, 6))):
        state = draw(STATES)
        inside = draw(st.integers(0, 5)) if state == "used" else 0
        read = rows if state != "failed" else 0
        message = draw(st.sampled_from([None, "why"])) if state == "failed" else None
        found.append(
            GranuleReport("g", state, {"gt1l": "read"} if read else {}, read, 0, inside, inside, message=message)
        )
    return found


@given(reports())
def test_the_worst_state_counts_and_segments_are_summed(some: list[GranuleReport]) -> None:
    folded = worst(some)
    assert SEVERITY[folded.state] == max(SEVERITY[one.state] for one in some)
    assert folded.in_cell == sum(one.in_cell for one in some)
    assert folded.kept == sum(one.kept for one in some)
    assert folded.rows == max(one.rows for one in some)
    if folded.state == "failed" and any(one.message for one in some):
        assert folded.message is not None


@given(reports())
def test_the_order_of_reports_changes_no_number(some: list[GranuleReport]) -> None:
    other = sorted(some, key=lambda one: (one.in_cell, one.state))
    one, two = worst(some), worst(other)
    assert (one.state, one.rows, one.in_cell, one.kept) == (two.state, two.rows, two.in_cell, two.kept)


@pytest.mark.parametrize(
    ("kept", "failed", "used", "state"),
    [
        (True, False, True, "complete"),
        (False, False, False, "empty"),
        (False, False, True, "empty"),
        (True, True, True, "partial"),
        (False, True, True, "partial"),
        (False, True, False, "failed"),
    ],
)
def test_the_state_of_a_cell(kept: bool, failed: bool, used: bool, state: str) -> None:
    assert cell_state(kept=kept, failed=failed, used=used) == state
    assert state in CELL_STATES


def test_spans_are_joined() -> None:
    assert join_spans([]) is None
    assert join_spans([None, (3.0, 4.0), None, (1.0, 2.0)]) == (1.0, 4.0)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))))
def test_counts_are_summed(counts: list[dict[str, int]]) -> None:
    assert add_counts(counts) == dict(sum((Counter(some) for some in counts), Counter())) | {
        state: 0 for some in counts for state in some if not sum(one.get(state, 0) for one in counts)
    }


def test_a_cell_that_failed_as_a_whole_tells_of_all_its_granules() -> None:
    cell = CellReport("w/1", "1", "w", "failed", reason="died", message="why")
    none = GranuleReport("c", "no_overlap", rows=7)
    complete = with_granules(cell, ["a", "b"], (none,))
    assert [(g.id, g.state, g.reason) for g in complete.granules] == [
        ("a", "failed", "died"),
        ("b", "failed", "died"),
        ("c", "no_overlap", None),
    ]
    whole = CellReport("w/2", "2", "w", "complete", granules=(GranuleReport("a", "used"),))
    assert with_granules(whole, ["a", "b"]) is whole
    nothing = CellReport("w/3", "3", "w", "empty")
    assert with_granules(nothing, ["a", "b"]) is nothing


@given(st.lists(st.sampled_from([None, "worker", "deadline", "died"]), max_size=40))
def test_every_task_ends_with_an_answer_or_for_a_reason(reasons: list[str | None]) -> None:
    tally = tally_tasks((f"t{n}", reason, reason and "message") for n, reason in enumerate(reasons))
    assert tally.tasks == len(reasons) == tally.done + tally.failed
    assert {reason: error["count"] for reason, error in tally.errors.items()} == Counter(r for r in reasons if r)
    assert all(len(error["examples"]) == min(EXAMPLES, error["count"]) for error in tally.errors.values())
    assert tally.to_dict()["failed"] == tally.failed


def test_rows_of_a_granule_count_once_whatever_the_number_of_cells() -> None:
    def cell(number: int, *granules: GranuleReport) -> CellReport:
        inside = sum(granule.in_cell for granule in granules)
        return CellReport(f"w/{number}", str(number), "w", "complete", {"kept": inside}, granules)

    tally = reduce_tally(
        [
            cell(1, GranuleReport("a", "used", rows=10, in_cell=4, kept=4), GranuleReport("b", "used", {}, 5, 1, 2, 2)),
            cell(2, GranuleReport("a", "used", rows=10, in_cell=3, kept=3), GranuleReport("b", "failed", reason="x")),
        ]
    )
    segments = {"kept": 9, "invalid_coordinate": 1, "outside": 3, "unread": 2, "rows": 15}
    assert dict(tally.segments) == segments
    assert sum(segments.values()) == 2 * segments["rows"]
    assert dict(tally.granules) == {"used": 1, "no_overlap": 0, "failed": 1}
