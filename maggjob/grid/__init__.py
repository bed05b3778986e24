"""The HEALPix grid: ids of cells, latitude conventions, tracks, areas of interest, and outlines of granules.

May import nothing of maggjob but errors. Functions take and return numbers, and read no data.
"""
