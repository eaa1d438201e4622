"""Ridge regression: the baseline of every table whose label is a number."""
