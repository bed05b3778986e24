"""The command line: parse, call, print, exit code; and the demonstration.

May import everything; nothing imports it.
"""
