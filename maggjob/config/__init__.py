"""The configuration: typed once, read from YAML, resolved to what workers need.

May import grid, icesat2, model and statistics. Workers never import it: pydantic and yaml stay on the client.
"""
