"""Lithops with checks: takes a function and tasks, returns an outcome per task; retries, workers, settings, bill.

May import nothing of maggjob but errors: it knows neither granules nor cells, so that any job can run on it.
"""
