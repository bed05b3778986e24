"""Figures, not tests: each module prints what it measured, as ratios taken in one run."""
