"""The demonstration: the whole job on simulated granules, in about a minute."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from maggjob.backend.outcome import Watcher
from maggjob.catalog.local import from_files
from maggjob.config.load import load_config
from maggjob.errors import ExistsError
from maggjob.inputs.places import local_place
from maggjob.pipeline.cell_map import execute
from maggjob.pipeline.result import RunResult
from maggjob.planning.make import plan
from maggjob.show.dataset import check_installed
from maggjob.show.maps import draw_map
from maggjob.simulator.scene import Scene, check_h5py, simulate

AMUNDSEN = (-108.0, -76.5, -98.0, -73.6)
"""West, south, east and north of the demonstration's area, degrees."""
SCENE = Scene(cycles=(22,), regions=(10, 11, 12), area=AMUNDSEN, every=5, most=60)
WORKERS = 2


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
        If a package of the extra "view" is not installed.
    """
    check_h5py()
    check_installed()
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
    return result, draw_map(store, here / "map.png")
