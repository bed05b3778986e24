"""The pixels of maps: colours of cells, mixed from several points in each pixel."""

from collections.abc import Sequence

import numpy as np

from maggjob.show.colours import FIRST, NO_DATA, STEPS, Scale
from maggjob.show.plane import SAMPLES, Frame, Lookup

GREY = (0.84, 0.84, 0.84)
"""Colour of planned cells without data."""


def palette(scale: Scale) -> np.ndarray:
    """Return red, green, blue and opacity of each code of a scale, from 0 to 1, shape (codes, 4).

    Colours are multiplied by their opacity, so that they can be averaged.
    """
    table = np.zeros((FIRST + STEPS, 4), np.float32)
    table[NO_DATA] = (*GREY, 1.0)
    colours = scale.colours()
    table[FIRST : FIRST + len(colours)] = np.column_stack([colours, np.ones(len(colours))])
    return table


def map_images(
    frame: Frame, lookup: Lookup, values: Sequence[np.ndarray], scales: Sequence[Scale], samples: int = SAMPLES
) -> list[np.ndarray]:
    """Return one image per variable.

    Parameters
    ----------
    frame : Frame
    lookup : Lookup
        Finds the row of each point.
    values : sequence of ndarray, shape (n,)
        Values of each variable by row, NaN where there are no data.
    scales : sequence of Scale
        Scale of each variable.
    samples : int
        Points per pixel in each direction.

    Returns
    -------
    list of ndarray of uint8, shape (height, width, 4)
        Red, green, blue and opacity; the first row is the top. Points outside of planned cells are transparent.
    """
    # Code 0 at the end stands for row -1.
    codes = [np.append(scale.codes(own), np.uint8(0)) for own, scale in zip(values, scales, strict=True)]
    tables = [palette(scale) for scale in scales]
    images = [np.zeros((frame.height, frame.width, 4), np.uint8) for _ in scales]
    for pixels, latitude, longitude in frame.points(samples):
        rows = lookup.rows(latitude, longitude)
        if (rows < 0).all():
            continue
        # One row per pixel, with the points of the pixel side by side.
        height = pixels.stop - pixels.start
        points = rows.reshape(height, samples, frame.width, samples).swapaxes(1, 2)
        for image, code, table in zip(images, codes, tables, strict=True):
            image[pixels] = _mixed(table[code[points]].mean(axis=(2, 3)))
    return images


def _mixed(mean: np.ndarray) -> np.ndarray:
    """Return pixels from means of colours that were multiplied by their opacity."""
    opacity = mean[..., 3:]
    colour = np.divide(mean[..., :3], opacity, out=np.zeros_like(mean[..., :3]), where=opacity > 0)
    return np.round(np.concatenate([colour, opacity], axis=-1) * 255.0).astype(np.uint8)
