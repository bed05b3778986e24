"""The ICESat-2 mission: names of granules and products, and the orbit. No other package names a product.

May import nothing of maggjob but errors.
"""
