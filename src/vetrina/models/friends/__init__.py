"""Social recommendation: what the users whom a user follows bought."""
