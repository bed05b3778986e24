"""Draw the pictures of the concepts: ``python docs/site/pictures.py``. The pictures are part of the repository."""

from pathlib import Path

import healpy
import matplotlib as mpl
import numpy as np
import pyproj

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from maggjob.icesat2.orbit import TRACKS, ground_track

FOLDER = Path(__file__).resolve().parents[1] / "concepts"
BLUE, GREY, RED, GREEN = "#2a6f97", "#8a8f98", "#c1440e", "#3a7d44"
mpl.rcParams |= {
    "font.size": 10,
    "savefig.dpi": 110,
    "savefig.bbox": "tight",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def outline(cell: int, order: int, step: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return the outline of a cell in EPSG:3031, km."""
    x, y, z = healpy.boundaries(2**order, cell, step=step, nest=True)
    longitude, latitude = np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(z))
    east, north = pyproj.Transformer.from_crs(4326, 3031, always_xy=True).transform(longitude, latitude)
    return np.append(east, east[0]) / 1e3, np.append(north, north[0]) / 1e3


def draw_cells() -> None:
    """Draw a cell of order 6 with children, and the ground tracks of a cycle."""
    parent = int(healpy.ang2pix(64, -102.0, -75.3, nest=True, lonlat=True))
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4))
    for ax, title in zip(
        axes, ("order 6, divided once, twice, three times", "ground tracks of one cycle"), strict=True
    ):
        for order, color, width in ((9, "#d5dbe1", 0.5), (8, "#aab4be", 0.7), (7, GREY, 1.0), (6, BLUE, 2.2)):
            chosen = [parent * 4 ** (order - 6) + i for i in range(4 ** (order - 6))]
            for cell in chosen if ax is axes[0] or order == 6 else ():
                ax.plot(*outline(cell, order), color=color, lw=width)
        ax.set_title(title)
        ax.set_aspect("equal")
        ax.locator_params(nbins=4)
        ax.set_xlabel("x, EPSG:3031, km")
    axes[0].set_ylabel("y, km")
    limits = axes[0].get_xlim(), axes[0].get_ylim()
    to_xy = pyproj.Transformer.from_crs(4326, 3031, always_xy=True)
    angles = np.linspace(200, 340, 1400)
    for track in range(1, TRACKS + 1):
        latitude, longitude = ground_track(track, angles)
        x, y = (np.asarray(one) / 1e3 for one in to_xy.transform(longitude, latitude))
        far = (np.abs(np.diff(x, prepend=x[0])) > 200) | (latitude > -70)
        axes[1].plot(np.where(far, np.nan, x), np.where(far, np.nan, y), color=RED, lw=0.6)
    axes[1].set_xlim(limits[0])
    axes[1].set_ylim(limits[1])
    figure.savefig(FOLDER / "cells.png")


def draw_latitude() -> None:
    """Draw the shift between the two latitude conventions."""
    geodetic = np.linspace(-90, 90, 721)
    crs = pyproj.CRS.from_epsg(4326)
    e2 = 2 / crs.ellipsoid.inverse_flattening - 1 / crs.ellipsoid.inverse_flattening**2
    e, sine = np.sqrt(e2), np.sin(np.radians(geodetic))

    def q(s: np.ndarray | float) -> np.ndarray:
        return (1 - e2) * (s / (1 - e2 * s**2) - np.log((1 - e * s) / (1 + e * s)) / (2 * e))

    authalic = np.degrees(np.arcsin(np.clip(q(sine) / q(1.0), -1, 1)))
    figure, ax = plt.subplots(figsize=(7, 3))
    ax.plot(geodetic, np.abs(geodetic - authalic) * 111.2, color=BLUE, lw=2)
    ax.axhline(1.6, color=RED, lw=1, ls="--")
    ax.text(45, 1.9, "width of a cell of order 12", color=RED, ha="center", fontsize=8)
    ax.axvspan(-90, -60, color=GREY, alpha=0.15)
    ax.text(-75, 13.5, "Antarctica", ha="center", color="#555")
    ax.set(xlabel="geodetic latitude, degrees", ylabel="shift, km", xlim=(-90, 90), ylim=(0, 15))
    figure.savefig(FOLDER / "latitude.png")


def box(
    ax: plt.Axes, x: float, y: float, text: str, color: str = BLUE, width: float = 1.7, height: float = 0.8
) -> None:
    """Draw a box with text."""
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0.02,rounding_size=0.1", fc="white", ec=color, lw=1.8
    )
    ax.add_patch(shape)
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)


def arrow(ax: plt.Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow."""
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color=GREY, lw=1.4))


def blank(width: float, height: float) -> tuple[plt.Figure, plt.Axes]:
    """Return axes without axes."""
    figure, ax = plt.subplots(figsize=(width, height))
    ax.set(xlim=(0, 10), ylim=(0, 10 * height / width))
    ax.axis("off")
    return figure, ax


def draw_run() -> None:
    """Draw the stages of a run."""
    figure, ax = blank(9, 3.6)
    box(ax, 0.1, 2.7, "catalog\ngranules, cells")
    box(ax, 0.1, 0.6, "configuration\nYAML")
    box(ax, 2.3, 1.65, "plan\ndigest, cost", GREEN)
    for end in (3.05, 1.05):
        arrow(ax, (1.85, end), (2.28, 2.05))
    arrow(ax, (4.05, 2.05), (4.48, 2.05))
    for shift in (0.16, 0.08, 0.0):
        top = shift == 0
        box(ax, 4.5 + shift, 2.5 - shift, "index a granule\nrows, bytes" if top else "", BLUE)
        box(ax, 4.5 + shift, 0.8 - shift, "map a cell\nstatistics, ledger" if top else "", BLUE)
    arrow(ax, (5.4, 2.3), (5.4, 1.65))
    arrow(ax, (6.45, 1.15), (6.98, 1.9))
    box(ax, 7.0, 1.65, "reduce\ncheck, assemble", GREEN)
    arrow(ax, (8.75, 2.05), (9.0, 2.05))
    ax.text(9.05, 2.05, "Zarr\nledger", va="center", fontsize=10, color=RED, weight="bold")
    ax.text(5.4, 3.75, "workers: Lithops on this machine, or AWS Lambda", ha="center", color="#555")
    figure.savefig(FOLDER / "run.png")


def draw_ledger() -> None:
    """Draw the states of the segments of a granule."""
    figure, ax = blank(9, 3.2)
    inside = (("kept", 44, GREEN), ("quality", 10, BLUE), ("fill", 6, BLUE), ("bad weight", 6, BLUE))
    inside += (("not finite", 6, BLUE), ("too large", 6, BLUE))
    outside = (("outside", 13, GREY), ("invalid", 9, GREY))
    words = {"outside": "outside the\nplanned cells", "invalid": "invalid\ncoordinate"}
    left, scale = 0.3, 0.094
    for name, share, color in (*inside, *outside):
        width = share * scale
        ax.barh(1.5, width, 0.9, left, color=color, ec="white", lw=1.5)
        place = (left + width / 2, 1.5)
        if share > 8 and name not in words:
            ax.text(*place, name, ha="center", va="center", color="white", fontsize=9)
        else:
            place = (place[0], 0.95)
            ax.text(*place, words.get(name, name.replace(" ", "\n")), ha="center", va="top", fontsize=8)
        left += width
    end = 0.3 + sum(share for _, share, _ in inside) * scale
    ax.annotate("", (0.3, 2.35), (end, 2.35), arrowprops={"arrowstyle": "<->", "color": "#555"})
    words_above = "in planned cells: one state each, the first reason counts"
    ax.text((0.3 + end) / 2, 2.5, words_above, ha="center", color="#555")
    ax.text(0.3, 3.1, "all segments of a granule", weight="bold")
    figure.savefig(FOLDER / "ledger.png")


def draw_index() -> None:
    """Draw the rows of a beam in cells and in chunks, its index, and what a cell reads."""
    figure, ax = blank(9, 4.4)
    runs = ((0.9, GREY), (1.4, "#9db4c0"), (2.1, RED), (1.6, GREY), (0.5, RED), (2.4, "#9db4c0"))
    left = 0.3
    ax.text(0.3, 4.45, "rows of a beam, along the track; a colour per cell", color="#555")
    for number, (width, color) in enumerate(runs):
        ax.barh(4.0, width, 0.5, left, color=color, ec="white", lw=1.5)
        ax.text(left + width / 2, 4.0, f"run {number + 1}", ha="center", va="center", color="white", fontsize=8)
        left += width
    ax.text(0.3, 3.15, "chunks of a dataset in the file; those that the red cell needs are filled", color="#555")
    for number in range(8):
        start = 0.3 + number * 8.9 / 8
        wanted = any(start < b and start + 8.9 / 8 > a for a, b in ((2.6, 4.7), (6.3, 6.8)))
        ax.barh(2.7, 8.9 / 8, 0.5, start, color="#f2d0c4" if wanted else "white", ec=RED if wanted else GREY, lw=1.2)
        ax.text(start + 0.55, 2.7, f"chunk {number + 1}", ha="center", va="center", fontsize=8)
    box(
        ax,
        0.3,
        0.25,
        "index of the granule\nruns: child cell, number of rows\nchunks: place and length in the file",
        GREEN,
        4.3,
        1.4,
    )
    box(
        ax,
        5.6,
        0.25,
        "a worker with the red cell\nreads the index,\nthen chunks 3, 4 and 6",
        RED,
        3.6,
        1.4,
    )
    arrow(ax, (4.65, 0.95), (5.55, 0.95))
    figure.savefig(FOLDER / "indexes.png")


def draw_errors() -> None:
    """Draw errors in units of their standard error, for measurements of twelve passes with biases of their own."""
    random = np.random.default_rng(7)
    cells, passes, segments = 4000, 12, 80
    bias = random.normal(0, 0.05, (cells, passes, 1))
    heights = bias + random.normal(0, 0.1, (cells, passes, segments))
    mean = heights.mean((1, 2))
    formal = heights.std((1, 2)) / np.sqrt(passes * segments)
    clustered = heights.mean(2).std(1, ddof=1) / np.sqrt(passes)
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
    grid = np.linspace(-8, 8, 400)
    pairs = (("clustered by pass", clustered, BLUE), ("formal: segments independent", formal, RED))
    for ax, (title, error, color) in zip(axes, pairs, strict=True):
        z = mean / error
        ax.hist(z, np.linspace(-8, 8, 65), density=True, color=color, alpha=0.7)
        ax.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=1)
        ax.set_title(f"{title}\n{np.mean(np.abs(z) < 2):.0%} within two", fontsize=10)
        ax.set_xlabel("error / standard error")
    figure.savefig(FOLDER / "errors.png")


if __name__ == "__main__":
    draw_cells()
    draw_latitude()
    draw_run()
    draw_ledger()
    draw_index()
    draw_errors()
