"""Which granules there are, and which cells each lies in: made, written, read, checked."""

import glob
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from maggjob.cells import LATITUDES, format_cell, locate, parse_cell
from maggjob.config import digest_of
from maggjob.errors import CatalogError, CellError, GranuleError, InputError
from maggjob.granule import granule_cells
from maggjob.model import Granule, Recipe
from maggjob.storage import Access, is_remote, local_path, split_url

FORMAT, VERSION = "maggjob-catalog", 1
DRIVERS = ("s3", "https", "file")


@dataclass(frozen=True)
class Entry:
    """A granule of a catalog."""

    id: str
    """Its name, unique in the catalog."""
    urls: Mapping[str, str]
    """Where it is, by driver."""
    size: int | None = None
    """Size in bytes, if it is known exactly."""

    def granule(self, driver: str) -> Granule:
        """As a worker sees it."""
        return Granule(self.id, self.urls[driver], self.size)


@dataclass(frozen=True)
class Catalog:
    """Granules, and the cells that they lie in."""

    granules: tuple[Entry, ...]
    """Sorted by id."""
    cells: Mapping[int, tuple[int, ...]]
    """Positions in `granules` by nested id of the cell."""
    order: int
    """Order of the cells."""
    latitude: str
    """Latitude convention of the cells."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from."""

    @property
    def digest(self) -> str:
        """Of what decides the numbers: granules, sizes and cells, wherever they are read from."""
        granules = [(g.id, g.size) for g in self.granules]
        return digest_of([self.order, self.latitude, granules, sorted(self.cells.items())])

    @property
    def pairs(self) -> int:
        """Pairs of a granule and a cell."""
        return sum(len(granules) for granules in self.cells.values())

    def to_dict(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "metadata": {
                "format": FORMAT,
                "version": VERSION,
                "parent_order": self.order,
                "latitude": self.latitude,
                "digest": self.digest,
                "provenance": dict(self.provenance),
            },
            "granules": [{"id": g.id, "size": g.size, "urls": dict(g.urls)} for g in self.granules],
            "cells": {format_cell(cell, self.order): list(self.cells[cell]) for cell in sorted(self.cells)},
        }

    def write(self, path: str | Path) -> None:
        """Write it as JSON: entirely, or not at all.

        Raises
        ------
        CatalogError
            The file cannot be written.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.name}.part")
        try:
            temporary.write_text(json.dumps(self.to_dict(), separators=(",", ":")), encoding="utf-8")
            temporary.replace(path)
        except OSError as problem:
            temporary.unlink(missing_ok=True)
            raise CatalogError(f"cannot write catalog {path}: {problem}; choose another place with --out") from problem


def granule_id(url: str) -> str:
    """Id of a granule: its file name without .h5."""
    return url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".h5")


def driver_of(url: str) -> str:
    """Driver that a URL is read with.

    Raises
    ------
    CatalogError
        There is none, or its path climbs with "..".
    """
    try:
        address = split_url(url)
    except InputError as problem:
        raise CatalogError(str(problem)) from problem
    if ".." in f"{url}/{address.key}".split("/"):
        raise CatalogError(f"{url}: a path with '..' is not read; write it out")
    return "s3" if url.startswith("s3://") else "https" if is_remote(url) else "file"


def find_files(places: Sequence[str]) -> list[Path]:
    """Local granules in folders, patterns and files.

    Raises
    ------
    CatalogError
        A place holds none.
    """
    found: set[Path] = set()
    for place in places:
        path = Path(place).expanduser()
        if path.is_dir():
            here = set(path.rglob("*.h5"))
        else:
            here = {Path(match) for match in glob.glob(str(path), recursive=True) if Path(match).is_file()}
        if not here:
            raise CatalogError(f"no granules at {place}: give a folder with .h5 files, or a pattern in quotes")
        found |= {match.absolute() for match in here}
    return sorted(found)


def from_files(places: Sequence[str], recipe: Recipe) -> Catalog:
    """Catalog of local granules; their cells are exact, from the coordinates of every segment.

    Parameters
    ----------
    places : sequence of str
        Folders, patterns or files.
    recipe : Recipe
        Which beams and coordinates to read, and the grid.

    Raises
    ------
    CatalogError
        There are none, two have one name, or one cannot be read.
    """
    paths = find_files(places)
    entries = [Entry(granule_id(str(path)), {"file": str(path)}, path.stat().st_size) for path in paths]
    return _with_pairs(entries, recipe, {"from_files": sorted(places)})


def _with_pairs(entries: Iterable[Entry], recipe: Recipe, provenance: Mapping[str, Any]) -> Catalog:
    """Find the cells of local granules by reading their coordinates."""
    entries = sorted(entries, key=lambda entry: entry.id)
    _each_once(entries)
    grid, access = recipe.grid, Access()
    cells: dict[int, list[int]] = {}
    with ThreadPoolExecutor(8) as pool:
        for position, entry in enumerate(entries):
            try:
                found = granule_cells(
                    entry.granule("file"),
                    recipe,
                    access,
                    pool,
                    lambda latitude, longitude: locate(latitude, longitude, grid.parent_order, grid.latitude),
                )
            except GranuleError as problem:
                raise CatalogError(f"{problem} (a catalog needs every granule: mend or remove this one)") from problem
            for cell in found.tolist():
                cells.setdefault(cell, []).append(position)
    if not cells:
        raise CatalogError(f"none of the {len(entries)} granules has a segment with valid coordinates")
    return Catalog(
        tuple(entries),
        {cell: tuple(cells[cell]) for cell in sorted(cells)},
        grid.parent_order,
        grid.latitude,
        provenance,
    )


def _each_once(entries: Sequence[Entry]) -> None:
    for one, other in pairwise(entries):
        if one.id == other.id:
            both = " and ".join(str(next(iter(e.urls.values()))) for e in (one, other))
            raise CatalogError(f"granule {one.id} is there twice: {both}; remove one, or it is counted twice")
    seen: dict[str, str] = {}
    for entry in entries:
        for url in entry.urls.values():
            if seen.setdefault(url, entry.id) != entry.id:
                raise CatalogError(f"{url} is listed as {seen[url]} and as {entry.id}, and would be counted twice")


def load_catalog(path: str | Path | Mapping[str, Any] | Catalog, recipe: Recipe) -> Catalog:
    """Read a catalog, ours or that of the system before us, for the grid of a configuration.

    Parameters
    ----------
    path : str, Path, mapping or Catalog
        A file, or its content.
    recipe : Recipe
        Its grid is what the catalog must fit.

    Raises
    ------
    CatalogError
        It is not there, no catalog, inconsistent, or for another grid.
    """
    if isinstance(path, Catalog):
        catalog, name = path, "catalog"
    else:
        content, name = (path, "catalog") if isinstance(path, Mapping) else (_read_json(Path(path)), str(path))
        if not isinstance(content, Mapping) or not isinstance(content.get("metadata"), Mapping):
            raise CatalogError(f"{name}: no catalog (expected the keys metadata, granules, cells); make one anew")
        try:
            catalog = _from_older(content, name, recipe) if "catalog" in content else _from_ours(content, name)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, CellError) as problem:
            raise CatalogError(f"{name}: damaged ({type(problem).__name__}: {problem}); make it anew") from problem
    grid = recipe.grid
    if (catalog.order, catalog.latitude) != (grid.parent_order, grid.latitude):
        raise CatalogError(
            f"{name}: its cells have order {catalog.order} and latitude {catalog.latitude}, the configuration asks for "
            f"order {grid.parent_order} and latitude {grid.latitude}; change output.grid, or make the catalog anew"
        )
    return catalog


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise CatalogError(f"no catalog {path}: {problem.strerror}; make one with 'maggjob catalog'") from problem
    except ValueError as problem:
        raise CatalogError(f"{path}: no JSON ({problem}); make the catalog anew") from problem


def _from_ours(content: Mapping[str, Any], name: str) -> Catalog:
    metadata = content["metadata"]
    if (metadata.get("format"), metadata.get("version")) != (FORMAT, VERSION):
        raise CatalogError(
            f"{name}: format {metadata.get('format')!r} version {metadata.get('version')!r}, this maggjob reads "
            f"{FORMAT!r} version {VERSION}; make it anew"
        )
    order, latitude = metadata["parent_order"], metadata["latitude"]
    if latitude not in LATITUDES:
        raise CatalogError(f"{name}: latitude {latitude!r}, known are {', '.join(LATITUDES)}")
    entries = []
    for granule in content["granules"]:
        for driver, url in granule["urls"].items():
            if driver_of(url) != driver:
                raise CatalogError(f"{name}: {url} is listed as {driver}, it is read as {driver_of(url)}")
        if not granule["urls"]:
            raise CatalogError(f"{name}: granule {granule['id']} has no URL")
        size = granule.get("size")
        if not isinstance(granule["id"], str) or not (size is None or (type(size) is int and size > 0)):
            raise CatalogError(f"{name}: granule {granule['id']!r} of size {size!r}; make the catalog anew")
        entries.append(Entry(granule["id"], dict(granule["urls"]), size))
    if entries != sorted(entries, key=lambda entry: entry.id):
        raise CatalogError(f"{name}: its granules are not sorted by id; make it anew")
    _each_once(entries)
    cells = _once_each({cell: tuple(positions) for cell, positions in content["cells"].items()}, order, name)
    for cell, positions in cells.items():
        if (
            not positions
            or len(set(positions)) < len(positions)
            or not all(type(p) is int and 0 <= p < len(entries) for p in positions)
        ):
            raise CatalogError(
                f"{name}: cell {format_cell(cell, order)} names no granule, one twice, or one that is not there"
            )
    catalog = Catalog(
        tuple(entries), {c: tuple(sorted(cells[c])) for c in sorted(cells)}, order, latitude, metadata["provenance"]
    )
    if "digest" in metadata and metadata["digest"] != catalog.digest:
        raise CatalogError(f"{name}: changed since it was made; make it anew, or remove metadata.digest to use it so")
    return catalog


def _once_each(cells: Mapping[str, Any], order: int, name: str) -> dict[int, Any]:
    """Cells by nested id; two spellings of one cell would hide each other."""
    found: dict[int, Any] = {}
    for text, value in cells.items():
        cell = parse_cell(text, order)
        if cell in found:
            raise CatalogError(f"{name}: cell {format_cell(cell, order)} is there twice; make it anew")
        found[cell] = value
    return found


def _from_older(content: Mapping[str, Any], name: str, recipe: Recipe) -> Catalog:
    """The form ``{"metadata": {parent_order, s3_base, https_base}, "catalog": {cell: [urls]}}``."""
    metadata, grid = content["metadata"], recipe.grid
    order = int(metadata["parent_order"])
    bases = (metadata.get("s3_base"), metadata.get("https_base"))
    entries: dict[str, Entry] = {}
    for urls in content["catalog"].values():
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
    if grid.latitude != "geodetic-spherical":
        if all("file" in entry.urls for entry in entries.values()):
            sized = [Entry(e.id, e.urls, _file_size(e.urls["file"])) for e in entries.values()]
            return _with_pairs(sized, recipe, provenance)
        raise CatalogError(
            f"{name}: its cells are geodetic-spherical ones and the configuration has output.grid.latitude: "
            f"{grid.latitude}; set it to geodetic-spherical, or make the catalog anew with 'maggjob catalog'"
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


def _file_size(url: str) -> int | None:
    path = local_path(url)
    return path.stat().st_size if path.is_file() else None
