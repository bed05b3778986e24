"""TODO room backend."""
