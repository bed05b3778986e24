"""The result: from parts to one sharded Zarr; the manifest, the ledger and the plan beside it; the check of all of it.

May import catalog, config, grid, icesat2, jobs, model, planning, statistics and storage.
"""
