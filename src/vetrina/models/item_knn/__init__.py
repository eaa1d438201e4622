"""What follows what: directed co-occurrence that fades with distance."""
