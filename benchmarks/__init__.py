"""Benchmarks. They are not tests: each module prints its measurements, as ratios within one run where possible."""
