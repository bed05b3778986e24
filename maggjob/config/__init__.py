"""The configuration: read from YAML, validated as typed models, and resolved to the recipe that workers need.

May import grid, icesat2, model and statistics. Workers never import it, so they need neither pydantic nor yaml.
"""
