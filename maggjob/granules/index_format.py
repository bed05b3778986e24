"""An index as an object: its key, its bytes, and what is refused.

All integers are little-endian::

    bytes 0-7    b"maggjidx"
    bytes 8-9    version, uint16: 2
    bytes 10-13  bytes of the zlib stream, uint32
    bytes 14-17  bytes that it holds, uint32
    bytes 18-21  CRC-32 of the inline chunks, uint32
    bytes 22-    the zlib stream (RFC 1950, with its Adler-32), of
        length of the header, uint32, and the header, JSON: granule, size, etag, digest; columns: type and length
            of each; kinds: [dtype, chunk, deflated, shuffled, fill, attributes] that datasets have in common;
            beams: group, number of runs, datasets by path: the reason why one is slow, or [rows, number of
            chunks, number of kind]
        the columns, each in the smallest type that holds it, its bytes shuffled (all first bytes, then all second
            ones, ...): of all beams one after the other ids of runs (less INVALID: from 0) and their lengths; of
            all their chunk tables offsets, sizes, and bytes of each chunk that is inline, 0 for others
    then         the inline chunks as they are in the file, in the order of the tables

A cell needs a twentieth of an index, so what would cost it time is not packed, or is shared. 50 KB for a simulated
granule of 473,000 segments, of which some 40 KB are its noisy quality flags, kept inline; 2 to 10 KB for real
granules of up to 53,000 segments. The same index gives the same bytes with the same zlib.
"""

import hashlib
import json
import struct
import zlib

import numpy as np

from maggjob.errors import CorruptError, IndexFileError
from maggjob.granules.index import BeamIndex, GranuleIndex
from maggjob.granules.selection import Dataset, Unindexed
from maggjob.grid.healpix import INVALID
from maggjob.hdf5.chunks import ChunkTable, inflate, shuffle, unshuffle
from maggjob.model.recipe import Recipe
from maggjob.model.tasks import Granule

MAGIC, VERSION = b"maggjidx", 2
HEAD = struct.Struct("<8sHIII")
LENGTH = struct.Struct("<I")
LARGEST_STREAM = 1 << 28  # bytes: what claims to hold more is damaged


def index_digest(recipe: Recipe) -> str:
    """Digest of everything in a recipe that an index depends on: grid, beams and datasets."""
    datasets = sorted({path for _, path in recipe.columns} | {condition.dataset for condition in recipe.filters})
    coordinates = sorted(recipe.used_columns & {"latitude", "longitude"})
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


def index_key(granule: Granule, digest: str) -> str:
    """Key of a granule's index below the place of the indexes.

    The size is part of it where the catalog knows it, so that a list of keys tells which granules
    are without an index; the ETag, which only a read tells, is inside and is held against each answer.
    """
    size = "" if granule.size is None else f".{granule.size}"
    return f"{digest[:16]}/{granule.id}{size}.idx"


def encode(index: GranuleIndex) -> bytes:
    """The bytes of an index."""
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

    header = {
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
    text = json.dumps(header, separators=(",", ":")).encode()
    stream = b"".join([LENGTH.pack(len(text)), text, *map(shuffle, columns)])
    inline = b"".join(content for table in tables for _, content in sorted(table.inline.items()))
    packed = zlib.compress(stream, 6)
    return HEAD.pack(MAGIC, VERSION, len(packed), len(stream), zlib.crc32(inline)) + packed + inline


def _narrow(pieces: list[np.ndarray]) -> np.ndarray:
    """Numbers from 0, one piece after the other, in the smallest type that holds them."""
    whole = np.concatenate([np.empty(0, np.int64), *pieces])
    return whole.astype(np.min_scalar_type(int(whole.max(initial=0))).newbyteorder("<"))


def _kind(table: ChunkTable) -> str:
    """What the same dataset has in common in all beams, as in the header."""
    return json.dumps(
        [table.dtype.str, table.chunk, table.deflated, table.shuffled, table.fill, dict(table.attributes)]
    )


def decode(content: bytes, granule: str, digest: str) -> GranuleIndex:
    """Read an index back.

    Parameters
    ----------
    content : bytes
    granule : str
        Id of the granule that it must be of.
    digest : str
        Of the recipe that it must be for.

    Raises
    ------
    IndexFileError
        It is none, of another version, damaged or cut short, or of another granule or recipe.
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
            raise CorruptError(f"{len(stream)} bytes of {packed}, {len(inline)} bytes of chunks")  # noqa: TRY301
        index = _parse(memoryview(inflate(stream, min(size, LARGEST_STREAM))), inline)
    except (CorruptError, ValueError, KeyError, TypeError, IndexError, struct.error) as problem:
        what = f"{name}: damaged or cut short, {len(content)} bytes are here"
        raise IndexFileError(f"{what} ({type(problem).__name__}: {problem}); make it anew") from problem
    if index.granule != granule or index.digest != digest:
        raise IndexFileError(
            f"{name}: it is of {index.granule} for {index.digest[:12]}, wanted for {digest[:12]}; make it anew"
        )
    return index


def _parse(stream: memoryview, inline: memoryview) -> GranuleIndex:
    start = LENGTH.size + LENGTH.unpack_from(stream)[0]
    header = json.loads(bytes(stream[LENGTH.size : start]))
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
            raise ValueError(f"{beam.group}: {beam.rows} rows, its datasets have others")
        beams.append(beam)
    if (run, chunk) != (len(ids), len(offsets)) or len(ids) != len(lengths):
        raise ValueError(f"{len(ids)} runs and {len(offsets)} chunks, {run} and {chunk} are in its beams")
    return GranuleIndex(header["granule"], header["size"], header["etag"], header["digest"], tuple(beams))
