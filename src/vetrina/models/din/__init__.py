"""Deep interest network for clicks: attention over a user's last events, by the candidate."""
