"""Figures of quality and their intervals."""
