"""The third job: satellite scenes of a day, merged and clipped to regions on a grid that is the same for all days.

A pixel is taken, all bands together, from the first scene in order whose first band has a value there. Scenes on the
grid are copied; others are reprojected. A scene that cannot be read in all bands gives nothing, and is counted.
"""

import io
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from maggjob.granules.geotiff import NODATA, geotiff, pixels_inside, thumbnail
from maggjob.granules.raster import Raster, Rasters
from maggjob.jobs.scene_files import keeps_better
from maggjob.jobs.worker import peak_memory, reason_and_message
from maggjob.model.scene_items import file_facts
from maggjob.model.scenes import (
    AssemblyTask,
    Scene,
    SceneAsset,
    SceneOutcome,
    SceneRecipe,
    SceneReport,
    SceneTarget,
    SceneTask,
    TargetReport,
    Template,
)
from maggjob.storage.archive import Archive
from maggjob.storage.folder import Folder

CLOUDS, SNOW = (3, 8, 9, 10), 11
"""Classes of cloud shadows and clouds, and of snow or ice, in Sentinel-2's scene classification."""
LARGEST = 65535
"""Largest value of the result."""


def map_scenes(task: SceneTask) -> SceneReport:
    """Merge and clip the scenes of a day for some regions.

    Parameters
    ----------
    task : SceneTask

    Returns
    -------
    SceneReport
        Failures are not raised, but reported.
    """
    started, archive = time.monotonic(), Archive(None, task.region)
    try:
        with Rasters(archive) as rasters:
            targets = tuple(_reported(task, target, rasters) for target in task.targets)
    except BaseException as problem:  # noqa: BLE001
        targets = tuple(_failed(target, problem) for target in task.targets)
    seconds = time.monotonic() - started
    return SceneReport(task.id, targets, seconds, archive.bytes_read, archive.requests, peak_memory())


def assemble_scenes(task: AssemblyTask) -> TargetReport:
    """Join the windows of a region on one day.

    Parameters
    ----------
    task : AssemblyTask

    Returns
    -------
    TargetReport
        A failure is not raised, but reported.
    """
    first = task.targets[0]
    try:
        whole = first.whole
        values = np.zeros((len(task.recipe.bands), whole.height, whole.width), np.uint16)
        parts = Folder(task.parts, task.region)
        for target in task.targets:
            rows = slice(target.row, target.row + target.template.height)
            columns = slice(target.column, target.column + target.template.width)
            values[:, rows, columns] = np.load(io.BytesIO(parts.get(f"{target.part}.npy")))
        report = joined(task.reports)
        # Windows without a pixel of the region were left out.
        others = sum(count for state, count in report.pixels.items() if state != "outside")
        report = replace(report, pixels=dict(report.pixels) | {"outside": whole.width * whole.height - others})
        _write(replace(first, template=whole, row=0, column=0), task.scenes, task.recipe, values, report, task)
    except BaseException as problem:  # noqa: BLE001
        return _failed(first, problem)
    return report


def joined(reports: Sequence[TargetReport]) -> TargetReport:
    """Return the outcome of a region on one day from those of its windows.

    Parameters
    ----------
    reports : sequence of TargetReport
        At least one.
    """
    scenes: dict[str, SceneOutcome] = {}
    for one in (scene for report in reports for scene in report.scenes):
        before = scenes.get(one.id, one)
        states = {before.state, one.state}
        state = (
            "partial"
            if "failed" in states and len(states) > 1
            else min(states, key=("failed", "used", "unneeded").index)
        )
        pixels = one.pixels if before is one else before.pixels + one.pixels
        told = before if before.reason is not None else one
        turned = before.reprojected or one.reprojected
        scenes[one.id] = SceneOutcome(one.id, state, pixels, turned, told.reason, told.message)
    states = {report.state for report in reports}
    state = states.pop() if len(states) == 1 else "partial"
    return replace(
        next((report for report in reports if report.reason is not None), reports[0]),
        state=state,
        scenes=tuple(scenes.values()),
        pixels=_sum(report.pixels for report in reports),
        classes=_sum(report.classes for report in reports),
    )


def _sum(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for state, number in one.items():
            total[state] = total.get(state, 0) + number
    return total


def _failed(target: SceneTarget, problem: BaseException) -> TargetReport:
    reason, message = reason_and_message(problem)
    return TargetReport(target.name, target.region, target.day, "failed", reason=reason, message=message)


def _reported(task: SceneTask, target: SceneTarget, rasters: Rasters) -> TargetReport:
    try:
        values, report = _merged(task, target, rasters)
        if report.state == "failed":
            return report
        if target.template == target.whole:
            _write(target, task.scenes, task.recipe, values, report, task)
        else:
            buffer = io.BytesIO()
            np.save(buffer, values)
            Folder(task.parts, task.region, create=True).put(f"{target.part}.npy", buffer.getvalue())
    except BaseException as problem:  # noqa: BLE001
        return _failed(target, problem)
    return report


def _merged(task: SceneTask, target: SceneTarget, rasters: Rasters) -> tuple[np.ndarray, TargetReport]:
    """Return the bands of a window, shape (bands, rows, columns), and its outcome."""
    template, recipe = target.template, task.recipe
    inside = pixels_inside(target.shape, template)
    values = np.zeros((len(recipe.bands), template.height, template.width), np.uint16)
    left, classes = inside.copy(), np.zeros(inside.shape, np.uint8)
    outcomes = []
    for scene in (task.scenes[number] for number in target.scenes):
        try:
            outcomes.append(_take(scene, recipe, template, rasters, values, left, classes))
        except BaseException as problem:  # noqa: BLE001
            reason, message = reason_and_message(problem)
            outcomes.append(SceneOutcome(scene.id, "failed", reason=reason, message=message))
    clouds = inside & np.isin(classes, CLOUDS)
    masked = clouds & ~left if recipe.mask_clouds else np.zeros(inside.shape, bool)
    values[:, masked] = NODATA
    pixels = {
        "valid": int(np.count_nonzero(inside & ~left & ~masked)),
        "nodata": int(np.count_nonzero(left)),
        "masked": int(np.count_nonzero(masked)),
        "outside": int(np.count_nonzero(~inside)),
    }
    counts = {"classified": classes > 0, "cloud": clouds, "snow": inside & (classes == SNOW)}
    lost = [one for one in outcomes if one.state == "failed"]
    state = "complete" if not lost else "failed" if len(lost) == len(outcomes) else "partial"
    report = TargetReport(
        target.name,
        target.region,
        target.day,
        state,
        tuple(outcomes),
        pixels,
        {name: int(np.count_nonzero(mask)) for name, mask in counts.items()},
        lost[0].reason if lost else None,
        lost[0].message if lost else None,
    )
    return values, report


def _take(
    scene: Scene,
    recipe: SceneRecipe,
    template: Template,
    rasters: Rasters,
    values: np.ndarray,
    left: np.ndarray,
    classes: np.ndarray,
) -> SceneOutcome:
    """Take the pixels of a scene that are still free, and mark them as taken; nothing if it cannot be read."""
    rows, columns = np.flatnonzero(left.any(axis=1)), np.flatnonzero(left.any(axis=0))
    if not len(rows):
        return SceneOutcome(scene.id, "unneeded")
    # Only the window that is still free is read.
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    own = template.window(rows[0], columns[0], rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0])
    found: list[np.ndarray] = []
    taken, turned = left[place], False
    for number, band in enumerate(recipe.bands):
        raster = _raster(scene, band, scene.bands[band], rasters)
        turned |= raster.on_grid(own) is None
        numbers, valid = raster.window(own, recipe.resampling)
        if number == 0:
            taken = taken & valid
            if not taken.any():
                return SceneOutcome(scene.id, "unneeded", reprojected=turned)
        found.append(np.where(valid, _harmonized(numbers, scene.bands[band], recipe), NODATA))
    if scene.classes is not None:
        flags, _ = _raster(scene, "classes", scene.classes, rasters).window(own, "nearest")
        classes[place][taken] = flags[taken]
    for number, band_values in enumerate(found):
        values[number][place][taken] = band_values[taken]
    left[place][taken] = False
    return SceneOutcome(scene.id, "used", int(np.count_nonzero(taken)), turned)


def _raster(scene: Scene, band: str, asset: SceneAsset, rasters: Rasters) -> Raster:
    return rasters.get(f"{scene.id}: {band}", asset.url)


def _harmonized(numbers: np.ndarray, asset: SceneAsset, recipe: SceneRecipe) -> np.ndarray:
    """Return stored numbers in the scale of the result; numbers that have it already stay as they are."""
    if (asset.scale, asset.offset) == (recipe.scale, recipe.offset):
        return np.clip(numbers, 1, LARGEST).astype(np.uint16)
    physical = numbers.astype(np.float64) * asset.scale + asset.offset
    return np.clip(np.rint((physical - recipe.offset) / recipe.scale), 1, LARGEST).astype(np.uint16)


def _write(
    target: SceneTarget,
    scenes: Sequence[Scene],
    recipe: SceneRecipe,
    values: np.ndarray,
    report: TargetReport,
    task: SceneTask | AssemblyTask,
) -> None:
    """Write the GeoTIFF, its thumbnail, and last its STAC item, which says that the others are whole."""
    folder = Folder(f"{task.store}/{target.region}", task.region, create=True)
    # The thumbnail first: a GeoTIFF without one is not ours.
    if report.state != "complete" and keeps_better(folder, target.name, recipe.digest):
        return
    item = _item(target, [scenes[number] for number in target.scenes], recipe, report)
    files = {"thumbnail": ("png", thumbnail(values[0])), "data": ("tif", geotiff(values, target.whole, recipe))}
    for asset, (suffix, content) in files.items():
        folder.put(f"{target.name}.{suffix}", content)
        item["assets"][asset] |= file_facts(content)
    folder.put(f"{target.name}.json", json.dumps(item, sort_keys=True, indent=1).encode())


def _item(target: SceneTarget, scenes: Sequence[Scene], recipe: SceneRecipe, report: TargetReport) -> dict[str, Any]:
    """Return the STAC item of a result: what data and configuration determine."""
    polygon = report.pixels["valid"] + report.pixels["nodata"] + report.pixels["masked"]
    classified = report.classes.get("classified", 0)
    times = sorted(scene.time for scene in scenes)
    points = np.array(_points(target.outline["coordinates"]))
    shares: dict[str, float] = {}
    if classified:
        shares = {
            "eo:cloud_cover": round(100 * report.classes["cloud"] / classified, 4),
            "eo:snow_cover": round(100 * report.classes["snow"] / classified, 4),
        }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
            "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": target.name,
        "bbox": [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()],
        "geometry": target.outline,
        "properties": {
            "datetime": times[0],
            "start_datetime": times[0],
            "end_datetime": times[-1],
            "proj:epsg": int(target.whole.crs.removeprefix("EPSG:")),
            "proj:shape": [target.whole.height, target.whole.width],
            "proj:transform": list(target.whole.transform),
            **shares,
            "maggjob:region": target.region,
            "maggjob:day": target.day,
            "maggjob:state": report.state,
            "maggjob:digest": recipe.digest,
            "maggjob:pixels": dict(report.pixels),
            "maggjob:valid_share": report.pixels["valid"] / polygon if polygon else 0.0,
            "maggjob:listed": [scene.id for scene in scenes],
            "maggjob:scenes": {one.id: [one.state, one.pixels, one.reprojected] for one in report.scenes},
        },
        "assets": {
            "data": {
                "href": f"./{target.name}.tif",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                "eo:bands": [{"name": band} for band in recipe.bands],
                "raster:bands": [
                    {"nodata": NODATA, "data_type": "uint16", "scale": recipe.scale, "offset": recipe.offset}
                    for _ in recipe.bands
                ],
            },
            "thumbnail": {"href": f"./{target.name}.png", "type": "image/png", "roles": ["thumbnail"]},
        },
        "links": [],
    }


def _points(coordinates: Any) -> list[Any]:
    """Return all points in the coordinates of a GeoJSON polygon, of any depth."""
    if isinstance(coordinates[0], (int, float)):
        return [coordinates[:2]]
    return [point for part in coordinates for point in _points(part)]
