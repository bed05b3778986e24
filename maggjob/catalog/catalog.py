"""A catalog: granules, and the cells that each granule lies in.

The file stores granules in columns, URLs without their common prefix, and footprints as compressed differences. A cycle
of 4,161 granules takes 1.3 MB. The digest covers only what determines the numbers of a result; the provenance (when and
how the catalog was made) is stored beside it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from os.path import commonprefix
from pathlib import Path
from typing import Any

from maggjob.config.schema import digest_of
from maggjob.errors import CatalogError, InputError
from maggjob.grid.footprints import Footprints
from maggjob.grid.healpix import format_cell
from maggjob.icesat2.names import PRODUCT, newest_of
from maggjob.inputs.places import local_place, may_replace
from maggjob.model.display import Displayed
from maggjob.model.tasks import Granule
from maggjob.storage.urls import is_remote, split_url

FORMAT, VERSION = "maggjob-catalog", 2
DRIVERS = ("s3", "https", "file")
SUFFIXES = (".h5", ".hdf5", ".he5")
"""Suffixes of granules, in any case."""
COLUMNS = ("id", "size", "rows", "cells", "start", "end")


@dataclass(frozen=True, slots=True)
class Entry:
    """A granule of a catalog."""

    id: str
    """Name of the granule, unique in the catalog."""
    urls: Mapping[str, str]
    """URL by driver."""
    size: int | None = None
    """Size in bytes, if it is known exactly."""
    rows: int | None = None
    """Number of segments, counted or estimated from the size."""
    cells: int | None = None
    """Number of cells that hold its segments, counted or estimated; includes cells outside the area."""
    start: str | None = None
    """Start time, UTC, ISO 8601."""
    end: str | None = None
    """End time, UTC, ISO 8601."""

    def granule(self, driver: str) -> Granule:
        """Return the granule as a worker needs it, with the URL of one driver."""
        return Granule(self.id, self.urls[driver], self.size)


@dataclass(frozen=True, repr=False)
class Catalog(Displayed):
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
    """How the catalog was made."""
    footprints: Footprints | None = field(default=None, compare=False, repr=False)
    """Outlines of the granules, if known."""

    @cached_property
    def digest(self) -> str:
        """Digest of what determines the numbers: granules, sizes and cells, but not where they are read from."""
        granules = [(g.id, g.size) for g in self.granules]
        return digest_of([self.order, self.latitude, granules, sorted(self.cells.items())])

    @property
    def pairs(self) -> int:
        """Number of pairs of a granule and a cell."""
        return sum(len(granules) for granules in self.cells.values())

    def facts(self) -> dict[str, object]:
        """Return what is shown of a catalog."""
        return {
            "granules": len(self.granules),
            "cells": len(self.cells),
            "pairs": self.pairs,
            "order": str(self.order),
            "latitude": self.latitude,
            "notes": "; ".join(self.notes()) or "none",
        }

    def notes(self) -> list[str]:
        """Return remarks for the user on how the catalog was made."""
        found = []
        modelled = self.provenance.get("footprints_by_track", ())
        if modelled:
            found.append(
                f"{len(modelled):,} granules have no usable footprint, such as {modelled[0]}: "
                "a wider one is derived from their ground track"
            )
        if not self.provenance.get("on_an_ice_sheet", True):
            found.append(
                f"the area lies outside Antarctica and Greenland: {PRODUCT} covers only glaciers there, and cells "
                "without land ice stay empty"
            )
        older = self.provenance.get("older_revisions", 0)
        if older:
            found.append(f"{older:,} older revisions of granules were left out")
        for what, names in self.provenance.get("passed_over", {}).items():
            found.append(f"{names[0]:,} {what} were passed over, such as {names[1]}")
        lost = self.provenance.get("unreadable", {})
        if lost:
            name, why = next(iter(lost.items()))
            found.append(f"{len(lost):,} granules cannot be read and were left out, such as {name}: {why}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the catalog as plain values, in the form in which it is written."""
        plain = {
            "metadata": {
                "format": FORMAT,
                "version": VERSION,
                "parent_order": self.order,
                "latitude": self.latitude,
                "digest": self.digest,
                "provenance": dict(self.provenance),
            },
            "granules": {
                **{name: [getattr(granule, name) for granule in self.granules] for name in COLUMNS},
                "urls": {driver: self._places(driver) for driver in DRIVERS if self._places(driver)},
            },
            "cells": {format_cell(cell, self.order): list(self.cells[cell]) for cell in sorted(self.cells)},
        }
        return plain | ({} if self.footprints is None else {"footprints": self.footprints.pack()})

    def _places(self, driver: str) -> dict[str, Any]:
        """Return a driver's URLs as their common prefix and the rest of each (None for a granule without a URL)."""
        urls = [granule.urls.get(driver) for granule in self.granules]
        # A common prefix of characters, not of path components, saves the most.
        base = commonprefix([url for url in urls if url is not None])  # noqa: RUF071
        rest = [None if url is None else url[len(base) :] for url in urls]
        return {"base": base, "rest": rest} if any(url is not None for url in urls) else {}

    def write(self, path: str | Path) -> None:
        """Write the catalog as JSON. The file appears only when it is complete.

        Raises
        ------
        CatalogError
            If the file cannot be written.
        """
        path = local_place(path, "catalog")
        if not path.name or path.is_dir():
            raise CatalogError(f"cannot write catalog {path}: it is a folder; give a file with --out")
        # Catalogs of maggjob begin with their metadata, those of magg with another key.
        may_replace(path, (b'{"metadata"', b"{\n", b'{"catalog"', b"{ "), "catalog")
        temporary = path.with_name(f".{path.name}.part")
        try:
            temporary.write_text(json.dumps(self.to_dict(), separators=(",", ":")), encoding="utf-8")
            temporary.replace(path)
        except OSError as problem:
            temporary.unlink(missing_ok=True)
            raise CatalogError(f"cannot write catalog {path}: {problem}; choose another place with --out") from problem


def granule_id(url: str) -> str:
    """Return the id of a granule: its file name without the suffix of HDF5."""
    name = url.rstrip("/").rsplit("/", 1)[-1]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in SUFFIXES else name


def driver_of(url: str) -> str:
    """Return the driver that reads a URL: ``s3``, ``https`` or ``file``.

    Raises
    ------
    CatalogError
        If no driver reads the URL, or its path contains "..".
    """
    try:
        address = split_url(url)
    except InputError as problem:
        raise CatalogError(str(problem)) from problem
    if ".." in f"{url}/{address.key}".split("/"):
        raise CatalogError(f"{url}: a path with '..' is not read; write it without '..'")
    return "s3" if url.startswith("s3://") else "https" if is_remote(url) else "file"


def split_newest(ids: Sequence[str], urls: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the positions of the newest version and revision of each granule, and those of all older ones.

    See `newest_of` for what makes two files one granule.

    Parameters
    ----------
    ids : sequence of str
        Ids of the granules.
    urls : sequence of str
        A path or URL of each, for messages.

    Raises
    ------
    CatalogError
        If two files are the same version and revision of one granule: its segments would be counted twice.
    """
    newest, older, twice = newest_of(ids)
    if twice:
        one, two = twice[0]
        more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
        raise CatalogError(
            f"granule {ids[one]} is listed twice: {urls[one]} and {urls[two]}{more}; remove one of them, or its "
            "segments are counted twice"
        )
    return newest, older


def without_older(catalog: "Catalog") -> "Catalog":
    """Return a catalog without older versions and revisions of its granules, which `Catalog.notes` counts.

    Raises
    ------
    CatalogError
        If a granule is listed twice.
    """
    kept, older = split_newest(
        [entry.id for entry in catalog.granules], [next(iter(entry.urls.values()), "") for entry in catalog.granules]
    )
    if not older:
        return catalog
    new = {position: number for number, position in enumerate(kept)}
    cells = {cell: tuple(new[p] for p in positions if p in new) for cell, positions in catalog.cells.items()}
    provenance = dict(catalog.provenance)
    provenance["older_revisions"] = provenance.get("older_revisions", 0) + len(older)
    footprints = None if catalog.footprints is None else catalog.footprints.take(kept)
    return replace(
        catalog,
        granules=tuple(catalog.granules[position] for position in kept),
        cells={cell: positions for cell, positions in cells.items() if positions},
        provenance=provenance,
        footprints=footprints,
    )


def check_each_once(entries: Sequence[Entry]) -> None:
    """Check that every granule and every URL is listed once.

    Raises
    ------
    CatalogError
        If one is listed twice: its segments would be counted twice.
    """
    for one, other in pairwise(entries):
        if one.id == other.id:
            both = " and ".join(str(next(iter(e.urls.values()))) for e in (one, other))
            raise CatalogError(f"granule {one.id} is listed twice: {both}; remove one, or it is counted twice")
    seen: dict[str, str] = {}
    for entry in entries:
        for url in entry.urls.values():
            if seen.setdefault(url, entry.id) != entry.id:
                raise CatalogError(f"{url} is listed as {seen[url]} and as {entry.id}, and would be counted twice")
