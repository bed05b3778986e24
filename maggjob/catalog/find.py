"""The public functions that make catalogs: of local granules, or of granules that NASA's CMR lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maggjob.catalog.catalog import Catalog
from maggjob.catalog.cmr import Watch
from maggjob.catalog.local import from_files
from maggjob.catalog.search import from_pages, search_catalog
from maggjob.config.load import ConfigLike, load_config, make_search
from maggjob.grid.areas import AreaLike, parse_area

WHEN = {"cycle", "cycles", "start", "end"}


def make_catalog(
    places: str | Path | Sequence[str | Path],
    config: ConfigLike = "atl06.yaml",
    *,
    aoi: AreaLike | None = None,
    skip_unreadable: bool = False,
) -> Catalog:
    """Make a catalog of local granules. Their cells are exact: the coordinates of every segment are read.

    Parameters
    ----------
    places : str, Path or sequence of them
        Folders with .h5 files, patterns, or files.
    config : str, Path, mapping or Config
        Its grid, beams and coordinates are used.
    aoi : str, Path, sequence of four numbers, or mapping, optional
        Keep only the cells of this area (`maggjob.grid.areas.parse_area`).
    skip_unreadable : bool
        Whether to leave out granules that cannot be read; the catalog notes them.

    Raises
    ------
    CatalogError
        If there are no granules, one is there twice, or some cannot be read.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> len(maggjob.make_catalog("granules").granules) == len(paths)
    True
    """
    listed = [places] if isinstance(places, (str, Path)) else list(places)
    area = None if aoi is None else parse_area(aoi)
    loaded = load_config(config)
    product, names = loaded.data_source.product, [str(place) for place in listed]
    return from_files(names, loaded.recipe(), area, product=product, skip_unreadable=skip_unreadable)


def find_catalog(
    config: ConfigLike = "atl06.yaml",
    *,
    records: Sequence[str | Path] | None = None,
    watch: Watch | None = None,
    skip_unreadable: bool = False,
    **search: Any,
) -> Catalog:
    """Make a catalog of the granules that NASA's CMR lists. Footprints decide which cells each granule touches.

    Parameters
    ----------
    config : str, Path, mapping or Config
        Its grid and product are used, and its ``search`` for every field that is not given here.
    records : sequence of str or Path, optional
        Recorded pages of CMR's UMM-JSON to use instead of a query. If all have one version, it is the default.
    watch : callable, optional
        ``watch(granules so far, granules in total)``, called after each page of CMR's answer.
    skip_unreadable : bool
        Whether to leave out records that cannot be used; the catalog notes them.
    **search
        Fields of `maggjob.config.source.Search`, such as ``cycle=22, aoi="grounded"``.

    Raises
    ------
    MaggjobError
        If the search is invalid, CMR cannot be reached, or no granule touches the area.

    Examples
    --------
    >>> import maggjob
    >>> catalog = maggjob.find_catalog(cycle=22, aoi="antarctica")  # doctest: +SKIP
    >>> catalog.write("cycle22.json")  # doctest: +SKIP
    """
    loaded = load_config(config)
    known = {} if loaded.search is None else loaded.search.model_dump(exclude_unset=True)
    known = {"short_name": loaded.data_source.product} | known
    if WHEN & search.keys():
        known = {name: value for name, value in known.items() if name not in WHEN}
    listing = None if records is None else from_pages(records, skip_unreadable=skip_unreadable)
    if listing is not None and len(held := {record.name.version for record in listing.records}) == 1:
        known = {"version": held.pop()} | known
    asked = make_search(known | search)
    return search_catalog(asked, loaded.grid, watch=watch, listing=listing, skip_unreadable=skip_unreadable)
