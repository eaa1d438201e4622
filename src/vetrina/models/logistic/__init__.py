"""Logistic regression: the baseline of every table."""
