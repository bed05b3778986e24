"""What is handed from room to room: recipe, tasks and reports, frozen and picklable; and the ledger, which folds reports.

May import grid and statistics.
"""
