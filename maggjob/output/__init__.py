"""The result: parts assembled into one sharded Zarr that xarray and xdggs open without us.

May import config, grid, icesat2, jobs, model, statistics and storage.
"""
