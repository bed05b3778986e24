"""HDF5 through h5coro, with what h5coro leaves unchecked checked; chunks to values.

May import nothing of maggjob but errors.
"""
