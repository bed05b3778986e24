"""Lists of granules stored together in one object: the client writes it, each worker reads its own part."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate

from maggjob.errors import InputError, StoreError
from maggjob.icesat2.names import newest_of
from maggjob.inputs.plain_json import load_json
from maggjob.model.tasks import CellTask, Granule, GranuleList, IndexTask
from maggjob.storage.folder import Folder
from maggjob.storage.urls import join_url, split_url

SHORT = 8
"""Digits of the digest of one list, which travels with its task."""


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
    texts = ["".join(json.dumps(asdict(granule)) + "\n" for granule in granules).encode() for granules in lists]
    content = b"".join(texts)
    key = f"granules-{_digest(content)}.jsonl"
    Folder(folder, region, create=True).put(key, content)
    starts = accumulate((len(text) for text in texts), initial=0)
    url = join_url(folder, key)
    return [
        GranuleList(url, start, len(text), _digest(text)[:SHORT]) for text, start in zip(texts, starts, strict=False)
    ]


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
        return tuple(Granule(**load_json(line, finite=False)) for line in content.splitlines())
    except (ValueError, TypeError) as problem:
        raise StoreError(f"{where.url}: bytes from {where.start} are not a list of granules ({problem})") from problem
