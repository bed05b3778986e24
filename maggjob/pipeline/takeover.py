"""What an update takes over from the result that it updates: reports of cells, and their parts.

Reports are made from the ledger and the manifest, so that a result can be updated after `maggjob clean`. Parts carry
the digest of their run; those of cells that did not change get that of the new run, with the same values.
"""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from maggjob.granules.screening import ABSENT, READ
from maggjob.jobs.parts import digest_of_bytes, every_state, pack, part_key, unpack
from maggjob.model.ledger import add_counts
from maggjob.model.recipe import Recipe
from maggjob.model.reports import KEPT, RARE, CellReport, GranuleReport
from maggjob.output.manifest import Manifest
from maggjob.planning.plan import Plan
from maggjob.storage.folder import Folder
from maggjob.storage.run_folder import PARTS

AT_ONCE = 32
"""Parts that are taken over concurrently."""
SEGMENTS = "segments_"
"""Prefix of the columns of the ledger that count segments by state."""


def reports_of(manifest: Manifest, table: Any, recipe: Recipe, windows: Collection[str]) -> list[CellReport]:
    """Return the reports of the cells of some windows of a result, from its manifest and its ledger.

    Parameters
    ----------
    manifest : Manifest
    table : pandas.DataFrame
        The ledger (`maggjob.output.table.ledger`).
    recipe : Recipe
    windows : collection of str
        Labels of the windows.
    """
    found = []
    own = table[table.window.isin(list(windows))]
    for (window, cell), rows in own.groupby(["window", "cell"], sort=False):
        name = f"{window}/{cell}"
        record = manifest.cells[name]
        granules = tuple(_granule(row, recipe) for row in rows.to_dict("records") if isinstance(row["granule"], str))
        object_ = manifest.parts.get(record.part or "")
        found.append(
            CellReport(
                name,
                cell,
                window,
                record.state,
                add_counts(granule.segments for granule in granules),
                granules,
                part=None if record.part is None else record.part,
                part_bytes=0 if object_ is None else object_.size,
                part_digest=None if object_ is None else object_.digest,
                time=record.time,
                fits=record.fits,
                attempts=0,
                earlier=record.earlier,
            )
        )
    return found


def _granule(row: Mapping[str, Any], recipe: Recipe) -> GranuleReport:
    """Return the report of a granule from a row of the ledger."""
    read = set(str(row["beams"] or "").split())
    counts = {state: int(row.get(f"{SEGMENTS}{state}", 0)) for state in every_state(recipe.filters)}
    own = {state: count for state, count in counts.items() if count or state not in RARE}
    used = row["state"] == "used"
    return GranuleReport(
        row["granule"],
        row["state"],
        {group: READ if group in read else ABSENT for group in recipe.groups},
        int(row["rows"]),
        int(row["invalid_coordinate"]),
        int(row["in_cell"]),
        counts[KEPT],
        own if used else {},
    )


def take_over_parts(pairs: Iterable[tuple[str, str]], old: Plan, new: Plan, manifest: Manifest, folder: Folder) -> int:
    """Make parts of the earlier result parts of a new run; return their number.

    Parameters
    ----------
    pairs : iterable of (str, str)
        Ids of the task of a cell, in the earlier result and in the new run.
    old, new : Plan
        Plans of both.
    manifest : Manifest
        Manifest of the earlier result; a part whose bytes are not those that it lists is left out, and mapped again.
    folder : Folder
        Folder of the run.
    """
    windows = {one.window: one.digest for one in new.each}
    order = old.config.grid.child_order
    todo = list(pairs)

    def take(pair: tuple[str, str]) -> bool:
        before, after = pair
        key = part_key(before, "")
        listed, content = manifest.parts.get(key), folder.find(f"{PARTS}/{key}")
        if listed is None or content is None or digest_of_bytes(content) != listed.digest:
            return False
        part = unpack(content, key, order)
        window, cell = after.split("/")
        own = {"id": after, "cell": cell, "window": window, "run": windows[window]}
        levels = sorted(part.levels.values(), key=lambda level: -level.order)
        folder.put(f"{PARTS}/{part_key(after, '')}", pack(dict(part.ledger) | own, levels))
        return True

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(take, todo))


def same_cells(old: Plan, new: Plan, manifest: Manifest) -> list[tuple[str, str]]:
    """Return the ids of the tasks of cells that have the same granules in both plans and were read completely.

    Parameters
    ----------
    old, new : Plan
    manifest : Manifest
        Manifest of the result of the old plan.

    Returns
    -------
    list of (str, str)
        Id in the old plan and id in the new plan.
    """
    alike = new.windows is not None
    before = {
        (one.window if alike else "", cell): (one.task_id(cell), _contents(one, cell))
        for one, cell in old.units
        if manifest.cells[one.task_id(cell)].state in ("complete", "empty")
    }
    found = []
    for one, cell in new.units:
        known = before.get((one.window if alike else "", cell))
        if known is not None and known[1] == _contents(one, cell):
            found.append((known[0], one.task_id(cell)))
    return found


def _contents(plan: Plan, cell: int) -> list[tuple[str, int | None]]:
    """Return name and size of the granules of a cell."""
    every = plan.catalog.granules
    return [(every[i].id, every[i].size) for i in plan.catalog.cells[cell]]
