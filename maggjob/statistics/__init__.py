"""TODO room statistics."""
