"""Reading of HDF5 through h5coro, with the checks that h5coro lacks, and decoding of chunks.

May import nothing of maggjob but errors.
"""
