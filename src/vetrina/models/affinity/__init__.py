"""Category affinity: the baseline of audience selection."""
