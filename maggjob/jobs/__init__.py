"""Functions that run in workers: cells, indexes of granules, shards of a result; parts, and the form of tasks in calls.

May import granules, grid, model, statistics and storage, but nothing that only the client needs.
"""
