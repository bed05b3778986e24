"""Map ICESat-2 ATL06 land-ice heights: from HDF5 granules to HEALPix cells in one Zarr for xarray and xdggs.

Public names are imported on first use, so that a worker that only maps a cell does not import the rest.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from maggjob._version import __version__ as __version__

if TYPE_CHECKING:
    from maggjob.backend.settings import lithops_config as lithops_config
    from maggjob.catalog.find import find_catalog as find_catalog, make_catalog as make_catalog
    from maggjob.config.load import load_config as load_config
    from maggjob.config.schema import Config as Config
    from maggjob.granules.open_file import open_granule as open_granule
    from maggjob.grid.coverage import area_cells as area_cells
    from maggjob.jobs.cells import map_cell as map_cell
    from maggjob.model.ledger import reduce_tally as reduce_tally
    from maggjob.model.reports import CellReport as CellReport, Tally as Tally
    from maggjob.model.tasks import CellTask as CellTask, Granule as Granule
    from maggjob.output.table import ledger as ledger
    from maggjob.pipeline.assembling import assemble_run as assemble_run
    from maggjob.pipeline.by_hand import archive_credentials as archive_credentials, tasks as tasks
    from maggjob.pipeline.cell_map import execute as execute, run as run
    from maggjob.pipeline.checks import verify_result as verify_result
    from maggjob.pipeline.history import HistoryEntry as HistoryEntry, history as history
    from maggjob.pipeline.own_job import session as session
    from maggjob.pipeline.result import RunResult as RunResult
    from maggjob.pipeline.retry import retry as retry
    from maggjob.pipeline.scenes import scenes as scenes
    from maggjob.pipeline.series import series as series
    from maggjob.pipeline.status import read_status as read_status
    from maggjob.pipeline.update import UpdatePlan as UpdatePlan, plan_update as plan_update, update as update
    from maggjob.planning.make import plan as plan
    from maggjob.planning.plan import Plan as Plan
    from maggjob.planning.tasks import task as task
    from maggjob.show.basins import basins as basins
    from maggjob.show.dataset import open_result as open_result
    from maggjob.show.difference import difference as difference
    from maggjob.show.export import export as export
    from maggjob.show.maps import draw_map as draw_map
    from maggjob.show.page import write_page as write_page
    from maggjob.simulator.scene import simulate as simulate
    from maggjob.simulator.sst import simulate_sst as simulate_sst

# The threads of numpy's linear algebra (OpenBLAS) poll for work for 2**26 cycles before they sleep. This costs 0.1 s of
# CPU, a third of a worker's import time, and maggjob does not use them. With this setting they sleep after 2**4 cycles.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

_NAMES = {
    "backend.settings": "lithops_config",
    "catalog.find": "find_catalog make_catalog",
    "config.load": "load_config",
    "config.schema": "Config",
    "granules.open_file": "open_granule",
    "grid.coverage": "area_cells",
    "jobs.cells": "map_cell",
    "model.ledger": "reduce_tally",
    "model.reports": "CellReport Tally",
    "model.tasks": "CellTask Granule",
    "pipeline.history": "HistoryEntry history",
    "output.table": "ledger",
    "pipeline.by_hand": "archive_credentials tasks",
    "pipeline.assembling": "assemble_run",
    "pipeline.cell_map": "execute run",
    "pipeline.checks": "verify_result",
    "pipeline.result": "RunResult",
    "pipeline.own_job": "session",
    "pipeline.retry": "retry",
    "pipeline.scenes": "scenes",
    "pipeline.series": "series",
    "pipeline.status": "read_status",
    "pipeline.update": "UpdatePlan plan_update update",
    "planning.make": "plan",
    "planning.plan": "Plan",
    "planning.tasks": "task",
    "show.basins": "basins",
    "show.dataset": "open_result",
    "show.difference": "difference",
    "show.export": "export",
    "show.maps": "draw_map",
    "show.page": "write_page",
    "simulator.scene": "simulate",
    "simulator.sst": "simulate_sst",
}
"""Public names of each module; type checkers read the imports above instead."""
_WHERE = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_WHERE)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'maggjob' has no attribute {name!r}")
    value = getattr(import_module(f"maggjob.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*_WHERE, "__version__", "__doc__", "__file__", "__name__", "__path__"})
