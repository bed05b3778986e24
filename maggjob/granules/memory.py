"""Memory that a worker needs for a cell, and how often a cell is quartered so that it fits."""

import numpy as np

from maggjob.model.recipe import Recipe
from maggjob.statistics.compute import SLAB_ROWS, SPLIT

IN_FLIGHT = 24 << 20
"""Most bytes that are requested but not yet screened: about 60 granules, three times the concurrent reads."""
BASE_MEMORY = 60 << 20
"""Memory in bytes of a worker that has imported the module of cells and opened its connections."""
QUARTER_ROWS = 0.5
"""Share of a cell's segments that its fullest quarter is expected to hold, at most: tracks converge towards a pole."""


def predicted_memory(observations: int, recipe: Recipe) -> int:
    """Return an upper estimate of the peak memory of `maggjob.job.map_cell` with indexes, in bytes.

    ::

        BASE + 2 * IN_FLIGHT                                  interpreter and modules; ranges, and ranges unpacked
        + observations * 2 * (child + 4 * columns)            segments kept per granule, and all of them joined
        + observations / (SPLIT - 1) * (child + 4 * columns + 8)   a split of them, and splits of that split
        + min(observations, SLAB_ROWS) * 8 * (columns + expressions + 7)   a slab, grouped, in float64; temporaries

    A fit adds to a slab its terms, three times, and twelve arrays more.

    Parameters
    ----------
    observations : int
        Number of segments kept. An upper bound is the number of segments in the cell according to the indexes.
    recipe : Recipe
        Its columns are assumed to be float32, as ATL06's are: 4 bytes per value; built-in columns take up to 8.
    """
    columns = len(recipe.used_columns)
    expressions = len({e.text for s in recipe.every_statistic for e in s.row_expressions} - recipe.used_columns)
    fits = sum(3 * len(model.terms) + 12 for model in {s.fit for s in recipe.every_statistic} if model is not None)
    built_in = len(recipe.kept_columns & recipe.built_in)
    segment = np.min_scalar_type(recipe.grid.children - 1).itemsize + 4 * len(recipe.kept_columns) + 4 * built_in
    joined = observations * 2 * segment + observations * (segment + 8) // (SPLIT - 1)
    grouped = min(observations, SLAB_ROWS) * 8 * (columns + expressions + 7 + fits)
    return BASE_MEMORY + 2 * IN_FLIGHT + joined + grouped


def split_depth(rows: float, recipe: Recipe, memory: float) -> int:
    """Return how many times a cell is divided into quarters until each piece fits in the memory of a worker.

    Parameters
    ----------
    rows : float
        Number of segments in the cell.
    recipe : Recipe
    memory : float
        Memory of a worker, bytes.

    Returns
    -------
    int
        0 if the cell fits as it is, or cannot be divided.
    """
    deepest = max(0, min(recipe.orders) - recipe.grid.parent_order)
    for depth in range(deepest):
        if predicted_memory(int(rows * QUARTER_ROWS**depth), recipe) <= memory:
            return depth
    return deepest
