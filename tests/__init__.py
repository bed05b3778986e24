"""Tests of maggjob; the modules without ``test_`` in their names are what they share."""
