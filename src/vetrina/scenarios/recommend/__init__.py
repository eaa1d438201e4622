"""Recommend scenario: products for a user, a session or a product page."""
