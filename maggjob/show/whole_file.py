"""Write a picture, a page or an export whole or not at all."""

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from maggjob.errors import ExistsError, InputError
from maggjob.inputs.places import PlaceLike, local_place, may_replace

KINDS = {
    ".png": ((b"\x89PNG",), "PNG"),
    ".pdf": ((b"%PDF",), "PDF"),
    ".svg": ((b"<?xml", b"<svg"), "SVG"),
    ".html": ((b"<!DOCTYPE html>", b"<!doctype html>"), "HTML page"),
    ".tif": ((b"II*\x00", b"II+\x00", b"MM\x00*", b"MM\x00+"), "TIFF"),
    ".nc": ((b"\x89HDF\r\n", b"CDF"), "netCDF file"),
    ".parquet": ((b"PAR1",), "Parquet file"),
    ".csv": ((b"cell_ids,",), "table that maggjob exported"),
}
"""How files of each kind begin, and what they are called, by the end of their name."""
DRAWN = (".png", ".pdf", ".svg", ".html")
"""Ends of names that files of people often have, too."""
MADE_BY = b"maggjob"
"""What is written into these files as their maker."""
SEARCHED = 1 << 16
"""Bytes at each end of a file in which its maker stands."""


def place_of(out: PlaceLike, ends: tuple[str, ...]) -> Path:
    """Return the path of a file that is to be written.

    Parameters
    ----------
    out : str or path-like
        As the user gave it.
    ends : tuple of str
        Ends of names that are possible, such as ``.png``.

    Raises
    ------
    InputError
        If the name has another end, or there is no such folder.
    ExistsError
        If a file of another kind is there, or a picture or page that maggjob did not make.
    """
    path = local_place(out, "file")
    end = path.suffix.lower()
    if end not in ends:
        raise InputError(f"cannot write {path}: give a name that ends in {' or '.join(ends)}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; give the name of a file")
    may_replace(path, *KINDS[end])
    if path.exists():
        _check_ours(path, end)
    return path


def _check_ours(path: Path, end: str) -> None:
    """Check that a file may be replaced: no pipe, not protected, and a picture or page only if maggjob made it."""
    kind = path.stat()
    if not stat.S_ISREG(kind.st_mode):
        raise InputError(f"cannot write {path}: it is a pipe or a device; give the name of a file")
    if not kind.st_mode & 0o222:
        raise InputError(f"cannot write {path}: it is read-only; give another name, or 'chmod u+w {path}'")
    if end in DRAWN and kind.st_size:
        with path.open("rb") as file:
            begin = file.read(SEARCHED)
            file.seek(-min(SEARCHED, kind.st_size), os.SEEK_END)
            if MADE_BY not in begin + file.read():
                raise ExistsError(
                    f"{path} exists, and maggjob did not make it; it is not replaced: give another name, or remove it"
                )


def write_whole(path: Path, save: Callable[[Path], None]) -> Path:
    """Write a file beside its place, and move it there once it is whole.

    Parameters
    ----------
    path : Path
        The file.
    save : callable
        Writes to the path that it is given, whose name has the same end.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    given = path
    # Of a link, the file that it leads to is replaced.
    path = path.resolve()
    beside = path.with_name(f".{path.stem[:80]}-{secrets.token_hex(4)}{path.suffix}")
    try:
        save(beside)
        beside.replace(path)
    except OSError as problem:
        raise InputError(f"cannot write {path}: {problem.strerror or problem}; give another place") from problem
    finally:
        beside.unlink(missing_ok=True)
    return given
