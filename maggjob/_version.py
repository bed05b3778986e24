"""The version of maggjob, which the package and its metadata share."""

__version__ = "0.1.0"
