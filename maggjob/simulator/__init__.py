"""Simulated ATL06 granules on ICESat-2's orbit, for the demonstration, tests and benchmarks.

May import icesat2. Only cli and the public names import it.
"""
