"""Lithops, driven with care: a function and tasks in, an outcome for every task out; retries, workers, settings, bill.

May import nothing of maggjob but errors: it knows neither granules nor cells, so that any job runs on it.
"""
