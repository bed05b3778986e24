"""Granules of ATL06's shape on ICESat-2's geometry, for the demonstration, tests and benchmarks.

May import icesat2. Only cli and the public names import it.
"""
