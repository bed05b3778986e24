"""Catalogs of granules on this machine, whose cells are exact: the coordinates of every segment are read."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.catalog.catalog import Catalog, Entry, check_each_once, granule_id, split_newest
from maggjob.catalog.folders import find_files, shown
from maggjob.errors import CatalogError, GranuleError, TruncatedError
from maggjob.granules.whole import GranuleCells, granule_cells
from maggjob.grid.areas import Area
from maggjob.grid.coverage import area_cells, describe_area
from maggjob.icesat2.names import PRODUCT, age, what_it_is
from maggjob.model.recipe import Recipe
from maggjob.storage.archive import Archive

MOST_SHOWN = 20
"""Number of unreadable granules that a message names."""


def from_files(
    places: Sequence[str],
    recipe: Recipe,
    area: Area | None = None,
    *,
    product: str = PRODUCT,
    skip_unreadable: bool = False,
) -> Catalog:
    """Make a catalog of local granules.

    Parameters
    ----------
    places : sequence of str
        Folders, patterns or files.
    recipe : Recipe
        Beams and coordinates to read, and the grid.
    area : Area, optional
        Keep only the cells that it touches.
    product : str
        Short name of the product that is wanted, where there are several.
    skip_unreadable : bool
        Whether to leave out granules that cannot be read; the catalog notes them. An older revision is taken instead if
        it is there.

    Raises
    ------
    CatalogError
        If there are no granules, one is there twice, some cannot be read, or none lies in the area.
    """
    files = find_files(places, product)
    # A catalog is text, and so are messages about granules.
    as_text = {path: shown(path) for path in files.paths}
    usable = [path for path, text in as_text.items() if text == str(path)]
    why = "its name is not UTF-8, or holds a control character"
    wrong = {text: why for path, text in as_text.items() if text != str(path)}
    kept, older = split_newest([granule_id(str(path)) for path in usable], [str(path) for path in usable])
    provenance: dict[str, Any] = {"from_files": sorted(map(str, places)), "groups": list(recipe.groups)}
    if files.passed_over:
        provenance["passed_over"] = {what: list(some) for what, some in files.passed_over.items()}
    provenance |= {"older_revisions": len(older)} if older else {}
    provenance |= {} if area is None else describe_area(area)
    entries = [_entry(usable[position]) for position in kept]
    spare = [_entry(usable[position]) for position in older] if skip_unreadable else []
    return with_pairs(entries, recipe, provenance, area, skip_unreadable=skip_unreadable, spare=spare, lost=wrong)


def _entry(path: Path) -> Entry:
    # A link that leads nowhere has no size; reading it tells what is wrong.
    return Entry(granule_id(str(path)), {"file": str(path)}, path.stat().st_size if path.exists() else None)


def with_pairs(
    entries: Iterable[Entry],
    recipe: Recipe,
    provenance: Mapping[str, Any],
    area: Area | None = None,
    *,
    skip_unreadable: bool = False,
    spare: Sequence[Entry] = (),
    lost: Mapping[str, str] | None = None,
) -> Catalog:
    """Make a catalog of local granules whose paths and sizes are known, by reading their coordinates.

    Parameters
    ----------
    entries : iterable of Entry
        Granules with a URL for the driver ``file``.
    recipe : Recipe
        Beams and coordinates to read, and the grid.
    provenance : mapping
        How the granules were found.
    area : Area, optional
        Keep only the cells that it touches.
    skip_unreadable : bool
        Whether to leave out granules that cannot be read.
    spare : sequence of Entry
        Older revisions: the newest that can be read replaces a granule that cannot.
    lost : mapping, optional
        Why other files cannot be used, by path.

    Raises
    ------
    CatalogError
        If two granules have the same name or the same segments, some cannot be read, or none has a segment in the area.
    """
    entries = sorted(entries, key=lambda entry: entry.id)
    check_each_once(entries)
    lost = dict(lost or {})
    total = len(entries) + len(lost)
    found: list[_Found] = []
    archive, older = Archive(), _newest_first(spare)
    with ThreadPoolExecutor(8) as pool:
        for entry in entries:
            for one in [entry, *older.get(what_it_is(entry.id), ())]:
                try:
                    found.append(_Found(one, _cells_of(one, recipe, archive, pool)))
                    break
                except GranuleError as problem:
                    lost[one.urls["file"]] = str(problem)
    if lost and not (skip_unreadable and found):
        raise CatalogError(_unreadable(lost, total))
    _check_segments_once(found)
    found.sort(key=lambda one: one.entry.id)
    provenance = {**provenance, **({"unreadable": lost} if lost else {})}
    return _catalog_of(found, recipe, provenance, area)


@dataclass(frozen=True)
class _Found:
    """A granule that was read."""

    entry: Entry
    """The granule."""
    read: GranuleCells
    """Its cells."""


def _newest_first(spare: Sequence[Entry]) -> dict[object, list[Entry]]:
    """Return the older revisions of each granule, by what it is, the newest first."""
    found: dict[object, list[Entry]] = {}
    for one in sorted(spare, key=lambda one: age(one.id), reverse=True):
        found.setdefault(what_it_is(one.id), []).append(one)
    return found


def _cells_of(entry: Entry, recipe: Recipe, archive: Archive, pool: ThreadPoolExecutor) -> GranuleCells:
    if entry.size == 0:
        raise TruncatedError(f"{entry.urls['file']} is empty")
    return granule_cells(entry.granule("file"), recipe, archive, pool)


def _check_segments_once(found: Sequence[_Found]) -> None:
    """Check that no two granules, one of which has no name to tell, have the same segments.

    Raises
    ------
    CatalogError
        If two have: their segments would be counted twice.
    """
    known: dict[str, Entry] = {}
    # Those with names first, so that each of the others is compared with all of them.
    for one in sorted(found, key=lambda one: what_it_is(one.entry.id) is None):
        first = known.setdefault(one.read.digest, one.entry)
        if first is not one.entry and len(one.read.cells) and what_it_is(one.entry.id) is None:
            raise CatalogError(
                f"{first.urls['file']} and {one.entry.urls['file']} hold the same segments; remove one of them, or "
                "they are counted twice"
            )


def _catalog_of(found: Sequence[_Found], recipe: Recipe, provenance: Mapping[str, Any], area: Area | None) -> Catalog:
    """Return the catalog of granules that were read, without those outside the area."""
    grid = recipe.grid
    wanted = None if area is None else area_cells(area, grid.parent_order, grid.latitude)
    cells: dict[int, list[int]] = {}
    used: list[Entry] = []
    for one in found:
        inside = one.read.cells if wanted is None else one.read.cells[np.isin(one.read.cells, wanted)]
        if wanted is not None and len(inside) == 0:
            continue
        for cell in inside.tolist():
            cells.setdefault(cell, []).append(len(used))
        used.append(replace(one.entry, rows=int(one.read.rows.sum()), cells=len(one.read.cells)))
    provenance = provenance if wanted is None else {**provenance, "area_cells": wanted.tolist()}
    if not cells:
        where = "valid coordinates" if area is None else f"valid coordinates in the area {area.name}"
        left = provenance.get("unreadable")
        told = f"; {len(left)} cannot be read" if left else ""
        raise CatalogError(f"none of the {len(found)} granules has a segment with {where}{told}")
    return Catalog(
        tuple(used),
        {cell: tuple(cells[cell]) for cell in sorted(cells)},
        grid.parent_order,
        grid.latitude,
        provenance,
    )


def _unreadable(lost: Mapping[str, str], total: int) -> str:
    """Return a message about all granules that cannot be read."""
    shown = list(lost.items())[:MOST_SHOWN]
    lines = [f"  {path}: {why.removeprefix(path).removeprefix(':').strip()}" for path, why in shown]
    more = [f"  and {len(lost) - len(shown)} more"] if len(lost) > len(shown) else []
    return "\n".join(
        [
            f"{len(lost)} of {total} granules cannot be read; repair or remove them, or give --skip-unreadable:",
            *lines,
            *more,
        ]
    )
