"""The plan of a run: granules, cells, driver, and the expected time and cost."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from maggjob.backend.bill import Prices
from maggjob.catalog.catalog import DRIVERS, Catalog
from maggjob.catalog.cmr import Watch
from maggjob.catalog.file import CatalogLike, load_catalog
from maggjob.catalog.search import search_catalog
from maggjob.catalog.sources import check_sources
from maggjob.config.load import ConfigLike, load_config
from maggjob.config.schema import Config, digest_of
from maggjob.errors import CatalogError, InputError
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.icesat2.names import PRODUCT, is_simulated, product_of, window_label
from maggjob.inputs.places import PlaceLike, store_place
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
from maggjob.planning.presence import check_local
from maggjob.storage.credentials import data_centre
from maggjob.storage.run_folder import run_folder

DEFAULT_CATALOG = "catalog.json"
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

    def facts(self) -> dict[str, object]:
        """Return what is shown of a plan."""
        return {
            "cells": len(self.cells),
            "granules": len(self.positions),
            "pairs": self.pairs,
            "window": self.window,
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
        return sorted({i for cell in self.cells for i in self.catalog.cells[cell]})

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
    def _expected_rows(self) -> tuple[list[float], list[float]]:
        """Expected number of segments of each granule of the catalog: in each of its cells, and in all of them."""
        # The length of a track in a cell is proportional to the width of the cell.
        usual, granules = ROWS_A_VISIT * 2.0 ** (6 - self.catalog.order), self.catalog.granules
        per_visit = [usual if g.rows is None else g.rows / max(1, g.cells or 1) for g in granules]
        whole = [p * (g.cells or 1) if g.rows is None else g.rows for p, g in zip(per_visit, granules, strict=True)]
        return per_visit, whole

    @cached_property
    def loads(self) -> list[Load]:
        """Expected work of each planned cell."""
        return [self.load(cell) for cell in self.cells]

    @property
    def pairs(self) -> int:
        """Number of pairs of a granule and a planned cell."""
        return sum(len(self.catalog.cells[cell]) for cell in self.cells)

    @property
    def worth_index(self) -> bool:
        """True if indexes save more than they cost: from `INDEX_PAYS` cells per granule."""
        return self.pairs >= INDEX_PAYS * len(self.positions)

    def seconds(self, indexed: bool) -> list[float]:
        """Return the expected seconds of each cell, with or without indexes."""
        return [seconds(load, work_of(indexed), LATENCY[self.driver]) for load in self.loads]

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
        lines = lambda_cost(expected, len(self.cells) + 3 * len(hot), workers, free, prices or Prices())
        return [asdict(line) | {"dollars": line.dollars} for line in lines]

    def task_id(self, cell: int) -> str:
        """Return the id of a cell's task: window and cell."""
        return f"{self.window}/{format_cell(cell, self.catalog.order)}"

    def to_dict(self) -> dict[str, Any]:
        """Return a summary of the plan as plain values."""
        counts = [len(self.catalog.cells[cell]) for cell in self.cells]
        return {
            "dry_run": True,
            "total_cells": len(self.cells),
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


def choose_driver(catalog: Catalog, asked: str | None, configured: str) -> str:
    """Choose the driver that reads the granules: one that all granules have a URL for.

    Parameters
    ----------
    catalog : Catalog
    asked : str or None
        Driver that the user asked for in this run: it is used, or an error is raised.
    configured : str
        Driver of the configuration: used if possible.

    Raises
    ------
    CatalogError
        If no driver reaches every granule, or the one asked for does not.
    InputError
        If the driver asked for is unknown.
    """
    if asked is not None and asked not in DRIVERS:
        raise InputError(f"driver {asked!r} is unknown; known are {', '.join(DRIVERS)}")
    common = [d for d in DRIVERS if all(d in granule.urls for granule in catalog.granules)]
    if asked is not None and asked not in common:
        lacking = next(g for g in catalog.granules if asked not in g.urls)
        have = ", ".join(sorted(lacking.urls))
        raise CatalogError(f"driver {asked}: {lacking.id} has URLs for {have} only; use --driver {have.split(',')[0]}")
    for driver in (asked, configured, *common):
        if driver in common:
            return str(driver)
    raise CatalogError("no driver reaches all granules: some have s3 or https URLs only, others are files only")


def select_cells(catalog: Catalog, max_cells: int | None = None, morton_cell: str | None = None) -> list[int]:
    """Return the cells to work on, those with most granules first; cells with equally many are sorted by id.

    Parameters
    ----------
    catalog : Catalog
    max_cells : int, optional
        Maximum number of cells.
    morton_cell : str, optional
        Return this cell only; any form of id.

    Raises
    ------
    CatalogError
        If the cell asked for is not in the catalog.
    InputError
        If ``max_cells`` is below 1.
    """
    if max_cells is not None and max_cells < 1:
        raise InputError(f"max_cells is {max_cells}; give 1 or more")
    cells = sorted(catalog.cells, key=lambda cell: (-len(catalog.cells[cell]), cell))
    if morton_cell is not None:
        wanted = parse_cell(morton_cell, catalog.order)
        if wanted not in catalog.cells:
            raise CatalogError(
                f"cell {format_cell(wanted, catalog.order)} is not among the catalog's {len(cells)} cells, such as "
                f"{', '.join(format_cell(c, catalog.order) for c in sorted(cells)[:3])}"
            )
        cells = [wanted]
    return cells[:max_cells]


def plan(
    config: ConfigLike,
    *,
    catalog: CatalogLike | None = None,
    store: PlaceLike | None = None,
    driver: str | None = None,
    max_cells: int | None = None,
    morton_cell: str | None = None,
    watch: Watch | None = None,
    check: bool = True,
) -> Plan:
    """Make the plan of a run; nothing is written.

    Parameters
    ----------
    config : str, Path, mapping or Config
        A file, the name of a built-in configuration, or the content of one.
    catalog : str, Path, mapping or Catalog, optional
        By default the catalog that the configuration names, else the result of its search in CMR, else ./catalog.json.
    store : str or Path, optional
        Zarr store to write; by default that of the configuration.
    driver : {"s3", "https", "file"}, optional
        How granules are read; by default that of the configuration, if the catalog allows it.
    max_cells : int, optional
        Maximum number of cells; those with most granules are kept.
    morton_cell : str, optional
        Work on this cell only; any form of id.
    watch : callable, optional
        ``watch(granules so far, granules in all)``, called as CMR answers.
    check : bool
        Whether to look into local granules for everything that the configuration names.

    Raises
    ------
    InputError
        If an argument, the configuration or the catalog cannot be used.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> found = plan("atl06.yaml", catalog=maggjob.make_catalog("granules"), max_cells=2)
    >>> found.to_dict()["total_cells"]
    2
    """
    loaded = load_config(config)
    recipe = loaded.recipe()
    if catalog is None and loaded.search is not None:
        known = search_catalog(loaded.search, loaded.grid, watch=watch)
    else:
        chosen = catalog if catalog is not None else loaded.catalog or _default_catalog()
        known = load_catalog(chosen, recipe)
    cells = tuple(select_cells(known, max_cells, morton_cell))
    if not cells:
        raise CatalogError("the catalog has no cells; make a new one with 'maggjob catalog'")
    asked = store if store is not None else loaded.output.store
    ids = [known.granules[i].id for i in sorted({i for cell in cells for i in known.cells[cell]})]
    chosen_driver = choose_driver(known, driver, loaded.data_source.driver)
    found = Plan(loaded, known, cells, chosen_driver, window_label(ids), None if asked is None else store_place(asked))
    check_sources((granule.url for granule in found.used_granules), loaded.data_source.sources)
    if check and chosen_driver == "file":
        check_local(loaded, found.used_granules)
    return found


def _default_catalog() -> str:
    if not Path(DEFAULT_CATALOG).is_file():
        raise CatalogError(
            "no catalog: make one with 'maggjob catalog --cycle 22 --aoi antarctica' or 'maggjob catalog --from-files "
            "FOLDER', then type 'maggjob run --config CONFIG --catalog catalog.json'"
        )
    return DEFAULT_CATALOG
