"""A small neural network for a table with a yes-or-no label."""
