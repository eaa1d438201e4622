"""Logistic regression: the baseline of tables with a binary label."""
