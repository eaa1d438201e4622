"""SASRec: a small transformer over a user's last items."""
