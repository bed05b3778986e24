"""The windows of a plan: one plan per cycle or month, all with the same rows and granules."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from maggjob.catalog.catalog import Catalog
from maggjob.config.schema import Config, digest_of
from maggjob.errors import CatalogError
from maggjob.grid.healpix import parse_cell
from maggjob.icesat2.windows import window_number, window_text
from maggjob.model.reports import CellReport
from maggjob.planning.plan import Plan


def area_rows(catalog: Catalog) -> tuple[int, ...]:
    """Return the cells of a catalog's area, with granules or not; those with granules if it has no area."""
    return tuple(sorted({*catalog.provenance.get("area_cells", ()), *catalog.cells}))


def in_windows(plan: Plan, rows: Sequence[int] | None = None) -> Plan:
    """Return a plan with one window per cycle or month, as its configuration asks for.

    Parameters
    ----------
    plan : Plan
        A plan of one window.
    rows : sequence of int, optional
        Nested ids of the cells that every window has; by default the cells of the plan.

    Raises
    ------
    CatalogError
        If the name of a granule gives no window, or one lies before the first window of the configuration.
    """
    config, kind = plan.config, plan.config.output.time
    if kind == "none":
        return plan
    used = sorted({i for cell in plan.cells for i in plan.catalog.cells.get(cell, ())})
    numbers = {i: window_number(plan.catalog.granules[i].id, kind) for i in used}
    first = config.output.first_number
    first = min(numbers.values()) if first is None else first
    early = [i for i, number in numbers.items() if number < first]
    if early:
        raise CatalogError(
            f"granule {plan.catalog.granules[early[0]].id} lies before the first {kind}, "
            f"{window_text(first, kind)} (output.first); leave it out of the catalog, or begin earlier"
        )
    every = tuple(sorted(plan.cells if rows is None else rows))
    found = [
        _window(plan, every, {i for i, number in numbers.items() if number == wanted}, window_text(wanted, kind))
        for wanted in range(first, max(numbers.values()) + 1)
    ]
    return replace(plan, cells=every, windows=tuple(found))


def _window(plan: Plan, rows: tuple[int, ...], own: set[int], label: str) -> Plan:
    """Return the plan of one window: the cells that its granules lie in."""
    pairs = {cell: tuple(i for i in plan.catalog.cells.get(cell, ()) if i in own) for cell in rows}
    pairs = {cell: positions for cell, positions in pairs.items() if positions}
    cells = tuple(sorted(pairs, key=lambda cell: (-len(pairs[cell]), cell)))
    origin = window_digest(plan.config, plan.catalog, pairs, rows, label)
    return replace(plan, catalog=replace(plan.catalog, cells=pairs), cells=cells, window=label, origin=origin)


def window_digest(
    config: Config, catalog: Catalog, pairs: dict[int, tuple[int, ...]], rows: tuple[int, ...], label: str
) -> str:
    """Return the digest of everything that determines the values of one window.

    Parameters
    ----------
    config : Config
    catalog : Catalog
        Catalog of the granules.
    pairs : dict
        Positions of the granules of each cell, by nested id.
    rows : tuple of int
        Nested ids of the cells of the result.
    label : str
        Label of the window.
    """
    used = sorted({i for positions in pairs.values() for i in positions})
    place = {i: number for number, i in enumerate(used)}
    granules = [(catalog.granules[i].id, catalog.granules[i].size) for i in used]
    # Positions among its own granules: those in the catalog change when other windows get granules.
    own = [(cell, [place[i] for i in pairs[cell]]) for cell in sorted(pairs)]
    return digest_of([config.digest, catalog.order, catalog.latitude, label, rows, granules, own])


def as_reported(plan: Plan, reports: Iterable[CellReport], digest: str) -> Plan:
    """Return the plan of a window with the pairs that its reports list: indexes may have found more than the catalog.

    Parameters
    ----------
    plan : Plan
        Plan of the window.
    reports : iterable of CellReport
        Reports of its cells, with all granules.
    digest : str
        Digest that the window had in its run.
    """
    place = {granule.id: number for number, granule in enumerate(plan.catalog.granules)}
    pairs = {
        parse_cell(report.cell, plan.catalog.order): tuple(sorted(place[granule.id] for granule in report.granules))
        for report in reports
    }
    pairs = {cell: positions for cell, positions in sorted(pairs.items()) if positions}
    cells = tuple(sorted(pairs, key=lambda cell: (-len(pairs[cell]), cell)))
    return replace(plan, catalog=replace(plan.catalog, cells=pairs), cells=cells, origin=digest)


def without_windows(plan: Plan, labels: Collection[str]) -> Plan:
    """Return a plan without some of its windows.

    Parameters
    ----------
    plan : Plan
    labels : collection of str
        Labels of the windows to leave out.
    """
    left = [one for one in plan.each if one.window not in labels]
    return replace(joined(plan, left), origin=plan.digest)


def with_windows(plan: Plan, done: Plan, listed: Plan, stay: Mapping[str, Plan]) -> Plan:
    """Return a plan of which some windows have been replaced: those of `without_windows`.

    Parameters
    ----------
    plan : Plan
        The whole plan.
    done : Plan
        What replaces them.
    listed : Plan
        The same windows with all pairs that are listed, which decide the digest.
    stay : mapping
        Plans of the windows that stay, with all pairs that are listed, by label.
    """

    def replaced(by: Plan) -> Plan:
        own = {one.window: one for one in by.each}
        return joined(plan, [stay.get(one.window) or own[one.window] for one in plan.each])

    whole = replaced(listed)
    same = all(one.digest == other.digest for one, other in zip(whole.each, plan.each, strict=True))
    return replace(replaced(done), origin=plan.digest if same else whole.digest)


def joined(plan: Plan, windows: Sequence[Plan]) -> Plan:
    """Return a plan with other windows, and with all of their pairs.

    Parameters
    ----------
    plan : Plan
        A plan in windows.
    windows : sequence of Plan
        Its windows, which may have other pairs and cells now.
    """
    pairs: dict[int, set[int]] = {}
    for one in windows:
        for cell, positions in one.catalog.cells.items():
            pairs.setdefault(cell, set()).update(positions)
    catalog = replace(plan.catalog, cells={cell: tuple(sorted(pairs[cell])) for cell in sorted(pairs)})
    return replace(plan, catalog=catalog, windows=tuple(windows))
