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

TRACKS_DRAWN = 400
"""Maximum number of tracks to draw; more would blacken the map."""
MERIDIANS, PARALLELS = range(-180, 180, 30), range(-85, 90, 5)


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
        figure.savefig(path)
    except (OSError, ValueError) as problem:
        raise InputError(f"cannot draw the plan to {out}: {problem}; give a path that ends in .png") from problem
    return path


def _panel(figure: Any, axes: Any, plan: Plan, crs: int, rings: np.ndarray, counts: np.ndarray) -> None:
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import LogNorm

    x, y = transformer(crs).transform(rings[:, :, 0], rings[:, :, 1])
    plane = np.stack([x, y], axis=-1) / 1e3
    drawn = PolyCollection(list(plane), array=counts, cmap="viridis", edgecolors="white", linewidths=0.3)
    # Tracks converge near the poles, so counts vary by orders of magnitude.
    drawn.set_norm(LogNorm(1, max(2, int(counts.max()))))
    axes.add_collection(drawn)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="granules per cell")
    low, high = plane.min(axis=(0, 1)), plane.max(axis=(0, 1))
    margin = 0.03 * float((high - low).max()) + 20.0
    for track in _tracks(plan, crs):
        axes.plot(*track.T, color="k", lw=0.25, alpha=0.35)
    for ring in plan.catalog.provenance.get("outline", {}).get(str(crs), []):
        axes.plot(*(np.array(ring).T / 1e3), color="tab:red", lw=1.2)
    _graticule(axes, crs)
    axes.set(
        xlim=(low[0] - margin, high[0] + margin),
        ylim=(low[1] - margin, high[1] + margin),
        aspect="equal",
        xlabel="x (km)",
        ylabel="y (km)",
        title=f"EPSG:{crs}",
    )


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


def _graticule(axes: Any, crs: int) -> None:
    around, up = np.linspace(-180, 180, 721), np.linspace(0, 90, 50) * (-1 if crs == SOUTH else 1)
    lines = [(np.full(50, meridian), up) for meridian in MERIDIANS]
    lines += [(around, np.full(721, parallel)) for parallel in PARALLELS if (parallel < 0) == (crs == SOUTH)]
    for longitude, latitude in lines:
        axes.plot(*(np.array(transformer(crs).transform(longitude, latitude)) / 1e3), color="0.5", lw=0.4, alpha=0.5)
