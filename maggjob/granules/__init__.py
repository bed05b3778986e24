"""The rows of one granule in one cell: selection with or without an index, reading in ranges, screening, counting.

May import grid, hdf5, icesat2, model, statistics and storage.
"""
