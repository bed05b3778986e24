"""The superblock of an HDF5 file (*HDF5 File Format Specification*, version 3.0, section II.A)."""

from dataclasses import dataclass

from maggjob.errors import NotHdf5Error, TruncatedError, UnsupportedError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
STARTS = (0, *(512 << n for n in range(7)))
"""Positions where a superblock may lie, bytes: before it may be a user block."""
FIELDS = {0: (13, 24, 2), 1: (13, 28, 2), 2: (9, 12, 2), 3: (9, 12, 2)}
"""By version: position of the widths of addresses and lengths, position of the first address, and number of the address
that is the end of the file."""


@dataclass(frozen=True)
class Superblock:
    """Where an HDF5 file begins and ends."""

    start: int
    """Size of the user block before it, bytes."""
    version: int
    """Version of the superblock."""
    widths: tuple[int, int]
    """Bytes of an address, and of a length."""
    end: int
    """The file's own note of its end, which must equal its size, bytes."""

    @property
    def odd(self) -> str | None:
        """Why h5coro cannot read the file; None if it may."""
        if self.version not in (0, 2):
            return f"superblock version {self.version}; h5coro reads versions 0 and 2 only"
        if self.start:
            return f"a user block of {self.start} bytes; h5coro reads files without one only"
        if self.widths != (8, 8):
            return f"addresses of {self.widths[0]} and lengths of {self.widths[1]} bytes; h5coro reads 8 only"
        return None


def read_superblock(head: bytes, name: str) -> Superblock:
    """Find and decode the superblock.

    Parameters
    ----------
    head : bytes
        First bytes of the file; a user block that is longer is not found.
    name : str
        Id of the granule, for messages.

    Raises
    ------
    NotHdf5Error
        If the signature is missing.
    TruncatedError
        If the file is shorter than a superblock.
    UnsupportedError
        If the version is unknown.
    """
    start = next((at for at in STARTS if head[at : at + 8] == SIGNATURE), None)
    if head[:3] == b"CDF":
        raise NotHdf5Error(f"{name}: a netCDF classic file (netCDF3), not HDF5; convert it to netCDF4")
    if start is None or len(head) < start + 9:
        raise NotHdf5Error(f"{name}: not an HDF5 file (it starts with {head[:8]!r}); remove it from the catalog")
    block, version = head[start : start + 64], head[start + 8]
    if version not in FIELDS:
        raise UnsupportedError(f"{name}: superblock version {version}; versions 0 to {max(FIELDS)} are known")
    if len(block) < 64:
        raise TruncatedError(f"{name}: only {len(head)} bytes long; fetch the granule again")
    widths_at, addresses_at, number = FIELDS[version]
    width, length = block[widths_at], block[widths_at + 1]
    position = addresses_at + number * width
    return Superblock(start, version, (width, length), int.from_bytes(block[position : position + width], "little"))
