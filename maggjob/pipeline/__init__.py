"""One run from start to end: the session of any job, the cells job that uses it, its result, and its status.

May import backend, catalog, config, granules, grid, jobs, model, output, planning and storage; never show or cli.
"""
