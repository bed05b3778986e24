"""TODO room aws."""
