"""The compact form in which all tasks are sent to workers.

Lithops encodes a byte of a pickle in up to five characters, and a recipe alone takes 1.4 KB. With thousands of calls,
recipes would be most of what the client sends. So the values that all calls of a stage share are written once, as one
object in the run's folder, and a call contains only its key and the call's own values.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maggjob.errors import StoreError
from maggjob.storage.folder import OUTAGE, Folder
from maggjob.storage.urls import join_url


@dataclass(frozen=True)
class WireTask:
    """The task of one call. It is pickled as a line of JSON, because pickle's own codes take more than the values."""

    folder: str
    """Path or URL of the run's folder."""
    region: str | None
    """Region of the buckets; None for the environment's."""
    shared: str
    """Key, in that folder, of the values that the calls of the stage share."""
    own: Sequence[Any]
    """Plain values of this call alone."""

    def __reduce__(self) -> tuple[Callable[[str], "WireTask"], tuple[str]]:
        return _from_line, (json.dumps(list(vars(self).values()), separators=(",", ":")),)


def _from_line(line: str) -> WireTask:
    return WireTask(*json.loads(line))


def _key(content: bytes) -> str:
    return f"shared-{hashlib.sha256(content).hexdigest()[:16]}.json"


def wire_tasks(
    shared: Mapping[str, Any], own: Sequence[Sequence[Any]], folder: str, region: str | None = None
) -> list[WireTask]:
    """Write the values that the calls of a stage share, and return the task of each call.

    Parameters
    ----------
    shared : mapping
        Plain values; they are written to the folder under a key derived from their content.
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
    """Read the values that the calls of a stage share.

    Raises
    ------
    StoreError
        If the object is missing, or its content does not match its key.
    """
    # The client reached it when it wrote the task.
    OUTAGE.reached = True
    content = Folder(task.folder, task.region).get(task.shared)
    if _key(content) != task.shared:
        raise StoreError(f"{join_url(task.folder, task.shared)} is damaged ({len(content)} bytes); run again")
    shared: dict[str, Any] = json.loads(content)
    return shared
