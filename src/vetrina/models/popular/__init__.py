"""What sells now: the dull baseline."""
