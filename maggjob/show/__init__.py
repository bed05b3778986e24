"""What people look at: text, maps, a result as an xarray Dataset, progress.

May import backend, catalog, grid, icesat2, model, pipeline, planning and storage.
"""
