"""Tasks of a plan: each contains its granules, or the place of their list, and takes at most two kilobytes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from maggjob.catalog.catalog import granule_id, split_newest
from maggjob.config.load import ConfigLike, load_config
from maggjob.config.schema import digest_of
from maggjob.errors import InputError
from maggjob.granules.lists import write_lists
from maggjob.grid.healpix import format_cell, parse_cell
from maggjob.icesat2.names import window_label
from maggjob.inputs.places import store_place
from maggjob.model.recipe import Recipe
from maggjob.model.tasks import CellTask, Granule, GranuleList
from maggjob.planning.plan import Plan
from maggjob.storage.run_folder import PARTS, run_folder
from maggjob.storage.urls import join_url


def task(
    cell: object,
    *,
    granules: Sequence[str | Path | Granule],
    config: ConfigLike = "atl06.yaml",
    store: str | None = None,
    credentials: str | None = None,
    region: str | None = None,
) -> CellTask:
    """Make one task by hand, to try things out.

    Parameters
    ----------
    cell : str, int or pair of int
        Any form of id (`maggjob.grid.healpix.parse_cell`).
    granules : sequence of str, Path or Granule
        Paths or URLs.
    config : str, Path, mapping or Config
    store : str, optional
        Zarr store to whose run the part belongs; without one the report contains the arrays.
    credentials : str, optional
        Where the archive's credentials are; by default they are taken from the environment.
    region : str, optional
        Region of the buckets.

    Raises
    ------
    InputError
        If a granule is given twice.

    Examples
    --------
    >>> task("-6134114", granules=["ATL06_20181014001049_02350102_003_01.h5"]).id
    'cycle01/-6134114'
    """
    recipe = load_config(config).recipe()
    store = None if store is None else store_place(store)
    text = format_cell(parse_cell(cell, recipe.grid.parent_order), recipe.grid.parent_order)
    named = tuple(g if isinstance(g, Granule) else Granule(granule_id(str(g)), str(g)) for g in granules)
    _, older = split_newest([granule.id for granule in named], [granule.url for granule in named])
    if older:
        raise InputError(f"task {text}: {named[older[0]].id} is an older revision of another granule; leave it out")
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
    """Return the SHA-256 of a recipe, for tasks made by hand."""
    return digest_of(json.loads(json.dumps(asdict(recipe))))


def make_tasks(
    plan: Plan,
    credentials: str | None = None,
    region: str | None = None,
    indexes: str | None = None,
    places: Mapping[str, str] | None = None,
) -> list[CellTask]:
    """Return the tasks of a plan; if it has a store, write their lists of granules beside it.

    Parameters
    ----------
    plan : Plan
    credentials : str, optional
        Where the archive's credentials are.
    region : str, optional
        Region of the buckets.
    indexes : str, optional
        Folder of the indexes.
    places : mapping, optional
        Key, in this folder, of the object that holds the index of each granule, by id of the granule.
    """
    recipe, run, units = plan.config.recipe(), plan.run_path, plan.units
    keys = places or {}
    # A granule is one object in all of its cells: there are millions of pairs.
    every = {i: replace(g, index=keys.get(g.id)) for i, g in zip(plan.positions, plan.used_granules, strict=True)}
    lists = [tuple(map(every.__getitem__, one.catalog.cells[cell])) for one, cell in units]
    digests = {one.window: one.digest for one in plan.each}
    where: Sequence[tuple[Granule, ...] | GranuleList] = lists if run is None else write_lists(lists, run, region)
    return [
        CellTask(
            one.task_id(cell),
            format_cell(cell, plan.catalog.order),
            one.window,
            recipe,
            granules,
            run=digests[one.window],
            parts=None if run is None else join_url(run, PARTS),
            credentials=credentials,
            region=region,
            indexes=indexes,
        )
        for (one, cell), granules in zip(units, where, strict=True)
    ]
