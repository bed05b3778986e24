"""A granule as a whole: all cells that contain its segments."""

import hashlib
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from maggjob.granules.granule import open_granule, read_beams
from maggjob.grid.healpix import locate, valid_coordinates
from maggjob.model.recipe import Recipe
from maggjob.model.tasks import Granule
from maggjob.storage.archive import Archive


@dataclass(frozen=True)
class GranuleCells:
    """All cells that contain segments of a granule."""

    cells: np.ndarray
    """Nested ids, int64, shape (n,), ascending."""
    rows: np.ndarray
    """Number of segments in each cell, int64, shape (n,)."""
    digest: str
    """Digest of the coordinates: the same for two files with the same segments."""


def granule_cells(granule: Granule, recipe: Recipe, archive: Archive, pool: Executor) -> GranuleCells:
    """Find all cells that contain segments of a granule, from its coordinates.

    Parameters
    ----------
    granule : Granule
    recipe : Recipe
    archive : Archive
        Where granules are read from.
    pool : Executor
        Runs reads concurrently.

    Raises
    ------
    GranuleError
        If the granule cannot be read.
    """
    grid, cells, digest = recipe.grid, [np.empty(0, np.int64)], hashlib.sha256()
    for beam in read_beams(open_granule(granule, archive, recipe.reader), recipe, pool):
        valid = valid_coordinates(beam.latitude, beam.longitude)
        cells.append(locate(beam.latitude[valid], beam.longitude[valid], grid.parent_order, grid.latitude))
        digest.update(beam.latitude[valid].tobytes() + beam.longitude[valid].tobytes())
    found, rows = np.unique(np.concatenate(cells), return_counts=True)
    return GranuleCells(found, rows, digest.hexdigest())
