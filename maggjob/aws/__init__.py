"""The Lambda worker: build and deployment of its image, rights of its role, its entry point, and the doctor.

May import backend, jobs and storage.
"""
