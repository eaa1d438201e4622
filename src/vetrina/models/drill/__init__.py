"""Fault injection: a model that fails on purpose, to see that a release survives it."""
