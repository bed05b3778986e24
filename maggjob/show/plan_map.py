"""Draw a map of a plan with its area, cells and tracks; needs the extra "view"."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.errors import InputError
from maggjob.grid.areas import NORTH, SOUTH, transformer
from maggjob.grid.coverage import great_circle, outline
from maggjob.inputs.places import local_place, may_replace
from maggjob.planning.plan import Plan
from maggjob.show.dataset import EXTRA
from maggjob.show.map_panel import LINE, SEA, draw_coast, draw_graticule, draw_scale_bar, set_round_ticks
from maggjob.show.plane import frame_of

TRACKS_DRAWN = 400
"""Maximum number of tracks to draw; more would blacken the map."""


def draw_plan(plan: Plan, out: str | Path) -> Path:
    """Draw the cells of a plan (coloured by number of granules), the tracks, and the area, in one panel per hemisphere.

    Parameters
    ----------
    plan : Plan
    out : str or Path
        PNG to write.

    Returns
    -------
    Path
        The PNG.

    Raises
    ------
    InputError
        If matplotlib is not installed, or the PNG cannot be written.
    """
    path = local_place(out, "map")
    if path.suffix != ".png":
        raise InputError(f"cannot draw the plan to {out}: give a path that ends in .png")
    may_replace(path, (b"\x89PNG",), "PNG")
    if find_spec("matplotlib") is None:
        raise InputError(f"matplotlib is needed to draw a plan; {EXTRA}")
    from matplotlib.figure import Figure

    catalog = plan.catalog
    cells = np.array(sorted(plan.cells), np.int64)
    # Checked when it was read.
    rings = outline(cells, catalog.order, catalog.latitude)  # type: ignore[arg-type]
    south = rings[:, :, 1].mean(axis=1) < 0
    panels = [(crs, here) for crs, here in ((SOUTH, south), (NORTH, ~south)) if here.any()]
    figure = Figure(figsize=(7.6 * len(panels), 6.8), layout="constrained", dpi=110)
    counts = np.array([len(catalog.cells[cell]) for cell in cells.tolist()])
    for axes, (crs, here) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        _panel(figure, axes, plan, crs, rings[here], counts[here])
    area = catalog.provenance.get("area")
    figure.suptitle(
        f"{len(cells):,} cells of order {catalog.order}, {len(plan.used_granules):,} granules, "
        f"{int(counts.sum()):,} pairs, {plan.window}" + (f", {area}" if area else "")
    )
    try:
        figure.savefig(path, metadata={"Software": "maggjob"})
    except (OSError, ValueError) as problem:
        raise InputError(f"cannot draw the plan to {out}: {problem}; give a path that ends in .png") from problem
    return path


def _panel(figure: Any, axes: Any, plan: Plan, crs: int, rings: np.ndarray, counts: np.ndarray) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import LogNorm

    x, y = transformer(crs).transform(rings[:, :, 0], rings[:, :, 1])
    extent = float(x.min()), float(x.max()), float(y.min()), float(y.max())
    frame = frame_of(extent, crs, plan.catalog.order)
    left, right, bottom, top = (value / 1e3 for value in frame.extent)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xticks=[], yticks=[], facecolor=SEA)
    draw_coast(axes, frame)
    plane = np.stack([x, y], axis=-1) / 1e3
    # Tracks converge near the poles, so counts vary by orders of magnitude.
    most = max(2, int(counts.max()))
    shades: dict[str, Any] = {"array": counts, "cmap": "viridis", "norm": LogNorm(1, most)}
    drawn = PolyCollection(list(plane), **shades, edgecolors="white", linewidths=0.3, zorder=2)
    axes.add_collection(drawn, autolim=False)
    set_round_ticks(figure.colorbar(drawn, ax=axes, shrink=0.8, label="granules per cell", pad=0.08), 1, most)
    for track in _tracks(plan, crs):
        axes.plot(*track.T, color="k", lw=0.25, alpha=0.35, scalex=False, scaley=False)
    for ring in plan.catalog.provenance.get("outline", {}).get(str(crs), []):
        axes.plot(*(np.array(ring).T / 1e3), color="tab:red", lw=1.2, zorder=5, scalex=False, scaley=False)
    draw_graticule(axes, frame)
    draw_scale_bar(axes, frame)
    axes.set_title(f"EPSG:{crs}", fontsize=9.5, pad=16, color=LINE)


def _tracks(plan: Plan, crs: int) -> list[np.ndarray]:
    """Return the projected footprints of the granules of a plan, kilometres, at most about `TRACKS_DRAWN` of them."""
    footprints = plan.catalog.footprints
    if footprints is None:
        return []
    used = {i for cell in plan.cells for i in plan.catalog.cells[cell]}
    every = [ring for owner, ring in zip(footprints.owner.tolist(), footprints.rings(), strict=True) if owner in used]
    sign = -1 if crs == SOUTH else 1
    here = [ring for ring in every if (sign * ring[:, 1]).max() > 0]
    chosen = here[:: max(1, len(here) // TRACKS_DRAWN)]
    found = []
    for ring in chosen:
        dense = great_circle(ring, 100e3)
        # Coordinates of the projection grow without bound in the other hemisphere.
        dense[sign * dense[:, 1] < -10] = np.nan
        found.append(np.column_stack(transformer(crs).transform(dense[:, 0], dense[:, 1])) / 1e3)
    return found
