"""What every part shares: words, types, errors, settings, time."""
