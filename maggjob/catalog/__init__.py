"""Which granules there are, and which cells each lies in: from files, from NASA's CMR, or from a file that was kept.

May import config, granules, grid, icesat2, model and storage.
"""
