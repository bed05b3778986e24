"""Reading and writing of files, buckets and https servers; credentials; the layout of a run's folder.

May import nothing of maggjob but errors.
"""
