"""What runs in a worker: a cell, the index of some granules, a shard of a result; parts, and how tasks travel.

May import granules, grid, model, statistics and storage: never what only the client needs.
"""
