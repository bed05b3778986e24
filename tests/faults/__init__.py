"""The fault matrix: what may go wrong, and an independent account of every segment."""
