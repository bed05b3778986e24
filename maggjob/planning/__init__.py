"""What a run would do, take and cost, and its tasks.

May import backend (prices), catalog, config, granules, grid, icesat2, model and storage.
"""
