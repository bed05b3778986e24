"""The data of a page: blocks of bytes that a browser inflates, and the dictionary that says what they are.

A block is deflated (zlib) and written in base64. Values are those of the cells that have any, in ascending order of
their ids; a block of bits says which those are, and is shared by the variables that agree. Integers are written as
differences from one value to the next, first all of their lowest bytes, then all of the next: neighbours in the nested
order are neighbours on the ground, so that the high bytes are almost all zero. assets/data.js reads it.
"""

import base64
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from deflate import zlib_compress

LEVEL = 9
"""How hard bytes are compressed."""
MOST_EXACT = 1_000_000
"""Cells of a page whose values are kept to the last bit."""
COLOURS = 2000
"""Steps that values are rounded to, between the ends of the colours."""
SHARP = 16
"""Whole numbers up to this are kept; larger ones to two digits."""


@dataclass
class Blocks:
    """Blocks of a page, none of them twice."""

    texts: list[str] = field(default_factory=list)
    """Blocks in base64."""
    _numbers: dict[bytes, int] = field(default_factory=dict)

    def add(self, content: bytes) -> int:
        """Add bytes and return the number of their block.

        Parameters
        ----------
        content : bytes
        """
        packed = bytes(zlib_compress(content, LEVEL))
        if packed not in self._numbers:
            self._numbers[packed] = len(self.texts)
            self.texts.append(base64.b64encode(packed).decode("ascii"))
        return self._numbers[packed]


def differences(values: np.ndarray) -> bytes:
    """Return unsigned integers as differences, byte by byte.

    Parameters
    ----------
    values : ndarray of uint8, uint16 or uint32, shape (n,)
    """
    steps = np.diff(values, prepend=values.dtype.type(0))
    return (
        steps.astype(values.dtype.newbyteorder("<"))
        .view(np.uint8)
        .reshape(len(values), values.dtype.itemsize)
        .T.tobytes()
    )


@dataclass(frozen=True)
class Rounding:
    """How the values of a variable were rounded."""

    step: float = 0.0
    """Values are multiples of this; 0 if they are exact."""
    digits: bool = False
    """True if values are whole numbers of two digits."""

    @property
    def text(self) -> str:
        """The rounding in words; empty for none."""
        if self.digits:
            return f"whole numbers above {SHARP} to two digits"
        return f"to {self.step:g}" if self.step else ""


def rounding_for(span: float, whole: bool, cells: int) -> Rounding:
    """Return how values are rounded.

    Parameters
    ----------
    span : float
        Distance between the ends of the colours.
    whole : bool
        True for integers.
    cells : int
        Number of cells of the page; the values of few are not rounded.
    """
    if cells <= MOST_EXACT:
        return Rounding()
    if whole:
        return Rounding(digits=True)
    wanted = max(span, 1e-12) / COLOURS
    step = 10.0 ** math.floor(math.log10(wanted))
    return Rounding(step * next(n for n in (5, 2, 1) if n * step <= wanted))


def two_digits(values: np.ndarray) -> np.ndarray:
    """Return whole numbers of at most two significant digits; those up to `SHARP` stay.

    Parameters
    ----------
    values : ndarray of float64, none of them negative
    """
    power = 10.0 ** np.maximum(0, np.floor(np.log10(np.maximum(values, 1.0))) - 1)
    return np.where(values <= SHARP, values, np.round(values / power) * power)


def add_values(blocks: Blocks, values: np.ndarray, whole: bool, rounding: Rounding) -> dict[str, Any]:
    """Add the values of all cells to the blocks, and return what a page needs to read them.

    Parameters
    ----------
    blocks : Blocks
    values : ndarray of float64, shape (n,)
        NaN where there are none.
    whole : bool
        True for integers.
    rounding : Rounding
    """
    there = np.isfinite(values)
    # No value: an infinity would hide all others.
    kept = values[there]
    found: dict[str, Any] = {
        "mask": blocks.add(np.packbits(there, bitorder="little").tobytes()),
        "count": len(kept),
    }
    if rounding.digits and len(kept) and kept.min() >= 0:
        table, codes = np.unique(two_digits(kept), return_inverse=True)
        kind = np.uint8 if len(table) <= 256 else np.uint16
        return found | {
            "kind": f"table{8 * kind().itemsize}",
            "table": table.tolist(),
            "block": blocks.add(differences(codes.astype(kind))),
        }
    if rounding.step and len(kept):
        return found | _rounded(blocks, kept, rounding.step)
    if whole and len(kept) and kept.max() - kept.min() < 2**32:
        lowest = int(kept.min())
        codes = (kept - lowest).astype(np.uint32)
        return found | {"kind": "whole32", "lowest": lowest, "block": blocks.add(differences(codes))}
    with np.errstate(over="ignore"):
        short = kept.astype("<f4")
    if np.array_equal(short, kept):
        return found | {"kind": "float32", "block": blocks.add(differences(short.view(np.uint32)))}
    planes = kept.astype("<f8").view(np.uint8).reshape(len(kept), 8).T.tobytes()
    return found | {"kind": "float64", "block": blocks.add(planes)}


def _rounded(blocks: Blocks, kept: np.ndarray, step: float) -> dict[str, Any]:
    """Add values as multiples of a step; those that are too far from the others are written apart."""
    middle = float(np.median(kept))
    far = np.abs(kept - middle) > (2.0**31 - 2) * step
    lowest = math.floor(float(np.where(far, middle, kept).min()) / step)
    codes = np.round(np.where(far, middle, kept) / step - lowest)
    kind = np.uint16 if codes.max() < 2**16 else np.uint32
    return {
        "kind": f"step{8 * kind().itemsize}",
        "step": step,
        "lowest": lowest,
        "apart": [[int(i), float(kept[i])] for i in np.flatnonzero(far)],
        "block": blocks.add(differences(codes.astype(kind))),
    }
