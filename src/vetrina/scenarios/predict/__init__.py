"""A probability for a row of a table."""
