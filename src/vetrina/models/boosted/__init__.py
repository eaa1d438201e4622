"""Boosted trees for a table."""
