"""The check of a result: it must still be what the run wrote, and still follow from the granules.

`verify` compares the store and the parts with the manifest, and the counts of each cell with the ledger. It can also
read everything (``deep``), compute some cells again from the granules and compare the bytes of their parts
(``recompute``), and ask the archive whether the granules are still those that were read (``granules``). It writes
nothing to the result or the run's folder.
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from maggjob.errors import InputError, MaggjobError
from maggjob.grid.healpix import format_cell
from maggjob.inputs.places import store_place
from maggjob.inputs.plain_json import load_json
from maggjob.jobs.cells import map_cell
from maggjob.jobs.parts import digest_of_bytes, part_key, tag_in
from maggjob.model.reports import KEPT
from maggjob.model.tasks import CellTask
from maggjob.output.manifest import Manifest, StoredObject, read_manifest
from maggjob.output.saved_plan import read_plan
from maggjob.output.table import ledger
from maggjob.planning.plan import Plan
from maggjob.planning.tasks import make_tasks
from maggjob.storage.archive import Archive, Ranges
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import PARTS, RUN, run_folder
from maggjob.storage.stores import plain_message

READERS = 16
"""Objects, or granules, that are read concurrently."""
EXAMPLES = 5
"""Number of problems that a check tells in full."""


@dataclass(frozen=True)
class Check:
    """Outcome of one check."""

    name: str
    """What was checked."""
    checked: int
    """Number of things that were checked."""
    bad: int
    """Number of them that are not as they should be."""
    problems: tuple[str, ...] = ()
    """The first problems, at most `EXAMPLES`."""
    note: str | None = None
    """Why the check was left out, or what it could not tell."""


@dataclass(frozen=True)
class Verification:
    """Outcome of all checks of a result."""

    store: str
    """Path or URL of the Zarr."""
    checks: tuple[Check, ...]
    """Outcome of each check."""

    @property
    def good(self) -> bool:
        """True if every check passed."""
        return not any(check.bad for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"good": self.good}


def verify(
    store: str,
    *,
    deep: bool = False,
    recompute: int = 0,
    granules: bool = False,
    region: str | None = None,
    credentials: str | None = None,
    seed: int | None = None,
) -> Verification:
    """Check that a result is what its run wrote.

    Parameters
    ----------
    store : str
        Path or s3:// URL of the Zarr.
    deep : bool
        Read every object of the store and every part, and compare their digests; otherwise data objects are compared by
        their size, and only metadata and counts are read.
    recompute : int
        Number of cells, chosen at random, that are computed again from the granules; the bytes of their parts must be
        those that the run wrote.
    granules : bool
        Ask the archive whether the granules still have the size and version (ETag) that they had.
    region : str, optional
        Region of the bucket.
    credentials : str, optional
        Path or URL of the archive's credentials; by default the environment's.
    seed : int, optional
        Seed of the choice of cells; by default another choice each time.

    Returns
    -------
    Verification

    Raises
    ------
    InputError
        If there is no result, or the manifest, the ledger or the plan of its run is missing or damaged.
    """
    store = store_place(store)
    manifest, table = read_manifest(store, region), ledger(store, region)
    if not exists(store, region):
        raise InputError(f"no result at {store}; its run left only {run_folder(store)}")
    plan = read_plan(store, region)
    checks = [
        _same_run(manifest, plan),
        _objects("store", Folder(store, region), manifest.store, deep),
        _parts(store, manifest, region, deep),
        _ledger(manifest, table),
        _counts(store, manifest, plan, region),
    ]
    if recompute:
        chosen = _choose(manifest, plan, recompute, seed)
        checks.append(_recomputed(manifest, _as_read(manifest, table, chosen, region, credentials), recompute))
    if granules:
        checks.append(_granules(manifest, Archive(credentials, region)))
    return Verification(store, tuple(checks))


def _check(name: str, checked: int, problems: Sequence[str], note: str | None = None) -> Check:
    return Check(name, checked, len(problems), tuple(problems[:EXAMPLES]), note)


def _same_run(manifest: Manifest, plan: Plan) -> Check:
    """Check that manifest and plan belong to one run."""
    same = manifest.digests.get("run") == plan.digest and set(manifest.cells) == set(plan.listed)
    return _check("run", 1, [] if same else ["manifest and plan belong to different runs; run again"])


def _objects(name: str, folder: Folder, listed: Mapping[str, StoredObject], deep: bool) -> Check:
    """Compare the objects of a folder with those that the manifest lists."""
    sizes = folder.sizes()
    problems = [f"{folder.url}/{key} is missing" for key in listed if key not in sizes]
    problems += [f"{folder.url}/{key} is not part of the result" for key in sizes if key not in listed]
    there = [key for key in listed if key in sizes]

    def look(key: str) -> str | None:
        of = listed[key]
        if sizes[key] != of.size:
            return f"{folder.url}/{key} has {sizes[key]} bytes, expected {of.size}"
        if (deep or key.endswith("zarr.json")) and digest_of_bytes(folder.get(key)) != of.digest:
            return f"{folder.url}/{key} has other bytes than those that were written"
        return None

    return _check(name, len(listed), [*problems, *_each(look, there)])


def _each(look: Callable[[str], str | None], keys: Sequence[str]) -> Iterator[str]:
    """Yield the problems of some objects, which are looked at concurrently."""

    def tell(key: str) -> str | None:
        try:
            return look(key)
        except MaggjobError as problem:
            return str(problem)

    with ThreadPoolExecutor(READERS) as pool:
        yield from (problem for problem in pool.map(tell, keys) if problem is not None)


def _parts(store: str, manifest: Manifest, region: str | None, deep: bool) -> Check:
    """Compare the parts with those that the manifest lists, unless they were deleted on purpose."""
    url = f"{run_folder(store)}/{PARTS}"
    if not exists(url, region) or not Folder(url, region).holds():
        return _check("parts", 0, [], "deleted by 'maggjob clean'; the store holds their content")
    if _is_updated(store, manifest, region):
        return _check("parts", 0, [], f"an update is unfinished: 'maggjob update {store}' completes it")
    gone = set(manifest.deleted)
    listed = {key: of for key, of in manifest.parts.items() if key not in gone}
    return _objects("parts", Folder(url, region), listed, deep)


def _is_updated(store: str, manifest: Manifest, region: str | None) -> bool:
    """Return True if a run of another digest than that of the result was begun, and has not published anything."""
    content = Folder(run_folder(store), region).find(RUN)
    try:
        note = {} if content is None else load_json(content)
        digest = note.get("digests", {}).get("run")
    # A damaged note is told by the commands that need it.
    except (ValueError, AttributeError):
        return False
    return digest not in (None, manifest.digests.get("run"))


def _ledger(manifest: Manifest, table: Any) -> Check:
    """Compare the ledger with the manifest: every cell, its granules, its segments, and the sums."""
    problems = []
    kept = table.groupby(table.window + "/" + table.cell)["segments_kept"].sum().to_dict()
    for name, record in manifest.cells.items():
        if name not in kept:
            problems.append(f"{name}: not in the ledger")
        elif record.state != "failed" and int(kept[name]) != record.kept:
            problems.append(f"{name}: {int(kept[name])} segments kept in the ledger, {record.kept} in the manifest")
    problems += [f"{name}: in the ledger, but not in the manifest" for name in kept if name not in manifest.cells]
    names = {name for name in table.granule if isinstance(name, str)}
    problems += [f"granule {name} is not in the manifest" for name in sorted(names - manifest.granules.keys())]
    total = int(table.segments_kept.sum())
    if total != manifest.tally.get(KEPT, 0):
        problems.append(f"the ledger keeps {total} segments, the manifest {manifest.tally.get(KEPT, 0)}")
    return _check("ledger", len(manifest.cells), problems)


def _counts(store: str, manifest: Manifest, plan: Plan, region: str | None) -> Check:
    """Compare the counts in the Zarr with the ledger, cell by cell, and its cells with the plan."""
    import zarr
    from zarr.storage import ObjectStore

    recipe = plan.config.recipe()
    name = min(recipe.counting, default=None)
    cells, windows = sorted(plan.cells), plan.each
    try:
        group: Any = zarr.open_group(ObjectStore(Folder(store, region).store), path=manifest.group, mode="r")
        ids = np.asarray(group["cell_ids"][:]).reshape(len(cells), -1)
        every = None if name is None else np.asarray(group[name][:]).reshape(len(windows), *ids.shape)
        sums = None if every is None else every.sum(axis=2)
    # zarr raises what its codecs and stores raise.
    except Exception as problem:  # noqa: BLE001
        return _check(
            "counts", len(cells), [f"{store} cannot be read: {type(problem).__name__}: {plain_message(problem)}"]
        )
    problems = []
    if set(manifest.cells) != set(plan.listed):
        return _check("counts", len(plan.units), ["the manifest has other cells than the plan"])
    for row, cell in enumerate(cells):
        if set((ids[row] >> np.uint64(recipe.grid.shift)).tolist()) != {cell}:
            problems.append(f"{format_cell(cell, plan.catalog.order)}: its rows hold the ids of other cells")
    for number, one in enumerate(windows):
        for row, cell in enumerate(cells):
            # A cell without granules in the window is not planned, and must be empty.
            record = manifest.cells.get(one.task_id(cell))
            expected = 0 if record is None else record.kept
            if sums is not None and int(sums[number, row]) != expected:
                problems.append(
                    f"{one.task_id(cell)}: {name} sums to {int(sums[number, row])}, its ledger says {expected}"
                )
    note = None if name is not None else "no statistic counts segments: only ids were compared"
    return _check("counts", len(windows) * len(cells), problems, note)


def _choose(manifest: Manifest, plan: Plan, number: int, seed: int | None) -> list[tuple[Plan, int]]:
    """Choose some of the cells that were read completely; the others need not give the same result again."""
    whole = [(one, c) for one, c in plan.units if manifest.cells[one.task_id(c)].state in ("complete", "empty")]
    return random.Random(seed).sample(whole, min(number, len(whole)))  # noqa: S311


def _as_read(
    manifest: Manifest, table: Any, chosen: Sequence[tuple[Plan, int]], region: str | None, credentials: str | None
) -> list[CellTask]:
    """Return tasks of some cells with the granules that the ledger lists for them, in the order of the catalog."""
    read = table[table.state != "no_overlap"]
    known = read.groupby(read.window + "/" + read.cell)["granule"].apply(list).to_dict()
    found = []
    for one, cell in chosen:
        positions = {entry.id: number for number, entry in enumerate(one.catalog.granules)}
        pairs = {cell: tuple(sorted(positions[name] for name in known.get(one.task_id(cell), ())))}
        digest = manifest.digests.get(f"parts {one.window}", manifest.digests["parts"])
        catalog = replace(one.catalog, cells=pairs)
        alone = replace(one, catalog=catalog, cells=(cell,), windows=None, store_path=None, origin=digest)
        found += make_tasks(alone, credentials, region)
    return found


def _recomputed(manifest: Manifest, tasks: Sequence[CellTask], number: int) -> Check:
    """Compute some cells again, and compare the bytes of their parts with the manifest."""
    note = None if len(tasks) == number else f"only {len(tasks)} cells were read completely"
    problems = []
    with tempfile.TemporaryDirectory(prefix="maggjob-verify-") as folder:
        for task in tasks:
            report = map_cell(replace(task, parts=folder))
            record = manifest.parts.get(part_key(task.id, ""))
            if report.part is None or tag_in(report.part):
                problems.append(f"{task.id}: {report.state} when it was recomputed: {report.message}")
            elif record is None or report.part_digest != record.digest:
                problems.append(f"{task.id}: computing it again gives another result")
    return _check("recomputed", len(tasks), problems, note)


def _granules(manifest: Manifest, archive: Archive) -> Check:
    """Ask the archive whether the granules still are what they were."""

    def look(name: str) -> str | None:
        of = manifest.granules[name]
        answer = Ranges(of.url, archive).get(0, 1)
        if of.size is not None and answer.size != of.size:
            return f"{name}: {answer.size} bytes at {of.url}, {of.size} when it was read"
        if None not in (of.etag, answer.etag) and answer.etag != of.etag:
            return f"{name}: version {answer.etag} at {of.url}, {of.etag} when it was read"
        return None

    problems = list(_each(look, list(manifest.granules)))
    unknown = sum(of.etag is None for of in manifest.granules.values())
    note = f"{unknown} granules have no known version: only their size was compared" if unknown else None
    return _check("granules", len(manifest.granules), problems, note)
