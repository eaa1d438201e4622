"""One decision tree that a person can read."""
