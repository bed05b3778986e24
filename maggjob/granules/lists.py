"""Lists of granules as parts of one object: written by the client, each read by the worker that it is for."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import accumulate

from maggjob.errors import StoreError
from maggjob.model.tasks import CellTask, Granule, GranuleList, IndexTask
from maggjob.storage.folder import Folder
from maggjob.storage.urls import join_url, split_url


def write_lists(lists: Sequence[Sequence[Granule]], folder: str, region: str | None = None) -> list[GranuleList]:
    """Write lists of granules as one object, named by its content: no other plan overwrites it."""
    texts = ["".join(json.dumps(asdict(granule)) + "\n" for granule in granules).encode() for granules in lists]
    content = b"".join(texts)
    key = f"granules-{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
    Folder(folder, region, create=True).put(key, content)
    starts = accumulate((len(text) for text in texts), initial=0)
    url = join_url(folder, key)
    return [GranuleList(url, start, len(text)) for text, start in zip(texts, starts, strict=False)]


def load_granules(task: CellTask | IndexTask) -> tuple[Granule, ...]:
    """The granules of a task, fetched from where they are written down if need be.

    Raises
    ------
    StoreError
        The list is not there.
    """
    if not isinstance(task.granules, GranuleList):
        return task.granules
    where = task.granules
    if where.size == 0:  # all pairs of the cell were false; stores refuse to read nothing
        return ()
    address = split_url(where.url)
    content = Folder(address.root, task.region).get_range(address.key, where.start, where.size)
    try:
        return tuple(Granule(**json.loads(line)) for line in content.splitlines())
    except (ValueError, TypeError) as problem:
        raise StoreError(f"{where.url}: bytes from {where.start} are no list of granules ({problem})") from problem
