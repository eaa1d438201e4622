"""Ridge regression: the baseline of tables with a numeric label."""
