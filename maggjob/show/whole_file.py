"""Write a picture, a page or an export whole or not at all."""

import secrets
from collections.abc import Callable
from pathlib import Path

from maggjob.errors import InputError
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
        If a file of another kind is there.
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
    return path


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
    beside = path.with_name(f".{path.stem[:80]}-{secrets.token_hex(4)}{path.suffix}")
    try:
        save(beside)
        beside.replace(path)
    except OSError as problem:
        raise InputError(f"cannot write {path}: {problem.strerror or problem}; give another place") from problem
    finally:
        beside.unlink(missing_ok=True)
    return path
