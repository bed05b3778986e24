"""The result: assembles the parts into one sharded Zarr store that xarray and xdggs open without maggjob.

May import config, grid, icesat2, jobs, model, statistics and storage.
"""
