"""Lines of a map in its polar plane: coast and grounding line, and a graticule with its labels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from maggjob.grid.areas import SOUTH, transformer
from maggjob.show.plane import Frame, geographic

COAST, GROUNDING = "coast", "grounding"
"""Kinds of lines: of the sea, and between grounded and floating ice (Antarctica only)."""
STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Distances of parallels, degrees."""
TURNS = (*STEPS, 15.0, 30.0)
"""Distances of meridians, degrees."""
LINES = 4.5
"""Parallels on a map, about."""
POINTS = 721
"""Points of a parallel."""
DEGREE = 111.2e3  # metres
POLAR = 88.0  # degrees
"""Latitude at which meridians end, but for every third of those on maps with a pole."""


@dataclass(frozen=True)
class GridLine:
    """A parallel or a meridian."""

    label: str
    """Such as ``75°S``."""
    meridian: bool
    """True for a meridian."""
    points: np.ndarray
    """Points in the plane, metres, shape (n, 2)."""


@lru_cache(maxsize=8)
def outlines(crs: int, kind: str) -> tuple[np.ndarray, ...]:
    """Return the closed lines of a kind, metres, each of shape (n, 2); tests/make_coast.py makes them.

    Parameters
    ----------
    crs : int
        EPSG code of the projection.
    kind : {"coast", "grounding"}
    """
    with np.load(Path(str(resources.files("maggjob.show"))) / "assets" / "coast.npz") as file:
        name = f"{kind}_{crs}"
        if f"{name}_steps" not in file:
            return ()
        pieces = np.split(file[f"{name}_steps"], np.cumsum(file[f"{name}_sizes"])[:-1])
        unit = float(file["unit"])
    return tuple(np.cumsum(piece, axis=0) * unit for piece in pieces)


def outlines_in(extent: tuple[float, float, float, float], crs: int, kind: str) -> Iterator[np.ndarray]:
    """Yield the lines of a kind that reach into an extent.

    Parameters
    ----------
    extent : tuple of float
        Left, right, bottom and top, metres.
    crs : int
        EPSG code of the projection.
    kind : {"coast", "grounding"}
    """
    left, right, bottom, top = extent
    for ring in outlines(crs, kind):
        low, high = ring.min(axis=0), ring.max(axis=0)
        if low[0] <= right and high[0] >= left and low[1] <= top and high[1] >= bottom:
            yield ring


def graticule(frame: Frame) -> list[GridLine]:
    """Return the parallels and meridians of a frame.

    Parameters
    ----------
    frame : Frame
    """
    left, right, bottom, top = frame.extent
    x, y = np.meshgrid(np.linspace(left, right, 60), np.linspace(bottom, top, 60))
    latitude, _ = geographic(frame.crs, x, y)
    pole = left < 0 < right and bottom < 0 < top
    low, high = float(np.nanmin(latitude)), float(np.nanmax(latitude))
    if pole:
        low, high = (-90.0, high) if frame.crs == SOUTH else (low, 90.0)
    size = min(right - left, top - bottom) / DEGREE / frame.stretch
    step = next((s for s in STEPS if size / s <= LINES), STEPS[-1])
    wide = size / max(0.02, math.cos(math.radians(float(np.nanmean(latitude)))))
    turn = 30.0 if pole and size > 5 else next((s for s in TURNS if wide / s <= LINES), TURNS[-1])
    return [*_parallels(frame, low, high, step), *_meridians(frame, low, high, turn, pole)]


def _parallels(frame: Frame, low: float, high: float, step: float) -> Iterator[GridLine]:
    around = np.linspace(-180.0, 180.0, POINTS)
    # Only the part in the frame is drawn, with as many points as a whole parallel.
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        value = round(number * step, 6)
        if abs(value) >= 90.0:
            continue
        line = _project(frame, around, np.full(POINTS, value))
        there = frame.holds(line[:, 0], line[:, 1])
        if 0 < there.sum() < 60:
            here = around[there]
            middle = here[len(here) // 2]
            apart = (here - middle + 180) % 360 - 180
            dense = middle + np.linspace(apart.min() - 1, apart.max() + 1, POINTS)
            line = _project(frame, dense, np.full(POINTS, value))
        yield GridLine(_degrees(value, "NS"), False, line)


def _meridians(frame: Frame, low: float, high: float, step: float, pole: bool) -> Iterator[GridLine]:
    for number in range(-round(180 / step) + 1, round(180 / step) + 1):
        value = round(number * step, 6)
        end = 90.0 if not pole or value % 90 == 0 else POLAR
        along = np.linspace(max(low - 1, -end), min(high + 1, end), 400)
        line = _project(frame, np.full(400, value), along)
        yield GridLine("180°" if abs(value) == 180 else _degrees(value, "EW"), True, line)


def _project(frame: Frame, longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    return np.column_stack(transformer(frame.crs).transform(longitude, np.clip(latitude, -90.0, 90.0)))


def _degrees(value: float, sides: str) -> str:
    return f"{abs(value):g}°" + ("" if value == 0 else sides[0] if value > 0 else sides[1])


def crossings(line: np.ndarray, frame: Frame) -> list[tuple[str, float, float]]:
    """Return where a line leaves or enters a frame: the side, and the point in metres.

    Parameters
    ----------
    line : ndarray, shape (n, 2), metres
    frame : Frame
    """
    left, right, bottom, top = frame.extent
    inside = frame.holds(line[:, 0], line[:, 1])
    found = []
    for at in np.flatnonzero(inside[1:] != inside[:-1]).tolist():
        (x0, y0), (x1, y1) = (line[at], line[at + 1]) if inside[at] else (line[at + 1], line[at])
        # The share of the step from inside to outside at which each side is met.
        shares = {
            "left": (left - x0) / (x1 - x0) if x1 < left else 2.0,
            "right": (right - x0) / (x1 - x0) if x1 > right else 2.0,
            "bottom": (bottom - y0) / (y1 - y0) if y1 < bottom else 2.0,
            "top": (top - y0) / (y1 - y0) if y1 > top else 2.0,
        }
        side = min(shares, key=lambda name: shares[name])
        found.append((side, float(x0 + shares[side] * (x1 - x0)), float(y0 + shares[side] * (y1 - y0))))
    return found


def round_length(most: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above a length.

    Parameters
    ----------
    most : float

    Examples
    --------
    >>> round_length(730.0), round_length(19.0)
    (500.0, 10.0)
    """
    power = 10.0 ** math.floor(math.log10(most))
    return next(number * power for number in (5.0, 2.0, 1.0) if number * power <= most)
