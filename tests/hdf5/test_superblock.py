"""Superblocks: where a file begins and ends, in every version."""

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maggjob.errors import GranuleError, NotHdf5Error, TruncatedError, UnsupportedError
from maggjob.hdf5.superblock import SIGNATURE, Superblock, read_superblock


@pytest.mark.parametrize("block", [0, 512, 4096, 32768])
@pytest.mark.parametrize(
    ("libver", "version"), [(None, 0), (("v108", "v108"), 2), (("v110", "v110"), 3), (("latest", "latest"), 3)]
)
def test_the_end_of_file_is_the_size_of_the_file(tmp_path: Path, libver: Any, version: int, block: int) -> None:
    path = tmp_path / "a.h5"
    for rows in (0, 10, 100_000):
        with h5py.File(path, "w", libver=libver, userblock_size=block) as file:
            file["d"] = np.arange(rows)
        found = read_superblock(path.read_bytes()[: 1 << 16], "a.h5")
        assert found == Superblock(block, version, (8, 8), path.stat().st_size)
        assert (found.odd is None) == (version < 3 and not block)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_addresses_have_widths(tmp_path: Path, size: int) -> None:
    created = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    created.set_sizes(size, size)
    path = tmp_path / "a.h5"
    with h5py.File(h5py.h5f.create(str(path).encode(), h5py.h5f.ACC_TRUNC, created)) as file:
        file["d"] = np.arange(10)
    found = read_superblock(path.read_bytes(), "a.h5")
    assert (found.widths, found.end) == ((size, size), path.stat().st_size)
    assert (found.odd is None) == (size == 8)


def test_the_end_of_file_of_real_granules(real_granules: list[Path]) -> None:
    for path in real_granules:
        found = read_superblock(path.read_bytes()[:64], path.name)
        assert found.end == path.stat().st_size
        assert found.odd is None


def superblock(version: int, offsets: int = 8, lengths: int = 8) -> bytes:
    if version in (0, 1):
        head = SIGNATURE + bytes([version, 0, 0, 0, 0, offsets, lengths, 0]) + struct.pack("<HHI", 4, 16, 0)
        head += struct.pack("<HH", 32, 0) if version else b""
        return (head + struct.pack("<QQQQ", 0, 0, 4321, 0)).ljust(96, b"\0")
    head = SIGNATURE + bytes([version, offsets, lengths, 0])
    return (head + struct.pack("<QQQQI", 0, 2**64 - 1, 4321, 48, 0)).ljust(96, b"\0")


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_the_end_of_file_is_where_the_format_says(version: int) -> None:
    assert read_superblock(superblock(version), "a.h5").end == 4321


@pytest.mark.parametrize(
    ("head", "error"),
    [
        (b"", NotHdf5Error),
        (b"CDF\x01" + bytes(60), NotHdf5Error),
        (b"<html>" * 20, NotHdf5Error),
        (SIGNATURE, NotHdf5Error),
        (SIGNATURE[:-1] + b"\r" + bytes(60), NotHdf5Error),
        (b"\0" * 512, NotHdf5Error),
        (bytes(100) + superblock(0), NotHdf5Error),
        (superblock(4), UnsupportedError),
        (superblock(77), UnsupportedError),
        (superblock(0)[:63], TruncatedError),
        (superblock(2)[:9], TruncatedError),
        (bytes(512) + superblock(2)[:40], TruncatedError),
    ],
)
def test_other_heads_are_refused(head: bytes, error: type[GranuleError]) -> None:
    with pytest.raises(error, match=r"^a\.h5: "):
        read_superblock(head, "a.h5")
