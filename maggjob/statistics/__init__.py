"""Statistics of segments by child cell: named functions and expressions, all children at once.

May import nothing of maggjob but errors: numbers in, numbers out.
"""
