"""A call in few bytes: the one form in which tasks travel to workers.

Lithops writes a byte of a pickle as up to five letters, and a recipe alone takes 1.4 KB: with thousands of calls the
client would send little else. So what all calls of a stage share is written once, as one object in the run's folder,
and a call says where that is and what is its own.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maggjob.errors import StoreError
from maggjob.storage.folder import Folder
from maggjob.storage.urls import join_url


@dataclass(frozen=True)
class WireTask:
    """The task of one call. Pickled as a line of JSON: pickle's own codes would take more than the values."""

    folder: str
    """Path or URL of the run's folder."""
    region: str | None
    """Region of the buckets; None for the environment's."""
    shared: str
    """Key, in that folder, of what the calls of the stage share."""
    own: Sequence[Any]
    """What is this call's own: plain values."""

    def __reduce__(self) -> tuple[Callable[[str], "WireTask"], tuple[str]]:
        return _from_line, (json.dumps(list(vars(self).values()), separators=(",", ":")),)


def _from_line(line: str) -> WireTask:
    return WireTask(*json.loads(line))


def _key(content: bytes) -> str:
    return f"shared-{hashlib.sha256(content).hexdigest()[:16]}.json"


def wire_tasks(
    shared: Mapping[str, Any], own: Sequence[Sequence[Any]], folder: str, region: str | None = None
) -> list[WireTask]:
    """Write what the calls of a stage share, and return the task of each call.

    Parameters
    ----------
    shared : mapping
        Plain values; they are written to the folder, named by their content.
    own : sequence
        Plain values of each call.
    folder : str
        Path or URL of the run's folder.
    region : str, optional
        Region of the bucket.
    """
    content = json.dumps(shared, sort_keys=True, separators=(",", ":")).encode()
    Folder(folder, region, create=True).put(_key(content), content)
    return [WireTask(folder, region, _key(content), values) for values in own]


def read_shared(task: WireTask) -> dict[str, Any]:
    """Read what the calls of a stage share.

    Raises
    ------
    StoreError
        If it is not there, or its content is not what its name says.
    """
    content = Folder(task.folder, task.region).get(task.shared)
    if _key(content) != task.shared:
        raise StoreError(f"{join_url(task.folder, task.shared)} is damaged ({len(content)} bytes); run again")
    shared: dict[str, Any] = json.loads(content)
    return shared
