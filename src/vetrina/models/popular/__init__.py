"""Popularity: the baseline of recommend."""
