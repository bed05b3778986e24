"""Statistics of segments per child cell: named functions and expressions, for all child cells at once.

May import nothing of maggjob but errors. Functions take and return numbers, and read no data.
"""
