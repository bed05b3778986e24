"""Reading and checking of catalog files: maggjob's own, and those of magg, its predecessor."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maggjob.catalog.catalog import (
    COLUMNS,
    FORMAT,
    VERSION,
    Catalog,
    Entry,
    check_each_once,
    driver_of,
    granule_id,
    split_newest,
    without_older,
)
from maggjob.catalog.folders import file_status
from maggjob.catalog.local import with_pairs
from maggjob.errors import CatalogError, CellError
from maggjob.grid.footprints import Footprints
from maggjob.grid.healpix import LATITUDES, format_cell, parse_cell
from maggjob.inputs.places import CONTROL, local_place
from maggjob.inputs.plain_json import load_json
from maggjob.model.recipe import Recipe
from maggjob.storage.urls import local_path

DAMAGE = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, CellError, zlib.error)
"""What a damaged catalog raises."""
LARGEST = 1 << 53
"""Numbers of bytes, segments and cells are smaller: larger ones are not exact in JSON."""


def read_catalog(path: str | Path, recipe: Recipe | None = None) -> Catalog:
    """Read a catalog on any grid.

    Parameters
    ----------
    path : str or Path
        A file.
    recipe : Recipe, optional
        Needed for a catalog of magg if its granules must be assigned to cells again.

    Raises
    ------
    CatalogError
        If the file is missing, is not a catalog, or is inconsistent.
    """
    return _checked(_read_json(local_place(path, "catalog")), str(path), recipe)


def _checked(content: Any, name: str, recipe: Recipe | None) -> Catalog:
    if not isinstance(content, Mapping) or not isinstance(content.get("metadata"), Mapping):
        raise CatalogError(f"{name}: not a catalog (expected the keys metadata, granules, cells); make it again")
    try:
        found = _from_older(content, name, recipe) if "catalog" in content else _from_ours(content, name)
    except DAMAGE as problem:
        raise CatalogError(f"{name}: damaged ({type(problem).__name__}: {problem}); make it again") from problem
    return _each_granule_once(found)


def _each_granule_once(catalog: Catalog) -> Catalog:
    """Return a catalog without older revisions, after checking that no granule and no file is listed twice.

    Raises
    ------
    CatalogError
        If one is listed twice.
    """
    for entry in catalog.granules:
        if not entry.id or "/" in entry.id or CONTROL.search(entry.id):
            raise CatalogError(f"granule {entry.id!r} has no valid name: it is that of a file, without folders")
    check_each_once(sorted(catalog.granules, key=lambda entry: entry.id))
    files: dict[tuple[int, int], str] = {}
    for entry in catalog.granules:
        path = local_path(entry.urls["file"]) if "file" in entry.urls else None
        status = None if path is None else file_status(path)
        if path is not None and status is not None:
            first = files.setdefault((status.st_dev, status.st_ino), str(path))
            if first != str(path):
                raise CatalogError(f"{first} and {path} are one file, which would be counted twice; remove one of them")
    return without_older(catalog)


def load_catalog(path: str | Path | Mapping[str, Any] | Catalog, recipe: Recipe) -> Catalog:
    """Read a catalog of maggjob or magg, and check that it fits the grid of a configuration.

    Parameters
    ----------
    path : str, Path, mapping or Catalog
        A file, or its content.
    recipe : Recipe
        The catalog must be on its grid.

    Raises
    ------
    CatalogError
        If the file is missing, is not a catalog, is inconsistent, or is on another grid.
    """
    if isinstance(path, Catalog):
        catalog, name = _each_granule_once(path), "catalog"
    elif isinstance(path, Mapping):
        catalog, name = _checked(path, "catalog", recipe), "catalog"
    else:
        catalog, name = read_catalog(path, recipe), str(path)
    grid = recipe.grid
    if (catalog.order, catalog.latitude) != (grid.parent_order, grid.latitude):
        raise CatalogError(
            f"{name}: its cells have order {catalog.order} and latitude {catalog.latitude}, the configuration asks for "
            f"order {grid.parent_order} and latitude {grid.latitude}; change output.grid, or make the catalog again"
        )
    return catalog


def _read_json(path: Path) -> Any:
    try:
        return load_json(path.read_bytes())
    except OSError as problem:
        raise CatalogError(f"no catalog {path}: {problem.strerror}; make one with 'maggjob catalog'") from problem
    except ValueError as problem:
        raise CatalogError(f"{path}: not JSON ({problem}); make the catalog again") from problem


def _from_ours(content: Mapping[str, Any], name: str) -> Catalog:
    metadata = content["metadata"]
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
        raise CatalogError(
            f"{name}: format {metadata.get('format')!r} version {metadata.get('version')!r}, this maggjob reads "
            f"{FORMAT!r} version {VERSION}; make it again"
        )
    order, latitude, provenance = metadata["parent_order"], metadata["latitude"], metadata["provenance"]
    if not isinstance(provenance, Mapping):
        raise CatalogError(f"{name}: its provenance is {provenance!r}, not a mapping; make it again")
    if latitude not in LATITUDES:
        raise CatalogError(f"{name}: latitude {latitude!r} is not one of {', '.join(LATITUDES)}")
    entries = _entries(content["granules"], name)
    if entries != sorted(entries, key=lambda entry: entry.id):
        raise CatalogError(f"{name}: its granules are not sorted by id; make it again")
    cells = _once_each({cell: tuple(positions) for cell, positions in content["cells"].items()}, order, name)
    for cell, positions in cells.items():
        if (
            not positions
            or len(set(positions)) < len(positions)
            or not all(type(p) is int and 0 <= p < len(entries) for p in positions)
        ):
            raise CatalogError(
                f"{name}: cell {format_cell(cell, order)} lists no granule, one twice, or one not in the catalog"
            )
    # A position is one object in all cells.
    every = list(range(len(entries)))
    catalog = Catalog(
        tuple(entries),
        {c: tuple(map(every.__getitem__, sorted(cells[c]))) for c in sorted(cells)},
        order,
        latitude,
        provenance,
        footprints=Footprints.unpack(content["footprints"]) if "footprints" in content else None,
    )
    if "digest" in metadata and metadata["digest"] != catalog.digest:
        raise CatalogError(f"{name}: changed since it was made; make it again, or remove metadata.digest to use it")
    return catalog


def _entries(columns: Mapping[str, Any], name: str) -> list[Entry]:
    """Return the granules from the columns of a file, checked."""
    places: list[dict[str, str]] = [{} for _ in columns["id"]]
    for driver, urls in columns["urls"].items():
        for known, rest in zip(places, urls["rest"], strict=True):
            if rest is not None:
                url = known[driver] = urls["base"] + rest
                if driver_of(url) != driver:
                    raise CatalogError(f"{name}: {url} is listed as {driver}, but is read as {driver_of(url)}")
    entries = []
    for urls, *values in zip(places, *(columns[column] for column in COLUMNS), strict=True):
        entry = Entry(urls=urls, **dict(zip(COLUMNS, values, strict=True)))
        if not urls:
            raise CatalogError(f"{name}: granule {entry.id} has no URL")
        whole = all(n is None or (type(n) is int and 0 <= n < LARGEST) for n in (entry.size, entry.rows, entry.cells))
        text = isinstance(entry.id, str) and all(t is None or isinstance(t, str) for t in (entry.start, entry.end))
        if not (whole and text) or entry.size == 0:
            raise CatalogError(
                f"{name}: granule {entry.id!r} of size {entry.size!r} has an invalid field; make the catalog again"
            )
        entries.append(entry)
    return entries


def _once_each(cells: Mapping[str, Any], order: int, name: str) -> dict[int, Any]:
    """Return the cells by nested id. Two spellings of one cell are an error: one would replace the other."""
    found: dict[int, Any] = {}
    for text, value in cells.items():
        cell = parse_cell(text, order)
        if cell in found:
            raise CatalogError(f"{name}: cell {format_cell(cell, order)} is listed twice; make the catalog again")
        found[cell] = value
    return found


def _from_older(content: Mapping[str, Any], name: str, recipe: Recipe | None) -> Catalog:
    """Read magg's form, ``{"metadata": {parent_order, s3_base, https_base}, "catalog": {cell: [urls]}}``."""
    metadata = content["metadata"]
    order = int(metadata["parent_order"])
    bases = (metadata.get("s3_base"), metadata.get("https_base"))
    entries: dict[str, Entry] = {}
    for urls in content["catalog"].values():
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise CatalogError(f"{name}: a cell lists {str(urls)[:80]!r}, not URLs of granules; make it again")
        if len(set(urls)) < len(urls):
            raise CatalogError(f"{name}: a granule is listed twice for one cell")
        for url in urls:
            places = {driver_of(url): url}
            if all(bases) and url.startswith(str(bases[0])):
                places["https"] = url.replace(str(bases[0]), str(bases[1]), 1)
            known = entries.setdefault(granule_id(url), Entry(granule_id(url), places))
            if known.urls != places:
                raise CatalogError(f"{name}: granule {known.id} has two URLs, {known.urls} and {places}")
    provenance = {"from": "older catalog"} | {k: v for k, v in metadata.items() if isinstance(v, (str, int, float))}
    if recipe is not None and recipe.grid.latitude != "geodetic-spherical":
        if all("file" in entry.urls for entry in entries.values()):
            paths = {entry.id: local_path(entry.urls["file"]) for entry in entries.values()}
            sizes = {name: status.st_size for name, path in paths.items() if (status := file_status(path)) is not None}
            kept, older = split_newest(list(entries), [str(path) for path in paths.values()])
            provenance |= {"older_revisions": len(older)} if older else {}
            every = list(entries.values())
            newest = [every[position] for position in kept]
            return with_pairs([Entry(e.id, e.urls, sizes.get(e.id)) for e in newest], recipe, provenance)
        raise CatalogError(
            f"{name}: its cells are geodetic-spherical, but the configuration has output.grid.latitude: "
            f"{recipe.grid.latitude}; set it to geodetic-spherical, or make the catalog again with 'maggjob catalog'"
        )
    ordered = sorted(entries.values(), key=lambda entry: entry.id)
    position = {entry.id: i for i, entry in enumerate(ordered)}
    cells = _once_each(content["catalog"], order, name)
    return Catalog(
        tuple(ordered),
        {c: tuple(sorted(position[granule_id(url)] for url in cells[c])) for c in sorted(cells)},
        order,
        "geodetic-spherical",
        provenance,
    )


CatalogLike = str | Path | Mapping[str, Any] | Catalog
