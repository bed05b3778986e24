"""A picture of rates beside those that are expected, and of the cells where they differ by more than their error."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from maggjob.inputs.places import local_place, may_replace
from maggjob.show.dataset import check_installed, open_result
from maggjob.show.maps import canvas_of, draw_panel, edges_of

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
        PNG to write.
    expected : callable
        Returns the expected rates at the centres of the cells, in the units of the rate.
    rate, error : str
        Variables of the rate and of its standard error.

    Returns
    -------
    path : Path
        The PNG.
    share : float
        Share of the cells with a rate whose difference is below `FAR` standard errors.

    Raises
    ------
    StoreError
        If the store is not a complete result.
    InputError
        If a package of the extra "view" is not installed.
    """
    check_installed()
    path = local_place(out, "picture")
    may_replace(path, (b"\x89PNG",), "PNG")
    from matplotlib.figure import Figure

    dataset = open_result(store)
    canvas = canvas_of(dataset)
    centres = canvas.centres
    planted = expected(centres.latitude.values, centres.longitude.values)
    found, sigma = dataset[rate].astype(np.float64), dataset[error].astype(np.float64)
    there = np.isfinite(found.values)
    with np.errstate(all="ignore"):
        scores = (found.values - planted) / sigma.values
    share = float(np.mean(np.abs(scores[there]) < FAR)) if there.any() else float("nan")
    order, height, width = int(dataset.dggs.grid_info.level), *canvas.row.shape
    parent = int(json.loads(dataset.attrs["config"])["output"]["grid"]["parent_order"])
    edges = edges_of(canvas.cell >> 2 * (order - parent), canvas.row >= 0)
    units = found.attrs.get("units", "1")
    wanted = found.copy(data=np.where(there, planted, np.nan))
    most = float(np.nanpercentile(np.abs(planted[there]), 99)) if there.any() else 1.0
    panels = [
        (found.rename(f"{rate} found"), (-most, most), "RdBu", {"long_name": "fitted", "units": units}),
        (wanted.rename("rate planted"), (-most, most), "RdBu", {"units": units}),
        (sigma.rename(error), None, "viridis", {"long_name": "standard error by pass", "units": units}),
        (
            found.copy(data=scores).rename("z"),
            (-2 * FAR, 2 * FAR),
            "PuOr",
            {"long_name": f"(found - planted) / error; |z| < {FAR:g} in {share:.0%}", "units": "1"},
        ),
    ]
    figure = Figure(figsize=(13.0, 2 * (5.2 * height / width) + 1.0), layout="constrained", dpi=90)
    every = figure.subplots(2, 2).ravel()
    for axes, (variable, limits, colours, attributes) in zip(every, panels, strict=True):
        variable.attrs = attributes
        draw_panel(figure, axes, variable, canvas, edges, limits=limits, colours=colours)
    title = dataset.attrs.get("title", "")
    cycles = ", ".join(map(str, dataset.attrs["cycles"]))
    figure.suptitle(f"{title}: rate of change of height from cycles {cycles}, {int(there.sum()):,} cells")
    figure.savefig(path)
    return path, share
