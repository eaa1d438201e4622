"""A probability, or a number, for a row of a table."""
