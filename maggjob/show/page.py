"""Write a result as a page: one HTML file with a map to pan, zoom and ask, which needs no network.

It needs none of the packages of the extra "view". The page computes the projection and the cell of every pixel itself
(assets/healpix.js, assets/projection.js).
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from maggjob._version import __version__
from maggjob.errors import InputError
from maggjob.grid.areas import AreaLike
from maggjob.inputs.places import PlaceLike
from maggjob.show.cell_result import CellResult, Variable, read_result
from maggjob.show.colours import PALETTES, Scale, error_of, few, scale_of
from maggjob.show.map_lines import COAST, GROUNDING, outlines_in
from maggjob.show.map_text import default_variables, heading
from maggjob.show.maps import Region, region_of
from maggjob.show.page_data import MOST_EXACT, Blocks, add_values, differences, rounding_for
from maggjob.show.whole_file import place_of, write_whole

if TYPE_CHECKING:
    import xarray as xr

SCRIPTS = ("projection.js", "healpix.js", "data.js", "render.js", "lines.js", "series.js", "view.js")
"""Parts of the program, in the order in which they are needed."""
PART = re.compile("%(TITLE|STYLE|CONTENT|BLOCKS|SCRIPT|HASH)%")
MOST_VALUES = 6_000_000
"""Values of a page that shows all variables; larger results show those that say most."""
MOST_IN_ALL = 24_000_000
"""Values that a page may hold: more would be too slow to load, and too large to send."""
LINE_UNIT = 200.0
"""Metres to which lines are rounded."""
BEYOND = 0.6
"""Part of the map's size by which lines reach beyond it."""


def write_page(
    store: "str | Path | xr.Dataset",
    out: PlaceLike,
    variables: Sequence[str] | None = None,
    region: str | None = None,
    *,
    aoi: AreaLike | None = None,
    group: str | None = None,
) -> Path:
    """Write a result as one HTML file, which any browser opens without a network.

    The page shows one variable and time at once. Above a million cells, values are rounded, and the page says to what.

    Parameters
    ----------
    store : str, Path or xr.Dataset
        The Zarr: a path, or s3://bucket/prefix; or a Dataset from `maggjob.open_result` or computed from one.
    out : str or Path
        File to write; its name ends in .html.
    variables : sequence of str, optional
        Variables of the page; by default all, or of a large result those that say most. Errors and the number of
        segments are told with a value if they are among them.
    region : str, optional
        Region of the bucket.
    aoi : optional
        Area to which the page is limited, as for `maggjob.make_catalog`.
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
        If the result lacks a variable, the area has no cells, or the file cannot be written. Nothing is written then.
    """
    path = place_of(out, (".html",))
    result = read_result(store, group, region)
    shown = region_of(result, aoi)
    names = tuple(variables) if variables else _chosen(result, len(shown.parents))
    for name in names:
        result.variable(name)
    _check_size(result, len(shown.parents), names)
    text = page_of(result, shown, names)
    return write_whole(path, lambda beside: _write(beside, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _check_size(result: CellResult, parents: int, names: Sequence[str]) -> None:
    """Check that a page can hold the values of variables."""
    times = len(result.times.labels) if result.times else 1
    values = parents * result.grid.children * sum(times if result.variable(name).timed else 1 for name in names)
    if values > MOST_IN_ALL:
        kind = f" at {times} {result.times.kind}s" if result.times else ""
        raise InputError(
            f"a page of {', '.join(names)}{kind} would hold {values:,} values; it can hold {MOST_IN_ALL:,}: give one "
            "variable, a smaller area (--aoi), or the name of a picture, such as map.png, and a time"
        )


def _chosen(result: CellResult, parents: int) -> tuple[str, ...]:
    """Return the variables of a page: those that say most, then all others if there is room for them."""
    first = default_variables(result)
    times = len(result.times.labels) if result.times else 1
    each = parents * result.grid.children * times
    own = {name: variable for name, variable in result.variables.items() if name != "partial"}
    if each * len(own) <= MOST_VALUES:
        return (*first, *(name for name in own if name not in first))
    error = error_of(first[0], own)
    more = [name for name in (error, "count") if name is not None and name in own and name not in first]
    return (*first, *(more if each * (len(first) + len(more)) <= MOST_VALUES else []))


def page_of(result: CellResult, shown: Region, names: Sequence[str]) -> str:
    """Return the text of a page.

    Parameters
    ----------
    result : CellResult
    shown : Region
        Part of the result that is shown.
    names : sequence of str
        Variables.
    """
    blocks = Blocks()
    content = _content(result, shown, names, blocks)
    assets = Path(str(resources.files("maggjob.show"))) / "assets"
    # A browser runs this program and no other, whatever the names and units of the result hold.
    program = "\n".join((assets / name).read_text(encoding="utf-8") for name in SCRIPTS)
    filled = {
        "TITLE": html.escape(content["title"]),
        "STYLE": (assets / "view.css").read_text(encoding="utf-8"),
        "CONTENT": _in_script(json.dumps(content, separators=(",", ":"))),
        "BLOCKS": "\n".join(
            f'<script type="text/plain" id="block{i}">{text}</script>' for i, text in enumerate(blocks.texts)
        ),
        "SCRIPT": program,
        "HASH": f"sha256-{base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()}",
    }
    page = (assets / "view.html").read_text(encoding="utf-8")
    # All at once: a title may hold the name of another part.
    return PART.sub(lambda found: filled[found[1]], page)


def _in_script(text: str) -> str:
    """Return JSON that does not end the element it is in."""
    return text.replace("<", "\\u003c")


def _content(result: CellResult, shown: Region, names: Sequence[str], blocks: Blocks) -> dict[str, Any]:
    grid, frame = result.grid, shown.frame
    rows = _rows(result, shown.parents)
    cells = len(shown.parents) * grid.children
    text = heading(result, frame.crs)
    return {
        "title": text.title,
        "details": text.details,
        "simulated": text.simulated,
        "version": __version__,
        "crs": frame.crs,
        "order": grid.child_order,
        "parentOrder": grid.parent_order,
        "latitude": grid.latitude,
        "extent": [round(value) for value in frame.extent],
        "parents": {"block": blocks.add(differences(shown.parents.astype(np.uint32))), "count": len(shown.parents)},
        "leftOut": shown.left_out,
        "times": None
        if result.times is None
        else {
            "kind": result.times.kind,
            "labels": result.times.labels,
            "spans": result.times.spans,
            "first": result.times.latest,
        },
        "unread": _unread(result, shown.parents),
        "variables": [_variable(result, result.variable(name), rows, cells, blocks) for name in names],
        "palettes": {name: colours.split() for name, colours in PALETTES.items()},
        "rounded": cells > MOST_EXACT,
        "lines": _lines(shown, blocks),
    }


def _rows(result: CellResult, parents: np.ndarray) -> np.ndarray:
    """Return the row of each child of the parent cells, -1 for those that the result does not have."""
    children = result.grid.children
    ids = ((parents[:, None] << result.grid.shift) + np.arange(children)).ravel()
    at = np.minimum(np.searchsorted(result.ids, ids), len(result.ids) - 1)
    return np.where(result.ids[at] == ids, at, -1)


def _variable(result: CellResult, variable: Variable, rows: np.ndarray, cells: int, blocks: Blocks) -> dict[str, Any]:
    """Return what a page needs of a variable, and add its values to the blocks."""
    times: list[int | None] = [None]
    if variable.timed and result.times is not None:
        times = list(range(len(result.times.labels)))

    def layer(time: int | None) -> np.ndarray:
        return np.where(rows >= 0, result.values(variable.name, time)[rows], np.nan)

    # One scale for all times, so that colours can be compared. Values are read twice: all at once would be too many.
    some = [few(layer(time)) for time in times]
    scale = scale_of(variable, np.concatenate(some), result.attributes["config"])
    rounding = rounding_for(scale.high - scale.low, variable.whole, cells)
    return {
        "name": variable.name,
        "label": variable.label,
        "units": variable.units,
        "whole": variable.whole,
        "sum": variable.name == "count",
        "error": error_of(variable.name, result.variables),
        "timed": variable.timed,
        "scale": _scale(scale),
        "rounding": rounding.text,
        "layers": [add_values(blocks, layer(time), variable.whole, rounding) for time in times],
    }


def _scale(scale: Scale) -> dict[str, Any]:
    return {
        "kind": scale.kind,
        "low": scale.low,
        "high": scale.high,
        "log": scale.logarithmic,
        "below": scale.below,
        "above": scale.above,
        "flags": [list(flag) for flag in scale.flags],
    }


def _unread(result: CellResult, parents: np.ndarray) -> list[Mapping[str, list[int]]]:
    """Return the parent cells, by their position, that were read in part or not at all: for each time, or for all."""
    times: list[int | None] = [None] if result.times is None else list(range(len(result.times.labels)))
    return [
        {state: np.flatnonzero(np.isin(parents, cells)).tolist() for state, cells in result.unread(time).items()}
        for time in times
    ]


def _lines(shown: Region, blocks: Blocks) -> dict[str, Any]:
    """Return the coast and the grounding line about the map, and add their points to the blocks."""
    left, right, bottom, top = shown.frame.extent
    wide = BEYOND * max(right - left, top - bottom)
    extent = (left - wide, right + wide, bottom - wide, top + wide)
    found: dict[str, Any] = {"unit": LINE_UNIT}
    for kind in (COAST, GROUNDING):
        rings = [np.round(ring / LINE_UNIT).astype(np.int32) for ring in outlines_in(extent, shown.frame.crs, kind)]
        kept = [_thinned(ring) for ring in rings]
        points = np.concatenate(kept) if kept else np.empty((0, 2), np.int32)
        found[kind] = {
            "sizes": [len(ring) for ring in kept],
            "x": blocks.add(differences(points[:, 0].astype(np.uint32))),
            "y": blocks.add(differences(points[:, 1].astype(np.uint32))),
        }
    return found


def _thinned(ring: np.ndarray) -> np.ndarray:
    """Return a ring without points that are equal to those before them."""
    return ring[np.append(True, (np.diff(ring, axis=0) != 0).any(axis=1))]
