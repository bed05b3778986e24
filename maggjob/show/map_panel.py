"""One panel of a map: the image, lines of the coast and of the grid, labels, scale bar and colour bar."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maggjob.show.colours import Scale
from maggjob.show.map_lines import COAST, GROUNDING, crossings, graticule, outlines_in, round_length
from maggjob.show.plane import Frame

SEA, LAND, LINE, ICE = "#e6eef4", "#fbfaf7", "#4a5560", "#3e7cb1"
"""Colours of the sea, of land, of the coast, and of the grounding line."""
PARTIAL, FAILED = "#d9730d", "#c01627"
"""Colours of cells that were read in part, or not at all."""
HATCHES: Mapping[str, tuple[str, str]] = {"partial": (PARTIAL, "///"), "failed": (FAILED, "xxx")}
APART = 0.085
"""Distance of two labels on a side, relative to the width of the map."""
BORDERS = 4000
"""Parent cells of which the borders are drawn at most: more would cover the cells."""


@dataclass(frozen=True)
class Panel:
    """A variable as a map shows it."""

    title: str
    """Text above it."""
    values: np.ndarray
    """Value of each row of the result, NaN where there are no data."""
    scale: Scale
    """Colours of the values."""
    units: str = ""
    """Units of the values."""


def draw_image(axes: Any, image: np.ndarray, frame: Frame) -> None:
    """Draw the pixels of a panel, above land and sea and below all lines.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        As many pixels wide and high as the image.
    image : ndarray of uint8, shape (height, width, 4)
    frame : Frame
    """
    from matplotlib.artist import Artist
    from matplotlib.transforms import Affine2D

    class Pixels(Artist):
        """Pixels that go to the picture as they are: matplotlib's own images are resampled, by way of float arrays."""

        def draw(self, renderer: Any) -> None:
            gc, box = renderer.new_gc(), axes.bbox
            # matplotlib's renderers take the lowest row first.
            upwards = np.ascontiguousarray(image[::-1])
            if renderer.option_scale_image():
                renderer.draw_image(gc, box.x0, box.y0, upwards, Affine2D().scale(box.width, box.height))
            else:
                renderer.draw_image(gc, round(box.x0), round(box.y0), upwards)
            gc.restore()

    left, right, bottom, top = (value / 1e3 for value in frame.extent)
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[], facecolor=SEA)
    pixels = Pixels()
    pixels.set_zorder(2)
    axes.add_artist(pixels)
    for spine in axes.spines.values():
        spine.set(color=LINE, linewidth=0.8)


def draw_coast(axes: Any, frame: Frame) -> list[str]:
    """Draw land, coast and grounding line; return the kinds of lines that are in the frame.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    frame : Frame
    """
    from matplotlib.collections import LineCollection, PolyCollection

    coast = [ring / 1e3 for ring in outlines_in(frame.extent, frame.crs, COAST)]
    grounding = [ring / 1e3 for ring in outlines_in(frame.extent, frame.crs, GROUNDING)]
    axes.add_collection(PolyCollection(coast, facecolors=LAND, edgecolors="none", zorder=1), autolim=False)
    axes.add_collection(LineCollection(coast, colors=LINE, linewidths=0.55, zorder=4), autolim=False)
    axes.add_collection(LineCollection(grounding, colors=ICE, linewidths=0.55, zorder=4), autolim=False)
    kinds = ((COAST, coast), (GROUNDING, grounding))
    return [kind for kind, rings in kinds if any(frame.holds(*(ring.T * 1e3)).any() for ring in rings)]


def draw_cells(axes: Any, rings: np.ndarray, unread: Mapping[str, np.ndarray]) -> None:
    """Draw the borders of parent cells, and hatch those that were read in part or not at all.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    rings : ndarray, shape (n, points, 2), metres
        Outlines of all planned parent cells.
    unread : mapping
        Outlines of the parent cells in each state, as `rings`.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    if len(rings) <= BORDERS:
        # The more there are, the fainter they must be.
        faint = min(1.0, (60 / max(1, len(rings))) ** 0.4)
        lines = LineCollection(list(rings / 1e3), colors=(0, 0, 0, 0.28 * faint), linewidths=0.45 * faint, zorder=3)
        axes.add_collection(lines, autolim=False)
    for state, own in unread.items():
        colour, hatch = HATCHES[state]
        cells = PolyCollection(
            list(own / 1e3), facecolors="none", edgecolors=colour, hatch=hatch, linewidths=0.9, zorder=5
        )
        axes.add_collection(cells, autolim=False)


def draw_graticule(axes: Any, frame: Frame) -> None:
    """Draw parallels and meridians, labelled where they leave the map, or on themselves if they do not.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    frame : Frame
    """
    from matplotlib.collections import LineCollection

    lines = graticule(frame)
    drawn = [line.points / 1e3 for line in lines]
    axes.add_collection(LineCollection(drawn, colors="#30404a66", linewidths=0.45, zorder=3.5), autolim=False)
    taken: dict[str, list[float]] = {"left": [], "right": [], "bottom": [], "top": []}
    apart = APART * (frame.extent[1] - frame.extent[0])
    for line in sorted(lines, key=lambda one: not one.meridian):
        found = crossings(line.points, frame)
        if not found and not line.meridian:
            _label_inside(axes, line.label, line.points, frame)
        for side, x, y in found:
            along = x if side in ("bottom", "top") else y
            if all(abs(along - other) > apart for other in taken[side]):
                taken[side].append(along)
                _label_outside(axes, line.label, side, (x / 1e3, y / 1e3))


def _label_outside(axes: Any, label: str, side: str, at: tuple[float, float]) -> None:
    away = {"left": (-4, 0), "right": (4, 0), "bottom": (0, -4), "top": (0, 4)}[side]
    across = {"left": "right", "right": "left"}.get(side, "center")
    up = {"bottom": "top", "top": "bottom"}.get(side, "center")
    axes.annotate(
        label, at, away, textcoords="offset points", ha=across, va=up, fontsize=7, color=LINE, annotation_clip=False
    )


def _label_inside(axes: Any, label: str, points: np.ndarray, frame: Frame) -> None:
    inside = points[frame.holds(points[:, 0], points[:, 1])]
    if not len(inside):
        return
    # To the lower right of the pole, where most maps have room.
    x, y = inside[np.argmax(inside @ np.array([0.6, -0.8]))] / 1e3
    axes.text(x, y, label, fontsize=7, color=LINE, ha="center", va="center", zorder=6, path_effects=_halo(1.6))


def _halo(width: float) -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="white")]


def draw_scale_bar(axes: Any, frame: Frame) -> None:
    """Draw a bar with a round length on the ground, in the lower left corner.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    frame : Frame
    """
    left, right, bottom, top = (value / 1e3 for value in frame.extent)
    width, height = right - left, top - bottom
    length = round_length(0.25 * width / frame.stretch)
    x, y, long = left + 0.04 * width, bottom + 0.045 * height, length * frame.stretch
    axes.plot([x, x + long], [y, y], color="white", linewidth=5, solid_capstyle="butt", zorder=6)
    axes.plot([x, x + long], [y, y], color="#20262b", linewidth=2.4, solid_capstyle="butt", zorder=7)
    text = f"{length:g} km" if length >= 1 else f"{length * 1e3:g} m"
    axes.annotate(
        text,
        (x + long / 2, y),
        (0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color="#20262b",
        zorder=7,
        path_effects=_halo(2.4),
    )


def draw_colour_bar(figure: Any, axes: Any, panel: Panel) -> None:
    """Draw the colours of a panel with their values, and arrows where values lie beyond them.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    axes : matplotlib.axes.Axes
        Place of the colour bar.
    panel : Panel
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, Normalize

    scale = panel.scale
    colours = ListedColormap(scale.colours())
    norm: Any
    if scale.flags:
        norm = BoundaryNorm(np.arange(len(scale.flags) + 1) - 0.5, len(scale.flags))
    else:
        norm = (LogNorm if scale.logarithmic else Normalize)(scale.low, scale.high)
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(
        (scale.below, scale.above), "neither"
    )
    bar = figure.colorbar(ScalarMappable(norm, colours), cax=axes, extend=extend, extendfrac=0.035)
    bar.outline.set(linewidth=0.6, edgecolor=LINE)
    bar.ax.tick_params(labelsize=8, width=0.6, length=3, color=LINE)
    if scale.flags:
        bar.set_ticks(np.arange(len(scale.flags)), labels=[word for _, word in scale.flags])
        bar.ax.tick_params(length=0, labelrotation=90)
    elif scale.logarithmic:
        set_round_ticks(bar, scale.low, scale.high)
    if panel.units:
        bar.ax.set_title(panel.units, fontsize=8, pad=6)


def set_round_ticks(bar: Any, low: float, high: float) -> None:
    """Label a logarithmic colour bar at 1, 2 and 5 times powers of ten.

    Parameters
    ----------
    bar : matplotlib.colorbar.Colorbar
    low, high : float
        Its ends, from 1 to ten millions.
    """
    ticks = [n * 10**power for power in range(7) for n in (1, 2, 5) if low <= n * 10**power <= high]
    bar.set_ticks(ticks, labels=[f"{tick:,}" for tick in ticks], minor=False)
    bar.ax.minorticks_off()
