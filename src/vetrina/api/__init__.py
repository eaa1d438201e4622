"""The Python API: a shop, its answers in batches, and the channels that messages go out by."""
