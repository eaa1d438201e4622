"""A long short-term memory network over a user's last items."""
