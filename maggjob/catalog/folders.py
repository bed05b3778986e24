"""Files that people name as granules: those in folders, those that a pattern matches, and those given one by one."""

import glob
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maggjob.catalog.catalog import SUFFIXES
from maggjob.errors import CatalogError
from maggjob.icesat2.names import PRODUCT, GranuleName, product_of
from maggjob.inputs.places import CONTROL, local_place

OTHER_FORMS = (".hdf", ".nc", ".nc4", ".gz", ".bz2", ".xz", ".zst", ".zip", ".part", ".tmp")
"""Suffixes of granules that are there, but not as a whole HDF5 file."""
LINKS = "second names of files that are listed already"


@dataclass(frozen=True)
class FoundFiles:
    """The granules in some folders."""

    paths: tuple[Path, ...]
    """Granules, sorted."""
    passed_over: Mapping[str, tuple[int, str]]
    """Number and first path of the files that are no granules, by what they are."""


@dataclass
class _Passed:
    """What is passed over while files are looked for."""

    over: dict[str, set[str]] = field(default_factory=dict)
    """Paths by what they are."""

    def add(self, what: str, path: str | Path) -> None:
        self.over.setdefault(what, set()).add(shown(path))

    def counts(self) -> dict[str, tuple[int, str]]:
        return {what: (len(paths), min(paths)) for what, paths in self.over.items()}


def shown(path: str | Path) -> str:
    """Return a path as text that can be printed and written, whatever bytes its name has."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def find_files(places: Sequence[str], product: str = PRODUCT) -> FoundFiles:
    """Return the local granules in folders, patterns and files.

    A folder means everything below it, symbolic links included, but for hidden folders and files. In folders and
    patterns, files of other names than granules are passed over (a pattern that matches no granule's name takes what it
    matches). Of several products one is taken: ``product`` if it is there, else the one with most granules. A file
    with several names counts once.

    Parameters
    ----------
    places : sequence of str
        Folders, patterns or files.
    product : str
        Short name of the product that is wanted.

    Raises
    ------
    CatalogError
        If one of the places holds no granule.
    """
    found: set[Path] = set()
    passed = _Passed()
    for place in places:
        path = local_place(place, "granules")
        here = {path} if path.is_file() else _in_folder(path, passed) if path.is_dir() else _matched(path, passed)
        if not here:
            told = "".join(f"; {number} {what} there, such as {one}" for what, (number, one) in passed.counts().items())
            raise CatalogError(f"no granules at {place}{told}: give a folder with .h5 files, or a pattern in quotes")
        found |= {match.absolute() for match in here}
    return FoundFiles(tuple(sorted(_one_product(_each_once(found, passed), product, passed))), passed.counts())


def _in_folder(folder: Path, passed: _Passed) -> set[Path]:
    """Return the granules below a folder."""
    return {path for path in _walk(folder, passed) if _is_named(path, passed)}


def _matched(pattern: Path, passed: _Passed) -> set[Path]:
    """Return the granules that a pattern matches, and those below folders that it matches."""
    # A folder with brackets in its name is no pattern; the suffix is that of granules in any case.
    there = next((above for above in pattern.parents if above.exists()), Path())
    rest = str(pattern)[len(str(there)) :].lstrip("/") if there != Path() else str(pattern)
    stem, dot, suffix = rest.rpartition(".")
    if f".{suffix.lower()}" in SUFFIXES:
        rest = stem + dot + re.sub(r"[a-zA-Z]", lambda letter: f"[{letter[0].lower()}{letter[0].upper()}]", suffix)
    matches = [Path(match) for match in glob.glob(str(Path(glob.escape(str(there))) / rest), recursive=True)]
    files = {path for path in matches if not path.is_dir() and _is_granule_file(path, passed)}
    if "**" not in rest:
        files |= {path for folder in matches if folder.is_dir() for path in _in_folder(folder, passed)}
    if any(product_of(path.name) for path in files):
        return {path for path in files if _is_named(path, passed)}
    return files


def _walk(folder: Path, passed: _Passed) -> Iterator[Path]:
    """Yield the files below a folder that may be granules, those of each real folder once."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        # A link may lead to a folder above.
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        for name in [name for name in folders if name.startswith(".")]:
            folders.remove(name)
            passed.add("hidden folders", f"{root}/{name}")
        for name in [name for name in folders if name.lower().endswith(SUFFIXES)]:
            passed.add("folders with the name of a file", f"{root}/{name}")
        yield from (path for name in files if _is_granule_file(path := Path(root, name), passed))


def _is_granule_file(path: Path, passed: _Passed) -> bool:
    """Return True if a file has the suffix of a granule, is not hidden, and can be read like a file."""
    name = path.name
    if not name.lower().endswith(SUFFIXES):
        if GranuleName.parse(name) is not None and name.lower().endswith(OTHER_FORMS):
            passed.add("granules in another form than .h5, .hdf5 or .he5", path)
        return False
    if name.startswith("."):
        passed.add("hidden files", path)
        return False
    status = file_status(path)
    # A link that leads nowhere is a granule that is missed.
    if status is not None and not stat.S_ISREG(status.st_mode):
        passed.add("pipes or devices", path)
        return False
    return True


def _is_named(path: Path, passed: _Passed) -> bool:
    """Return True if a file has the name of a granule."""
    if product_of(path.name) is not None:
        return True
    passed.add("files whose names are not those of granules", path)
    return False


def _each_once(paths: set[Path], passed: _Passed) -> list[Path]:
    """Return one name of each file: that of a granule if there is one, and rather not a link."""
    best: dict[object, Path] = {}
    for path in sorted(paths, key=lambda path: (GranuleName.parse(path.name) is None, path.is_symlink(), path)):
        status = file_status(path)
        if best.setdefault(path if status is None else (status.st_dev, status.st_ino), path) is not path:
            passed.add(LINKS, path)
    return list(best.values())


def _one_product(paths: Sequence[Path], wanted: str, passed: _Passed) -> list[Path]:
    """Return the granules of one product, and the files whose names tell none."""
    products: dict[str, list[Path]] = {}
    for path in paths:
        products.setdefault(product_of(path.name) or "", []).append(path)
    unnamed = products.pop("", [])
    ranked = sorted(products, key=lambda product: (product != wanted, -len(products[product]), product))
    for other in ranked[1:]:
        for path in products[other]:
            passed.add(f"granules of {other}", path)
    return [*unnamed, *(products[ranked[0]] if ranked else [])]


def file_status(path: Path) -> os.stat_result | None:
    """Return what the system tells of a file; None if there is none, as where a link leads nowhere."""
    try:
        return path.stat()
    except OSError:
        return None
