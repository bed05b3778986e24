"""TODO room hdf5."""
