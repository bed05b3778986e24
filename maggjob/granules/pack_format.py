"""Packs: indexes of neighbouring granules in one object, with a directory to find one.

All integers are little-endian::

    bytes 0-7    b"maggpack"
    bytes 8-9    version, uint16: 1
    bytes 10-13  size of the directory, uint32
    bytes 14-17  CRC-32 of the directory, uint32
    then         the directory, JSON: the id of each granule and the size of its index, in the order of the indexes
    then         the indexes (`maggjob.granules.index_format`), each with checksums of its own

The key of a pack names all of its indexes by a short code each, so that one listing of a folder tells which granules
have an index, and where. It ends with a digest of the pack: what a key names never changes. docs/decisions/indexes.md
gives the reasons.
"""

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise

from maggjob.errors import IndexFileError
from maggjob.inputs.plain_json import load_json
from maggjob.model.tasks import GRANULES_A_PACK, Granule

MAGIC, VERSION = b"maggpack", 1
HEAD = struct.Struct("<8sHII")
SUFFIX = ".pack"
CODE = 5
"""Characters of the code of an index, 25 bits; keys are repeated in the lists of all cells. Once in 300 times, a new
granule has the code of one of 100,000 others. It is then looked for in a pack that does not have it, and indexed."""
DIGEST = 6
"""Characters of the digest of a pack in its key."""
MOST = GRANULES_A_PACK
"""Indexes per pack, at most."""


def index_name(granule: Granule) -> str:
    """Return the name of a granule's index: the id of the granule, and its size if the catalog knows it.

    So a list of names shows which granules have no index yet. The ETag is known only once the granule is read. It is
    stored in the index and compared with the ETag of each response.
    """
    return granule.id if granule.size is None else f"{granule.id}.{granule.size}"


def index_folder(digest: str) -> str:
    """Return the prefix of all indexes for a recipe in the folder of indexes.

    Parameters
    ----------
    digest : str
        `maggjob.granules.index_format.index_digest` of the recipe.
    """
    return digest[:16]


def index_code(granule: Granule) -> str:
    """Return the code by which keys of packs name the index of a granule."""
    return _short_digest(index_name(granule).encode(), CODE)


def _short_digest(content: bytes, length: int) -> str:
    """Return the first characters, of 5 bits each, of the SHA-256 of some bytes."""
    return base64.b32encode(hashlib.sha256(content).digest()).decode()[:length].lower()


def codes_in(key: str) -> list[str]:
    """Return the codes of the indexes in a pack; none for the key of another object.

    Parameters
    ----------
    key : str
        Key of any object in the folder of indexes.
    """
    name = key.rpartition("/")[2]
    codes, _, digest = name.removesuffix(SUFFIX).partition("-")
    if not name.endswith(SUFFIX) or len(digest) != DIGEST or len(codes) % CODE:
        return []
    return [codes[first : first + CODE] for first in range(0, len(codes), CODE)]


def encode_pack(granules: Sequence[Granule], indexes: Sequence[bytes | memoryview], digest: str) -> tuple[str, bytes]:
    """Encode indexes as a pack, and return its key in the folder of indexes, and its bytes.

    The same indexes in the same order give the same key and bytes.

    Parameters
    ----------
    granules : sequence of Granule
        At most `MOST` granules.
    indexes : sequence of bytes or memoryview
        The encoded index of each granule.
    digest : str
        `maggjob.granules.index_format.index_digest` of their recipe.
    """
    members = [[granule.id, len(content)] for granule, content in zip(granules, indexes, strict=True)]
    directory = json.dumps(members, separators=(",", ":")).encode()
    head = HEAD.pack(MAGIC, VERSION, len(directory), zlib.crc32(directory))
    content = b"".join([head, directory, *indexes])
    codes = "".join(map(index_code, granules))
    return f"{index_folder(digest)}/{codes}-{_short_digest(content, DIGEST)}{SUFFIX}", content


def decode_pack(key: str, content: bytes) -> dict[str, memoryview]:
    """Return the encoded index of each granule in a pack, by id of the granule.

    The indexes themselves are not checked: damage to one does not concern the others. If the pack is cut short, the
    last ones are incomplete.

    Parameters
    ----------
    key : str
        Key of the pack.
    content : bytes
        The pack.

    Raises
    ------
    IndexFileError
        If the bytes are not a pack, or its directory is of another version, damaged or truncated.
    """
    if len(content) < HEAD.size or content[:8] != MAGIC:
        raise IndexFileError(f"{key}: {len(content)} bytes that are no pack of indexes; delete it")
    _, version, size, checksum = HEAD.unpack_from(content)
    if version != VERSION:
        raise IndexFileError(f"{key}: version {version}, expected {VERSION}; make it anew")
    directory = content[HEAD.size : HEAD.size + size]
    if len(directory) != size or zlib.crc32(directory) != checksum:
        raise IndexFileError(f"{key}: its directory is damaged or cut short, it has {len(content)} bytes; make it anew")
    try:
        members = [(str(name), int(length)) for name, length in load_json(directory)]
    except (ValueError, TypeError) as problem:
        raise IndexFileError(f"{key}: its directory is no list of indexes ({problem}); make it anew") from problem
    cuts, view = accumulate((length for _, length in members), initial=HEAD.size + size), memoryview(content)
    return {name: view[first:last] for (name, _), (first, last) in zip(members, pairwise(cuts), strict=True)}
