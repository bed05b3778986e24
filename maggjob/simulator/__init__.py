"""TODO room simulator."""
