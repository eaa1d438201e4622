"""Products for a query."""
