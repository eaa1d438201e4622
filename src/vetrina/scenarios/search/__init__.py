"""Search scenario: products for a query."""
