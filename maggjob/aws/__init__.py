"""The Lambda worker: how its image is built and deployed, what its role must allow, what a run needs, where it is entered.

May import backend, jobs and storage.
"""
