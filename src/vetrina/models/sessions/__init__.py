"""What other visits that went like this one went on to."""
