"""The demonstration: the whole job on simulated granules, in about a minute."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from maggjob.backend.outcome import Watcher
from maggjob.catalog.local import from_files
from maggjob.config.load import load_config
from maggjob.errors import ExistsError
from maggjob.inputs.places import local_place
from maggjob.pipeline.cell_map import execute
from maggjob.pipeline.result import RunResult
from maggjob.planning.make import plan
from maggjob.show.maps import check_matplotlib, draw_map
from maggjob.show.page import write_page
from maggjob.show.rates import draw_rates
from maggjob.simulator.scene import Scene, check_h5py, simulate
from maggjob.simulator.surface import Change, planted_rate, years

AMUNDSEN = (-108.0, -76.5, -98.0, -73.6)
"""West, south, east and north of the demonstration's area, degrees."""
SCENE = Scene(cycles=(22,), regions=(10, 11, 12), area=AMUNDSEN, every=5, most=60)
WORKERS = 2
CYCLES = (14, 17, 20, 23)
"""Cycles of the demonstration's rates."""
CHANGING = Scene(
    cycles=CYCLES,
    regions=(10, 11, 12),
    area=(-106.0, -75.9, -99.0, -74.4),
    every=20,
    most=24,
    pass_bias=0.05,
    dem_error=0.3,
    planted=Change(),
)
"""Few and thin granules of several cycles, with a bias per pass and errors of the DEM."""


def demo(
    folder: str | Path, say: Callable[[str], None], progress: Callable[[int], AbstractContextManager[Watcher]]
) -> tuple[RunResult, Path]:
    """Simulate granules over the Amundsen Sea sector, catalogue them, run the job, and draw a map.

    Parameters
    ----------
    folder : str or Path
        Folder of all output; must be empty or not exist.
    say : callable
        Called with each line of output.
    progress : callable
        ``progress(cells)`` returns a context manager that yields a watcher of the run.

    Returns
    -------
    result : RunResult
        Result of the run.
    picture : Path
        Map of the result, a PNG.

    Raises
    ------
    ExistsError
        If the folder is not empty.
    InputError
        If matplotlib or h5py is not installed.
    """
    check_h5py()
    check_matplotlib()
    here = local_place(folder, "folder")
    if here.exists() and (not here.is_dir() or any(here.iterdir())):
        raise ExistsError(f"{here} is not an empty folder; remove it, or give another one")
    granules = simulate(here / "granules", SCENE, workers=WORKERS)
    size = sum(path.stat().st_size for path in granules) / 1e6
    say(f"simulated     {len(granules)} granules, {size:.0f} MB, in {here / 'granules'}")
    config = load_config("atl06.yaml")
    catalog = from_files([str(here / "granules")], config.recipe())
    catalog.write(here / "catalog.json")
    say(f"catalog       {len(catalog.cells)} cells, {catalog.pairs} pairs, in {here / 'catalog.json'}")
    store = str(here / "atl06.zarr")
    with progress(len(catalog.cells)) as watch:
        result = execute(
            plan(config, catalog=catalog, store=store),
            indexes=str(here / "indexes"),
            max_workers=WORKERS,
            watch=watch,
        )
    picture = draw_map(store, here / "map.png")
    page = write_page(store, here / "view.html")
    say(f"page          {page}, {page.stat().st_size / 1e6:.1f} MB: open it in a browser, and zoom in")
    _rates(here, say)
    return result, picture


def _rates(here: Path, say: Callable[[str], None]) -> None:
    """Fit rates to granules of several cycles, and draw them beside the rates that the simulator planted."""
    granules = simulate(here / "cycles", CHANGING, workers=WORKERS)
    plain = load_config("atl06_trend_dem.yaml").model_dump(mode="json", exclude_none=True)
    # Thin granules leave too few passes in cells of 1.6 km.
    plain["output"]["grid"]["child_order"] = 11
    config = load_config(plain)
    catalog = from_files([str(here / "cycles")], config.recipe())
    store = str(here / "dh.zarr")
    result = execute(plan(config, catalog=catalog, store=store), indexes=str(here / "indexes"), max_workers=WORKERS)
    times = [report.time for report in result.reports if report.time is not None]
    seconds = np.linspace(min(first for first, _ in times), max(last for _, last in times), 25)

    def planted(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
        return planted_rate(latitude, longitude, CHANGING.planted, years(seconds))

    picture, share = draw_rates(store, here / "rates.png", planted)
    states = result.tally.fits["11/trend"]
    say(f"rates         {len(granules)} granules of cycles {', '.join(map(str, CYCLES))}, in {store}")
    say(
        f"              {states['determined']:,} cells have a rate; {share:.0%} of them lie within two standard errors "
        f"of the rate that was planted: {picture}"
    )
