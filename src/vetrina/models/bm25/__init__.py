"""BM25 over the words of product fields."""
