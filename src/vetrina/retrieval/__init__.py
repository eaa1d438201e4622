"""Indexes that a bundle serves from: words, vectors, neighbours and the catalogue itself."""
