"""A gated recurrent network over the last products of a user."""
