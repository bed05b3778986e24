"""Bytes in files, buckets and https servers, and who may read them; the layout of a run's folder.

May import nothing of maggjob but errors.
"""
