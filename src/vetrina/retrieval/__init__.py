"""Finding candidates: words, vectors, and the products themselves."""
