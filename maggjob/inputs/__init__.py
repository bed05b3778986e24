"""What people write: paths, URLs and YAML, in one plain form. Every room may import it.

May import nothing but errors.
"""
