"""The manifest of a result: what it consists of and what it was made from, so that it can be verified later.

It lies in the run's folder and stays when the parts are deleted. It lists size and SHA-256 of every object of the store
and of every part, and size and version of every granule. Parts and store hold only what data and configuration
determine; everything that may differ between two runs, such as ETags and attempts, is here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from maggjob.errors import InputError
from maggjob.jobs.parts import digest_of_bytes
from maggjob.model.reports import CellReport
from maggjob.planning.plan import Plan
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import MANIFEST, run_folder

FORMAT = 2
"""Version of the manifest."""
SEAL = b',"digest":"'
"""What stands between the content of a manifest and its SHA-256, which is its last value."""


@dataclass(frozen=True)
class StoredObject:
    """An object as it was written."""

    size: int
    """Size in bytes."""
    digest: str
    """SHA-256."""


@dataclass(frozen=True)
class ReadGranule:
    """A granule as it was read."""

    url: str
    """Path or URL."""
    size: int | None
    """Size in bytes, if the catalog knows it exactly."""
    etag: str | None
    """Its version (ETag, or what stands for it); None if it could not be reached."""


@dataclass(frozen=True)
class CellRecord:
    """A cell as it was computed."""

    state: str
    """One of `maggjob.model.reports.CELL_STATES`."""
    kept: int
    """Number of segments that entered the statistics."""
    attempts: int
    """Number of times that the cell was worked on; 0 if its part is that of an earlier attempt."""
    earlier: tuple[str, ...] = ()
    """Reasons of the failures of earlier attempts."""
    part: str | None = None
    """Key of the part below the folder of parts; None if the cell failed."""
    time: tuple[float, float] | None = None
    """First and last time of the segments kept, seconds since 2018-01-01."""
    fits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Number of child cells by state of each fit."""


@dataclass(frozen=True)
class Manifest:
    """What a result consists of, and what it was made from."""

    started: str
    """Start of the run, UTC, ISO 8601; the same as in its summary."""
    group: str
    """Group of the Zarr that holds the variables."""
    digests: Mapping[str, str]
    """Digests of what determines the result, by name."""
    store: Mapping[str, StoredObject]
    """Every object of the store, by key."""
    parts: Mapping[str, StoredObject]
    """Every part, by key below the folder of parts."""
    cells: Mapping[str, CellRecord]
    """Every planned cell, by the id of its task."""
    granules: Mapping[str, ReadGranule]
    """Every planned granule, by id."""
    ledger: StoredObject
    """The ledger as Parquet."""
    tally: Mapping[str, int] = field(default_factory=dict)
    """Number of segments by state, as in the summary."""
    deleted: tuple[str, ...] = ()
    """Keys of parts that 'maggjob clean' had deleted before the last update; their digests are still listed."""
    attributes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """``units`` and ``long_name`` of the columns in the granules."""
    format: int = FORMAT
    """Version of the manifest."""


def cell_records(reports: Sequence[CellReport]) -> dict[str, CellRecord]:
    """Return what the manifest records of each cell, by the id of its task."""
    return {
        report.id: CellRecord(
            report.state,
            report.observations,
            report.attempts,
            report.earlier,
            part_below(report),
            report.time,
            report.fits,
        )
        for report in reports
    }


def part_below(report: CellReport) -> str | None:
    """Return the key of a cell's part below the folder of parts; None if it has none."""
    return None if report.part is None else "/".join(report.part.split("/")[-2:])


def stored_parts(reports: Sequence[CellReport]) -> dict[str, StoredObject]:
    """Return size and digest of every part, by key below the folder of parts."""
    return {
        key: StoredObject(report.part_bytes, report.part_digest)
        for report in reports
        if (key := part_below(report)) is not None and report.part_digest is not None
    }


def stored_objects(store: str, shards: Mapping[str, tuple[int, str]], region: str | None) -> dict[str, StoredObject]:
    """Return size and digest of every object of a store.

    Parameters
    ----------
    store : str
        Path or URL of the Zarr.
    shards : mapping
        Size and digest of each shard by key, as its writer read it back; all other objects are read now.
    region : str or None
        Region of the bucket.
    """
    folder = Folder(store, region)
    found = {}
    for key in folder.keys():  # noqa: SIM118
        if key in shards:
            found[key] = StoredObject(*shards[key])
        else:
            content = folder.get(key)
            found[key] = StoredObject(len(content), digest_of_bytes(content))
    return found


def read_granules(plan: Plan) -> dict[str, ReadGranule]:
    """Return the granules of a plan as the manifest records them, by id."""
    return {g.id: ReadGranule(g.url, g.size, g.etag) for g in plan.used_granules}


def write_manifest(manifest: Manifest, folder: Folder) -> None:
    """Write a manifest to the folder of its run.

    Parameters
    ----------
    manifest : Manifest
    folder : Folder
        Folder of the run.
    """
    content = TypeAdapter(Manifest).dump_json(manifest)
    folder.put(MANIFEST, content[:-1] + SEAL + digest_of_bytes(content).encode() + b'"}')


def read_manifest(store: str, region: str | None = None) -> Manifest:
    """Read the manifest of a result.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    region : str, optional
        Region of the bucket.

    Raises
    ------
    InputError
        If there is no manifest, it is damaged, or it has another format.
    """
    folder = run_folder(store)
    content = Folder(folder, region).find(MANIFEST) if exists(folder, region) else None
    name = f"{folder}/{MANIFEST}"
    if content is None:
        raise InputError(f"no manifest at {name}: give the path of a Zarr that this version of 'maggjob run' wrote")
    body, _, digest = content.rpartition(SEAL)
    if digest != digest_of_bytes(body + b"}").encode() + b'"}':
        raise InputError(f"{name} is damaged: its content does not match its digest; run again")
    try:
        manifest = TypeAdapter(Manifest).validate_json(body + b"}")
    except ValidationError as problem:
        wrong = problem.errors(include_url=False)[0]
        where = ".".join(map(str, wrong["loc"])) or "content"
        raise InputError(f"{name} is damaged ({where}: {wrong['msg']}); run again") from problem
    if manifest.format != FORMAT:
        raise InputError(f"{name} has format {manifest.format}, expected {FORMAT}; run again")
    return manifest
