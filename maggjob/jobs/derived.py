"""Columns that are computed from others when statistics need them: positions in the child cell, and years."""

from collections.abc import Callable

import numpy as np

from maggjob.granules.built_in import decimal_years, years
from maggjob.grid.centers import child_centers, east_north
from maggjob.model.recipe import OF_CHILD, Recipe
from maggjob.statistics.groups import Derived, DerivedColumn, Groups


def derived_columns(recipe: Recipe, cell: int) -> Derived:
    """Return the derived columns that the statistics of a cell use, by name.

    Parameters
    ----------
    recipe : Recipe
        Recipe of one order of children.
    cell : int
        Nested id of the cell.
    """
    position = _positions(recipe, cell)
    every: dict[str, Callable[[Groups], np.ndarray]] = {
        "x": lambda groups: position(groups)[0],
        "y": lambda groups: position(groups)[1],
        "t": lambda groups: years(groups.column("time")),
        "year": lambda groups: decimal_years(groups.column("time")),
    }
    used = recipe.used_columns.intersection(recipe.bases)
    return {name: DerivedColumn(recipe.bases[name], values) for name, values in every.items() if name in used}


def _positions(recipe: Recipe, cell: int) -> Callable[[Groups], tuple[np.ndarray, np.ndarray]]:
    """Return a function that gives metres east and north of the centre of the child cell, in group order."""
    if recipe.used_columns.isdisjoint(OF_CHILD & recipe.bases.keys()):
        return lambda groups: (np.empty(0), np.empty(0))
    latitude, longitude = child_centers(cell, recipe.grid)

    def positions(groups: Groups) -> tuple[np.ndarray, np.ndarray]:
        if "position" not in groups.shared:
            own = (groups.column("latitude"), groups.column("longitude"))
            center = (groups.spread(latitude[groups.present]), groups.spread(longitude[groups.present]))
            groups.shared["position"] = east_north(*own, *center)
        found: tuple[np.ndarray, np.ndarray] = groups.shared["position"]
        return found

    return positions
