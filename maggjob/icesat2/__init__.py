"""TODO room icesat2."""
