"""The functions that run in workers, importable by name: pass one to Lithops' ``map``, or call it directly."""

from maggjob.jobs.cells import map_cell, map_cells
from maggjob.jobs.granule_index import index_granules
from maggjob.model.ledger import reduce_tally

__all__ = ["index_granules", "map_cell", "map_cells", "reduce_tally"]
