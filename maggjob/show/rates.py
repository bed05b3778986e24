"""A picture of rates beside those that are expected, and of the cells where they differ by more than their error."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from maggjob.grid.centers import centers
from maggjob.show.cell_result import read_result
from maggjob.show.colours import Scale
from maggjob.show.map_panel import Panel
from maggjob.show.map_sheet import draw_sheet
from maggjob.show.maps import ENDS, check_matplotlib, content_of, panel_of, pixels_for, region_of
from maggjob.show.whole_file import place_of, write_whole

Expected = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Function from latitudes and longitudes in degrees, shape (n,), to rates."""
FAR = 2.0
"""Number of standard errors from which a rate differs from what is expected."""


def draw_rates(
    store: str | Path, out: str | Path, expected: Expected, rate: str = "dh_dt", error: str = "dh_dt_error"
) -> tuple[Path, float]:
    """Draw rates, the rates that are expected, and the difference in standard errors.

    Parameters
    ----------
    store : str or Path
        The Zarr.
    out : str or Path
        File to write; its name ends in .png, .pdf or .svg.
    expected : callable
        Returns the expected rates at the centres of the cells, in the units of the rate.
    rate, error : str
        Variables of the rate and of its standard error.

    Returns
    -------
    path : Path
        The file.
    share : float
        Share of the cells with a rate whose difference is below `FAR` standard errors.

    Raises
    ------
    StoreError
        If the store is not a complete result.
    InputError
        If matplotlib is not installed, a variable does not exist, or the file cannot be written.
    """
    path = place_of(out, ENDS)
    check_matplotlib()
    result = read_result(store)
    centres = centers(result.ids, result.grid.child_order, result.grid.latitude)
    planted = expected(*centres)
    found, sigma = result.values(rate), result.values(error)
    there = np.isfinite(found)
    with np.errstate(all="ignore"):
        scores = (found - planted) / sigma
    share = float(np.mean(np.abs(scores[there]) < FAR)) if there.any() else float("nan")
    units = result.variable(rate).units
    wanted = np.where(there, planted, np.nan)
    most = float(np.nanpercentile(np.abs(planted[there]), 99)) if there.any() else 1.0

    def around_zero(values: np.ndarray, end: float) -> Scale:
        return Scale("diverging", -end, end, below=bool((values < -end).any()), above=bool((values > end).any()))

    panels = [
        Panel(f"{rate} found ({units})", found, around_zero(found, most), units),
        Panel(f"rate planted ({units})", wanted, around_zero(wanted, most), units),
        panel_of(result, error, None),
        Panel(f"(found - planted) / error: below {FAR:g} in {share:.0%}", scores, around_zero(scores, 2 * FAR)),
    ]
    shown = region_of(result, most=pixels_for(len(panels)))
    content = content_of(result, shown, panels, None)
    return write_whole(path, lambda beside: draw_sheet(content, beside)), share
