"""Shared vocabulary: column names, types, errors, settings, time."""
