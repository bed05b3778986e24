"""A cell's result as one object: its columns and its ledger, the same bytes for the same data.

A part is an ``.npz`` (an uncompressed zip, whose members carry CRC-32 checksums), so that
``numpy.load`` opens it. Members: ``ledger.json``; ``child``, the children that have segments,
uint32, ascending; and one array per statistic, a value for each of these children. It is not compressed: compressed
bytes would depend on the zlib at hand. Times, attempts, backend and messages are in the report, never in a part.

A call that is slow gets a backup, and either may write last: parts that may differ have different names, see `tag_of`.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maggjob.errors import LedgerError, StoreError
from maggjob.model.reports import CellReport
from maggjob.model.tasks import CellTask
from maggjob.storage.folder import Folder

FORMAT = 1
LEDGER = "ledger.json"
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError),
    *(KeyError, ValueError, TypeError, AttributeError),
)
"""What numpy and zipfile raise for bytes that are no part."""
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # of every member: zip has no room for none


@dataclass(frozen=True)
class Part:
    """A part, read back."""

    ledger: Mapping[str, Any]
    """What became of every segment and granule of the cell."""
    child: np.ndarray
    """Children that have segments, shape (n,)."""
    values: Mapping[str, np.ndarray]
    """Each statistic, shape (n,)."""


def tag_of(report: CellReport) -> str:
    """What the name of a part tells it by from those of other calls of its task.

    Nothing, if the cell was read whole, as that gives the same bytes each time; else the digest of its
    ledger, as another call may have met other failures, or none.
    """
    return "" if report.state in ("complete", "empty") else ledger_digest(_ledger_part(report))[:16]


def part_key(task: str, tag: str) -> str:
    """Key of a part below the folder or prefix of parts, from the id of its task and `tag_of` its report.

    Examples
    --------
    >>> part_key("cycle22/-6134114", ""), part_key("cycle22/-6134114", "9f86d081884c7d65")
    ('cycle22/-6134114.npz', 'cycle22/-6134114.9f86d081884c7d65.npz')
    """
    return f"{task}.{tag}.npz" if tag else f"{task}.npz"


def tag_in(part: str) -> str:
    """The tag in the path, URL or key of a part.

    Examples
    --------
    >>> tag_in("s3://bucket/parts/cycle22/-6134114.9f86d081884c7d65.npz")
    '9f86d081884c7d65'
    """
    return part.rpartition("/")[2].removesuffix(".npz").partition(".")[2]


def load(task: CellTask, folder: Folder, tag: str) -> Part:
    """Read and check a part of a task.

    Raises
    ------
    StoreError
        If it is missing, damaged, or belongs to something else.
    """
    return check_part(task, folder.get(part_key(task.id, tag)), tag)


def check_part(task: CellTask, content: bytes, tag: str) -> Part:
    """Unpack a part, and check it against its task and its own ledger.

    Raises
    ------
    StoreError
        If it is damaged, belongs to another cell or run, lacks a statistic, or its counts do not add up.
    """
    name = f"{task.parts}/{part_key(task.id, tag)}"
    part = unpack(content, name)
    check(part, task, name)
    return part


def check(part: Part, task: CellTask, name: str) -> None:
    """Check a part, which has a name for messages, against its task and its own ledger.

    Raises
    ------
    StoreError
        See `check_part`.
    """
    ledger, recipe = part.ledger, task.recipe
    if ledger["id"] != task.id or ledger["run"] != task.run:
        raise StoreError(
            f"part {name} belongs to {ledger['id']} of run {ledger['run'][:12]}, expected {task.id} of "
            f"{task.run[:12]}; delete it and run again"
        )
    names = {statistic.name for statistic in recipe.statistics}
    if set(part.values) != names or any(len(values) != len(part.child) for values in part.values.values()):
        raise StoreError(f"part {name} holds {sorted(part.values)}, expected {sorted(names)}; run again")
    if len(part.child) and int(part.child.max()) >= recipe.grid.children:
        raise StoreError(f"part {name} has child {int(part.child.max())}, a cell has {recipe.grid.children}; run again")
    in_cell = sum(ledger["segments"].values())
    if in_cell != sum(granule["in_cell"] for granule in ledger["granules"]):
        raise StoreError(f"part {name} counts {in_cell} segments, its granules another number; run again")
    if ledger["observations"] != sum(granule["kept"] for granule in ledger["granules"]):
        raise StoreError(f"part {name} counts {ledger['observations']} observations, its granules another number")


def _json(ledger: Mapping[str, Any]) -> bytes:
    return json.dumps(ledger, sort_keys=True, separators=(",", ":")).encode()


def ledger_of(task: CellTask, report: CellReport, attributes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What a part says of its cell: nothing that may differ between two runs of the same data."""
    return {
        "format": FORMAT,
        "run": task.run,
        "id": task.id,
        "cell": task.cell,
        "window": task.window,
        "state": report.state,
        "observations": report.observations,
        "segments": dict(report.segments),
        "granules": granules_ledger(report),
        "time": report.time,
        "attributes": {name: dict(values) for name, values in attributes.items()},
    }


def granules_ledger(report: CellReport) -> list[dict[str, Any]]:
    """The granules of a cell but for those that do not lie in it: an index spares their visits."""
    return [granule.ledger() for granule in report.granules if granule.state != "no_overlap"]


def ledger_digest(ledger: Mapping[str, Any]) -> str:
    """Digest of what a part says became of its segments and granules."""
    return hashlib.sha256(_json({key: ledger[key] for key in ("state", "segments", "granules")})).hexdigest()


def _ledger_part(report: CellReport) -> dict[str, Any]:
    """What `ledger_digest` looks at, by a report."""
    return {"state": report.state, "segments": dict(report.segments), "granules": granules_ledger(report)}


def agree(report: CellReport, digest: str) -> None:
    """See that a part is the one that a report tells of.

    Parameters
    ----------
    report : CellReport
    digest : str
        Of the part's ledger.

    Raises
    ------
    LedgerError
        It is another.
    """
    if ledger_digest(_ledger_part(report)) != digest:
        raise LedgerError(f"{report.id}: its report and its part {report.part} differ; run again")


def pack(ledger: Mapping[str, Any], child: np.ndarray, values: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a part."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LEDGER, ZIP_TIME), _json(ledger))
        for name, array in {"child": child.astype(np.uint32), **values}.items():
            member = io.BytesIO()
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            np.lib.format.write_array(member, little, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", ZIP_TIME), member.getvalue())
    return buffer.getvalue()


def write_part(task: CellTask, report: CellReport, content: bytes) -> CellReport:
    """Write a part, and say so in its report; StoreError if that cannot be done."""
    parts, key = str(task.parts), part_key(task.id, tag_of(report))
    Folder(parts, task.region, create=True).put(key, content)
    return replace(report, part=f"{parts}/{key}", part_bytes=len(content))


def unpack(content: bytes, name: str) -> Part:
    """Read a part back.

    Parameters
    ----------
    content : bytes
    name : str
        For messages.

    Raises
    ------
    StoreError
        If it is not whole.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if name != LEDGER}
            ledger = json.loads(archive[LEDGER])
        child = arrays.pop("child")
    except DAMAGE as problem:
        raise StoreError(f"part {name} is damaged ({problem}); delete it and run again") from problem
    if ledger.get("format") != FORMAT:
        raise StoreError(f"part {name} has format {ledger.get('format')}, expected {FORMAT}; run again")
    return Part(ledger, child, arrays)
