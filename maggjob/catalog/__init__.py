"""Catalogs of granules and of the cells that each granule lies in: from files, NASA's CMR, or a saved catalog.

May import config, granules, grid, icesat2, model and storage.
"""
