"""What is handed from room to room: recipe, tasks, reports, frozen and picklable; the ledger, which folds reports.

May import grid and statistics.
"""
