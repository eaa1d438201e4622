"""A small transformer over the last products of a user."""
