"""One run from its beginning to its end: a session for any job, and the cells job on it; its result, and how far it is.

May import backend, catalog, config, granules, grid, jobs, model, output, planning and storage; never show or cli.
"""
