"""Parts: the result of one cell as one object, with the same bytes for the same data.

A part is an ``.npz`` (a zip file whose members have CRC-32 checksums), which ``numpy.load`` opens. Its members are
``ledger.json``; ``child``, the children that have segments, uint32, ascending; and one array per statistic, with one
value per child. Those of a further, coarser order have names such as ``10/child``. A part is not compressed, because
compressed bytes depend on the version of zlib. Times, attempts, backend and messages belong to the report, never to a
part.

A slow call gets a backup call, and either may write last. So parts that may differ have different names (`tag_of`).
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maggjob.errors import LedgerError, StoreError
from maggjob.inputs.plain_json import load_json
from maggjob.model.recipe import Recipe, RowFilter
from maggjob.model.reports import BAD_WEIGHT, FILL, KEPT, NOT_FINITE, TOO_LARGE, TRANSITION, CellReport, GranuleReport
from maggjob.model.tasks import CellTask
from maggjob.storage.folder import Folder

FORMAT = 1
LEDGER = "ledger.json"
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError),
    *(KeyError, ValueError, TypeError, AttributeError),
)
"""Exceptions of numpy and zipfile for bytes that are not a part."""
ZIP_TIME = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every member, because zip requires one."""


@dataclass(frozen=True)
class Level:
    """The statistics of a cell's children of one order."""

    order: int
    """Order of the children."""
    child: np.ndarray
    """Children that have segments, shape (n,), ascending."""
    values: Mapping[str, np.ndarray]
    """Values of each statistic by name, shape (n,)."""


@dataclass(frozen=True)
class Part:
    """The content of a part."""

    ledger: Mapping[str, Any]
    """Outcome of every segment and granule of the cell."""
    levels: Mapping[int, Level]
    """Statistics of the children, by order."""


def tag_of(report: CellReport) -> str:
    """Return the tag in the name of a part, which distinguishes it from parts of other calls of the same task.

    The tag is empty if the cell was read whole, since every call then writes the same bytes. Otherwise it is the digest
    of the part's ledger, since another call may have had other failures, or none.
    """
    return "" if report.state in ("complete", "empty") else ledger_digest(_ledger_part(report))[:16]


def part_key(task: str, tag: str) -> str:
    """Return the key of a part below the folder or prefix of parts.

    Parameters
    ----------
    task : str
        Id of the task.
    tag : str
        From `tag_of`.

    Examples
    --------
    >>> part_key("cycle22/-6134114", ""), part_key("cycle22/-6134114", "9f86d081884c7d65")
    ('cycle22/-6134114.npz', 'cycle22/-6134114.9f86d081884c7d65.npz')
    """
    return f"{task}.{tag}.npz" if tag else f"{task}.npz"


def tag_in(part: str) -> str:
    """Return the tag in the path, URL or key of a part.

    Examples
    --------
    >>> tag_in("s3://bucket/parts/cycle22/-6134114.9f86d081884c7d65.npz")
    '9f86d081884c7d65'
    """
    return part.rpartition("/")[2].removesuffix(".npz").partition(".")[2]


def load(task: CellTask, folder: Folder, tag: str) -> Part:
    """Read the part of a task, and check it.

    Parameters
    ----------
    task : CellTask
    folder : Folder
        Folder of the parts.
    tag : str
        Tag in the name of the part.

    Raises
    ------
    StoreError
        If the part is missing, damaged, or belongs to another cell or run.
    """
    return check_part(task, folder.get(part_key(task.id, tag)), tag)


def check_part(task: CellTask, content: bytes, tag: str) -> Part:
    """Unpack a part, and check it against its task and its own ledger.

    Parameters
    ----------
    task : CellTask
    content : bytes
        The bytes of the part.
    tag : str
        Tag in the name of the part.

    Raises
    ------
    StoreError
        If it is damaged, belongs to another cell or run, lacks a statistic, or its counts do not add up.
    """
    name = f"{task.parts}/{part_key(task.id, tag)}"
    part = unpack(content, name, task.recipe.grid.child_order)
    check(part, task, name)
    return part


def check(part: Part, task: CellTask, name: str) -> None:
    """Check a part against its task and its own ledger.

    Parameters
    ----------
    part : Part
    task : CellTask
    name : str
        Path or URL of the part, for messages.

    Raises
    ------
    StoreError
        If it does not match; see `check_part`.
    """
    ledger, recipe = part.ledger, task.recipe
    if ledger["id"] != task.id or ledger["run"] != task.run:
        raise StoreError(
            f"part {name} belongs to {ledger['id']} of run {ledger['run'][:12]}, expected {task.id} of "
            f"{task.run[:12]}; delete it and run again"
        )
    if set(part.levels) != set(recipe.orders):
        raise StoreError(f"part {name} holds orders {sorted(part.levels)}, expected {sorted(recipe.orders)}; run again")
    for level in part.levels.values():
        _check_level(level, recipe.at(level.order), name)
    in_cell = sum(ledger["segments"].values())
    if in_cell != sum(granule["in_cell"] for granule in ledger["granules"]):
        raise StoreError(f"part {name} counts {in_cell} segments, its granules another number; run again")
    if ledger["observations"] != sum(granule["kept"] for granule in ledger["granules"]):
        raise StoreError(f"part {name} counts {ledger['observations']} observations, its granules another number")


def _check_level(level: Level, recipe: Recipe, name: str) -> None:
    names = {statistic.name for statistic in recipe.statistics}
    if set(level.values) != names or any(len(values) != len(level.child) for values in level.values.values()):
        raise StoreError(f"part {name} holds {sorted(level.values)}, expected {sorted(names)}; run again")
    if len(level.child) and int(level.child.max()) >= recipe.grid.children:
        raise StoreError(
            f"part {name} has child {int(level.child.max())}, but a cell has {recipe.grid.children}; run again"
        )


def _json(ledger: Mapping[str, Any]) -> bytes:
    return json.dumps(ledger, sort_keys=True, separators=(",", ":")).encode()


def ledger_of(task: CellTask, report: CellReport, attributes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return the ledger of a part, which contains nothing that may differ between two runs on the same data.

    Parameters
    ----------
    task : CellTask
    report : CellReport
        Outcome of the cell.
    attributes : mapping
        HDF5 attributes of the cell's variables, by name.
    """
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
        # Only where there are fits, so that other parts keep their bytes.
        **({"fits": {name: dict(states) for name, states in report.fits.items()}} if report.fits else {}),
    }


def granules_ledger(report: CellReport) -> list[dict[str, Any]]:
    """Return the ledgers of a cell's granules, without those outside the cell: with an index these are not visited."""
    return [granule.ledger() for granule in report.granules if granule.state != "no_overlap"]


def ledger_digest(ledger: Mapping[str, Any]) -> str:
    """Return the digest of the outcome of a cell's segments and granules, from a part's ledger."""
    return hashlib.sha256(_json({key: ledger[key] for key in ("state", "segments", "granules")})).hexdigest()


def _ledger_part(report: CellReport) -> dict[str, Any]:
    """Return the values that `ledger_digest` uses, from a report."""
    return {"state": report.state, "segments": dict(report.segments), "granules": granules_ledger(report)}


def agree(report: CellReport, digest: str) -> None:
    """Check that a report and its part agree.

    Parameters
    ----------
    report : CellReport
    digest : str
        Digest of the part's ledger.

    Raises
    ------
    LedgerError
        If the outcome in the report differs from that in the part.
    """
    if ledger_digest(_ledger_part(report)) != digest:
        raise LedgerError(f"{report.id}: its report and its part {report.part} differ; run again")


def report_in(part: Part, task: CellTask, content: bytes) -> CellReport:
    """Return the report of a cell from its part: as its worker reported it, but for time, requests and memory.

    Parameters
    ----------
    part : Part
    task : CellTask
    content : bytes
        The bytes of the part.
    """
    ledger = part.ledger

    def in_order(counts: Mapping[str, int]) -> dict[str, int]:
        """Return counts in the order in which the states are checked, as a worker reports them."""
        states = every_state(task.recipe.filters)
        return {state: counts[state] for state in states if state in counts} | dict(counts)

    report = CellReport(
        task.id,
        task.cell,
        task.window,
        ledger["state"],
        in_order(ledger["segments"]),
        tuple(GranuleReport(**granule | {"segments": in_order(granule["segments"])}) for granule in ledger["granules"]),
        time=None if ledger["time"] is None else (ledger["time"][0], ledger["time"][1]),
        part_bytes=len(content),
        part_digest=digest_of_bytes(content),
        fits=ledger.get("fits", {}),
    )
    return replace(report, part=f"{task.parts}/{part_key(task.id, tag_of(report))}")


def every_state(filters: Sequence[RowFilter]) -> list[str]:
    """Return all states of segments in the order in which they are checked."""
    own = [condition.state for condition in filters]
    return [TRANSITION, *own, FILL, BAD_WEIGHT, NOT_FINITE, TOO_LARGE, KEPT]


def digest_of_bytes(content: bytes) -> str:
    """Return the SHA-256 of an object, as the manifest lists it."""
    return hashlib.sha256(content).hexdigest()


def pack(ledger: Mapping[str, Any], levels: Sequence[Level]) -> bytes:
    """Return the bytes of a part.

    Parameters
    ----------
    ledger : mapping
        From `ledger_of`.
    levels : sequence of Level
        The finest order first.
    """
    arrays: dict[str, np.ndarray] = {}
    for level in levels:
        above = "" if level is levels[0] else f"{level.order}/"
        own = {"child": level.child.astype(np.uint32), **level.values}
        arrays |= {f"{above}{name}": array for name, array in own.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LEDGER, ZIP_TIME), _json(ledger))
        for name, array in arrays.items():
            member = io.BytesIO()
            little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            np.lib.format.write_array(member, little, version=(1, 0), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", ZIP_TIME), member.getvalue())
    return buffer.getvalue()


def write_part(task: CellTask, report: CellReport, content: bytes) -> CellReport:
    """Write a part, and return the report with its URL and size.

    Parameters
    ----------
    task : CellTask
        Its ``parts`` is set.
    report : CellReport
    content : bytes
        From `pack`.

    Raises
    ------
    StoreError
        If the part cannot be written.
    """
    parts, key = str(task.parts), part_key(task.id, tag_of(report))
    Folder(parts, task.region, create=True).put(key, content)
    return replace(report, part=f"{parts}/{key}", part_bytes=len(content), part_digest=digest_of_bytes(content))


def unpack(content: bytes, name: str, order: int) -> Part:
    """Read the bytes of a part.

    Parameters
    ----------
    content : bytes
    name : str
        Path or URL of the part, for messages.
    order : int
        Order of the finest children.

    Raises
    ------
    StoreError
        If it is damaged, or has another format.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays: dict[int, dict[str, np.ndarray]] = {}
            for member in archive.files:
                if member != LEDGER:
                    above, _, own = member.rpartition("/")
                    arrays.setdefault(int(above or order), {})[own] = archive[member]
            ledger = load_json(bytes(archive[LEDGER]), finite=False)
        levels = {order: Level(order, own.pop("child"), own) for order, own in arrays.items()}
    except DAMAGE as problem:
        raise StoreError(f"part {name} is damaged ({problem}); delete it and run again") from problem
    if ledger.get("format") != FORMAT:
        raise StoreError(f"part {name} has format {ledger.get('format')}, expected {FORMAT}; run again")
    return Part(ledger, levels)
