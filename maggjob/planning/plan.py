"""The plan of a run: granules, cells, driver, and the expected time and cost."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from maggjob.backend.bill import Prices
from maggjob.backend.settings import FAIR_SHARE, QUOTA
from maggjob.catalog.catalog import Catalog
from maggjob.config.schema import Config, digest_of
from maggjob.granules.memory import predicted_memory, split_depth
from maggjob.grid.healpix import format_cell
from maggjob.icesat2.names import PRODUCT, is_simulated, product_of
from maggjob.model.display import Displayed
from maggjob.model.tasks import Granule
from maggjob.planning.cloud import CloudRun, CloudWork, cloud_run
from maggjob.planning.cost import (
    CELLS_A_GRANULE,
    LATENCY,
    ROWS_A_VISIT,
    Estimate,
    Load,
    estimate,
    is_hot,
    seconds,
    work_of,
)
from maggjob.planning.division import cells_per_shard
from maggjob.planning.index_counts import no_indexes
from maggjob.planning.pack_counts import PackCounts
from maggjob.planning.workers import Choice, choose_workers
from maggjob.storage.credentials import data_centre
from maggjob.storage.run_folder import run_folder

# Building the index of a granule costs as much as reading the granule for two cells without one.
INDEX_PAYS = 2.0  # cells per granule


@dataclass(frozen=True, repr=False)
class Plan(Displayed):
    """The plan of a run."""

    config: Config
    """The configuration."""
    catalog: Catalog
    """Catalog of granules and cells."""
    cells: tuple[int, ...]
    """Nested ids of the cells to work on, those with most granules first."""
    driver: str
    """How granules are read: s3, https or file."""
    window: str
    """Label of the time window."""
    store_path: str | None
    """The Zarr store to write; None to write none."""
    origin: str | None = None
    """Digest of the plan that this one was derived from, if it gives the same result."""
    rows: Mapping[int, int] | None = None
    """Number of segments in each cell, if known from indexes."""
    etags: Mapping[str, str] = field(default_factory=dict)
    """Version of each granule when the run began, by id, as far as it is known."""
    windows: tuple["Plan", ...] | None = None
    """One plan per window of a time axis, each with its own pairs; None without a time axis. With one, `cells` are the
    rows of the result, with granules or not."""

    @property
    def each(self) -> tuple["Plan", ...]:
        """The plans of all windows; the plan itself without a time axis."""
        return (self,) if self.windows is None else self.windows

    @property
    def units(self) -> list[tuple["Plan", int]]:
        """What is mapped: each cell of each window, with the plan of the window."""
        return [(one, cell) for one in self.each for cell in one.cells]

    @property
    def listed(self) -> dict[str, list[str]]:
        """Ids of the granules of each cell of each window, by id of its task."""
        return {one.task_id(cell): [granule.id for granule in one.granules(cell)] for one, cell in self.units}

    def with_etags(self, etags: Mapping[str, str]) -> "Plan":
        """Return the plan with the versions of its granules."""
        windows = None if self.windows is None else tuple(replace(one, etags=etags) for one in self.windows)
        return replace(self, etags=etags, windows=windows)

    def facts(self) -> dict[str, object]:
        """Return what is shown of a plan."""
        return {
            "cells": len(self.cells),
            "granules": len(self.positions),
            "pairs": self.pairs,
            "window": self.window,
            **({"windows": len(self.windows)} if self.windows else {}),
            "driver": self.driver,
            "store": self.store_path,
            "Lambda": self.choice.brief,
        }

    @cached_property
    def digest(self) -> str:
        """Digest of everything that determines the result: configuration, catalog, cells, window."""
        if self.origin is not None:
            return self.origin
        return digest_of([self.config.digest, self.catalog.digest, sorted(self.cells), self.window])

    @property
    def run_path(self) -> str | None:
        """Folder of the run beside the Zarr store, for parts, lists and summary."""
        return None if self.store_path is None else run_folder(self.store_path)

    def granules(self, cell: int) -> tuple[Granule, ...]:
        """Return the granules of a cell."""
        return tuple(map(self._granule, self.catalog.cells[cell]))

    @cached_property
    def positions(self) -> list[int]:
        """Positions in the catalog of the granules of all planned cells, ascending."""
        return sorted({i for one, cell in self.units for i in one.catalog.cells[cell]})

    @cached_property
    def used_granules(self) -> tuple[Granule, ...]:
        """Granules of all planned cells, each once."""
        return tuple(map(self._granule, self.positions))

    @cached_property
    def _granules(self) -> dict[int, Granule]:
        """Granules by position, as far as they were asked for: a granule is one object in all of its cells."""
        return {}

    def _granule(self, position: int) -> Granule:
        if position not in self._granules:
            found = self.catalog.granules[position].granule(self.driver)
            self._granules[position] = replace(found, etag=self.etags.get(found.id))
        return self._granules[position]

    @property
    def simulated(self) -> bool:
        """True if any granule was written by the simulator."""
        return is_simulated(self.catalog.granules[i].id for i in self.positions)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Products of the granules for which no sizes and speeds were measured: the estimates are those of ATL06."""
        return tuple(sorted({product_of(g.id) or "other products" for g in self.used_granules} - {PRODUCT}))

    def load(self, cell: int) -> Load:
        """Return the expected work of a cell."""
        granules = self.catalog.cells[cell]
        per_visit, whole = self._expected_rows
        rows = float(sum(map(per_visit.__getitem__, granules))) if self.rows is None else float(self.rows[cell])
        of_granules = float(sum(map(whole.__getitem__, granules)))
        return Load(format_cell(cell, self.catalog.order), len(granules), of_granules, rows)

    @cached_property
    def _expected_rows(self) -> tuple[dict[int, float], dict[int, float]]:
        """Expected number of segments of each granule by position: in each of its cells, and in all of them."""
        # The length of a track in a cell is proportional to the width of the cell.
        usual = ROWS_A_VISIT * 2.0 ** (6 - self.catalog.order)
        # With a time axis, each window has its own.
        own = {i: self.catalog.granules[i] for i in self.positions}
        per_visit = {i: usual if g.rows is None else g.rows / max(1, g.cells or 1) for i, g in own.items()}
        whole = {i: per_visit[i] * (g.cells or 1) if g.rows is None else float(g.rows) for i, g in own.items()}
        return per_visit, whole

    @cached_property
    def loads(self) -> list[Load]:
        """Expected work of each planned cell of each window."""
        return [one.load(cell) for one, cell in self.units]

    @property
    def pairs(self) -> int:
        """Number of pairs of a granule and a planned cell."""
        return sum(len(one.catalog.cells[cell]) for one, cell in self.units)

    @property
    def worth_index(self) -> bool:
        """True if indexes save more than they cost: from `INDEX_PAYS` cells per granule."""
        return self.pairs >= INDEX_PAYS * len(self.positions)

    def seconds(self, indexed: bool) -> list[float]:
        """Return the expected seconds of each cell, with or without indexes."""
        return [seconds(load, work_of(indexed), LATENCY[self.driver]) for load in self.loads]

    def split_depths(self, memory: float) -> list[int]:
        """Return how many times each cell is divided into quarters so that its pieces fit in a worker of some bytes."""
        recipe = self.config.recipe()
        return [split_depth(load.rows, recipe, memory) for load in self.loads]

    def memory(self) -> float:
        """Return the most memory that a worker needs for a whole cell, bytes."""
        recipe = self.config.recipe()
        return float(max(predicted_memory(int(load.rows), recipe) for load in self.loads))

    def hot(self, workers: int) -> list[float]:
        """Return the seconds of each cell that is processed in quarters (`maggjob.pipeline.balance`)."""
        grid = self.config.grid
        every = self.seconds(indexed=True) if self.worth_index and grid.parent_order < grid.child_order else []
        total = sum(every)
        return [takes for takes in every if is_hot(takes, total, workers)]

    def expected(self, indexed: bool) -> Estimate:
        """Return the expected work of the run, with or without indexes."""
        return estimate(self.loads, self.driver, indexed=self._indexed_rows() if indexed else None)

    def _indexed_rows(self) -> list[float]:
        """Return the number of segments of each granule that an index is built for."""
        usual = float(ROWS_A_VISIT * CELLS_A_GRANULE)
        return [usual if (rows := self.catalog.granules[i].rows) is None else float(rows) for i in self.positions]

    @property
    def estimate(self) -> Estimate:
        """Expected work of the run, with indexes if they are worth building."""
        return self.expected(self.worth_index)

    def cloud_work(self, left: Collection[str] | None = None, *, indexed: bool | None = None) -> CloudWork:
        """Return the work of the run on AWS Lambda, where granules are read by S3.

        Parameters
        ----------
        left : collection of str, optional
            Ids of the tasks of the cells that are mapped; all by default. The parts of the others are there, and so are
            the indexes.
        indexed : bool, optional
            Whether indexes are built and used; by default if that is worth it.
        """
        own, indexed = replace(self, driver="s3"), self.worth_index if indexed is None else indexed
        every = list(zip(own.loads, own.seconds(indexed), own.split_depths(Prices().memory_gb * 2**30), strict=True))
        names = [one.task_id(cell) for one, cell in self.units]
        todo = [one for one, name in zip(every, names, strict=True) if left is None or name in left]
        expected, fresh = own.expected(indexed), left is None
        grid, recipe = self.config.grid, self.config.recipe()
        urls = [self.catalog.granules[i].urls.get("s3", "") for i in self.positions]
        shards = [
            -(-len(self.cells) // cells_per_shard(len(self.cells), recipe.at(o).grid.children)) for o in recipe.orders
        ]
        arrays = self.arrays
        windows = len(self.each)
        return CloudWork(
            seconds=[takes for _, takes, _ in todo],
            visits=[load.visits for load, _, _ in todo],
            depths=[depth for _, _, depth in todo],
            may_split=indexed and grid.parent_order < grid.child_order,
            saved=len(every) - len(todo),
            resumed=not fresh,
            indexed=len(self.positions) if indexed else 0,
            index_s=expected.index_time_s if fresh else 0.0,
            index_cells=self.pairs if indexed else 0,
            index_counts=PackCounts(*self._packed, fresh) if indexed else no_indexes,
            pairs=self.pairs,
            archive_requests=expected.requests * len(todo) / max(1, len(every)),
            archive_is_free=all(data_centre(url) is not None for url in urls),
            shards=sum(shards) * windows,
            rows=len(every) * len(shards),
            arrays=arrays * len(shards),
            shard_arrays=sum(shards) * (arrays + (windows - 1) * len(recipe.statistics)),
            orders=len(shards),
        )

    def cloud(self, workers: int, prices: Prices | None = None) -> CloudRun:
        """Return what the run takes on AWS Lambda with some number of workers.

        Parameters
        ----------
        workers : int
            Maximum number of workers at once.
        prices : Prices, optional
            By default the prices of `Prices.date`.
        """
        return cloud_run(self._cloud_work, workers, prices)

    def choose_workers(self, limit: int = FAIR_SHARE, quota: int = QUOTA) -> Choice:
        """Return the run on AWS Lambda whose number of workers is chosen by cost, and the fastest one.

        Parameters
        ----------
        limit : int
            Largest number of workers to choose.
        quota : int
            Largest number of workers of the fastest run.
        """
        return choose_workers(self.cloud, limit, quota)

    @cached_property
    def choice(self) -> Choice:
        """The run on AWS Lambda within a fair share of the usual quota, and the fastest one within all of it."""
        return self.choose_workers()

    @cached_property
    def _cloud_work(self) -> CloudWork:
        return self.cloud_work()

    def bill(self, workers: int, prices: Prices | None = None) -> list[dict[str, Any]]:
        """Return the cost of the run on AWS Lambda, line by line, as plain values.

        Parameters
        ----------
        workers : int
            Maximum number of workers at once.
        prices : Prices, optional
            By default the prices of `Prices.date`.
        """
        lines: list[dict[str, Any]] = self.cloud(workers, prices).to_dict()["bill"]
        return lines

    @property
    def _packed(self) -> tuple[list[str], list[dict[int, tuple[int, ...]]]]:
        """Ids of all granules of the catalog, and the granules of each planned cell by window."""
        windows = [{cell: one.catalog.cells[cell] for cell in one.cells} for one in self.each]
        return [granule.id for granule in self.catalog.granules], windows

    @property
    def arrays(self) -> int:
        """Number of arrays of one order of the result."""
        ids = 1 + (self.config.aggregation.coordinates.morton is not None)
        return ids + len(self.config.recipe().statistics) + self.config.output.partial

    def task_id(self, cell: int) -> str:
        """Return the id of a cell's task: window and cell."""
        return f"{self.window}/{format_cell(cell, self.catalog.order)}"

    def to_dict(self) -> dict[str, Any]:
        """Return a summary of the plan as plain values."""
        counts = [len(one.catalog.cells[cell]) for one, cell in self.units]
        return {
            "dry_run": True,
            "total_cells": len(self.cells),
            **({"windows": [one.window for one in self.windows]} if self.windows else {}),
            "total_granules": len(self.used_granules),
            "total_pairs": sum(counts),
            "index": self.worth_index,
            "granules_per_cell_min": min(counts),
            "granules_per_cell_max": max(counts),
            "granules_per_cell_avg": sum(counts) / len(counts),
            "driver": self.driver,
            "simulated": self.simulated,
            "window": self.window,
            "store_path": self.store_path,
            "run_digest": self.digest,
            "unmeasured": list(self.unmeasured),
            "estimate": self.estimate.to_dict(),
        }
