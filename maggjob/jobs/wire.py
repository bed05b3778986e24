"""Calls in few bytes: what tasks hold is written down in the folder of their run, and an event says where.

A recipe takes 1.4 KB, and Lithops writes a byte of a pickle as up to five letters: with thousands of calls
the client would send little else.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maggjob.errors import InputError, MaggjobError, StoreError
from maggjob.granules.lists import write_lists
from maggjob.grid.healpix import order_of
from maggjob.jobs.cells import map_cells
from maggjob.jobs.granule_index import index_granules
from maggjob.model.recipe import Recipe
from maggjob.model.reports import CellReport, IndexReport
from maggjob.model.tasks import CellBatch, CellTask, GranuleList, IndexTask
from maggjob.storage.folder import Place
from maggjob.storage.run_folder import PARTS
from maggjob.storage.urls import join_url


class Written:
    """Pickled as a line of JSON: names of fields and pickle's own codes would take more than the values."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _read, (type(self), json.dumps(list(vars(self).values()), separators=(",", ":")))


def _read(kind: Callable[..., Any], text: str) -> Any:
    return kind(*json.loads(text))


@dataclass(frozen=True)
class WrittenBatch(Written):
    """A `CellBatch` whose recipe and lists of granules are written down; what its cells share is said once."""

    folder: str
    """Path or URL of the run's folder."""
    recipe: str
    """Key of the recipe in it."""
    lists: str
    """Key of the object with the lists of granules."""
    window: str
    """As in `CellTask`."""
    cells: Sequence[Sequence[Any]]
    """Each cell's id, and first byte and number of bytes of its list."""
    run: str
    """As in `CellTask`."""
    credentials: str | None
    """As in `CellTask`."""
    region: str | None
    """As in `CellTask`."""
    indexes: str | None
    """As in `CellTask`."""


@dataclass(frozen=True)
class WrittenIndexTask(Written):
    """An `IndexTask` whose recipe and granules are written down."""

    id: str
    """As in `IndexTask`."""
    folder: str
    """Path or URL of the run's folder."""
    recipe: str
    """Key of the recipe in it."""
    lists: str
    """Key of the object with the lists of granules."""
    start: int
    """First byte of its list."""
    size: int
    """Number of bytes of it."""
    indexes: str
    """As in `IndexTask`."""
    credentials: str | None
    """As in `IndexTask`."""
    region: str | None
    """As in `IndexTask`."""


def write_recipe(recipe: Recipe, folder: str, region: str | None = None) -> str:
    """Write a recipe down, named by its content.

    Returns
    -------
    str
        Its key in the folder.
    """
    content = recipe.to_json()
    key = f"recipe-{hashlib.sha256(content).hexdigest()[:16]}.json"
    Place(folder, region, create=True).put(key, content)
    return key


def written_batches(
    batches: Sequence[CellBatch], recipe: Recipe, folder: str, region: str | None = None
) -> list[WrittenBatch]:
    """The batches of one run in few bytes; their lists of granules are written down already.

    Cells may be of another order than the recipe's: their ids say so.

    Raises
    ------
    InputError
        A task holds its granules itself.
    """
    if not batches:
        return []
    key = write_recipe(recipe, folder, region)
    return [_written(batch.tasks, folder, key) for batch in batches]


def _written(tasks: Sequence[CellTask], folder: str, recipe: str) -> WrittenBatch:
    first, cells, lists = tasks[0], [], ""
    for task in tasks:
        if not isinstance(task.granules, GranuleList):
            raise InputError(f"{task.id}: its granules are not written down; make tasks with a store")
        cells.append((task.cell, task.granules.start, task.granules.size))
        lists = task.granules.url.rsplit("/", 1)[-1]
    shared = (first.run, first.credentials, first.region, first.indexes)
    return WrittenBatch(folder, recipe, lists, first.window, tuple(cells), *shared)


def written_index_tasks(tasks: Sequence[IndexTask], folder: str, region: str | None = None) -> list[WrittenIndexTask]:
    """Write down what the tasks of one run hold."""
    if not tasks:
        return []
    recipe = write_recipe(tasks[0].recipe, folder, region)
    lists = write_lists([task.granules for task in tasks if isinstance(task.granules, tuple)], folder, region)
    key = lists[0].url.rsplit("/", 1)[-1]
    return [
        WrittenIndexTask(
            task.id, folder, recipe, key, where.start, where.size, task.indexes, task.credentials, task.region
        )
        for task, where in zip(tasks, lists, strict=True)
    ]


def read_recipe(folder: str, key: str, region: str | None = None) -> Recipe:
    """Read what `write_recipe` wrote.

    Raises
    ------
    StoreError
        It is not there, or damaged.
    """
    content = Place(folder, region).get(key)
    try:
        return Recipe.from_json(content)
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        said = f"{type(problem).__name__}: {problem}"
        raise StoreError(f"{join_url(folder, key)} is no recipe ({said}); run again") from problem


def map_written(batch: WrittenBatch) -> tuple[CellReport, ...]:
    """`map_cells` of what a batch says where to find; without its recipe, all of its cells have failed."""
    try:
        recipe = read_recipe(batch.folder, batch.recipe, batch.region)
    except MaggjobError as problem:
        reason, message = problem.reason, str(problem)
        return tuple(
            CellReport(f"{batch.window}/{cell}", cell, batch.window, "failed", reason=reason, message=message)
            for cell, _, _ in batch.cells
        )
    tasks = (
        CellTask(
            f"{batch.window}/{cell}",
            cell,
            batch.window,
            replace(recipe, grid=replace(recipe.grid, parent_order=order_of(cell))),
            GranuleList(join_url(batch.folder, batch.lists), start, size),
            run=batch.run,
            parts=join_url(batch.folder, PARTS),
            credentials=batch.credentials,
            region=batch.region,
            indexes=batch.indexes,
        )
        for cell, start, size in batch.cells
    )
    return map_cells(CellBatch(tuple(tasks)))


def index_written(task: WrittenIndexTask) -> IndexReport:
    """`maggjob.jobs.granule_index.index_granules` of what a task says where to find."""
    try:
        recipe = read_recipe(task.folder, task.recipe, task.region)
    except MaggjobError as problem:
        return IndexReport(task.id, (), problem.reason, str(problem))
    granules = GranuleList(join_url(task.folder, task.lists), task.start, task.size)
    return index_granules(IndexTask(task.id, recipe, granules, task.indexes, task.credentials, task.region))
