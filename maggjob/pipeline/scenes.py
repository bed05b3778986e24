"""The scenes job, from regions and days to GeoTIFFs, STAC items and an index of them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from maggjob.backend.outcome import Outcome
from maggjob.config.scenes import ScenesConfig
from maggjob.errors import RETRYABLE, ExistsError
from maggjob.jobs.scenes import assemble_scenes, joined, map_scenes
from maggjob.model.display import Displayed
from maggjob.model.scene_items import is_whole
from maggjob.model.scenes import AssemblyTask, SceneReport, SceneTarget, SceneTask, TargetReport
from maggjob.output.scene_index import contact_sheet, index_parquet
from maggjob.output.scene_items import check_index, item_at, items_of, key_of
from maggjob.output.table import put_table
from maggjob.pipeline.reach import check_reach
from maggjob.pipeline.session import RunDescription, Session, SessionOptions
from maggjob.pipeline.target import check_folder
from maggjob.planning.requests import S3Requests
from maggjob.planning.scenes import OWN, ScenesPlan, plan_scenes
from maggjob.storage.folder import Folder, exists
from maggjob.storage.run_folder import PARTS, run_folder
from maggjob.storage.urls import is_remote, local_path

WINDOW = "scenes"
"""Folder of the parts below that of a run."""
READERS = 32
"""Items read concurrently."""


@dataclass(frozen=True)
class ScenesOptions(SessionOptions):
    """Options of a run of the scenes job."""

    overwrite: bool = False
    """Whether to replace results that were made with another configuration."""


@dataclass(frozen=True, repr=False)
class ScenesResult(Displayed):
    """The result of the scenes job."""

    plan: ScenesPlan
    """What was done."""
    reports: tuple[TargetReport, ...]
    """Outcome of each region and day."""
    taken: int
    """Number of results that an earlier run had made."""
    summary: Mapping[str, Any]
    """The summary as written."""

    @property
    def complete(self) -> bool:
        """True if every scene was read."""
        return not self.plan.listing.lost and all(report.state == "complete" for report in self.reports)

    def facts(self) -> dict[str, object]:
        """Return what is shown of a result."""
        return {"store": self.plan.store, "complete": "yes" if self.complete else "no", **self.summary["scenes"]}


def scenes(
    config: str | Path | Mapping[str, Any] | ScenesConfig, *, dry_run: bool = False, **options: Any
) -> ScenesResult | ScenesPlan:
    """Merge and clip satellite scenes to regions, day by day.

    Parameters
    ----------
    config : str, Path, mapping or ScenesConfig
        Configuration file, name of a built-in one (``sentinel2.yaml``), or its content.
    dry_run : bool
        If True, only find the scenes, and return the plan.
    **options
        ``regions``, ``names``, ``start``, ``end``, ``items`` and ``store`` as for
        `maggjob.planning.scenes.plan_scenes`; and those of `ScenesOptions`: ``backend``, ``max_workers``, ``region``,
        ``lithops_config``, ``deadline``, ``watch``, ``max_cost`` and ``overwrite``.

    Returns
    -------
    ScenesResult or ScenesPlan
        The plan if ``dry_run``.

    Raises
    ------
    MaggjobError
        If the run cannot start. The failure of a scene raises nothing: it is recorded in the result.
    """
    own = {field.name: options.pop(field.name) for field in fields(ScenesOptions) if field.name in options}
    how, plan = ScenesOptions(**own), plan_scenes(config, **options)
    urls = [asset.url for scene in plan.listing.scenes for asset in scene.bands.values()]
    counts = {"windows": len(plan.targets), "regions": len(plan.regions), "scenes": len(plan.listing.scenes)}
    digests = {"run": plan.digest, "configuration": plan.config.digest}
    run = RunDescription(plan.store, WINDOW, counts, digests, urls, cloud=plan.cloud)
    if dry_run:
        check_reach(how.backend, run)
        return plan
    session = Session(run, how)
    _existing(plan, session.region, how)
    with session:
        return _carry_out(session, plan, how)


def _existing(plan: ScenesPlan, region: str | None, how: ScenesOptions) -> dict[str, dict[str, Any]]:
    """Return the items of results that are whole and need not be made again, by name.

    Raises
    ------
    ExistsError
        If something else lies where a result belongs.
    """
    check_folder(run_folder(plan.store), region)
    if not exists(plan.store, region):
        return {}
    if not is_remote(plan.store) and not local_path(plan.store).is_dir():
        raise ExistsError(f"{plan.store} is a file; give another store")
    folder = Folder(plan.store, region)
    there, by_name = folder.sizes(), {target.name: target for target in plan.targets}
    check_index(plan.store, there, region)
    with ThreadPoolExecutor(READERS) as pool:
        names = [name for name, target in by_name.items() if f"{target.region}/{name}.json" in there]
        items = dict(zip(names, pool.map(lambda n: item_at(folder, f"{by_name[n].region}/{n}"), names), strict=True))
    found = {}
    for name, target in by_name.items():
        item = items.get(name)
        own = None if item is None else item["properties"]
        if own is None and f"{target.region}/{name}.tif" in there and f"{target.region}/{name}.png" not in there:
            raise ExistsError(f"{plan.store}/{target.region}/{name}.tif is of no run; move it, or give another store")
        if own is None or item is None:
            continue
        if own["maggjob:digest"] != plan.config.digest:
            if not how.overwrite:
                raise ExistsError(
                    f"{plan.store}/{target.region}/{name}.tif was made with another configuration; give --overwrite "
                    "(overwrite=True), or another store"
                )
            continue
        listed = [plan.listing.scenes[number].id for number in target.scenes]
        whole = is_whole(item, f"{target.region}/{name}", there) and not how.overwrite
        if whole and own["maggjob:state"] == "complete" and own["maggjob:listed"] == listed:
            found[name] = item
    return found


def _carry_out(session: Session, plan: ScenesPlan, how: ScenesOptions) -> ScenesResult:
    known = _existing(plan, session.region, how)
    parts = f"{session.folder}/{PARTS}/{WINDOW}"
    left = [target for target in plan.targets if target.name not in known]
    session.begin("map", taken=len(plan.targets) - len(left))
    tasks = plan.tasks(left, parts, session.region)
    mapped, work = _mapped(session, tasks, how)
    made = _assembled(session, plan, tasks, mapped, parts)
    names = list(dict.fromkeys(target.name for target in plan.targets))
    reports = tuple(made.get(name) or TargetReport.of_item(known[name]) for name in names)
    session.check_lock()
    folder = Folder(plan.store, session.region, create=True)
    items = items_of(folder, plan.config.digest)
    if items:
        with ThreadPoolExecutor(READERS) as pool:
            pictures = list(pool.map(lambda item: folder.get(f"{key_of(item)}.png"), items))
        folder.put("index.parquet", index_parquet(items))
        folder.put("contact.png", contact_sheet(items, pictures))
    ledger = put_table(_ledger(plan, reports), Folder(session.folder, session.region))
    told = _told(plan, reports, len(known)) | work
    session.own_requests += OWN + S3Requests(gets=2 * len(left) + len(items), puts=3 * len(left))
    complete = not plan.listing.lost and all(report.state == "complete" for report in reports)
    own = {"complete": complete, "scenes": told, "ledger_digest": ledger.digest}
    run = Folder(session.folder, session.region)
    remains = run.discard(lambda: run.keys(PARTS))
    if remains is not None:
        session.warn(f"parts that nobody needs remain in {session.folder}: {remains}")
    return ScenesResult(plan, reports, len(known), session.finish(own))


def _mapped(
    session: Session, tasks: Sequence[SceneTask], how: ScenesOptions
) -> tuple[dict[str, TargetReport], dict[str, Any]]:
    """Map tasks; those that lack something that another attempt may read are mapped once more."""
    found: dict[str, TargetReport] = {}
    work = {"bytes_read": 0, "requests": 0, "worker_time_s": 0.0}
    for stage in ("map", "again"):
        again = [t for t in tasks if stage == "map" or any(_may_succeed(found[one.part]) for one in t.targets)]
        if again:
            for task, outcome in zip(again, session.map(stage, map_scenes, again, how.watch, begin=False), strict=True):
                report = _report(task, outcome)
                found |= {target.part: one for target, one in zip(task.targets, report.targets, strict=True)}
                for name, value in (("bytes_read", report.bytes_read), ("requests", report.requests)):
                    work[name] += value
                work["worker_time_s"] += report.seconds
    return found, work


def _may_succeed(report: TargetReport) -> bool:
    return report.reason in RETRYABLE or any(scene.reason in RETRYABLE for scene in report.scenes)


def _report(task: SceneTask, outcome: Outcome[SceneReport]) -> SceneReport:
    if outcome.value is not None:
        return outcome.value
    lost = (TargetReport(one.name, one.region, one.day, "failed") for one in task.targets)
    own = outcome.reason, outcome.message
    return SceneReport(task.id, tuple(replace(one, reason=own[0], message=own[1]) for one in lost))


def _assembled(
    session: Session, plan: ScenesPlan, tasks: Sequence[SceneTask], mapped: Mapping[str, TargetReport], parts: str
) -> dict[str, TargetReport]:
    """Return the outcome of each region and day, after its windows have been joined."""
    windows: dict[str, list[tuple[SceneTask, SceneTarget]]] = {}
    for task in tasks:
        for target in task.targets:
            windows.setdefault(target.name, []).append((task, target))
    made: dict[str, TargetReport] = {}
    several = []
    for name, own in windows.items():
        reports = tuple(mapped[target.part] for _, target in own)
        made[name] = joined(reports)
        if len(own) == 1 and own[0][1].template == own[0][1].whole:
            continue
        if any(report.state == "failed" for report in reports):
            made[name] = replace(made[name], state="failed")
            continue
        scenes = tuple(own[0][0].scenes[number] for number in own[0][1].scenes)
        targets = tuple(replace(target, scenes=tuple(range(len(scenes)))) for _, target in own)
        several.append(AssemblyTask(name, targets, scenes, reports, plan.recipe, plan.store, parts, session.region))
    if several:
        outcomes = session.map("assembly", assemble_scenes, several)
        for whole, outcome in zip(several, outcomes, strict=True):
            lost = replace(made[whole.id], state="failed", reason=outcome.reason, message=outcome.message)
            made[whole.id] = lost if outcome.value is None else outcome.value
    return made


def _told(plan: ScenesPlan, reports: Sequence[TargetReport], taken: int) -> dict[str, Any]:
    """Return the counts of a run."""
    states, scenes = [report.state for report in reports], [one for report in reports for one in report.scenes]
    errors: dict[str, dict[str, Any]] = {}
    for what, reason, message in [
        *((one.id, one.reason, one.message) for one in scenes if one.reason is not None),
        *((one.name, one.reason, one.message) for one in reports if one.reason is not None and not one.scenes),
        *((name, "unusable", why) for name, why in plan.listing.lost.items()),
    ]:
        own = errors.setdefault(str(reason), {"count": 0, "examples": []})
        own["count"] += 1
        own["examples"] = [*own["examples"], {"what": what, "message": message}][:5]
    pixels: dict[str, int] = {}
    for report in reports:
        for state, count in report.pixels.items():
            pixels[state] = pixels.get(state, 0) + count
    return {
        "results": {state: states.count(state) for state in ("complete", "partial", "failed")},
        "scenes": {s: sum(one.state == s for one in scenes) for s in ("used", "unneeded", "partial", "failed")},
        "reprojected": sum(one.reprojected and one.state == "used" for one in scenes),
        "pixels": pixels,
        "days_without_scenes": len(plan.empty_days),
        "taken": taken,
        "errors": errors,
    }


def _ledger(plan: ScenesPlan, reports: Sequence[TargetReport]) -> dict[str, list[Any]]:
    """Return the ledger as columns: each scene of each result, and the days without scenes."""
    rows: list[dict[str, Any]] = []
    for report in reports:
        own = {"cell": report.name, "cell_state": report.state}
        rows += [
            own | {"granule": s.id, "state": s.state, "reason": s.reason, "message": s.message, "pixels": s.pixels}
            for s in report.scenes
        ]
        if not report.scenes:
            rows.append(own | {"state": report.state, "reason": report.reason, "message": report.message})
    rows += [
        {"granule": n, "state": "failed", "reason": "unusable", "message": w} for n, w in plan.listing.lost.items()
    ]
    rows += [{"cell": f"{name}_{day}", "state": "no_scene"} for name, day in plan.empty_days]
    text = ["cell", "cell_state", "granule", "state", "reason", "message"]
    return {name: [row.get(name, None if name in text else 0) for row in rows] for name in [*text, "pixels"]}
