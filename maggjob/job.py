"""What runs in a worker, importable by name: hand one of these to Lithops' ``map``, or call it by hand."""

from maggjob.jobs.cells import map_cell, map_cells
from maggjob.jobs.granule_index import index_granules
from maggjob.model.ledger import reduce_tally

__all__ = ["index_granules", "map_cell", "map_cells", "reduce_tally"]
