"""The sheet of a map: where its panels, colour bars, title and legend are, to the pixel.

The image of a panel and its place have the same number of pixels, so that nothing is resampled when it is drawn.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maggjob.show.map_image import GREY, map_images
from maggjob.show.map_lines import COAST, GROUNDING
from maggjob.show.map_panel import (
    HATCHES,
    ICE,
    LINE,
    Panel,
    draw_cells,
    draw_coast,
    draw_colour_bar,
    draw_graticule,
    draw_image,
    draw_scale_bar,
)
from maggjob.show.map_text import Heading
from maggjob.show.plane import Frame, Lookup

WIDE = 6.6
"""Length of the longer side of a panel, inches."""
LEFT, RIGHT, ABOVE, BELOW = 0.5, 1.15, 0.5, 0.3
"""Room about a panel, inches: for labels, its colour bar, its title, and labels."""
TITLE, LEGEND = 0.72, 0.34
"""Room above and below all panels, inches."""
BAR, BESIDE = 0.17, 0.42
"""Width of a colour bar, and its distance from the panel, inches."""
TITLE_SIZE, DETAIL_SIZE, PANEL_SIZE = 12.5, 8.5, 9.5
"""Sizes of text, points."""


@dataclass(frozen=True)
class MapContent:
    """What a map shows."""

    heading: Heading
    """Text above it."""
    frame: Frame
    """Part of the plane, and its pixels."""
    lookup: Lookup
    """Finds the row of each pixel."""
    panels: Sequence[Panel]
    """Its panels."""
    rings: np.ndarray
    """Outlines of the planned parent cells, metres, shape (n, points, 2)."""
    unread: Mapping[str, np.ndarray]
    """Outlines of those that were read in part or not at all, by state."""
    notes: tuple[str, ...] = ()
    """Sentences below it."""


@dataclass(frozen=True)
class Sheet:
    """Sizes in pixels."""

    columns: int
    """Panels side by side."""
    dots: float
    """Pixels per inch."""
    cell: tuple[int, int]
    """Width and height of the room of a panel."""
    size: tuple[int, int]
    """Width and height of the sheet."""

    def px(self, inches: float) -> int:
        """Return a length in pixels."""
        return round(inches * self.dots)

    def corner(self, number: int, frame: Frame) -> tuple[int, int]:
        """Return the lower left corner of a panel's image.

        Parameters
        ----------
        number : int
            Number of the panel.
        frame : Frame
        """
        row, column = divmod(number, self.columns)
        top = self.size[1] - self.px(TITLE) - row * self.cell[1] - self.px(ABOVE)
        return column * self.cell[0] + self.px(LEFT), top - frame.height

    def place(self, left: int, bottom: int, width: int, height: int) -> tuple[float, float, float, float]:
        """Return a rectangle of pixels as parts of the sheet.

        Parameters
        ----------
        left, bottom, width, height : int
        """
        return left / self.size[0], bottom / self.size[1], width / self.size[0], height / self.size[1]


def sheet_of(frame: Frame, panels: int) -> Sheet:
    """Return the sheet of a map.

    Parameters
    ----------
    frame : Frame
    panels : int
        Number of panels.
    """
    dots = max(frame.width, frame.height) / WIDE
    columns = min(panels, 3) if panels <= 3 else math.ceil(math.sqrt(panels))
    rows = math.ceil(panels / columns)
    cell = frame.width + round((LEFT + RIGHT) * dots), frame.height + round((ABOVE + BELOW) * dots)
    size = columns * cell[0], rows * cell[1] + round((TITLE + LEGEND) * dots)
    return Sheet(columns, dots, cell, size)


def draw_sheet(content: MapContent, path: Path) -> None:
    """Draw a map.

    Parameters
    ----------
    content : MapContent
    path : Path
        PNG, PDF or SVG to write.
    """
    import matplotlib as mpl

    # A dollar in a title is a dollar. Text of an SVG stays text, and two runs write the same bytes.
    plain: Any = {"text.parse_math": False, "svg.fonttype": "none", "svg.hashsalt": "maggjob"}
    metadata = {
        ".png": {"Software": "maggjob"},
        ".svg": {"Date": None, "Creator": "maggjob"},
        ".pdf": {"CreationDate": None, "Creator": "maggjob"},
    }.get(path.suffix.lower(), {})
    with mpl.rc_context(plain), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure, dots = _figure(content)
        figure.savefig(path, dpi=dots, metadata=metadata)


def _figure(content: MapContent) -> tuple[Any, float]:
    """Return the drawn sheet, and its pixels per inch."""
    from matplotlib.figure import Figure

    frame, panels = content.frame, content.panels
    sheet = sheet_of(frame, len(panels))
    images = map_images(frame, content.lookup, [p.values for p in panels], [p.scale for p in panels])
    # A thousandth of a pixel more, as matplotlib rounds down.
    inches = [(size + 1e-3) / sheet.dots for size in sheet.size]
    figure = Figure(figsize=(inches[0], inches[1]), dpi=sheet.dots, facecolor="white")
    kinds: list[str] = []
    for number, panel in enumerate(panels):
        left, bottom = sheet.corner(number, frame)
        axes = figure.add_axes(sheet.place(left, bottom, frame.width, frame.height))
        draw_image(axes, images[number], frame)
        kinds = draw_coast(axes, frame)
        draw_cells(axes, content.rings, content.unread)
        draw_graticule(axes, frame)
        draw_scale_bar(axes, frame)
        room = 72.0 * (frame.width + sheet.px(RIGHT)) / sheet.dots
        axes.set_title(_fitting(panel.title, room, PANEL_SIZE), fontsize=PANEL_SIZE, pad=14, color="#20262b")
        high = round(frame.height * 0.82)
        beside = left + frame.width + sheet.px(BESIDE), bottom + (frame.height - high) // 2
        draw_colour_bar(figure, figure.add_axes(sheet.place(*beside, sheet.px(BAR), high)), panel)
    _write_heading(figure, content.heading, sheet)
    _write_legend(figure, content, kinds)
    return figure, sheet.dots


def _fitting(text: str, room: float, size: float) -> str:
    """Return text that fits into a number of points; a letter is about half as wide as it is high."""
    most = max(8, int(room / (0.52 * size)))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _write_heading(figure: Any, heading: Heading, sheet: Sheet) -> None:
    """Write the title, smaller if it would not fit."""
    inches = figure.get_size_inches()
    left, top = LEFT / inches[0], 1.0 - 0.2 / inches[1]
    room = 72.0 * (inches[0] - LEFT - 0.2)
    simulated = "SIMULATED DATA · " if heading.simulated else ""

    def fit(text: str, size: float) -> float:
        # A bold letter is about two thirds as wide as it is high.
        return min(size, room / (0.68 * max(1, len(text))))

    size = fit(simulated + heading.title, TITLE_SIZE)
    bold: dict[str, Any] = {"fontsize": size, "weight": "bold", "va": "top"}
    said = figure.text(left, top, simulated, color="#b3261e", **bold)
    # Where the first words end.
    figure.axes[0].annotate(heading.title, (1, 1), xycoords=said, color="#20262b", annotation_clip=False, **bold)
    below = top - 0.24 / inches[1]
    lines = _wrapped(heading.details, round(room / (0.5 * DETAIL_SIZE)))
    figure.text(left, below, "\n".join(lines), fontsize=DETAIL_SIZE, color=LINE, va="top", linespacing=1.35)


def _wrapped(text: str, most: int) -> list[str]:
    """Return text in lines that break between its parts."""
    lines = [""]
    for part in text.split(" · "):
        joined = f"{lines[-1]} · {part}" if lines[-1] else part
        if len(joined) > most and lines[-1]:
            lines.append(part)
        else:
            lines[-1] = joined
    return lines


def _write_legend(figure: Any, content: MapContent, kinds: Sequence[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if any(not np.isfinite(panel.values).all() for panel in content.panels):
        handles.append(Patch(facecolor=GREY, edgecolor="#00000040", label="planned cell without data"))
    words = {"partial": "cell read in part", "failed": "cell not read (failed)"}
    for state, (colour, hatch) in HATCHES.items():
        if state in content.unread:
            handles.append(Patch(facecolor="none", edgecolor=colour, hatch=hatch, label=words[state]))
    lines = {COAST: (LINE, "coast"), GROUNDING: (ICE, "grounding line")}
    handles += [Line2D([], [], color=lines[kind][0], linewidth=0.9, label=lines[kind][1]) for kind in kinds]
    handles += [Line2D([], [], linestyle="none", label=note) for note in content.notes]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.3 / figure.get_size_inches()[0], 0.02 / figure.get_size_inches()[1]),
        ncols=len(handles),
        fontsize=8,
        frameon=False,
        handlelength=1.8,
        columnspacing=1.6,
    )
