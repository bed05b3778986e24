"""Output for people: text, maps, a result as an xarray Dataset, and progress.

May import backend, catalog, grid, icesat2, model, output, pipeline, planning, statistics and storage.
"""
