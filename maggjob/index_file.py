"""An index as an object: its key, its bytes, and what is refused.

All integers are little-endian::

    bytes 0-7    b"maggjidx"
    bytes 8-9    version, uint16: 1
    bytes 10-13  CRC-32 of everything after, uint32
    bytes 14-21  bytes that the stream holds, uint64
    bytes 22-    a zlib stream (RFC 1950) of
        length of the header, uint32
        the header, JSON: granule, size, etag, digest, and beams: group, number of runs, datasets by
            path; a dataset is {"slow": reason}, or a chunk table's rows, dtype, chunk, deflated,
            shuffled, number of chunks, fill, attributes, and inline: pairs of chunk number and size
        for each beam two arrays: differences of the ids of its runs, lengths of its runs; and for each of
            its chunk tables two: from the end of the chunk before to the chunk, sizes; and its inline
            chunks. Each array is int64, its bytes shuffled (all first bytes of the numbers, then all
            second ones, ...)

12 KB for a native granule of 490,000 segments, of which half are the lengths; 40 KB more where quality
flags are noise. The same index gives the same bytes with the same zlib.
"""

import hashlib
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from maggjob.chunks import ChunkTable, inflate, shuffle, unshuffle
from maggjob.errors import CorruptError, IndexFileError
from maggjob.index import BeamIndex, GranuleIndex
from maggjob.model import Granule, Recipe
from maggjob.shares import Dataset, Slow

MAGIC, VERSION = b"maggjidx", 1
HEAD = struct.Struct("<8sHIQ")
LARGEST = 1 << 28  # bytes: what claims to hold more is damaged
INT64 = np.dtype("<i8")


def recipe_digest(recipe: Recipe) -> str:
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
    beams, body = [], []
    for beam in index.beams:
        body += [_shuffled(np.diff(beam.ids, prepend=0)), _shuffled(beam.lengths)]
        datasets: dict[str, Any] = {}
        for path, dataset in beam.datasets.items():
            if isinstance(dataset, Slow):
                datasets[path] = {"slow": dataset.reason}
                continue
            ends = np.append(0, (dataset.offsets + dataset.sizes)[:-1])[: len(dataset.offsets)]
            body += [_shuffled(dataset.offsets - ends), _shuffled(dataset.sizes), *dataset.inline.values()]
            datasets[path] = {
                "rows": dataset.rows,
                "dtype": dataset.dtype.str,
                "chunk": dataset.chunk,
                "deflated": dataset.deflated,
                "shuffled": dataset.shuffled,
                "chunks": len(dataset.offsets),
                "fill": dataset.fill,
                "attributes": dict(dataset.attributes),
                "inline": [[number, len(content)] for number, content in dataset.inline.items()],
            }
        beams.append({"group": beam.group, "runs": len(beam.ids), "datasets": datasets})
    header = {"granule": index.granule, "size": index.size, "etag": index.etag, "digest": index.digest, "beams": beams}
    text = json.dumps(header, separators=(",", ":")).encode()
    content = b"".join([struct.pack("<I", len(text)), text, *body])
    packed = struct.pack("<Q", len(content)) + zlib.compress(content, 6)
    return MAGIC + struct.pack("<HI", VERSION, zlib.crc32(packed)) + packed


def _shuffled(numbers: np.ndarray) -> bytes:
    return shuffle(np.ascontiguousarray(numbers, INT64))


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
    _, version, checksum, size = HEAD.unpack_from(content)
    if version != VERSION:
        raise IndexFileError(f"{name}: version {version}, expected {VERSION}; make it anew")
    if zlib.crc32(memoryview(content)[14:]) != checksum or size > LARGEST:
        raise IndexFileError(f"{name}: damaged or cut short ({len(content)} bytes are here); make it anew")
    try:
        index = _parse(inflate(memoryview(content)[HEAD.size :], size))
    except (CorruptError, ValueError, KeyError, TypeError, struct.error, IndexError) as problem:
        raise IndexFileError(f"{name}: damaged ({type(problem).__name__}: {problem}); make it anew") from problem
    if index.granule != granule or index.digest != digest:
        raise IndexFileError(
            f"{name}: it is of {index.granule} for {index.digest[:12]}, wanted for {digest[:12]}; make it anew"
        )
    return index


@dataclass
class _Reader:
    """Takes one thing after the other from the unpacked stream."""

    content: memoryview
    """The stream."""
    position: int = 0
    """Where it is."""

    def take(self, size: int) -> memoryview:
        """The next bytes."""
        piece = self.content[self.position : self.position + size]
        if len(piece) != size:
            raise ValueError(f"{size} bytes wanted, {len(piece)} are left")
        self.position += size
        return piece

    def numbers(self, count: int) -> np.ndarray:
        """The next array, int64."""
        return unshuffle(self.take(count * INT64.itemsize), INT64)


def _parse(content: bytes | bytearray) -> GranuleIndex:
    reader = _Reader(memoryview(content))
    (length,) = struct.unpack("<I", reader.take(4))
    header = json.loads(bytes(reader.take(length)))
    beams = []
    for beam in header["beams"]:
        ids, lengths = np.cumsum(reader.numbers(beam["runs"])), reader.numbers(beam["runs"])
        datasets = {path: _dataset(reader, plain, int(lengths.sum())) for path, plain in beam["datasets"].items()}
        beams.append(BeamIndex(beam["group"], ids, lengths, datasets))
    if reader.position != len(content):
        raise ValueError(f"{len(content) - reader.position} bytes too many")
    return GranuleIndex(header["granule"], header["size"], header["etag"], header["digest"], tuple(beams))


def _dataset(reader: _Reader, plain: dict[str, Any], rows: int) -> Dataset:
    if "slow" in plain:
        return Slow(plain["slow"])
    gaps, sizes = reader.numbers(plain["chunks"]), reader.numbers(plain["chunks"])
    if plain["rows"] != rows or plain["chunks"] != -(-rows // plain["chunk"]):
        raise ValueError(f"{plain['rows']} rows in {plain['chunks']} chunks of {plain['chunk']}: the beam has {rows}")
    return ChunkTable(
        rows,
        np.dtype(plain["dtype"]),
        plain["chunk"],
        plain["deflated"],
        plain["shuffled"],
        offsets=np.cumsum(gaps + np.append(0, sizes[:-1])[: len(sizes)]),
        sizes=sizes,
        fill=plain["fill"],
        attributes=plain["attributes"],
        inline={number: bytes(reader.take(size)) for number, size in plain["inline"]},
    )
