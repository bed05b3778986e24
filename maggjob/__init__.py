"""ICESat-2 ATL06 land-ice heights to a map: HDF5 granules to HEALPix cells to one xdggs Zarr.

The names below are loaded when they are first used, so that a worker that only maps a cell does
not pay for the rest.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maggjob.config import Config
    from maggjob.config_file import load_config
    from maggjob.coverage import area_cells
    from maggjob.job import map_cell, reduce_tally
    from maggjob.model import CellReport, CellTask, Granule, Tally
    from maggjob.pipeline import assemble_run, execute, run
    from maggjob.planning import Plan, find_catalog, make_catalog, plan
    from maggjob.result import RunResult
    from maggjob.runner import lithops_config
    from maggjob.simulator import simulate
    from maggjob.status import read_status
    from maggjob.tasking import task, tasks
    from maggjob.view import open_result

__version__ = "0.1.0"

# The threads that numpy's linear algebra starts look for work in a loop of 2**26 cycles before they sleep: a tenth
# of a second of CPU, a third of what a worker imports, for something that is not used here. After 2**4 they sleep.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

__all__ = [
    "CellReport",
    "CellTask",
    "Config",
    "Granule",
    "Plan",
    "RunResult",
    "Tally",
    "area_cells",
    "assemble_run",
    "execute",
    "find_catalog",
    "lithops_config",
    "load_config",
    "make_catalog",
    "map_cell",
    "open_result",
    "plan",
    "read_status",
    "reduce_tally",
    "run",
    "simulate",
    "task",
    "tasks",
]

_WHERE = {
    "area_cells": "coverage",
    "Config": "config",
    "load_config": "config_file",
    "map_cell": "job",
    "reduce_tally": "job",
    "CellReport": "model",
    "CellTask": "model",
    "Granule": "model",
    "Tally": "model",
    "Plan": "planning",
    "RunResult": "result",
    "assemble_run": "pipeline",
    "plan": "planning",
    "run": "pipeline",
    "execute": "pipeline",
    "simulate": "simulator",
    "read_status": "status",
    "open_result": "view",
    "task": "tasking",
    "tasks": "tasking",
    "find_catalog": "planning",
    "make_catalog": "planning",
    "lithops_config": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'maggjob' has no attribute {name!r}")
    value = getattr(import_module(f"maggjob.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
