"""Measurements with their references in the same run; ``python -m benchmarks [NAME...]``."""
