"""The mission: names of granules and products, and where ICESat-2 flies. Nothing else names a product.

May import nothing of maggjob but errors.
"""
