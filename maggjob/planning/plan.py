"""The plan of a run: granules, cells, driver, and the expected time and cost."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from maggjob.backend.bill import Prices
from maggjob.catalog.catalog import Catalog
from maggjob.config.schema import Config, digest_of
from maggjob.granules.memory import predicted_memory, split_depth
from maggjob.grid.healpix import format_cell
from maggjob.icesat2.names import PRODUCT, is_simulated, product_of
from maggjob.model.display import Displayed
from maggjob.model.tasks import Granule
from maggjob.planning.cost import (
    CELLS_A_GRANULE,
    LATENCY,
    QUARTER,
    ROWS_A_VISIT,
    Estimate,
    Load,
    estimate,
    is_hot,
    lambda_cost,
    seconds,
    work_of,
)
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

    def bill(self, workers: int, prices: Prices | None = None) -> list[dict[str, Any]]:
        """Return the cost of the run on AWS Lambda, line by line, as plain values.

        Parameters
        ----------
        workers : int
            Maximum number of workers at once.
        prices : Prices, optional
            By default the prices of `Prices.date`.
        """
        urls = [self.catalog.granules[i].urls.get("s3", "") for i in self.positions]
        free = all(data_centre(url) is not None for url in urls)
        by_s3 = replace(self, driver="s3")
        expected, hot = by_s3.estimate, by_s3.hot(workers)
        more = (4 * QUARTER - 1) * sum(hot)
        expected = replace(expected, worker_time_s=expected.worker_time_s + more)
        lines = lambda_cost(expected, len(self.units) + 3 * len(hot), workers, free, prices or Prices())
        return [asdict(line) | {"dollars": line.dollars} for line in lines]

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
