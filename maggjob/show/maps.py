"""Draw a map of a result; needs matplotlib, which is in the extra "view"."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely

from maggjob.errors import InputError
from maggjob.grid.areas import SOUTH, Area, AreaLike, parse_area
from maggjob.inputs.places import PlaceLike
from maggjob.show.cell_result import CellResult, read_result
from maggjob.show.colours import scale_of
from maggjob.show.dataset import EXTRA
from maggjob.show.map_panel import Panel
from maggjob.show.map_sheet import MapContent, draw_sheet
from maggjob.show.map_text import default_variables, heading, panel_title
from maggjob.show.plane import MOST, Frame, Lookup, area_frame, frame_of, hemisphere, parent_rings
from maggjob.show.whole_file import place_of, write_whole

if TYPE_CHECKING:
    import xarray as xr

ENDS = (".png", ".pdf", ".svg")
"""Ends of the names of pictures."""
MOST_PANELS = 9
"""Panels of a map."""
MOST_PIXELS = 2.5 * MOST * MOST
"""Pixels of all panels together, about: memory grows with them."""


@dataclass(frozen=True)
class Region:
    """The part of a result that a map shows."""

    frame: Frame
    """Part of the plane."""
    parents: np.ndarray
    """Nested ids of the parent cells that reach into it."""
    rings: np.ndarray
    """Their outlines, metres, shape (n, points, 2)."""
    left_out: int
    """Number of parent cells in the other hemisphere."""


def check_matplotlib() -> None:
    """Check that matplotlib is installed.

    Raises
    ------
    InputError
        If it is not.
    """
    if find_spec("matplotlib") is None:
        raise InputError(f"matplotlib is needed to draw a map; {EXTRA}")


def draw_map(
    store: "str | Path | xr.Dataset",
    out: PlaceLike,
    variables: Sequence[str] | None = None,
    region: str | None = None,
    *,
    time: str | int | None = None,
    aoi: AreaLike | None = None,
    group: str | None = None,
) -> Path:
    """Draw a map of a result in polar stereographic projection, one panel per variable.

    Cells have their true shape and place. Planned cells without data are grey, parent cells that were read in part or
    not at all are hatched. The map has as many pixels as its cells need, at most 4,000.

    Parameters
    ----------
    store : str, Path or xr.Dataset
        The Zarr: a path, or s3://bucket/prefix. Or a Dataset from `maggjob.open_result`, or computed from one, such as
        by `maggjob.difference`.
    out : str or Path
        File to write; its name ends in .png, .pdf or .svg.
    variables : sequence of str, optional
        Variables to draw; by default a rate or a change and its error, or ``h_mean`` and ``count``.
    region : str, optional
        Region of the bucket.
    time : str or int, optional
        Cycle, or month such as ``2019-04``, of a result with a time axis; by default the last one with data.
    aoi : str, Path, sequence of four numbers, or mapping, optional
        Area to which the map is limited, as for `maggjob.make_catalog`; by default all planned cells.
    group : str, optional
        Group of the Zarr; by default that of the finest order.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If the store is not a complete result.
    InputError
        If the result lacks a variable or a time, the area has no cells, matplotlib is not installed, or the file cannot
        be written. Nothing is written then.

    Examples
    --------
    >>> import maggjob
    >>> paths = maggjob.simulate("granules", area=(-105, -76, -100, -75), every=100, most=3)
    >>> result = maggjob.run("atl06.yaml", catalog=maggjob.make_catalog("granules"), store="map.zarr", backend="serial")
    >>> draw_map("map.zarr", "map.png", ["h_mean"], aoi=(-104, -76, -101, -75)).name
    'map.png'
    """
    path = place_of(out, ENDS)
    check_matplotlib()
    result = read_result(store, group, region)
    names = tuple(variables) if variables else default_variables(result)
    for name in names:
        result.variable(name)
    if len(names) > MOST_PANELS:
        raise InputError(f"{len(names)} variables are asked for; a map has at most {MOST_PANELS} panels")
    position = time_position(result, time)
    shown = region_of(result, aoi, most=pixels_for(len(names)))
    panels = [panel_of(result, name, position) for name in names]
    content = content_of(result, shown, panels, position)
    return write_whole(path, lambda beside: draw_sheet(content, beside))


def pixels_for(panels: int) -> int:
    """Return the largest number of pixels along a side of a panel."""
    return int(min(MOST, (MOST_PIXELS / max(1, panels)) ** 0.5))


def time_position(result: CellResult, asked: str | int | None) -> int | None:
    """Return the position of a time; None for a result without a time axis.

    Parameters
    ----------
    result : CellResult
    asked : str or int, optional
        Label of the time; by default the last one with data.

    Raises
    ------
    InputError
        If the result has no such time.
    """
    if result.times is None:
        if asked is not None:
            raise InputError(f"{result.name} has no time axis, so there is no {asked} in it; leave the time out")
        return None
    return result.times.latest if asked is None else result.times.position(asked)


def region_of(result: CellResult, aoi: AreaLike | None = None, most: int = MOST) -> Region:
    """Return the part of a result that a map shows.

    Parameters
    ----------
    result : CellResult
    aoi : optional
        Area to which it is limited.
    most : int
        Largest number of pixels along the longer side.

    Raises
    ------
    InputError
        If no cell of the result lies in the area.
    """
    crs, here = hemisphere(result.parents, result.grid)
    parents = result.parents[here]
    rings = parent_rings(parents, result.grid, crs)
    left_out = int((~here).sum())
    if aoi is None:
        low, high = rings.min(axis=(0, 1)), rings.max(axis=(0, 1))
        extent = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
        return Region(frame_of(extent, crs, result.grid.child_order, most), parents, rings, left_out)
    area = aoi if isinstance(aoi, Area) else parse_area(aoi)
    left, right, bottom, top = area_frame(area, crs)
    low, high = rings.min(axis=1), rings.max(axis=1)
    inside = (low[:, 0] <= right) & (high[:, 0] >= left) & (low[:, 1] <= top) & (high[:, 1] >= bottom)
    part = area.south if crs == SOUTH else area.north
    # Those whose box meets the box of the area may still lie beside it.
    inside[inside] = shapely.intersects(shapely.polygons(rings[inside]), part)
    if not inside.any():
        raise InputError(f"{result.name} has no cells in the area {area.name}; give one that overlaps its cells")
    frame = frame_of((left, right, bottom, top), crs, result.grid.child_order, most)
    return Region(frame, parents[inside], rings[inside], left_out)


def panel_of(result: CellResult, name: str, time: int | None) -> Panel:
    """Return a panel of a variable.

    Parameters
    ----------
    result : CellResult
    name : str
        Variable.
    time : int or None
        Position of the time.
    """
    variable, values = result.variable(name), result.values(name, time)
    return Panel(panel_title(variable), values, scale_of(variable, values, result.attributes["config"]), variable.units)


def content_of(result: CellResult, shown: Region, panels: Sequence[Panel], time: int | None) -> MapContent:
    """Return what a map of panels shows.

    Parameters
    ----------
    result : CellResult
    shown : Region
    panels : sequence of Panel
    time : int or None
        Position of the time.
    """
    unread = {}
    for state, cells in result.unread(time).items():
        at = np.isin(shown.parents, cells)
        if at.any():
            unread[state] = shown.rings[at]
    notes = [f"{shown.left_out:,} cells in the other hemisphere are not shown"] if shown.left_out else []
    frame, lookup = shown.frame, Lookup(result.ids, result.grid)
    return MapContent(heading(result, frame.crs, time), frame, lookup, panels, shown.rings, unread, tuple(notes))
