"""An index as an object: its key, its bytes, and what is refused.

All integers are little-endian::

    bytes 0-7    b"maggjidx"
    bytes 8-9    version, uint16: 1
    bytes 10-17  bytes that the stream holds, uint64
    bytes 18-    a zlib stream (RFC 1950, with its Adler-32) of
        length of the header, uint32, and the header, JSON: granule, size, etag, digest, and beams: group,
            number of runs, datasets by path; a dataset is {"slow": reason}, or a chunk table's rows, dtype,
            chunk, deflated, shuffled, number of chunks, fill, attributes, inline: [number, size] of each
        number of numbers, uint32, and the numbers, int64, their bytes shuffled (all first bytes, then all
            second ones, ...): for each beam differences of the ids of its runs, lengths of its runs; for
            each of its chunk tables offsets, sizes
        the inline chunks, in the order of the header

52 KB for a simulated granule of 473,000 segments, of which some 40 KB are its noisy quality flags, kept
inline; 2 to 10 KB for real granules of up to 53,000 segments. The same index gives the same bytes with the same zlib.
"""

import hashlib
import json
import struct
import zlib
from typing import Any

import numpy as np

from maggjob.chunks import ChunkTable, inflate, shuffle, unshuffle
from maggjob.errors import CorruptError, IndexFileError
from maggjob.index import BeamIndex, GranuleIndex
from maggjob.model import Granule, Recipe
from maggjob.shares import Dataset, Slow

MAGIC, VERSION = b"maggjidx", 1
HEAD = struct.Struct("<8sHQ")
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
    beams, numbers, inline = [], [np.empty(0, INT64)], []
    for beam in index.beams:
        numbers += [np.diff(beam.ids, prepend=0), beam.lengths]
        for dataset in beam.datasets.values():
            if isinstance(dataset, ChunkTable):
                numbers += [dataset.offsets, dataset.sizes]
                inline += list(dataset.inline.values())
        datasets = {path: _header(dataset) for path, dataset in beam.datasets.items()}
        beams.append({"group": beam.group, "runs": len(beam.ids), "datasets": datasets})
    header = {"granule": index.granule, "size": index.size, "etag": index.etag, "digest": index.digest, "beams": beams}
    text, joined = json.dumps(header, separators=(",", ":")).encode(), np.concatenate(numbers).astype(INT64)
    content = [struct.pack("<I", len(text)), text, struct.pack("<I", len(joined)), shuffle(joined), *inline]
    stream = b"".join(content)
    return HEAD.pack(MAGIC, VERSION, len(stream)) + zlib.compress(stream, 6)


def _header(dataset: Dataset) -> dict[str, Any]:
    if isinstance(dataset, Slow):
        return {"slow": dataset.reason}
    return {
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
    _, version, size = HEAD.unpack_from(content)
    if version != VERSION:
        raise IndexFileError(f"{name}: version {version}, expected {VERSION}; make it anew")
    try:
        index = _parse(inflate(memoryview(content)[HEAD.size :], min(size, LARGEST)))
    except (CorruptError, ValueError, KeyError, TypeError, struct.error) as problem:
        what = f"{name}: damaged or cut short, {len(content)} bytes are here"
        raise IndexFileError(f"{what} ({type(problem).__name__}: {problem}); make it anew") from problem
    if index.granule != granule or index.digest != digest:
        raise IndexFileError(
            f"{name}: it is of {index.granule} for {index.digest[:12]}, wanted for {digest[:12]}; make it anew"
        )
    return index


def _parse(stream: bytes | bytearray) -> GranuleIndex:
    content, position = memoryview(stream), 0

    def take(size: int) -> memoryview:
        nonlocal position
        position += size
        if position > len(content):
            raise ValueError(f"it ends {position - len(content)} bytes too early")
        return content[position - size : position]

    header = json.loads(bytes(take(*struct.unpack("<I", take(4)))))
    (count,) = struct.unpack("<I", take(4))
    numbers = unshuffle(take(count * INT64.itemsize), INT64)
    used = 0

    def array(size: int) -> np.ndarray:
        nonlocal used
        used += size
        if used > len(numbers):
            raise ValueError(f"{len(numbers)} numbers, more are needed")
        return numbers[used - size : used]

    def dataset(plain: dict[str, Any], rows: int) -> Dataset:
        if "slow" in plain:
            return Slow(plain["slow"])
        chunk, chunks = plain["chunk"], plain["chunks"]
        if plain["rows"] != rows or chunks != -(-rows // chunk):
            raise ValueError(f"{plain['rows']} rows in {chunks} chunks of {chunk}: the beam has {rows}")
        return ChunkTable(
            rows,
            np.dtype(plain["dtype"]),
            chunk,
            plain["deflated"],
            plain["shuffled"],
            offsets=array(chunks),
            sizes=array(chunks),
            fill=plain["fill"],
            attributes=plain["attributes"],
            inline={number: bytes(take(size)) for number, size in plain["inline"]},
        )

    beams = []
    for beam in header["beams"]:
        ids, lengths = np.cumsum(array(beam["runs"])), array(beam["runs"])
        rows = int(lengths.sum())
        datasets = {path: dataset(plain, rows) for path, plain in beam["datasets"].items()}
        beams.append(BeamIndex(beam["group"], ids, lengths, datasets))
    if used != len(numbers) or position != len(content):
        raise ValueError(f"{len(numbers) - used} numbers and {len(content) - position} bytes too many")
    return GranuleIndex(header["granule"], header["size"], header["etag"], header["digest"], tuple(beams))
