"""Columns that come from a granule's name, its beams, its orientation and its coordinates."""

import numpy as np

from maggjob.errors import UnsupportedError
from maggjob.granules.columns import BeamRows
from maggjob.icesat2.names import EPOCH, GranuleName
from maggjob.model.recipe import ORIENTATION, Recipe
from maggjob.statistics.fit_model import PASS_DIGITS, SECONDS_A_YEAR

BACKWARD, FORWARD, TURNING = 0, 1, 2
"""Values of `maggjob.model.recipe.ORIENTATION`: the strong beams are the left ones, the right ones, or not known."""
UNKNOWN = -1
"""Value of the column ``strong`` while the spacecraft turns."""


def built_in_columns(granule: str, recipe: Recipe, beam: BeamRows) -> dict[str, np.ndarray]:
    """Return the used columns that come from a granule's name, its beams, its orientation and its coordinates.

    Parameters
    ----------
    granule : str
        Id of the granule.
    recipe : Recipe
    beam : BeamRows
        Rows of one beam, shape (n,).

    Returns
    -------
    dict of name to ndarray, shape (n,)
        ``beam`` counts from 1, in the order of the configuration's groups; ``strong`` is 1, 0 or `UNKNOWN`; ``pass``
        numbers the beam of a track in a cycle; ``year`` and ``t`` are years of 365.25 days, since the year 0 and since
        2018-01-01. Columns that depend on the child cell are left out.

    Raises
    ------
    UnsupportedError
        If a column of the name is used and the name is not an ICESat-2 granule name, or if the orientation is unknown.
    """
    columns: dict[str, np.ndarray] = {}
    for column in recipe.built_in - {"time"}:
        if column in ("latitude", "longitude"):
            template = recipe.latitude if column == "latitude" else recipe.longitude
            columns[column] = beam.columns[recipe.path(template, beam.group)].values
        elif column == "beam":
            columns[column] = np.full(len(beam.child), recipe.groups.index(beam.group) + 1, np.int64)
        elif column in ("year", "t"):
            seconds = beam.columns[recipe.path(recipe.time, beam.group)].values
            columns[column] = years(seconds) if column == "t" else decimal_years(seconds)
        elif column == "strong":
            columns[column] = np.full(len(beam.child), _strong(granule, recipe, beam), np.int64)
        else:
            parsed = GranuleName.parse(granule)
            if parsed is None:
                raise UnsupportedError(f"{granule}: its name does not give {column}, which a statistic or filter uses")
            if column == "pass":
                number = parsed.cycle * PASS_DIGITS + parsed.rgt * 10 + recipe.groups.index(beam.group) + 1
                columns[column] = np.full(len(beam.child), number, np.int32)
            else:
                columns[column] = np.full(len(beam.child), getattr(parsed, column), np.int64)
    return columns


def years(seconds: np.ndarray) -> np.ndarray:
    """Return seconds as years of 365.25 days, float64, in the shape of ``seconds``."""
    return np.asarray(seconds, np.float64) / SECONDS_A_YEAR


def decimal_years(seconds: np.ndarray) -> np.ndarray:
    """Return seconds since 2018-01-01 as decimal years, float64, in the shape of ``seconds``."""
    return EPOCH.year + years(seconds)


def _strong(granule: str, recipe: Recipe, beam: BeamRows) -> int:
    """Return 1 for a strong beam, 0 for a weak one, and `UNKNOWN` while the spacecraft turns.

    The spacecraft flies forward or backward. Forward, the strong beams are on the right (ATL06's data dictionary,
    ``sc_orient``).
    """
    (orientation,) = set(beam.columns[recipe.path(ORIENTATION, beam.group)].values[:1].tolist())
    if orientation == TURNING:
        return UNKNOWN
    if orientation not in (BACKWARD, FORWARD):
        raise UnsupportedError(f"{granule}: {ORIENTATION} is {orientation}; 0, 1 and 2 are known")
    return int(beam.group.endswith("r" if orientation == FORWARD else "l"))
