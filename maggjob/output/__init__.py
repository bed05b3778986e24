"""TODO room output."""
