"""HEALPix: ids of cells, latitude conventions, tracks and areas on the grid, outlines of granules.

May import nothing of maggjob but errors: numbers in, numbers out.
"""
