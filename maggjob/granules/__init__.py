"""The rows of one granule in one cell: selected by an index or without, read in ranges, screened, counted.

May import grid, hdf5, icesat2, model, statistics and storage.
"""
