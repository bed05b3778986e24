"""What a run would do: granules, cells, driver, and what it is expected to take."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maggjob.backend.bill import Prices
from maggjob.catalog.catalog import DRIVERS, Catalog
from maggjob.catalog.cmr import Watch
from maggjob.catalog.file import CatalogLike, load_catalog
from maggjob.catalog.search import search_catalog
from maggjob.config.load import ConfigLike, load_config
from maggjob.config.schema import Config, digest_of
from maggjob.errors import CatalogError, InputError
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.icesat2.names import window_label
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

DEFAULT_CATALOG = "catalog.json"
INDEX_PAYS = 2.0  # cells a granule: its index costs as much as two visits without one


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    config: Config
    """The configuration."""
    catalog: Catalog
    """Granules and cells."""
    cells: tuple[int, ...]
    """Nested ids of the cells to work on, those with most granules first."""
    driver: str
    """How granules are reached."""
    window: str
    """Label of the time window."""
    store_path: str | None
    """The Zarr to write."""
    origin: str | None = None
    """Digest of the plan that this one was made of, when it gives the same result."""
    rows: Mapping[int, int] | None = None
    """Segments in each cell, where indexes say."""

    @property
    def digest(self) -> str:
        """Of everything that decides the result: configuration, catalog, cells, window."""
        if self.origin is not None:
            return self.origin
        return digest_of([self.config.digest, self.catalog.digest, sorted(self.cells), self.window])

    @property
    def run_path(self) -> str | None:
        """Folder of the run beside the Zarr: parts, lists, summary."""
        return None if self.store_path is None else run_folder(self.store_path)

    def granules(self, cell: int) -> tuple[Granule, ...]:
        """The granules of a cell."""
        return tuple(self.catalog.granules[i].granule(self.driver) for i in self.catalog.cells[cell])

    @property
    def positions(self) -> list[int]:
        """Positions in the catalog of all granules of all cells to work on, ascending."""
        return sorted({i for cell in self.cells for i in self.catalog.cells[cell]})

    @property
    def used_granules(self) -> tuple[Granule, ...]:
        """All granules of all cells to work on, each once."""
        return tuple(self.catalog.granules[i].granule(self.driver) for i in self.positions)

    def load(self, cell: int) -> Load:
        """The work that a cell is expected to be."""
        granules = [self.catalog.granules[i] for i in self.catalog.cells[cell]]
        usual = ROWS_A_VISIT * 2.0 ** (6 - self.catalog.order)  # as long as a cell is wide
        per_visit = [usual if g.rows is None else g.rows / max(1, g.cells or 1) for g in granules]
        whole = [p * (g.cells or 1) if g.rows is None else g.rows for p, g in zip(per_visit, granules, strict=True)]
        rows = float(sum(per_visit)) if self.rows is None else float(self.rows[cell])
        return Load(format_cell(cell, self.catalog.order), len(granules), float(sum(whole)), rows)

    @property
    def loads(self) -> list[Load]:
        """The work of all cells."""
        return [self.load(cell) for cell in self.cells]

    @property
    def pairs(self) -> int:
        """Pairs of a granule and a cell to work on."""
        return sum(len(self.catalog.cells[cell]) for cell in self.cells)

    @property
    def worth_index(self) -> bool:
        """Whether indexes spare more than they cost: from `INDEX_PAYS` cells a granule."""
        return self.pairs >= INDEX_PAYS * len(self.positions)

    def seconds(self, indexed: bool) -> list[float]:
        """Seconds that each cell is expected to take, with or without indexes."""
        return [seconds(load, work_of(indexed), LATENCY[self.driver]) for load in self.loads]

    def hot(self, workers: int) -> list[float]:
        """Seconds of each cell that so many workers would take in quarters (`maggjob.pipeline.balance`)."""
        grid = self.config.grid
        every = self.seconds(indexed=True) if self.worth_index and grid.parent_order < grid.child_order else []
        total = sum(every)
        return [takes for takes in every if is_hot(takes, total, workers)]

    def expected(self, indexed: bool) -> Estimate:
        """What the run is expected to take, with or without indexes."""
        return estimate(self.loads, self.driver, indexed=self._indexed_rows() if indexed else None)

    def _indexed_rows(self) -> list[float]:
        """Segments of each granule that an index is made of."""
        usual = float(ROWS_A_VISIT * CELLS_A_GRANULE)
        return [usual if (rows := self.catalog.granules[i].rows) is None else float(rows) for i in self.positions]

    @property
    def estimate(self) -> Estimate:
        """What the run is expected to take, with indexes if they pay."""
        return self.expected(self.worth_index)

    def bill(self, workers: int, prices: Prices | None = None) -> list[dict[str, Any]]:
        """What the run would cost on AWS Lambda, line by line, plain values."""
        urls = [self.catalog.granules[i].urls.get("s3", "") for i in self.positions]
        free = all(data_centre(url) is not None for url in urls)
        by_s3 = replace(self, driver="s3")
        expected, hot = by_s3.estimate, by_s3.hot(workers)
        more = (4 * QUARTER - 1) * sum(hot)
        expected = replace(expected, worker_time_s=expected.worker_time_s + more)
        lines = lambda_cost(expected, len(self.cells) + 3 * len(hot), workers, free, prices or Prices())
        return [asdict(line) | {"dollars": line.dollars} for line in lines]

    def task_id(self, cell: int) -> str:
        """Id of a cell's task: window and cell."""
        return f"{self.window}/{format_cell(cell, self.catalog.order)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
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
            "window": self.window,
            "store_path": self.store_path,
            "run_digest": self.digest,
            "estimate": self.estimate.to_dict(),
        }


def choose_driver(catalog: Catalog, asked: str | None, configured: str) -> str:
    """The driver that all granules can be read with.

    Parameters
    ----------
    asked : str or None
        What the user named for this run: it must be possible.
    configured : str
        What the configuration says: a preference.

    Raises
    ------
    CatalogError
        No driver reaches every granule, or not the one asked for.
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
    raise CatalogError("no driver reaches all granules: some are on s3 or https only, others are files only")


def select_cells(catalog: Catalog, max_cells: int | None = None, morton_cell: str | None = None) -> list[int]:
    """Cells to work on, those with most granules first (cells of one count by id).

    Raises
    ------
    CatalogError
        The cell asked for is not in the catalog.
    InputError
        ``max_cells`` is below 1.
    """
    if max_cells is not None and max_cells < 1:
        raise InputError(f"max_cells is {max_cells}; give 1 or more")
    cells = sorted(catalog.cells, key=lambda cell: (-len(catalog.cells[cell]), cell))
    if morton_cell is not None:
        wanted = parse_cell(morton_cell, catalog.order)
        if wanted not in catalog.cells:
            raise CatalogError(
                f"cell {format_cell(wanted, catalog.order)} is not among the catalog's {len(cells)}; the first are "
                f"{', '.join(format_cell(c, catalog.order) for c in sorted(cells)[:3])}"
            )
        cells = [wanted]
    return cells[:max_cells]


def plan(
    config: ConfigLike,
    *,
    catalog: CatalogLike | None = None,
    store: str | None = None,
    driver: str | None = None,
    max_cells: int | None = None,
    morton_cell: str | None = None,
    watch: Watch | None = None,
) -> Plan:
    """Find out what a run would do; nothing is written.

    Parameters
    ----------
    config : str, Path, mapping or Config
        A file, the name of a built-in configuration, or its content.
    catalog : str, Path, mapping or Catalog, optional
        By default what the configuration says or asks CMR for, else ./catalog.json.
    store : str, optional
        Zarr to write; by default what the configuration says.
    driver : {"s3", "https", "file"}, optional
        How granules are reached; by default what the configuration says, if the catalog allows it.
    max_cells : int, optional
        Work on so many cells only, those with most granules.
    morton_cell : str, optional
        Work on this cell only; any form of id.
    watch : callable, optional
        ``watch(granules so far, granules in all)``, called as CMR answers.

    Raises
    ------
    InputError
        Something of this cannot be used.

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
        raise CatalogError("the catalog has no cells; make it anew with 'maggjob catalog'")
    ids = [known.granules[i].id for i in sorted({i for cell in cells for i in known.cells[cell]})]
    return Plan(
        loaded,
        known,
        cells,
        choose_driver(known, driver, loaded.data_source.driver),
        window_label(ids),
        store or loaded.output.store,
    )


def _default_catalog() -> str:
    if not Path(DEFAULT_CATALOG).is_file():
        raise CatalogError(
            "no catalog: make one with 'maggjob catalog --cycle 22 --aoi antarctica' or 'maggjob catalog --from-files "
            "FOLDER', then type 'maggjob run --config CONFIG --catalog catalog.json'"
        )
    return DEFAULT_CATALOG
