"""GRU4Rec: a gated recurrent network over a user's last items."""
