"""Areas as they are typed, for the few commands whose functions take them in another form."""

from typing import Any

from maggjob.errors import InputError
from maggjob.grid.areas import parse_area
from maggjob.inputs.places import local_place

Box = tuple[float, float, float, float]
"""West, south, east and north, degrees."""


def area_of(aoi: str | None, box: Box | None) -> Any:
    """Return the area of a simulation: a box, or any other area.

    Parameters
    ----------
    aoi : str, optional
        Area as it was typed.
    box : tuple of float, optional
        The box of the older option ``--area``.

    Raises
    ------
    InputError
        If both are given, or there is no such area.
    """
    if aoi is None:
        return box or None
    if box:
        raise InputError("--aoi and --area both set the area; leave --area out")
    area = parse_area(aoi)
    numbers = aoi.split(",")
    # A box in degrees has no edges that need to be projected.
    if len(numbers) == 4 and ":" not in aoi and not local_place(aoi, "area").is_file():
        west, south, east, north = map(float, numbers)
        return west, south, east, north
    return area


def polygons_of(aoi: str, names: str | None, *, each: bool) -> Any:
    """Return the polygons of a table of rates: one area, or each polygon of a file.

    Parameters
    ----------
    aoi : str
        Area as it was typed.
    names : str, optional
        Names of the polygons that are wanted.
    each : bool
        Whether each polygon counts for itself, as it also does if names are given.

    Raises
    ------
    InputError
        If each polygon is wanted of an area that is not a file.
    """
    if not each and names is None:
        return {aoi: aoi}
    if not local_place(aoi, "area").is_file():
        option = "--names" if names is not None else "--each"
        # What is wrong with it, if it is no area either.
        parse_area(aoi)
        raise InputError(f"--aoi {aoi} is one area, not a file of polygons; leave {option} out")
    return aoi
