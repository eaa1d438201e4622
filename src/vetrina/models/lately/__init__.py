"""Recency: a user's own items of the last weeks."""
