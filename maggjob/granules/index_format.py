"""The encoding of an index: its key, its bytes, and the checks when it is read.

All integers are little-endian::

    bytes 0-7    b"maggjidx"
    bytes 8-9    version, uint16: 2
    bytes 10-13  size of the zlib stream, uint32
    bytes 14-17  size of its content when inflated, uint32
    bytes 18-21  CRC-32 of the inline chunks, uint32
    bytes 22-    the zlib stream (RFC 1950, with its Adler-32). Its content:
        length of the header, uint32
        the header, JSON:
            granule, size, etag, digest
            columns: type and length of each column
            kinds: the distinct [dtype, chunk, deflated, shuffled, fill, attributes] of the datasets
            constants: type, value, fill value and attributes of datasets with one value, by path, if there are any
            slow: true if cells will read the granule by h5py
            beams: group, number of runs, and datasets by path, each either [rows, number of chunks, position
                in kinds] or the reason why it has no chunk table
        five columns, each in the smallest type that holds its values and with its bytes shuffled (all first
            bytes, then all second bytes, ...). Of all beams in turn: the ids of runs (minus INVALID, so that
            they start at 0) and their lengths. Of all chunk tables in turn: offsets, sizes, and the size of
            each inline chunk (0 for chunks that are not inline)
    then         the inline chunks as they are in the file, in the order of the tables

A cell uses a twentieth of an index. Parts that would take time to decode are therefore left uncompressed or shared
between datasets. An index takes 50 KB for a simulated granule of 473,000 segments (40 KB are inline quality flags,
which are random and hardly compress) and 2 to 10 KB for real granules of up to 53,000 segments. Encoding is
reproducible: the same index and zlib version give the same bytes.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from maggjob.errors import CorruptError, IndexFileError
from maggjob.granules.index import BeamIndex, GranuleIndex
from maggjob.granules.selection import Constant, Dataset, Unindexed
from maggjob.grid.healpix import INVALID
from maggjob.hdf5.chunks import ChunkTable, inflate, shuffle, unshuffle
from maggjob.inputs.plain_json import load_json
from maggjob.model.recipe import Recipe

MAGIC, VERSION = b"maggjidx", 2
HEAD = struct.Struct("<8sHIII")
LENGTH = struct.Struct("<I")
LARGEST_STREAM = 1 << 28  # bytes
"""Largest inflated stream that is accepted; an index that claims more is damaged."""


def index_digest(recipe: Recipe) -> str:
    """Return a digest of everything in a recipe that an index depends on: grid, beams and datasets."""
    datasets = sorted({path for _, path in recipe.columns} | {c.dataset for c in recipe.filters if c.dataset})
    coordinates = sorted(recipe.named_columns & {"latitude", "longitude", "strong"})
    content = [
        VERSION,
        recipe.grid.child_order,
        recipe.grid.latitude,
        recipe.groups,
        [recipe.latitude, recipe.longitude, recipe.time],
        datasets,
        coordinates,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def encode(index: GranuleIndex) -> bytes:
    """Encode an index as bytes."""
    tables = [table for beam in index.beams for table in beam.datasets.values() if isinstance(table, ChunkTable)]
    columns = [
        _narrow([beam.ids - INVALID for beam in index.beams]),
        _narrow([beam.lengths for beam in index.beams]),
        _narrow([table.offsets for table in tables]),
        _narrow([table.sizes for table in tables]),
        _narrow([np.array([len(t.inline.get(n, b"")) for n in range(len(t.sizes))], np.int64) for t in tables]),
    ]
    kinds = list(dict.fromkeys(map(_kind, tables)))

    def plain(dataset: Dataset) -> str | list[int]:
        if isinstance(dataset, Unindexed):
            return dataset.reason
        return [dataset.rows, len(dataset.sizes), kinds.index(_kind(dataset))]

    header: dict[str, Any] = {
        "granule": index.granule,
        "size": index.size,
        "etag": index.etag,
        "digest": index.digest,
        "columns": [[column.dtype.str, len(column)] for column in columns],
        "kinds": [json.loads(kind) for kind in kinds],
        "beams": [
            {"group": b.group, "runs": len(b.ids), "datasets": {path: plain(d) for path, d in b.datasets.items()}}
            for b in index.beams
        ],
    }
    if index.constants:
        header["constants"] = {path: _plain_constant(one) for path, one in index.constants.items()}
    if index.slow:
        header["slow"] = True
    text = json.dumps(header, separators=(",", ":")).encode()
    stream = b"".join([LENGTH.pack(len(text)), text, *map(shuffle, columns)])
    inline = b"".join(content for table in tables for _, content in sorted(table.inline.items()))
    packed = zlib.compress(stream, 6)
    return HEAD.pack(MAGIC, VERSION, len(packed), len(stream), zlib.crc32(inline)) + packed + inline


def _plain_constant(one: Constant) -> list[Any]:
    return [one.value.dtype.str, one.value.item(), one.fill, dict(one.attributes)]


def _constant(dtype: str, value: float, fill: float | None, attributes: Mapping[str, str]) -> Constant:
    return Constant(np.array([value], np.dtype(dtype)), fill, attributes)


def _narrow(pieces: list[np.ndarray]) -> np.ndarray:
    """Concatenate arrays of numbers >= 0, in the smallest type that holds them."""
    whole = np.concatenate([np.empty(0, np.int64), *pieces])
    return whole.astype(np.min_scalar_type(int(whole.max(initial=0))).newbyteorder("<"))


def _kind(table: ChunkTable) -> str:
    """Return the properties that a dataset has in common across beams, as JSON for the header."""
    return json.dumps(
        [table.dtype.str, table.chunk, table.deflated, table.shuffled, table.fill, dict(table.attributes)]
    )


def decode(content: bytes | memoryview, granule: str, digest: str) -> GranuleIndex:
    """Decode and check an index.

    Parameters
    ----------
    content : bytes or memoryview
    granule : str
        Id of the granule that the index must belong to.
    digest : str
        `index_digest` of the recipe that the index must have been built for.

    Raises
    ------
    IndexFileError
        If the bytes are not an index, are of another version, damaged or truncated, or belong to another
        granule or recipe.
    """
    name = f"index of {granule}"
    if len(content) < HEAD.size or content[:8] != MAGIC:
        raise IndexFileError(f"{name}: {len(content)} bytes that are no index; delete it")
    _, version, packed, size, checksum = HEAD.unpack_from(content)
    if version != VERSION:
        raise IndexFileError(f"{name}: version {version}, expected {VERSION}; make it anew")
    stream, inline = memoryview(content)[HEAD.size :][:packed], memoryview(content)[HEAD.size + packed :]
    try:
        if len(stream) != packed or zlib.crc32(inline) != checksum:
            raise CorruptError(f"{len(stream)} of {packed} bytes, {len(inline)} bytes of chunks")  # noqa: TRY301
        index = _parse(memoryview(inflate(stream, min(size, LARGEST_STREAM))), inline)
    except (CorruptError, ValueError, KeyError, TypeError, IndexError, struct.error) as problem:
        what = f"{name}: damaged or cut short, it has {len(content)} bytes"
        raise IndexFileError(f"{what} ({type(problem).__name__}: {problem}); make it anew") from problem
    if index.granule != granule or index.digest != digest:
        raise IndexFileError(
            f"{name}: it is of {index.granule} for recipe {index.digest[:12]}, expected recipe {digest[:12]}; "
            "make it anew"
        )
    return index


def _parse(stream: memoryview, inline: memoryview) -> GranuleIndex:
    start = LENGTH.size + LENGTH.unpack_from(stream)[0]
    header = load_json(bytes(stream[LENGTH.size : start]), finite=False)
    columns = []
    for dtype, count in header["columns"]:
        column = np.dtype(dtype)
        columns.append(unshuffle(stream[start : start + count * column.itemsize], column))
        start += count * column.itemsize
    ids, lengths, offsets, sizes, inlined = columns[0].astype(np.int64), *columns[1:]
    ids += INVALID
    if start != len(stream) or not len(offsets) == len(sizes) == len(inlined) or int(inlined.sum()) != len(inline):
        raise ValueError(f"{len(stream)} bytes in columns of {[len(column) for column in columns]}")
    ends, inlined = np.cumsum(inlined).tolist(), inlined.tolist()
    kinds = [(np.dtype(dtype), *others) for dtype, *others in header["kinds"]]
    run = chunk = 0

    def table(rows: int, chunks: int, kind: int) -> ChunkTable:
        nonlocal chunk
        some = slice(chunk, chunk + chunks)
        chunk += chunks
        dtype, size, deflated, shuffled, fill, attributes = kinds[kind]
        if chunks != -(-rows // size) or chunk > len(offsets):
            raise ValueError(f"{rows} rows in {chunks} chunks of {size}")
        own = enumerate(zip(ends[some], inlined[some], strict=True))
        kept = {number: bytes(inline[end - length : end]) for number, (end, length) in own if length}
        return ChunkTable(rows, dtype, size, deflated, shuffled, offsets[some], sizes[some], fill, attributes, kept)

    beams = []
    for plain in header["beams"]:
        some = slice(run, run + plain["runs"])
        run += plain["runs"]
        datasets = {p: Unindexed(d) if isinstance(d, str) else table(*d) for p, d in plain["datasets"].items()}
        beam = BeamIndex(plain["group"], ids[some], lengths[some], datasets)
        if any(isinstance(one, ChunkTable) and one.rows != beam.rows for one in datasets.values()):
            raise ValueError(f"{beam.group}: {beam.rows} rows, but its datasets have another number")
        beams.append(beam)
    if (run, chunk) != (len(ids), len(offsets)) or len(ids) != len(lengths):
        raise ValueError(f"{len(ids)} runs and {len(offsets)} chunks, but its beams have {run} and {chunk}")
    constants = {path: _constant(*plain) for path, plain in header.get("constants", {}).items()}
    own = (header["granule"], header["size"], header["etag"], header["digest"])
    return GranuleIndex(*own, tuple(beams), constants, header.get("slow", False))
