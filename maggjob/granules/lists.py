"""Lists of granules stored together in one object: the client writes it, each worker reads its own part.

A list is a JSON document of columns, compressed by zlib::

    {"base": "s3://bucket/ATL06/007/", "id": ["ATL06_20181014...", ...], "before": ["2018/10/14/", ...],
     "after": [".h5", ...], "size": [119000000, ...], "etag": ["9e107d9d...", ...]}

The URL of a granule is ``base + before + id + after``. It is ``base + before`` if it does not contain the id; ``after``
is then null. Where the indexes of granules are stored is listed as well, if any is known::

    {..., "packs": ["0f3a.../abcdef...-1234abcd.pack", ...], "pack": [0, 0, 1, null, ...]}

``packs`` are keys in the folder of indexes, ``pack`` is the position of a granule's pack among them, or null if it has
no index. A granule takes some 40 bytes, half of them for its ETag, and its pack five to nine more. Each list is
complete, although a granule is repeated in the lists of all its cells: a worker reads one range of the object, and
nothing about other cells.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import accumulate
from os.path import commonprefix
from typing import Any

from maggjob.errors import InputError, StoreError
from maggjob.icesat2.names import newest_of
from maggjob.inputs.plain_json import load_json
from maggjob.model.tasks import CellTask, Granule, GranuleList, IndexTask
from maggjob.storage.folder import Folder
from maggjob.storage.urls import join_url, split_url

SHORT = 8
"""Digits of the digest of one list, which travels with its task."""
LEVEL = 1
"""Level of compression. Level 6 makes lists 7 % smaller, and takes three times as long."""


def write_lists(lists: Sequence[Sequence[Granule]], folder: str, region: str | None = None) -> list[GranuleList]:
    """Write lists of granules as one object.

    The object is named by a hash of its content, so that other plans do not overwrite it.

    Parameters
    ----------
    lists : sequence of sequence of Granule
        One list per task.
    folder : str
        Path or URL of the folder to write to; it is created if needed.
    region : str, optional
        AWS region of a bucket.

    Returns
    -------
    list of GranuleList
        Position of each list in the object.
    """
    splits: Splits = {}
    packed = [_pack(granules, splits) for granules in lists]
    content = b"".join(packed)
    key = f"granules-{_digest(content)}.zlib"
    Folder(folder, region, create=True).put(key, content)
    starts = accumulate((len(one) for one in packed), initial=0)
    url = join_url(folder, key)
    return [GranuleList(url, start, len(one), _digest(one)[:SHORT]) for one, start in zip(packed, starts, strict=False)]


Splits = dict[str, dict[int, tuple[str, str | None]]]
"""What is before and after the id in the URL of each granule, by base of the list and identity of the object: a granule
is one object in many lists."""


def _pack(granules: Sequence[Granule], splits: Splits) -> bytes:
    """Return the bytes of a list; none for an empty one."""
    if not granules:
        return b""
    urls = [granule.url for granule in granules]
    # A common prefix of characters, cut where the names of files begin, as these are stored apart.
    base = commonprefix(urls)  # noqa: RUF071
    base = base[: base.rfind("/") + 1]
    known = splits.setdefault(base, {})
    split = [known.get(id(g)) or known.setdefault(id(g), _around(g.url[len(base) :], g.id)) for g in granules]
    columns = {
        "base": base,
        "id": [granule.id for granule in granules],
        "before": [before for before, _ in split],
        "after": [after for _, after in split],
        "size": [granule.size for granule in granules],
        "etag": [granule.etag for granule in granules],
        **_index_columns([granule.index for granule in granules]),
    }
    return zlib.compress(json.dumps(columns, separators=(",", ":")).encode(), LEVEL)


def _index_columns(keys: Sequence[str | None]) -> dict[str, list[Any]]:
    """Return the columns that say where indexes are; none if no granule has one."""
    packs = list(dict.fromkeys(key for key in keys if key is not None))
    numbers: dict[str | None, int | None] = {None: None, **{key: number for number, key in enumerate(packs)}}
    return {"packs": packs, "pack": [numbers[key] for key in keys]} if packs else {}


def _index_keys(columns: Mapping[str, Any], count: int) -> list[str | None]:
    """Return the key of the object that holds the index of each granule of a list."""
    if "packs" not in columns:
        return [None] * count
    return [None if number is None else columns["packs"][number] for number in columns["pack"]]


def _around(rest: str, name: str) -> tuple[str, str | None]:
    """Return what is before and after a granule's id in the rest of its URL; all of it and None if it is not there."""
    before, found, after = rest.rpartition(name) if name else ("", "", rest)
    return (before, after) if found else (rest, None)


def _unpack(content: bytes) -> tuple[Granule, ...]:
    columns = load_json(zlib.decompress(content), finite=False)
    base, names = columns["base"], columns["id"]
    others = zip(*(columns[name] for name in ("before", "after", "size", "etag")), strict=True)
    indexes = _index_keys(columns, len(names))
    return tuple(
        Granule(name, base + before + ("" if after is None else name + after), size, etag, index)
        for name, (before, after, size, etag), index in zip(names, others, indexes, strict=True)
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _each_once(granules: tuple[Granule, ...]) -> tuple[Granule, ...]:
    """Return granules after checking that each is there once; others would be counted twice."""
    _, older, twice = newest_of([granule.id for granule in granules])
    if twice:
        raise InputError(f"granule {granules[twice[0][1]].id} is in the task twice; leave one out")
    if older:
        raise InputError(f"granule {granules[older[0]].id} is an older revision of another one; leave it out")
    return granules


def load_granules(task: CellTask | IndexTask) -> tuple[Granule, ...]:
    """Return the granules of a task, reading their list if the task only refers to it.

    Raises
    ------
    StoreError
        If the list is missing, its bytes are not those that were written, or they are not a list of granules.
    InputError
        If a granule is there twice, or in two revisions.
    """
    if not isinstance(task.granules, GranuleList):
        # Lists are written by maggjob, but a task may be made by hand.
        return _each_once(task.granules)
    where = task.granules
    # A list is empty if no granule really lies in the cell; stores refuse to read empty ranges.
    if where.size == 0:
        return ()
    address = split_url(where.url)
    content = Folder(address.root, task.region).get_range(address.key, where.start, where.size)
    if _digest(content)[: len(where.digest)] != where.digest:
        raise StoreError(f"{where.url}: bytes from {where.start} are not those that were written; run again")
    try:
        return _unpack(content)
    except (zlib.error, ValueError, TypeError, KeyError, IndexError) as problem:
        raise StoreError(f"{where.url}: bytes from {where.start} are not a list of granules ({problem})") from problem
