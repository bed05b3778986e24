"""What a run leaves beside its result: the manifest, the ledger as a table, the plan; and the check of all of it.

May import catalog, config, grid, jobs, model, output, planning and storage.
"""
