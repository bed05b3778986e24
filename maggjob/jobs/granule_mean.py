"""The second job: area-weighted means of gridded granules, one granule per call.

A granule has variables on a regular grid of latitudes and longitudes. For each of its times, the mean, minimum, maximum
and the valid share of the area are computed within a region. Stored numbers are summed as they are, and unpacked
(``scale_factor``, ``add_offset``) once (`maggjob.statistics.area_means`).
"""

import hashlib
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np

from maggjob.errors import UnsupportedError
from maggjob.granules.granule import open_granule
from maggjob.granules.grid import GridReader, GridRegion
from maggjob.inputs.plain_json import load_json
from maggjob.jobs.worker import peak_memory, reason_and_message
from maggjob.model.means import MeanMask, MeanRecipe, MeanReport, MeanTask, MeanVariable
from maggjob.model.tasks import Granule
from maggjob.statistics.area_means import AreaSums, cell_widths, row_areas
from maggjob.storage.archive import Archive
from maggjob.storage.folder import Folder


def map_granule(task: MeanTask) -> MeanReport:
    """Read one granule, and compute its means.

    Parameters
    ----------
    task : MeanTask

    Returns
    -------
    MeanReport
        Failures are not raised, but reported.
    """
    started, archive = time.monotonic(), Archive(task.credentials, task.region)
    try:
        report = _measure(task, archive)
        if task.parts is not None:
            Folder(task.parts, task.region, create=True).put(f"{task.id}.json", part_of(task, report))
    except BaseException as problem:  # noqa: BLE001
        reason, message = reason_and_message(problem)
        report = MeanReport(task.id, "failed", reason=reason, message=message)
    return replace(
        report,
        seconds=time.monotonic() - started,
        bytes_read=archive.bytes_read,
        requests=archive.requests,
        peak_memory=peak_memory(),
    )


def part_of(task: MeanTask, report: MeanReport) -> bytes:
    """Return the part of a granule: what data and configuration determine, with its digest.

    Parameters
    ----------
    task : MeanTask
    report : MeanReport
    """
    content = {
        "recipe": task.recipe.digest,
        "size": task.size,
        "version": report.version,
        "state": report.state,
        "steps": report.steps,
        "units": report.units,
    }
    text = json.dumps(content, sort_keys=True)
    return json.dumps({"content": content, "digest": hashlib.sha256(text.encode()).hexdigest()}).encode()


def report_of(task: MeanTask, part: bytes) -> MeanReport | None:
    """Return the report of a granule from its part; None if it is damaged, or of another size or recipe.

    Parameters
    ----------
    task : MeanTask
    part : bytes
    """
    try:
        plain = load_json(part, finite=False)
        content = plain["content"]
        text = json.dumps(content, sort_keys=True)
        if plain["digest"] != hashlib.sha256(text.encode()).hexdigest():
            return None
        if (content["recipe"], content["size"]) != (task.recipe.digest, task.size):
            return None
        steps, units = tuple(content["steps"]), content["units"]
        return MeanReport(task.id, content["state"], steps, units, version=content["version"])
    except (ValueError, KeyError, TypeError):
        return None


def _measure(task: MeanTask, archive: Archive) -> MeanReport:
    recipe = task.recipe
    opened = open_granule(Granule(task.id, task.url, task.size), archive, recipe.reader)
    reader = GridReader(opened)
    region = reader.region(recipe.latitude, recipe.longitude, recipe.south_north, recipe.west_east)
    times = reader.times(recipe.time, task.start)
    found = {v.name: _statistics(reader, recipe, v, region, len(times)) for v in recipe.variables}
    steps = tuple({"time": at, "values": {n: every[k] for n, every in found.items()}} for k, at in enumerate(times))
    valid = any(one["cells"]["valid"] for every in found.values() for one in every)
    units = {v.name: reader.text(v.dataset, "units") or "" for v in recipe.variables}
    state, version = "used" if valid else "empty", opened.source.etag
    return MeanReport(task.id, state, steps, units, version=version, by_h5py=opened.file.slow)


def _statistics(
    reader: GridReader, recipe: MeanRecipe, variable: MeanVariable, region: GridRegion, times: int
) -> list[dict[str, Any]]:
    """Return the statistics of a variable at each time."""
    path = variable.dataset
    # First, as a variable with parts that were never written has a fill value, whether it tells it or not.
    reader.chunk(path)
    info = reader.info(path)
    leads, turned = reader.times_of(path, region)
    if len(leads) != times:
        raise UnsupportedError(f"{path} has shape {info.shape}, but there are {times} times")
    areas, widths = row_areas(region.latitude), cell_widths(region.longitude)
    found = []
    for lead in leads:
        sums = AreaSums(None if widths is None else widths[region.columns])
        sums.cells["outside"] = region.outside
        for rows in reader.bands(path, region, turned=turned):
            values = reader.block(path, lead, rows, region, turned=turned)
            kept = _kept(reader, recipe.mask, lead, rows, region, values.shape)
            sums.add(values, _valid(values, info.fill), kept, areas[rows][region.rows[rows]])
        found.append(sums.result(*info.packing, variable.add))
    return found


def _kept(
    reader: GridReader,
    mask: MeanMask | None,
    lead: tuple[int, ...],
    rows: slice,
    region: GridRegion,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Return which cells of a block the mask selects; one mask may serve all times."""
    if mask is None:
        return np.ones(shape, bool)
    leads, turned = reader.times_of(mask.dataset, region)
    own = lead if lead in leads else leads[0] if len(leads) == 1 else None
    if own is None:
        raise UnsupportedError(f"{mask.dataset} has shape {reader.info(mask.dataset).shape}: other times")
    return mask.keeps(reader.block(mask.dataset, own, rows, region, turned=turned))


def _valid(values: np.ndarray, fill: float | None) -> np.ndarray:
    """Return which values are there."""
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    return valid if fill is None or np.isnan(fill) else valid & (values != fill)
