"""The invariants of a run: what must hold between its plan and its reports before a result is published.

A list that lost a granule, a beam that a flipped bit hid, a report of another run: all of these give a result that
looks complete. They are found because the same facts are known from several places: the plan says which granules are
read in which cell; each report says how many segments and which beams its granules have, and so does the index, or a
catalog that was made from the files.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from maggjob.errors import LedgerError
from maggjob.grid.healpix import parse_cell
from maggjob.model.reports import CellReport, GranuleReport

AGAIN = "nothing was published; run again"


@dataclass(frozen=True)
class Facts:
    """What is known of a granule apart from the reports of cells; None where it is not known."""

    rows: int | None = None
    """Number of segments."""
    invalid: int | None = None
    """Number of segments with invalid coordinates."""
    valid: int | None = None
    """Number of segments with valid coordinates."""
    beams: Mapping[str, str] | None = None
    """``read`` or ``absent``, by beam."""
    cells: Mapping[int, int] | None = None
    """Number of segments in each cell that has any, by nested id."""


@dataclass(frozen=True)
class Planned:
    """What the reports of a run are checked against."""

    cells: Mapping[str, Sequence[str]]
    """Ids of the granules of each planned cell, by the id of its task."""
    order: int
    """Order of the cells."""
    granules: Mapping[str, Facts] = field(default_factory=dict)
    """What is known of each granule, by id."""


def check_reports(reports: Sequence[CellReport], planned: Planned) -> None:
    """Check the reports of all cells against the plan, each other, and what is known of the granules.

    Parameters
    ----------
    reports : sequence of CellReport
        Reports with all granules of their cells, see `maggjob.model.ledger.with_granules`.
    planned : Planned

    Raises
    ------
    LedgerError
        If a cell is missing, reported twice or was never planned; its granules are not those of the plan; its counts
        do not add up; or the segments or beams of a granule differ between two reports, or from what is known of it.
    """
    _check_cells(reports, planned)
    first: dict[str, tuple[str, GranuleReport]] = {}
    inside: Counter[str] = Counter()
    unknown = Facts()
    for report in reports:
        _check_cell(report, planned.cells[report.id])
        cell = parse_cell(report.cell, planned.order)
        for granule in report.granules:
            inside[granule.id] += granule.in_cell
            if granule.state == "failed":
                continue
            _check_granule(report.id, granule, planned.granules.get(granule.id, unknown), cell)
            where, other = first.setdefault(granule.id, (report.id, granule))
            _check_alike(report.id, granule, where, other)
    for name, (where, granule) in first.items():
        if inside[name] + granule.invalid_coordinate > granule.rows:
            raise LedgerError(
                f"{name}: its cells hold {inside[name]} segments and {granule.invalid_coordinate} have no valid "
                f"coordinates, but it has {granule.rows} according to {where}; {AGAIN}"
            )


def _check_cells(reports: Sequence[CellReport], planned: Planned) -> None:
    """Check that there is one report per planned cell, and no other."""
    counts = Counter(report.id for report in reports)
    for name in counts.keys() - planned.cells.keys():
        raise LedgerError(f"{name}: reported, but not planned; {AGAIN}")
    for name in planned.cells.keys() - counts.keys():
        raise LedgerError(f"{name}: planned, but not reported; {AGAIN}")
    for name, count in counts.items():
        if count > 1:
            raise LedgerError(f"{name}: reported {count} times; {AGAIN}")


def _check_cell(report: CellReport, planned: Sequence[str]) -> None:
    """Check the granules of a cell, and that its counts add up."""
    _check_listed(report, planned)
    for granule in report.granules:
        if granule.rows < 0 or granule.invalid_coordinate < 0 or granule.in_cell < 0 or granule.kept < 0:
            raise LedgerError(f"{report.id}: granule {granule.id} has a negative count; {AGAIN}")
        if sum(granule.segments.values()) != granule.in_cell:
            raise LedgerError(
                f"{report.id}: granule {granule.id} has {granule.in_cell} segments in the cell, but "
                f"{sum(granule.segments.values())} by state; {AGAIN}"
            )
    counted = sum(granule.in_cell for granule in report.granules)
    if counted != sum(report.segments.values()):
        raise LedgerError(
            f"{report.id}: it counts {sum(report.segments.values())} segments, its granules {counted}; {AGAIN}"
        )
    if report.observations != sum(granule.kept for granule in report.granules):
        raise LedgerError(f"{report.id}: it keeps {report.observations} segments, its granules another number; {AGAIN}")


def _check_listed(report: CellReport, planned: Sequence[str]) -> None:
    """Check that the granules of a cell are those of the plan."""
    reported = [granule.id for granule in report.granules]
    if sorted(reported) == sorted(planned):
        return
    wanted, found = Counter(planned), Counter(reported)
    for name, count in (wanted - found).items():
        raise LedgerError(f"{report.id}: granule {name} is planned {count} times more than it is reported; {AGAIN}")
    for name, count in (found - wanted).items():
        raise LedgerError(f"{report.id}: granule {name} is reported {count} times more than it is planned; {AGAIN}")


def _check_granule(where: str, granule: GranuleReport, facts: Facts, cell: int) -> None:
    """Check what a cell reports of a granule against what is known of it."""
    pairs = (
        ("segments", granule.rows, facts.rows),
        ("segments with invalid coordinates", granule.invalid_coordinate, facts.invalid),
        ("segments with valid coordinates", granule.rows - granule.invalid_coordinate, facts.valid),
        ("segments in the cell", granule.in_cell, None if facts.cells is None else facts.cells.get(cell, 0)),
    )
    for what, reported, known in pairs:
        if known is not None and reported != known:
            raise LedgerError(f"{where}: granule {granule.id} has {reported} {what}, expected {known}; {AGAIN}")
    if facts.beams is not None and granule.beams != facts.beams:
        raise LedgerError(f"{where}: granule {granule.id} has {_told(granule)}, expected {dict(facts.beams)}; {AGAIN}")


def _check_alike(where: str, granule: GranuleReport, elsewhere: str, other: GranuleReport) -> None:
    """Check that two cells report the same of a granule."""
    if (granule.rows, granule.invalid_coordinate, granule.beams) != (other.rows, other.invalid_coordinate, other.beams):
        raise LedgerError(
            f"{granule.id}: {where} reports {_told(granule)}, {elsewhere} reports {_told(other)}; {AGAIN}"
        )


def _told(granule: GranuleReport) -> str:
    beams = ", ".join(f"{beam} {state}" for beam, state in granule.beams.items())
    return f"{granule.rows} segments, {granule.invalid_coordinate} without valid coordinates, beams {beams or 'none'}"
