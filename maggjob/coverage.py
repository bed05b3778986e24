"""Cells of an area, under the name that users know: ``maggjob.coverage.area_cells``."""

from maggjob.grid.coverage import area_cells

__all__ = ["area_cells"]
