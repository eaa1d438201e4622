"""A long short-term memory over the last products of a user."""
