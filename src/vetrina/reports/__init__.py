"""Pages and tables for people: a version, its model card, quality, cost and trade-offs."""
