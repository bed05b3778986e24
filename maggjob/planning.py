"""Granules and cells to tasks: what a run would do, and its tasks."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from maggjob.catalog import DRIVERS, Catalog, from_files, granule_id, load_catalog
from maggjob.cells import format_cell, parse_cell
from maggjob.config import Config, digest_of
from maggjob.config_file import ConfigLike, load_config
from maggjob.errors import CatalogError, InputError
from maggjob.model import CellTask, Granule, GranuleList, GranuleName, Recipe
from maggjob.storage import Place, join_url

DEFAULT_CATALOG = "catalog.json"
PARTS = "parts"

CatalogLike = str | Path | Mapping[str, Any] | Catalog


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

    @property
    def digest(self) -> str:
        """Of everything that decides the result: configuration, catalog, cells, window."""
        return digest_of([self.config.digest, self.catalog.digest, sorted(self.cells), self.window])

    @property
    def run_path(self) -> str | None:
        """Folder of the run beside the Zarr: parts, lists, summary."""
        return None if self.store_path is None else run_folder(self.store_path)

    def granules(self, cell: int) -> tuple[Granule, ...]:
        """The granules of a cell."""
        return tuple(self.catalog.granules[i].granule(self.driver) for i in self.catalog.cells[cell])

    @property
    def used_granules(self) -> tuple[Granule, ...]:
        """All granules of all cells to work on, each once."""
        positions = sorted({i for cell in self.cells for i in self.catalog.cells[cell]})
        return tuple(self.catalog.granules[i].granule(self.driver) for i in positions)

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
            "granules_per_cell_min": min(counts),
            "granules_per_cell_max": max(counts),
            "granules_per_cell_avg": sum(counts) / len(counts),
            "driver": self.driver,
            "window": self.window,
            "store_path": self.store_path,
            "run_digest": self.digest,
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


def window_label(ids: Iterable[str]) -> str:
    """Label of the time window of granules: their cycle, the range of their cycles, or ``all``."""
    names = [GranuleName.parse(name) for name in ids]
    cycles = sorted({name.cycle for name in names if name is not None})
    if not cycles or None in names:
        return "all"
    return f"cycle{cycles[0]:02d}" if len(cycles) == 1 else f"cycles{cycles[0]:02d}-{cycles[-1]:02d}"


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


def make_catalog(places: str | Path | Sequence[str | Path], config: ConfigLike = "atl06.yaml") -> Catalog:
    """Catalog of local granules: which cells each lies in, exactly, from the coordinates of its segments.

    Parameters
    ----------
    places : str, Path or sequence of them
        Folders with .h5 files, patterns, or files.
    config : str, Path, mapping or Config
        Its grid, beams and coordinates are used.

    Raises
    ------
    CatalogError
        There are no granules, two have one name, or one cannot be read.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> len(maggjob.make_catalog("granules").granules) == len(paths)
    True
    """
    listed = [places] if isinstance(places, (str, Path)) else list(places)
    return from_files([str(place) for place in listed], load_config(config).recipe())


def plan(
    config: ConfigLike,
    *,
    catalog: CatalogLike | None = None,
    store: str | None = None,
    driver: str | None = None,
    max_cells: int | None = None,
    morton_cell: str | None = None,
) -> Plan:
    """Find out what a run would do; nothing is written.

    Parameters
    ----------
    config : str, Path, mapping or Config
        A file, the name of a built-in configuration, or its content.
    catalog : str, Path, mapping or Catalog, optional
        By default what the configuration says, else ./catalog.json.
    store : str, optional
        Zarr to write; by default what the configuration says.
    driver : {"s3", "https", "file"}, optional
        How granules are reached; by default what the configuration says, if the catalog allows it.
    max_cells : int, optional
        Work on so many cells only, those with most granules.
    morton_cell : str, optional
        Work on this cell only; any form of id.

    Raises
    ------
    InputError
        Something of this cannot be used.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> made = plan("atl06.yaml", catalog=maggjob.make_catalog("granules"), max_cells=2)
    >>> made.to_dict()["total_cells"]
    2
    """
    loaded = load_config(config)
    recipe = loaded.recipe()
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
            "no catalog: make one with 'maggjob catalog --from-files FOLDER', then type "
            "'maggjob run --config CONFIG --catalog catalog.json'"
        )
    return DEFAULT_CATALOG


def task(
    cell: object,
    *,
    granules: Sequence[str | Path | Granule],
    config: ConfigLike = "atl06.yaml",
    store: str | None = None,
    credentials: str | None = None,
    region: str | None = None,
) -> CellTask:
    """One task by hand, to try things out.

    Parameters
    ----------
    cell : str, int or pair of int
        Any form of id (`maggjob.cells.parse_cell`).
    granules : sequence of str, Path or Granule
        Paths or URLs.
    config : str, Path, mapping or Config
    store : str, optional
        Zarr whose run the part belongs to; without one the report carries the arrays.
    credentials : str, optional
        Where the archive's credentials are; without them the environment's.
    region : str, optional
        Region of the buckets.

    Examples
    --------
    >>> task("-6134114", granules=["ATL06_20181014001049_02350102_003_01.h5"]).id
    'cycle01/-6134114'
    """
    recipe = load_config(config).recipe()
    text = format_cell(parse_cell(cell, recipe.grid.parent_order), recipe.grid.parent_order)
    named = tuple(g if isinstance(g, Granule) else Granule(granule_id(str(g)), str(g)) for g in granules)
    if len({granule.id for granule in named}) < len(named):
        raise InputError(f"task {text}: a granule is there twice, and would be counted twice")
    window = window_label(granule.id for granule in named)
    return CellTask(
        f"{window}/{text}",
        text,
        window,
        recipe,
        named,
        run=digest_of([recipe_digest(recipe), text, [granule.id for granule in named]]),
        parts=None if store is None else join_url(run_folder(store), PARTS),
        credentials=credentials,
        region=region,
    )


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of a recipe, for tasks made by hand."""
    return digest_of(json.loads(json.dumps(asdict(recipe))))


def tasks(
    config: ConfigLike,
    *,
    catalog: CatalogLike | None = None,
    store: str | None = None,
    driver: str | None = None,
    max_cells: int | None = None,
    morton_cell: str | None = None,
    credentials: str | None = None,
    region: str | None = None,
) -> list[CellTask]:
    """Tasks for `maggjob.map_cell`, those with most granules first.

    With a store, the lists of granules are written beside it and the tasks say where: Lithops takes
    4 MiB of tasks at most. Without one, they are in the tasks, and reports carry the arrays.

    Parameters
    ----------
    credentials : str, optional
        Where the archive's credentials are; without them the worker's own environment.
    region : str, optional
        Region of the buckets.

    See Also
    --------
    plan : for the other parameters.
    assemble_run : to make a Zarr of the reports.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> (task,) = tasks("atl06.yaml", catalog=maggjob.make_catalog("granules"), max_cells=1)
    >>> maggjob.map_cell(task).state
    'complete'
    """
    made = plan(config, catalog=catalog, store=store, driver=driver, max_cells=max_cells, morton_cell=morton_cell)
    if store is None:
        made = replace(made, store_path=None)
    return make_tasks(made, credentials, region)


def run_folder(store: str) -> str:
    """Folder of a run, beside its Zarr: parts, lists of granules, summary."""
    return f"{store.rstrip('/')}.run"


def make_tasks(made: Plan, credentials: str | None = None, region: str | None = None) -> list[CellTask]:
    """Tasks of a plan; writes their lists of granules beside the store, if there is one."""
    recipe, digest, run = made.config.recipe(), made.digest, made.run_path
    where = {} if run is None else _write_lists(made, run, region)
    return [
        CellTask(
            made.task_id(cell),
            format_cell(cell, made.catalog.order),
            made.window,
            recipe,
            where.get(cell) or made.granules(cell),
            run=digest,
            parts=None if run is None else join_url(run, PARTS),
            credentials=credentials,
            region=region,
        )
        for cell in made.cells
    ]


def _write_lists(made: Plan, run: str, region: str | None) -> dict[int, GranuleList]:
    """Write the granules of all cells as one object, named by its content: no other plan overwrites it."""
    texts = {
        cell: "".join(json.dumps(asdict(granule)) + "\n" for granule in made.granules(cell)).encode()
        for cell in made.cells
    }
    content = b"".join(texts.values())
    key = f"granules-{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
    Place(run, region, create=True).put(key, content)
    starts = accumulate((len(text) for text in texts.values()), initial=0)
    url = join_url(run, key)
    return {
        cell: GranuleList(url, start, len(text)) for (cell, text), start in zip(texts.items(), starts, strict=False)
    }
