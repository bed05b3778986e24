"""The plan of the scenes job: regions, days, scenes, and the windows that one call works on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from maggjob.backend.bill import CostLine, Prices
from maggjob.backend.settings import FAIR_SHARE, QUOTA
from maggjob.catalog.sources import check_sources
from maggjob.catalog.stac import SceneListing, scenes_in, search_scenes
from maggjob.config.scenes import ScenesConfig, load_scenes_config
from maggjob.config.schema import digest_of
from maggjob.errors import InputError
from maggjob.grid.regions import NamedRegion, read_regions
from maggjob.inputs.places import store_place
from maggjob.model.display import Displayed
from maggjob.model.scenes import Scene, SceneRecipe, SceneTarget, SceneTask, Template
from maggjob.planning.cloud import CloudRun, plain_run
from maggjob.planning.requests import S3Requests
from maggjob.planning.workers import Choice, choose_workers

SNAP = 6
"""Borders of a grid are multiples of this many pixels: 60 m, which the pixels of all bands of Sentinel-2 share."""
SIDE = 8192
"""Largest side of a window, pixels: a call works for a minute or two on one."""
MOST_PIXELS = 200_000_000
"""Largest region in pixels times bands: a worker joins its windows in memory."""
PIXEL_S = 7e-8
"""Seconds of a worker per pixel of a scene that is read, merged and written: 6e-8 measured (benchmarks/scenes.py)."""
OWN = S3Requests(gets=40, puts=60)
"""Requests of the client that do not grow with the run, about."""
PIXEL_BYTES = 1.6
"""Bytes of a compressed pixel, and of the tiles around a window, that are read, about."""


@dataclass(frozen=True)
class RegionGrid:
    """A region on its grid."""

    region: NamedRegion
    """The region."""
    shape: Any
    """Its polygon (shapely), on the grid."""
    template: Template
    """The grid."""

    @classmethod
    def of(cls, region: NamedRegion, config: ScenesConfig) -> "RegionGrid":
        """Return a region on the grid of a configuration.

        Parameters
        ----------
        region : NamedRegion
        config : ScenesConfig

        Raises
        ------
        InputError
            If it is too large.
        """
        crs = region.utm if config.crs == "utm" else config.crs
        shape, step = region.projected(crs), float(config.resolution)
        west, south, east, north = shape.bounds
        left, bottom = (np.floor(one / (SNAP * step)) * SNAP * step for one in (west, south))
        right, top = (np.ceil(one / (SNAP * step)) * SNAP * step for one in (east, north))
        width, height = round((right - left) / step), round((top - bottom) / step)
        if width * height * len(config.bands) > MOST_PIXELS:
            raise InputError(
                f"region {region.name} has {width:,} by {height:,} pixels and {len(config.bands)} bands; split it, or "
                "give a larger resolution"
            )
        return cls(region, shape, Template(crs, float(left), float(top), step, width, height))

    def windows(self) -> list[tuple[int, int, Template]]:
        """Return first row, first column and grid of each window that may hold a pixel of the region."""
        whole, found = self.template, []
        shapely.prepare(self.shape)
        for row in range(0, whole.height, SIDE):
            for column in range(0, whole.width, SIDE):
                own = whole.window(row, column, min(SIDE, whole.height - row), min(SIDE, whole.width - column))
                step = own.resolution
                box = shapely.box(own.left, own.top - own.height * step, own.left + own.width * step, own.top)
                if self.shape.intersects(box):
                    found.append((row, column, own))
        return found


@dataclass(frozen=True, repr=False)
class ScenesPlan(Displayed):
    """What a run of the scenes job would do."""

    config: ScenesConfig
    """The configuration."""
    start: date
    """First day."""
    end: date
    """Last day."""
    regions: tuple[RegionGrid, ...]
    """Regions on their grids."""
    listing: SceneListing
    """Scenes that touch one of them."""
    store: str
    """Folder or prefix of the results."""
    crossing: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Positions of the scenes that touch each region, by its name."""

    @property
    def recipe(self) -> SceneRecipe:
        """What workers compute."""
        own = self.config
        numbers = float(own.scale), float(own.offset)
        return SceneRecipe(tuple(own.bands), own.mask_clouds, own.resampling, *numbers, own.digest)

    @property
    def digest(self) -> str:
        """SHA-256 of all that determines the result."""
        regions = [[one.region.name, one.shape.wkt] for one in self.regions]
        return digest_of(
            [self.config.digest, str(self.start), str(self.end), regions, [s.id for s in self.listing.scenes]]
        )

    def days(self, region: RegionGrid) -> dict[str, tuple[int, ...]]:
        """Return the scenes of a region by day, in the order in which pixels are taken.

        Parameters
        ----------
        region : RegionGrid
        """
        scenes = self.listing.scenes
        found: dict[str, list[int]] = {}
        order = {
            "cloud": lambda n: (scenes[n].cloud, scenes[n].id),
            "id": lambda n: (scenes[n].id,),
            "time": lambda n: (scenes[n].time, scenes[n].id),
        }[self.config.order]
        for number in self.crossing[region.region.name]:
            found.setdefault(scenes[number].time[:10], []).append(number)
        return {day: tuple(sorted(numbers, key=order)) for day, numbers in sorted(found.items())}

    @cached_property
    def targets(self) -> tuple[SceneTarget, ...]:
        """All windows of all regions and days, by name."""
        found = []
        for region in self.regions:
            shape, outline = (shapely.geometry.mapping(one) for one in (region.shape, region.region.shape))
            windows = region.windows()
            for day, scenes in self.days(region).items():
                own = (region.region.name, day, region.template)
                found += [SceneTarget(*own, row, column, t, shape, outline, scenes) for row, column, t in windows]
        return tuple(found)

    @property
    def empty_days(self) -> list[tuple[str, str]]:
        """Region and day, wherever no scene touches the region."""
        every = [str(self.start + timedelta(days=n)) for n in range((self.end - self.start).days + 1)]
        there = {one.region.name: self.days(one) for one in self.regions}
        return [(name, day) for name, days in there.items() for day in every if day not in days]

    def tasks(self, targets: Sequence[SceneTarget], parts: str, region: str | None) -> list[SceneTask]:
        """Return tasks for some windows: those of a day that share a scene are one task, as far as they fit.

        Parameters
        ----------
        targets : sequence of SceneTarget
        parts : str
            Folder or prefix of parts.
        region : str or None
            Region of the buckets.
        """
        groups: list[tuple[set[int], list[SceneTarget], int]] = []
        for target in sorted(targets, key=lambda one: (one.day, one.part)):
            pixels = target.template.width * target.template.height
            for scenes, members, size in groups:
                if not scenes.isdisjoint(target.scenes) and size + pixels <= SIDE * SIDE:
                    groups.remove((scenes, members, size))
                    groups.append((scenes | set(target.scenes), [*members, target], size + pixels))
                    break
            else:
                groups.append((set(target.scenes), [target], pixels))
        return [self._task(sorted(scenes), members, parts, region) for scenes, members, _ in groups]

    def _task(self, scenes: list[int], members: list[SceneTarget], parts: str, region: str | None) -> SceneTask:
        place = {number: position for position, number in enumerate(scenes)}
        own = tuple(
            SceneTarget(**(vars(one) | {"scenes": tuple(place[number] for number in one.scenes)})) for one in members
        )
        every: Sequence[Scene] = self.listing.scenes
        return SceneTask(own[0].part, tuple(every[n] for n in scenes), own, self.recipe, self.store, parts, region)

    @property
    def pixels(self) -> int:
        """Pixels of scenes that are read at most, all bands together."""
        bands = len(self.config.bands) + (self.config.classes is not None)
        return sum(one.template.width * one.template.height * len(one.scenes) * bands for one in self.targets)

    @property
    def shared(self) -> int:
        """Scenes that more than one call opens, each counted once less than its calls."""
        opened = [scene.id for task in self._every_task for scene in task.scenes]
        return len(opened) - len(set(opened))

    def cloud(self, workers: int, prices: Prices | None = None) -> CloudRun:
        """Return what the run takes on AWS Lambda.

        Parameters
        ----------
        workers : int
            Maximum number of workers at once.
        prices : Prices, optional
            By default the prices of `Prices.date`.
        """
        bands = len(self.config.bands) + (self.config.classes is not None)
        own = OWN + S3Requests(gets=2 * len(self.targets), puts=3 * len(self.targets))
        pixels = [
            sum(one.template.width * one.template.height * len(one.scenes) for one in task.targets) * bands
            for task in self._every_task
        ]
        return plain_run([number * PIXEL_S for number in pixels], own, workers, prices)

    @cached_property
    def choice(self) -> Choice:
        """The run on AWS Lambda whose number of workers is chosen by cost, and the fastest one."""
        return choose_workers(self.cloud, FAIR_SHARE, QUOTA)

    def bill(self, prices: Prices | None = None) -> list[CostLine]:
        """Return the expected bill on AWS Lambda."""
        return list(self.cloud(self.choice.chosen.workers, prices).bill)

    @cached_property
    def _every_task(self) -> list[SceneTask]:
        """Tasks for all windows, without places to write to."""
        return self.tasks(self.targets, "", None)

    def facts(self) -> dict[str, object]:
        """Return what is shown of a plan."""
        windows = {one.part for one in self.targets}
        return {
            "days": f"{self.start} to {self.end}",
            "regions": f"{len(self.regions):,}, on {', '.join(sorted({one.template.crs for one in self.regions}))}",
            "scenes": f"{len(self.listing.scenes):,}, {len(self.listing.lost):,} unusable",
            "results": f"{len({one.name for one in self.targets}):,} in {len(windows):,} windows",
            "calls": f"{len(self._every_task):,}; {self.shared:,} scenes opened by several",
            "days without scenes": len(self.empty_days),
            "reads": f"at most about {self.pixels * PIXEL_BYTES / 1e6:,.1f} MB",
            "Lambda": f"about {self.choice.brief}",
            "store": self.store,
        }


def plan_scenes(
    config: str | Path | Mapping[str, Any] | ScenesConfig,
    *,
    regions: str | Path,
    start: str | date,
    end: str | date,
    names: str | Sequence[str] | None = None,
    items: str | Path | None = None,
    store: str | Path | None = None,
) -> ScenesPlan:
    """Find the scenes of regions.

    Parameters
    ----------
    config : str, Path, mapping or ScenesConfig
        Configuration file, name of a built-in one (``sentinel2.yaml``), or its content.
    regions : str or Path
        GeoPackage, shapefile or GeoJSON with the regions.
    start, end : str or date
        First and last day, UTC.
    names : str or sequence of str, optional
        Names of the regions, or one text with commas; all by default.
    items : str or Path, optional
        File of STAC items, in place of a search.
    store : str or Path, optional
        Folder or prefix of the results; by default that of the configuration, else ./scenes.

    Raises
    ------
    MaggjobError
        If the configuration, the regions or the days are invalid, or the search fails.
    """
    loaded = load_scenes_config(config)
    first, last = (_day(one, name) for one, name in ((start, "start"), (end, "end")))
    if first > last:
        raise InputError(f"start {first} is after end {last}; swap them")
    wanted = [one.strip() for one in names.split(",")] if isinstance(names, str) else names
    grids = tuple(RegionGrid.of(region, loaded) for region in read_regions(regions, wanted))
    shapes = [shapely.geometry.mapping(one.region.shape) for one in grids]
    listing = search_scenes(loaded, shapes, first, last) if items is None else scenes_in(items, loaded, first, last)
    outlines = [shapely.geometry.shape(listing.shapes[scene.id]) for scene in listing.scenes]
    touching = {
        one.region.name: tuple(n for n, outline in enumerate(outlines) if outline.intersects(one.region.shape))
        for one in grids
    }
    urls = [asset.url for scene in listing.scenes for asset in scene.bands.values()]
    check_sources(urls, loaded.sources, "sources")
    if not any(touching.values()):
        raise InputError(
            f"no scene from {first} to {last} touches the regions {', '.join(one.region.name for one in grids)[:200]}; "
            f"{len(listing.lost)} items could not be used"
            + (f", such as {next(iter(listing.lost.values()))}" if listing.lost else "")
        )
    place = store_place(store if store is not None else loaded.store or "scenes")
    return ScenesPlan(loaded, first, last, grids, listing, place, touching)


def _day(given: str | date, name: str) -> date:
    try:
        return given if isinstance(given, date) else date.fromisoformat(given)
    except ValueError as problem:
        raise InputError(f"{name} is {given!r}; write a day as 2023-07-31") from problem
