"""Catalogs of granules on this machine, whose cells are exact: the coordinates of every segment are read."""

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.catalog.catalog import SUFFIXES, Catalog, Entry, check_each_once, granule_id, split_newest
from maggjob.errors import CatalogError, GranuleError, TruncatedError
from maggjob.granules.granule import granule_cells
from maggjob.grid.areas import Area
from maggjob.grid.coverage import area_cells, describe_area
from maggjob.icesat2.names import PRODUCT, GranuleName
from maggjob.inputs.places import local_place
from maggjob.model.recipe import Recipe
from maggjob.storage.archive import Archive

MOST_SHOWN = 20
"""Number of unreadable granules that a message names."""


@dataclass(frozen=True)
class FoundFiles:
    """The granules in some folders."""

    paths: tuple[Path, ...]
    """Granules, sorted."""
    passed_over: Mapping[str, tuple[int, str]]
    """Number and first path of the files that are no granules, by what they are."""


def find_files(places: Sequence[str]) -> FoundFiles:
    """Return the local granules in folders, patterns and files.

    A folder means everything below it, symbolic links included, but for hidden folders and files. In a folder, files of
    other names than granules, and of other products than most of the granules there, are passed over.

    Parameters
    ----------
    places : sequence of str
        Folders, patterns or files.

    Raises
    ------
    CatalogError
        If one of the places holds no granule.
    """
    found: set[Path] = set()
    passed: dict[str, list[str]] = {}
    for place in places:
        path = local_place(place, "granules")
        if path.is_dir():
            here = _below(path, passed)
        elif path.is_file():
            here = {path}
        else:
            here = {Path(match) for match in glob.glob(str(path), recursive=True) if Path(match).is_file()}
        if not here:
            told = "".join(f"; {len(some)} {what} there, such as {some[0]}" for what, some in passed.items())
            raise CatalogError(f"no granules at {place}{told}: give a folder with .h5 files, or a pattern in quotes")
        found |= {Path(match).absolute() for match in here}
    return FoundFiles(tuple(sorted(found)), {what: (len(some), some[0]) for what, some in passed.items()})


def _below(folder: Path, passed: dict[str, list[str]]) -> set[Path]:
    """Return the granules below a folder, each real folder once; list what is passed over by what it is."""
    seen: set[str] = set()
    products: dict[str, set[Path]] = {}
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        # A link may lead to a folder above.
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in [name for name in folders if name.startswith(".")]:
            folders.remove(name)
            passed.setdefault("hidden folders", []).append(f"{root}/{name}")
        for name in [name for name in folders if name.lower().endswith(SUFFIXES)]:
            passed.setdefault("folders with the name of a file", []).append(f"{root}/{name}")
        for name in sorted(files):
            if not name.lower().endswith(SUFFIXES):
                continue
            of = GranuleName.parse(name)
            if name.startswith("."):
                passed.setdefault("hidden files", []).append(f"{root}/{name}")
            elif of is None:
                passed.setdefault("files whose names are not those of granules", []).append(f"{root}/{name}")
            else:
                products.setdefault(of.product, set()).add(Path(root, name))
    # The default product if it is there, else the one with most granules.
    ranked = sorted(products, key=lambda product: (product != PRODUCT, -len(products[product]), product))
    for other in ranked[1:]:
        passed.setdefault(f"granules of {other}", []).extend(map(str, sorted(products[other])))
    return products[ranked[0]] if ranked else set()


def from_files(
    places: Sequence[str], recipe: Recipe, area: Area | None = None, *, skip_unreadable: bool = False
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
    skip_unreadable : bool
        Whether to leave out granules that cannot be read; the catalog notes them.

    Raises
    ------
    CatalogError
        If there are no granules, one is there twice, some cannot be read, or none lies in the area.
    """
    files = find_files(places)
    kept, older = split_newest([granule_id(str(path)) for path in files.paths], [str(path) for path in files.paths])
    paths = [files.paths[position] for position in kept]
    provenance: dict[str, Any] = {"from_files": sorted(places), "groups": list(recipe.groups)}
    if files.passed_over:
        provenance["passed_over"] = {what: list(some) for what, some in files.passed_over.items()}
    provenance |= {"older_revisions": len(older)} if older else {}
    provenance |= {} if area is None else describe_area(area)
    entries = [Entry(granule_id(str(path)), {"file": str(path)}, path.stat().st_size) for path in paths]
    return with_pairs(entries, recipe, provenance, area, skip_unreadable=skip_unreadable)


def with_pairs(
    entries: Iterable[Entry],
    recipe: Recipe,
    provenance: Mapping[str, Any],
    area: Area | None = None,
    *,
    skip_unreadable: bool = False,
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

    Raises
    ------
    CatalogError
        If two granules have the same name, some cannot be read, or none has a segment in the area.
    """
    entries = sorted(entries, key=lambda entry: entry.id)
    check_each_once(entries)
    grid, archive = recipe.grid, Archive()
    wanted = None if area is None else area_cells(area, grid.parent_order, grid.latitude)
    cells: dict[int, list[int]] = {}
    used: list[Entry] = []
    lost: dict[str, str] = {}
    with ThreadPoolExecutor(8) as pool:
        for entry in entries:
            try:
                if entry.size == 0:
                    raise TruncatedError(f"{entry.urls['file']} is empty")
                found, rows = granule_cells(entry.granule("file"), recipe, archive, pool)
            except GranuleError as problem:
                lost[entry.urls["file"]] = str(problem)
                continue
            inside = found if wanted is None else found[np.isin(found, wanted)]
            if wanted is not None and len(inside) == 0:
                continue
            for cell in inside.tolist():
                cells.setdefault(cell, []).append(len(used))
            used.append(replace(entry, rows=int(rows.sum()), cells=len(found)))
    if lost and not skip_unreadable:
        raise CatalogError(_unreadable(lost, len(entries)))
    provenance = {**provenance, **({"unreadable": lost} if lost else {})}
    if not cells:
        where = "valid coordinates" if area is None else f"valid coordinates in the area {area.name}"
        raise CatalogError(f"none of the {len(entries)} granules has a segment with {where}")
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
