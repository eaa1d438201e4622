"""Whom to tell of a new product: users most likely to buy it, like some others, or of a segment."""
