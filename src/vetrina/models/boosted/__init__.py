"""Gradient-boosted trees for a labelled table."""
