"""What `graph_filter` was called up to 0.1.0; still opened, no longer learnt."""
