"""Public aliases of the worker functions: pass them to Lithops' ``map``, or call them directly."""

from maggjob.jobs.cells import map_cell, map_cells
from maggjob.jobs.granule_index import index_granules
from maggjob.model.ledger import reduce_tally

__all__ = ["index_granules", "map_cell", "map_cells", "reduce_tally"]
