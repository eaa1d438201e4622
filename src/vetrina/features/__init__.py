"""Features shared by training and serving: one update for a new event, and the same computation vectorised for a log."""
