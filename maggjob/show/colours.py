"""Colours of values: which palette a variable has, where its ends are, and the position of each value in it.

The map and the page use the same colours. Ends leave out the outermost two percent of the values, so that outliers do
not hide everything else; the colour bar has an arrow where values lie beyond its end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maggjob.show.cell_result import STATES, Variable

STEPS = 254
"""Colours of a palette: codes 0 and 1 mean other things."""
OUTSIDE, NO_DATA, FIRST = 0, 1, 2
"""Codes of points in no planned cell, of planned cells without data, and of the lowest colour."""
OUTLIERS = 2.0
"""Percent of the values beyond each end of the colours."""
MANY = 30
"""Counts that reach further than this have a logarithmic scale."""
SHOWN = 2_000_000
"""Values from which percentiles are taken at most."""

PALETTES: Mapping[str, str] = {
    # matplotlib's viridis (CC0), every 32nd colour.
    "sequential": "440154 472d7b 3b528b 2c728e 21918c 28ae80 5ec962 addc30 fde725",
    "diverging": "6b0a22 a8202f d45a4b ef9f82 f9d8c8 f4f3f1 cbdeed 93badb 5390c3 245f9f 0b3468",
    "error": "fff3d1 fbd289 f3a65c da724c a9405b 6c2266 2f1151",
    "count": "dff2ea abdccd 6cc0b6 389aa2 247588 1d4f6d 142a4e",
    "flag": "c9c9c9 2f8f6b e0a43a 6f7fc4 c2554f 8a5aa8 4f4f4f",
    "state": "2f8f6b e0a43a c2554f",
}
"""Colours between which others are interpolated."""


@dataclass(frozen=True)
class Scale:
    """How the values of a variable become colours."""

    kind: str
    """Name of its palette."""
    low: float
    """Value of the first colour."""
    high: float
    """Value of the last colour."""
    logarithmic: bool = False
    """True if colours follow the logarithm of the values."""
    below: bool = False
    """True if there are values below the first colour."""
    above: bool = False
    """True if there are values above the last colour."""
    flags: tuple[tuple[float, str], ...] = ()
    """Values and meanings of a variable that holds flags."""

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Return the code of each value, uint8: `NO_DATA`, or from `FIRST` the number of its colour.

        Parameters
        ----------
        values : ndarray of float64
            NaN where there are no data.
        """
        codes = np.full(values.shape, NO_DATA, np.uint8)
        good = np.isfinite(values)
        if self.flags:
            for number, (value, _) in enumerate(self.flags):
                codes[good & (values == value)] = FIRST + number
            return codes
        low, high, shown = self.low, self.high, values[good]
        if self.logarithmic:
            low, high, shown = np.log(low), np.log(high), np.log(np.maximum(shown, low))
        place = (shown - low) / (high - low) * STEPS
        codes[good] = FIRST + np.clip(place, 0, STEPS - 1).astype(np.uint8)
        return codes

    def colours(self) -> np.ndarray:
        """Return red, green and blue of each colour, from 0 to 1, shape (colours, 3)."""
        anchors = np.array([[int(text[i : i + 2], 16) for i in (0, 2, 4)] for text in PALETTES[self.kind].split()])
        if self.flags:
            return anchors[np.arange(len(self.flags)) % len(anchors)] / 255.0
        at, places = np.linspace(0, len(anchors) - 1, STEPS), np.arange(len(anchors))
        return np.column_stack([np.interp(at, places, anchors[:, i]) for i in range(3)]) / 255.0


def scale_of(variable: Variable, values: np.ndarray, config: Mapping[str, Any]) -> Scale:
    """Return the scale of a variable.

    Parameters
    ----------
    variable : Variable
    values : ndarray of float64
        NaN where there are no data.
    config : mapping
        Configuration of the result, which tells rates and differences from heights.
    """
    good = few(values)
    flags = _flags(variable, good)
    if flags:
        kind = "state" if tuple(word for _, word in flags) == STATES else "flag"
        return Scale(kind, 0.0, float(len(flags) - 1), flags=flags)
    if not len(good):
        return Scale("sequential", 0.0, 1.0)
    least, most = float(good.min()), float(good.max())
    low, high = (float(end) for end in np.percentile(good, (OUTLIERS, 100.0 - OUTLIERS)))
    if is_error(variable.name):
        return Scale("error", 0.0, high or 1.0, above=most > high)
    if variable.whole:
        if high > MANY and least >= 1:
            return Scale("count", 1.0, high, logarithmic=True, above=most > high)
        return Scale("count", least, max(high, least + 1), above=most > max(high, least + 1))
    if is_change(variable, config) or (low < 0 < high and min(-low, high) > 0.3 * max(-low, high)):
        end = max(abs(low), abs(high)) or 1.0
        return Scale("diverging", -end, end, below=least < -end, above=most > end)
    if high <= low:
        # One more than a large number is the same number.
        low, high = least, most if most > least else least + max(1.0, abs(least) * 1e-6)
    return Scale("sequential", low, high, below=least < low, above=most > high)


def is_error(name: str) -> bool:
    """Return True if a variable is an error, by its name."""
    return name.endswith(("_error", "_sigma", "_rms", "_std"))


def error_of(name: str, variables: Mapping[str, Variable]) -> str | None:
    """Return the variable with the error of another one; None if there is none.

    Parameters
    ----------
    name : str
        Name of a variable.
    variables : mapping
        All variables by name.
    """
    asked = [f"{name}_error", f"{name}_sigma", f"{name.removesuffix('_mean')}_sigma"]
    return next((error for error in asked if error in variables and error != name), None)


def is_change(variable: Variable, config: Mapping[str, Any]) -> bool:
    """Return True for a rate, or a difference of heights or of times: zero is then in the middle of its colours.

    Parameters
    ----------
    variable : Variable
    config : mapping
        Configuration of the result.
    """
    units = str(variable.attributes.get("units", ""))
    if units.endswith((" year-1", "/yr")) or "period_a" in variable.attributes:
        return True
    for name, own in config.get("aggregation", {}).get("variables", {}).items():
        outputs = own.get("outputs") or {}
        of = outputs.get(variable.name, {}).get("of") if outputs else None
        if (name == variable.name or of == "coefficient") and " - " in str(own.get("source", "")):
            return True
    return False


def few(values: np.ndarray) -> np.ndarray:
    """Return the values that are there, or an even choice of many.

    Parameters
    ----------
    values : ndarray of float64
        NaN where there are no data.
    """
    good = values[np.isfinite(values)]
    return good[:: max(1, len(good) // SHOWN)]


def _flags(variable: Variable, values: np.ndarray) -> tuple[tuple[float, str], ...]:
    """Return values and words of a flag; values without a word stand for themselves."""
    known, meanings = (variable.attributes.get(key) for key in ("flag_values", "flag_meanings"))
    if not isinstance(known, list | tuple | np.ndarray) or not isinstance(meanings, str):
        return ()
    words = zip(known, meanings.split(), strict=False)
    flags = {
        float(value): word.replace("_", " ") for value, word in words if isinstance(value, int | float | np.number)
    }
    if not flags:
        return ()
    return (*flags.items(), *((v, f"{v:g} (no meaning given)") for v in np.unique(values).tolist() if v not in flags))
