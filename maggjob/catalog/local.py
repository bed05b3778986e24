"""Catalogs of granules on this machine, whose cells are exact: the coordinates of every segment are read."""

import glob
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.catalog.catalog import Catalog, Entry, check_each_once, granule_id
from maggjob.errors import CatalogError, GranuleError
from maggjob.granules.granule import granule_cells
from maggjob.grid.areas import Area
from maggjob.grid.coverage import area_cells, describe_area
from maggjob.inputs.places import local_place
from maggjob.model.recipe import Recipe
from maggjob.storage.archive import Archive


def find_files(places: Sequence[str]) -> list[Path]:
    """Return the local granules in folders, patterns and files, sorted.

    Raises
    ------
    CatalogError
        If one of the places holds no granule.
    """
    found: set[Path] = set()
    for place in places:
        path = local_place(place, "granules")
        if path.is_dir():
            here = set(path.rglob("*.h5"))
        else:
            here = {Path(match) for match in glob.glob(str(path), recursive=True) if Path(match).is_file()}
        if not here:
            raise CatalogError(f"no granules at {place}: give a folder with .h5 files, or a pattern in quotes")
        found |= {match.absolute() for match in here}
    return sorted(found)


def from_files(places: Sequence[str], recipe: Recipe, area: Area | None = None) -> Catalog:
    """Make a catalog of local granules.

    Parameters
    ----------
    places : sequence of str
        Folders, patterns or files.
    recipe : Recipe
        Beams and coordinates to read, and the grid.
    area : Area, optional
        Keep only the cells that it touches.

    Raises
    ------
    CatalogError
        If there are no granules, two have the same name, one cannot be read, or none lies in the area.
    """
    paths = find_files(places)
    entries = [Entry(granule_id(str(path)), {"file": str(path)}, path.stat().st_size) for path in paths]
    provenance: dict[str, Any] = {"from_files": sorted(places), "groups": list(recipe.groups)}
    provenance |= {} if area is None else describe_area(area)
    return with_pairs(entries, recipe, provenance, area)


def with_pairs(
    entries: Iterable[Entry], recipe: Recipe, provenance: Mapping[str, Any], area: Area | None = None
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

    Raises
    ------
    CatalogError
        If two granules have the same name, one cannot be read, or none has a segment in the area.
    """
    entries = sorted(entries, key=lambda entry: entry.id)
    check_each_once(entries)
    grid, archive = recipe.grid, Archive()
    wanted = None if area is None else area_cells(area, grid.parent_order, grid.latitude)
    cells: dict[int, list[int]] = {}
    used: list[Entry] = []
    with ThreadPoolExecutor(8) as pool:
        for entry in entries:
            try:
                found, rows = granule_cells(entry.granule("file"), recipe, archive, pool)
            except GranuleError as problem:
                raise CatalogError(f"{problem} (a catalog needs every granule: repair or remove this one)") from problem
            inside = found if wanted is None else found[np.isin(found, wanted)]
            if wanted is not None and len(inside) == 0:
                continue
            for cell in inside.tolist():
                cells.setdefault(cell, []).append(len(used))
            used.append(replace(entry, rows=int(rows.sum()), cells=len(found)))
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
