"""The Lambda worker: how its image is built and deployed, what its role must allow, where it is entered; the doctor.

May import backend, jobs and storage.
"""
