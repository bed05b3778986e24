"""The invariants of a run: reports that do not fit the plan, each other, or the index never pass."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from maggjob.errors import LedgerError
from maggjob.grid.healpix import format_cell
from maggjob.model.invariants import Facts, Planned, check_reports
from maggjob.model.reports import CellReport, GranuleReport

CELLS = {f"cycle02/{format_cell(number, 6)}": number for number in (45763, 45764)}
ONE, TWO = CELLS
BEAMS = {"gt1l": "read", "gt1r": "absent"}


def granule(name: str, kept: int, fill: int, rows: int = 50) -> GranuleReport:
    """Return the report of a granule with some segments in a cell."""
    segments = {"kept": kept, "fill": fill}
    return GranuleReport(name, "used", BEAMS, rows, 1, kept + fill, kept, segments)


def cell(name: str, *granules: GranuleReport) -> CellReport:
    """Return the report of a complete cell."""
    kept = sum(one.kept for one in granules)
    segments = {"kept": kept, "fill": sum(one.in_cell for one in granules) - kept}
    return CellReport(name, name.split("/")[1], "cycle02", "complete", segments, granules)


REPORTS = (cell(ONE, granule("a", 5, 2), granule("b", 7, 0)), cell(TWO, granule("a", 3, 1)))
FACTS = {
    "a": Facts(50, 1, None, BEAMS, {CELLS[ONE]: 7, CELLS[TWO]: 4}),
    "b": Facts(valid=49),
}
PLANNED = Planned({ONE: ("a", "b"), TWO: ("a",)}, 6, FACTS)


def test_reports_that_agree_pass() -> None:
    check_reports(REPORTS, PLANNED)
    check_reports(REPORTS[::-1], replace(PLANNED, granules={}))


def other(number: int, **changes: object) -> Callable[[], tuple[CellReport, ...]]:
    """Return reports in which granule ``a`` of one cell differs; the counts of the cell follow."""

    def made() -> tuple[CellReport, ...]:
        first, *rest = REPORTS[number].granules
        changed = cell(REPORTS[number].id, replace(first, **changes), *rest)  # type: ignore[arg-type]
        return tuple(changed if i == number else report for i, report in enumerate(REPORTS))

    return made


@pytest.mark.parametrize(
    ("reports", "cell_or_granule", "facts"),
    [
        (lambda: REPORTS[:1], TWO, False),
        (lambda: (*REPORTS, REPORTS[0]), ONE, False),
        (lambda: (*REPORTS, cell("cycle02/-6134114")), "cycle02/-6134114", False),
        (lambda: (cell(ONE, granule("a", 5, 2)), REPORTS[1]), "granule b", False),
        (lambda: (REPORTS[0], cell(TWO, granule("a", 3, 1), granule("c", 1, 0))), "granule c", False),
        (lambda: (REPORTS[0], cell(TWO, granule("a", 3, 1), granule("a", 3, 1))), "granule a", False),
        (lambda: (REPORTS[0], replace(REPORTS[1], segments={"kept": 4})), TWO, False),
        (lambda: (REPORTS[0], replace(REPORTS[1], segments={"kept": 2, "fill": 2})), TWO, False),
        (other(1, segments={"kept": 3}), "granule a", False),
        (other(1, in_cell=-1, segments={}), "granule a", False),
        (other(1, rows=49), "a:", False),
        (other(1, invalid_coordinate=0), "a:", False),
        (other(1, beams={"gt1l": "read", "gt1r": "read"}), "a:", False),
        (other(1, in_cell=44, segments={"kept": 3, "fill": 41}), "a:", False),
        (other(1, in_cell=5, segments={"kept": 3, "fill": 2}), "granule a", True),
        (lambda: (cell(ONE, granule("a", 5, 2), granule("b", 7, 0, rows=49)), REPORTS[1]), "granule b", True),
    ],
    ids=[
        *("cell missing", "cell twice", "cell not planned", "granule missing", "granule not planned", "granule twice"),
        *("cell and granules differ", "kept differs", "states differ", "negative", "rows differ", "invalid differs"),
        *("beams differ", "more than rows", "not as in the index", "not as in the catalog"),
    ],
)
def test_a_break_names_the_cell_and_the_granule(
    reports: Callable[[], tuple[CellReport, ...]], cell_or_granule: str, facts: bool
) -> None:
    planned = PLANNED if facts else replace(PLANNED, granules={})
    with pytest.raises(LedgerError, match=cell_or_granule):
        check_reports(reports(), planned)
    if facts:
        check_reports(reports(), replace(PLANNED, granules={}))


def test_a_failed_granule_is_compared_with_nothing() -> None:
    failed = replace(cell(TWO, GranuleReport("a", "failed", reason="network")), state="failed", segments={})
    check_reports((REPORTS[0], failed), PLANNED)
