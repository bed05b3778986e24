"""The values passed between packages: recipe, tasks and reports, frozen and picklable; the ledger, which sums reports.

May import grid and statistics.
"""
