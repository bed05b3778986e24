"""Public alias of the function that lists the cells of an area: ``maggjob.coverage.area_cells``."""

from maggjob.grid.coverage import area_cells

__all__ = ["area_cells"]
