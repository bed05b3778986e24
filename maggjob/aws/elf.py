"""Shared libraries without what only debuggers and linkers read."""

import struct

MAGIC = b"\x7fELF\x02\x01"
"""First bytes of a 64-bit ELF file of little-endian order, as aarch64 and x86-64 have."""
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")


def without_symbols(library: bytes) -> bytes:
    """Return a shared library without the sections after its last segment: debugging symbols and symbol tables.

    The system's loader maps segments only. Some wheels are published with symbols that are ten times as large as the
    code. The table of sections goes, too, because it describes what is no longer there.

    Parameters
    ----------
    library : bytes
        An ELF file; anything else is returned as it is.
    """
    if not library.startswith(MAGIC) or len(library) < HEADER.size:
        return library
    fields = list(HEADER.unpack_from(library))
    start, size, count = fields[5], fields[9], fields[10]
    if size != SEGMENT.size or start + count * size > len(library):
        return library
    segments = [SEGMENT.unpack_from(library, start + number * size) for number in range(count)]
    # Offset and length in the file.
    end = max((offset + length for _, _, offset, _, _, length, _, _ in segments), default=0)
    if not start + count * size <= end < len(library):
        return library
    # Offset, number and names of sections.
    fields[6], fields[12], fields[13] = 0, 0, 0
    return HEADER.pack(*fields) + library[HEADER.size : end]
