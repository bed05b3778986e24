"""The model of a fit: its terms, its limits, and what it gives."""

from dataclasses import dataclass

PASS_DIGITS, TRACK_DIGITS = 100_000, 10_000
"""A pass is numbered ``cycle * PASS_DIGITS + track * 10 + beam``, and tracks are below `TRACK_DIGITS`."""
SECONDS_A_YEAR = 365.25 * 86400.0
MOST_ROUNDS = 5
"""Largest number of times that segments are clipped."""
SMALLEST_PIVOT = 1e-8
"""Smallest share of a term that the other terms may leave unexplained."""
DETERMINED, FEW_PASSES, FEW_CYCLES, SINGULAR = 0, 1, 2, 3
"""States of the fit of a child cell."""
STATES = ("determined", "few_passes", "few_cycles", "singular", "few_segments")
"""Words for these states; the last is for child cells with fewer segments than ``min_count``."""
NO_FIT = -1
"""State of child cells without segments, or with fewer than ``min_count``."""
OF_A_TERM = ("coefficient", "error", "formal_error")
"""Quantities of one term."""
COUNTS = ("passes", "tracks", "cycles", "segments", "clipped", "state")
"""Quantities that are integers."""
QUANTITIES = (*OF_A_TERM, "rms", *COUNTS, "span")
"""What a fit gives."""


@dataclass(frozen=True)
class FitModel:
    """What is fitted to the segments of each child cell."""

    name: str = ""
    """Name of the fit, under which its child cells are counted."""
    terms: tuple[str, ...] = ()
    """Expressions over rows, in normal form; an intercept is always added."""
    clip: float = 0.0
    """Residuals above this number of standard deviations are clipped, and the rest is fitted again; 0 for none."""
    min_passes: int = 0
    """Number of passes below which a fit is not determined; at least one more than the coefficients are needed."""
    min_cycles: int = 1
    """Number of cycles below which a fit is not determined."""
