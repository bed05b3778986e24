"""Catalogs as users ask for them: of local granules, or of what NASA's CMR lists."""

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
    places: str | Path | Sequence[str | Path], config: ConfigLike = "atl06.yaml", *, aoi: AreaLike | None = None
) -> Catalog:
    """Catalog of local granules: which cells each lies in, exactly, from the coordinates of its segments.

    Parameters
    ----------
    places : str, Path or sequence of them
        Folders with .h5 files, patterns, or files.
    config : str, Path, mapping or Config
        Its grid, beams and coordinates are used.
    aoi : str, Path, sequence of four numbers, or mapping, optional
        Only cells of this area (`maggjob.grid.areas.parse_area`).

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
    area = None if aoi is None else parse_area(aoi)
    return from_files([str(place) for place in listed], load_config(config).recipe(), area)


def find_catalog(
    config: ConfigLike = "atl06.yaml",
    *,
    records: Sequence[str | Path] | None = None,
    watch: Watch | None = None,
    **search: Any,
) -> Catalog:
    """Catalog of what NASA's CMR lists: which cells each granule touches, by its footprint.

    Parameters
    ----------
    config : str, Path, mapping or Config
        Its grid is used; and its ``search``, as far as nothing else is said.
    records : sequence of str or Path, optional
        Pages that CMR once gave, in UMM-JSON, instead of asking; of the version that they hold.
    watch : callable, optional
        ``watch(granules so far, granules in all)``, called as CMR answers.
    **search
        Fields of `maggjob.config.source.Search`, such as ``cycle=22, aoi="grounded"``.

    Raises
    ------
    MaggjobError
        The search cannot be understood, CMR cannot be asked, or nothing touches the area.

    Examples
    --------
    >>> import maggjob
    >>> catalog = maggjob.find_catalog(cycle=22, aoi="antarctica")  # doctest: +SKIP
    >>> catalog.write("cycle22.json")  # doctest: +SKIP
    """
    loaded = load_config(config)
    known = {} if loaded.search is None else loaded.search.model_dump(exclude_unset=True)
    if WHEN & search.keys():
        known = {name: value for name, value in known.items() if name not in WHEN}
    listing = None if records is None else from_pages(records)
    if listing is not None and len(held := {record.name.version for record in listing.records}) == 1:
        known = {"version": held.pop()} | known
    asked = make_search(known | search)
    return search_catalog(asked, loaded.grid, watch=watch, listing=listing)
