"""Predict scenario: a probability, or a number, for each row of a table."""
