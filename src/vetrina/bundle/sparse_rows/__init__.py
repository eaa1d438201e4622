"""Sparse rows: for each item its strongest neighbours, with quantised weights."""
