"""Metrics and statistics: ranking, classification, regression, off-policy value, bootstrap, sequential tests, drift."""
