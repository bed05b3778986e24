"""What a run will do, how long it takes, what it costs, and its tasks.

May import backend (prices), catalog, config, granules, grid, icesat2, model and storage.
"""
