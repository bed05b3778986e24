"""TODO room show."""
