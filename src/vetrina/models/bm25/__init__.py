"""Words: BM25 over product fields."""
