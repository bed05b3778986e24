"""TODO room pipeline."""
