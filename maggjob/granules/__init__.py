"""TODO room granules."""
