"""Repeat purchase: what a user buys again and again."""
