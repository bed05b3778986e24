"""Making the plan of a run: the catalog, the cells, the driver and the windows are chosen, and nothing is written."""

from collections.abc import Sequence
from pathlib import Path

from maggjob.catalog.catalog import DRIVERS, Catalog
from maggjob.catalog.cmr import Watch
from maggjob.catalog.file import CatalogLike, load_catalog
from maggjob.catalog.search import search_catalog
from maggjob.catalog.sources import check_sources
from maggjob.config.load import ConfigLike, load_config
from maggjob.config.schema import Config
from maggjob.errors import CatalogError, InputError
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.icesat2.names import GranuleName, window_label
from maggjob.inputs.places import PlaceLike, store_place
from maggjob.planning.plan import Plan
from maggjob.planning.presence import check_local
from maggjob.planning.windows import area_rows, in_windows

DEFAULT_CATALOG = "catalog.json"


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
    check_cycles(loaded, ids)
    # Rows that are asked for one by one are all that there are.
    found = in_windows(found, cells if max_cells or morton_cell else area_rows(known))
    if check and chosen_driver == "file":
        check_local(loaded, found.used_granules)
    return found


def check_cycles(config: Config, ids: Sequence[str]) -> None:
    """Check that there are as many cycles as the fits of a configuration need.

    Parameters
    ----------
    config : Config
    ids : sequence of str
        Ids of the granules.

    Raises
    ------
    CatalogError
        If there are fewer.
    """
    cycles = sorted({name.cycle for name in map(GranuleName.parse, ids) if name is not None})
    for model in {statistic.fit for statistic in config.recipe().every_statistic} - {None}:
        if model is not None and len(cycles) < model.min_cycles:
            told = ", ".join(map(str, cycles)) or "none"
            raise CatalogError(
                f"aggregation.variables.{model.name}: the fit needs {model.min_cycles} cycles, the catalog has {told}; "
                "make one of several cycles with 'maggjob catalog --cycles 18-22'"
            )


def _default_catalog() -> str:
    if not Path(DEFAULT_CATALOG).is_file():
        raise CatalogError(
            "no catalog: make one with 'maggjob catalog --cycle 22 --aoi antarctica' or 'maggjob catalog --from-files "
            "FOLDER', then type 'maggjob run --config CONFIG --catalog catalog.json'"
        )
    return DEFAULT_CATALOG
