"""The command line, which parses, calls, prints and exits with a code, and the demonstration.

May import everything; nothing imports it.
"""
