"""ICESat-2 ATL06 land-ice heights to a map: HDF5 granules to HEALPix cells to one xdggs Zarr.

The names below are loaded when they are first used, so that a worker that only maps a cell does
not pay for the rest.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from maggjob._version import __version__ as __version__

if TYPE_CHECKING:
    from maggjob.backend.settings import lithops_config as lithops_config
    from maggjob.catalog.find import find_catalog as find_catalog
    from maggjob.catalog.find import make_catalog as make_catalog
    from maggjob.config.load import load_config as load_config
    from maggjob.config.schema import Config as Config
    from maggjob.grid.coverage import area_cells as area_cells
    from maggjob.jobs.cells import map_cell as map_cell
    from maggjob.model.ledger import reduce_tally as reduce_tally
    from maggjob.model.reports import CellReport as CellReport
    from maggjob.model.reports import Tally as Tally
    from maggjob.model.tasks import CellTask as CellTask
    from maggjob.model.tasks import Granule as Granule
    from maggjob.pipeline.cell_map import assemble_run as assemble_run
    from maggjob.pipeline.cell_map import execute as execute
    from maggjob.pipeline.cell_map import run as run
    from maggjob.pipeline.result import RunResult as RunResult
    from maggjob.pipeline.status import read_status as read_status
    from maggjob.planning.plan import Plan as Plan
    from maggjob.planning.plan import plan as plan
    from maggjob.planning.tasks import task as task
    from maggjob.planning.tasks import tasks as tasks
    from maggjob.show.dataset import open_result as open_result
    from maggjob.simulator.scene import simulate as simulate

# The threads that numpy's linear algebra starts look for work in a loop of 2**26 cycles before they sleep: a tenth
# of a second of CPU, a third of what a worker imports, for something that is not used here. After 2**4 they sleep.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

_WHERE = {
    "area_cells": "grid.coverage",
    "Config": "config.schema",
    "load_config": "config.load",
    "map_cell": "jobs.cells",
    "reduce_tally": "model.ledger",
    "CellReport": "model.reports",
    "CellTask": "model.tasks",
    "Granule": "model.tasks",
    "Tally": "model.reports",
    "Plan": "planning.plan",
    "RunResult": "pipeline.result",
    "assemble_run": "pipeline.cell_map",
    "plan": "planning.plan",
    "run": "pipeline.cell_map",
    "execute": "pipeline.cell_map",
    "simulate": "simulator.scene",
    "read_status": "pipeline.status",
    "open_result": "show.dataset",
    "task": "planning.tasks",
    "tasks": "planning.tasks",
    "find_catalog": "catalog.find",
    "make_catalog": "catalog.find",
    "lithops_config": "backend.settings",
}


__all__ = sorted(_WHERE)  # noqa: PLE0605  # read by help() and import *; type checkers read the imports above


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'maggjob' has no attribute {name!r}")
    value = getattr(import_module(f"maggjob.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
