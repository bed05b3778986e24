"""Granules whose segments are known independently, and a judge of runs over them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

import maggjob
from maggjob.catalog.catalog import Catalog
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.pipeline.result import RunResult
from tests.granule_files import FILL
from tests.oracle import differences, reference, segments_of
from tests.runs import files

ORDER, CHILD = 6, 12
AREA = (-106.0, -76.0, -102.0, -75.0)


@dataclass(frozen=True)
class World:
    """Some granules, and the number of segments of each in each cell, counted with h5py and healpix-geo."""

    paths: tuple[Path, ...]
    """The granules, which nobody changes."""
    calm: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The files of the result of a run without faults."""

    @cached_property
    def catalog(self) -> Catalog:
        """The granules as local files."""
        return maggjob.make_catalog([str(path) for path in self.paths])

    @cached_property
    def truth(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Number of segments, and of those that are kept, of each granule in each cell, by id of both."""
        found = {}
        for path in self.paths:
            of = segments_of(path, CHILD, "authalic")
            good = (of["quality"] == 0) & np.isfinite(of["h"]) & (np.abs(of["h"]) < FILL)
            good &= np.isfinite(of["s"]) & (of["s"] > 0) & (of["s"] < FILL)
            cell = of["cell"] >> 2 * (CHILD - ORDER)
            for one in np.unique(cell).tolist():
                inside = cell == one
                found[path.stem, format_cell(one, ORDER)] = (int(inside.sum()), int((inside & good).sum()))
        return found

    def at(self, base: str) -> Catalog:
        """Return the catalog of the granules as they are served below a URL."""
        content = self.catalog.to_dict()
        names = [Path(entry.urls["file"]).name for entry in self.catalog.granules]
        content["granules"]["urls"] = {"https": {"base": f"{base}/", "rest": names}}
        return maggjob.plan("atl06.yaml", catalog=content).catalog


def make_world(folder: Path, granules: int = 6, every: int = 40) -> World:
    """Simulate granules, and map them once without faults."""
    paths = tuple(maggjob.simulate(folder / "granules", area=AREA, every=every, most=granules))
    world = World(paths)
    result = maggjob.run(
        "atl06.yaml", catalog=world.catalog, store=str(folder / "calm.zarr"), backend="serial", index=False
    )
    judge(world, result).check()
    return World(paths, files(folder / "calm.zarr"))


@dataclass
class Score:
    """What a judge found in a run."""

    cells: int = 0
    """Number of cells."""
    segments: int = 0
    """Number of segments that were accounted for."""
    lost: list[str] = field(default_factory=list)
    """What could have been done and was not."""
    wrong: list[str] = field(default_factory=list)
    """Numbers that differ from those of the independent count."""
    broken: list[str] = field(default_factory=list)
    """Stores that cannot be verified, or say other than the ledger."""

    def check(self) -> None:
        """Check that nothing was found."""
        assert (self.lost, self.wrong, self.broken) == ([], [], [])


def judge(world: World, result: RunResult, broken: Collection[str] = (), cells: Collection[str] = ()) -> Score:
    """Compare a run with the independent count.

    Parameters
    ----------
    world : World
    result : RunResult
    broken : collection of str
        Ids of granules that may have failed, because they cannot be read.
    cells : collection of str
        Ids of cells that may have failed.
    """
    score = Score(cells=len(result.reports))
    listed = {
        (entry, format_cell(cell, ORDER))
        for cell, positions in world.catalog.cells.items()
        for entry in (world.catalog.granules[position].id for position in positions)
    }
    told = [(granule.id, report.cell) for report in result.reports for granule in report.granules]
    if sorted(told) != sorted(listed):
        score.wrong.append(f"pairs: {sorted(set(told) ^ listed)[:3]}")
    for report in result.reports:
        used = []
        for granule in report.granules:
            truth = world.truth.get((granule.id, report.cell), (0, 0))
            mine = (granule.in_cell, granule.kept)
            if granule.state == "failed":
                if granule.id not in broken and report.cell not in cells:
                    score.lost.append(f"{report.cell} {granule.id}: {granule.reason} {granule.message}")
                if not granule.reason or mine != (0, 0):
                    score.wrong.append(f"{report.cell} {granule.id}: failed without a reason, or with segments")
                continue
            used.append(granule.id)
            score.segments += mine[0]
            if mine != truth:
                score.wrong.append(f"{report.cell} {granule.id}: {mine}, but {truth} were counted")
        complete = len(used) == len(report.granules)
        if complete != (report.state in ("complete", "empty")):
            score.wrong.append(f"{report.cell} is {report.state} with {len(used)} of {len(report.granules)} granules")
    segments = result.tally.segments
    if segments["rows"] != sum(count for state, count in segments.items() if state != "rows"):
        score.wrong.append(f"segments do not add up: {segments}")
    if result.published:
        _judge_store(world, result, score)
    return score


def _judge_store(world: World, result: RunResult, score: Score) -> None:
    """Compare the values of a store with those of the granules that were used, cell by cell."""
    if not maggjob.verify_result(result.store_path, deep=True).good:
        score.broken.append(result.store_path)
        return
    if result.complete and world.calm:
        if files(result.store_path) != dict(world.calm):
            score.broken.append(f"{result.store_path} has other bytes than that of a calm run")
        return
    dataset = maggjob.open_result(result.store_path)
    names = [name for name in dataset.data_vars if dataset[name].dims == ("cells",)]
    values = {str(name): dataset[name].to_numpy() for name in names}
    ids = dataset["cell_ids"].to_numpy().astype(np.int64)
    at = {path.stem: path for path in world.paths}
    for report in result.reports:
        rows = np.flatnonzero(ids >> 2 * (CHILD - ORDER) == parse_cell(report.cell, ORDER))
        used = [at[granule.id] for granule in report.granules if granule.state == "used"]
        inside = {}
        if used:
            every = reference(used, CHILD, "authalic")
            inside = {c: v for c, v in every.items() if c >> 2 * (CHILD - ORDER) == parse_cell(report.cell, ORDER)}
        found = differences({name: of[rows] for name, of in values.items()}, ids[rows], inside)
        score.wrong += [f"{report.cell}: {one}" for one in found[:3]]


def used_pairs(result: RunResult) -> Sequence[tuple[str, str]]:
    """Return granule and cell of each pair that was used."""
    return [(g.id, report.cell) for report in result.reports for g in report.granules if g.state == "used"]
