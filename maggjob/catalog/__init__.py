"""TODO room catalog."""
